from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rompy_hydra.jsonable import canonical_json
from rompy_hydra.redaction import (
    hide,
    may_hide,
    redacted,
    redacted_override,
    remember_secrets,
    without_secrets,
)
from rompy_hydra.redaction.names import is_secret

HIDDEN = "<not stored>"


@pytest.mark.parametrize(
    "name",
    [
        "PASSPHRASE",
        "DB_PASS",
        "MYSQL_PWD",
        "KEY",
        "ssh-key",
        "session_cookies",
        "JWT",
        "DATABASE_URL",
        "githubToken",
        "PASSWORD",
        "pw",
        "db_pw",
        "pin",
        "CARD_PIN",
        "session_id",
        "sessionId",
        "GITHUB_PAT",
        "db_passwd",
        "API_KEY",
        "apikey",
        "GITHUB_TOKEN",
        "AWS_SECRET",
        "AUTH",
    ],
)
def test_names_of_secrets_are_recognised(name):
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "friction",
        "OMP_NUM_THREADS",
        "PATH",
        "keyword",
        "wave_height",
        "monkey",
        "key_parameter",
        "tokens_per_s",
        "PWD",
        "OLDPWD",
        "low_pass",
        "compass",
        "sort_key",
        "exclude_keys",
        "author",
        "max_tokens",
        "url",
        "tokenizer",
        "upwind",
        "spin_up",
        "I_MPI_PIN",
        "cpu_pin",
        "pin_threads",
        "session",
        "pat",
        "patch",
        "passes",
    ],
)
def test_other_names_are_not_secrets(name):
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("curl https://ghp_abc123def@github.com/x", f"curl https://{HIDDEN}@github.com/x"),
        ("https://host/a?x=1&token=abc123&y=2", f"https://host/a?x=1&token={HIDDEN}&y=2"),
        ("https://host/a?api_key=abc123", f"https://host/a?api_key={HIDDEN}"),
        ("https://host/a?sv=1&sig=abc%2B123", f"https://host/a?sv=1&sig={HIDDEN}"),
        ("curl -H 'Authorization: Bearer abc123def' x", f"curl -H 'Authorization: Bearer {HIDDEN}' x"),
        ("Bearer abc123def456", f"Bearer {HIDDEN}"),
        ("model --password=hunter2 --n=3", f"model --password={HIDDEN} --n=3"),
        ("model --password hunter2 --n=3", f"model --password {HIDDEN} --n=3"),
        ("model --db-pw 'a b' x", f"model --db-pw {HIDDEN} x"),
        ("PASSWORD=hunter2 ./model", f"PASSWORD={HIDDEN} ./model"),
        ("curl -u ada:hunter2 http://host", f"curl -u ada:{HIDDEN} http://host"),
        ("curl --user ada:hunter2 http://host", f"curl --user ada:{HIDDEN} http://host"),
        (
            "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIB\nxyz\n-----END RSA PRIVATE KEY-----\nb",
            f"a\n{HIDDEN}\nb",
        ),
    ],
)
def test_secrets_inside_of_texts_are_hidden(text, shown):
    assert hide(text) == shown
    assert hide(shown) == shown
    assert may_hide(canonical_json({"commands": [text]}))
    assert redacted({"commands": [text]}) == {"commands": [shown]}


@pytest.mark.parametrize(
    "text",
    [
        "model.friction=0.02",
        "mpirun -np 4 ./swan --input INPUT",
        "docker run -u 1000:1000 image",
        "date -u +%H:%M",
        "python -u model.py a:b",
        "git clone https://git@github.com/x",
        "https://host/a?x=1&y=2",
        "the bearer of this",
        "--token-file tokens.txt",
        "PASSWORD=$SECRET ./model --password ${oc.env:PW}",
        "sort --key depth; x key=friction",
        "usage: [--token VALUE] [API_KEY=VALUE]",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "$PATH=a tokens_per_s=5 cpu_pin=3",
    ],
)
def test_other_texts_are_shown_as_they_are(text):
    assert hide(text) == text


def test_only_secrets_and_environment_values_are_hidden_at_any_depth():
    config = {
        "model": {
            "env": {"A": "1"},
            "parameters": {"password": "p", "friction": 0.1, "names": [{"token": "t"}]},
        },
        "run_backend": {"env_vars": {"B": "2"}, "build_args": {"C": "3"}, "image": "swan:41"},
    }
    assert redacted(config) == {
        "model": {
            "env": {"A": HIDDEN},
            "parameters": {"password": HIDDEN, "friction": 0.1, "names": [{"token": HIDDEN}]},
        },
        "run_backend": {"env_vars": {"B": HIDDEN}, "build_args": {"C": HIDDEN}, "image": "swan:41"},
    }
    assert config["model"]["env"] == {"A": "1"}


@pytest.mark.parametrize(
    ("override", "stored"),
    [
        ("model.friction=0.02", "model.friction=0.02"),
        ("run_backend=local", "run_backend=local"),
        ("~processor", "~processor"),
        ("+run_backend.env_vars.API_KEY=hunter2", f"+run_backend.env_vars.API_KEY={HIDDEN}"),
        ("run_backend.env_vars.PLAIN=hunter2", f"run_backend.env_vars.PLAIN={HIDDEN}"),
        ("run_backend.env_vars.OMP_NUM_THREADS=4", "run_backend.env_vars.OMP_NUM_THREADS=4"),
        ("+run_backend.env_vars.RANKS=1,2.5", "+run_backend.env_vars.RANKS=1,2.5"),
        ("+run_backend.env_vars.PIN=1,a", f"+run_backend.env_vars.PIN={HIDDEN}"),
        ("+run_backend.env_vars.TOKEN=1,2", f"+run_backend.env_vars.TOKEN={HIDDEN}"),
        ("run_backend.env_vars={A:hunter2}", f"run_backend.env_vars={HIDDEN}"),
        ("++model.env={A:hunter2}", f"++model.env={HIDDEN}"),
        ("model.parameters.password=hunter2", f"model.parameters.password={HIDDEN}"),
        ("run_backend={env_vars:{A:hunter2}}", f"run_backend={HIDDEN}"),
        ("model={parameters:{api_key:hunter2}}", f"model={HIDDEN}"),
        ("model.command='a=b'", "model.command='a=b'"),
    ],
)
def test_overrides_are_stored_without_secrets(override, stored):
    assert redacted_override(override) == stored


def test_all_variables_except_secrets_distinguish_runs():
    one = {
        "env": {"TOKEN": "a", "THREADS": "1"},
        "parameters": {"author": "x"},
        "list": [{"env": {"TOKEN": "a"}}],
    }
    two = json.loads(json.dumps(one).replace('"a"', '"b"'))
    assert without_secrets(one) == without_secrets(two)
    for changed in ({"env": {"TOKEN": "a", "THREADS": "2"}}, {"parameters": {"author": "y"}}):
        assert without_secrets({**one, **changed}) != without_secrets(one)


names = st.sampled_from(["env", "env_vars", "x", "a token", "AUTH", 'with "quotes" secret', "ſecret", "\\"])
trees = st.recursive(
    st.none() | st.integers() | st.sampled_from(["", "hush", '"', "\\"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=8,
)


@given(trees)
@example({"parameters": {"env": [{"A": "hush"}]}})
@example({"env": [1, [{"A": "hush"}]]})
def test_values_reported_as_not_secret_are_stored_unchanged(tree):
    if not may_hide(canonical_json(tree)):
        assert redacted(tree) == without_secrets(tree) == tree


@pytest.mark.parametrize("empty", [{"env": {}}, {"env": [], "friction": 0.03}])
def test_an_empty_environment_hides_nothing(empty):
    assert not may_hide(canonical_json(empty))


def test_numbers_and_everything_below_the_key_of_a_secret_are_hidden():
    config = {
        "db": {"password": 48151623, "tokens": ["a", {"b": 1}]},
        "jwt": {"x": [1]},
        "auth": True,
        "pwd": None,
    }
    assert redacted(config) == {
        "db": {"password": HIDDEN, "tokens": HIDDEN},
        "jwt": HIDDEN,
        "auth": True,
        "pwd": None,
    }


def test_a_secret_that_was_seen_once_is_hidden_in_every_spelling():
    remember_secrets({"password": "o'pen \"se$ame"})
    for text in (
        "x o'pen \"se$ame y",
        "a: 'o''pen \"se$ame'",
        json.dumps("o'pen \"se$ame"),
        "o%27pen%20%22se%24ame",
    ):
        assert HIDDEN in hide(text)
        assert "pen" not in hide(text).replace("opening", "")


def test_an_ordinary_word_under_the_bare_name_key_is_not_hidden_elsewhere():
    remember_secrets({"key": "friction", "password": "swordfish"})
    assert hide("friction of swordfish") == f"friction of {HIDDEN}"


@pytest.mark.parametrize(
    "text", ["http://host:80/a@b", "ssh://git@host", "a:b@c", "x://${oc.env:A}:${oc.env:B}@h"]
)
def test_addresses_without_a_password_are_unchanged(text):
    assert hide(text) == text
