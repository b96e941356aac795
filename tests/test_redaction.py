from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rompy_hydra.jsonable import canonical_json
from rompy_hydra.redaction import is_secret, may_hide, redacted, redacted_override, without_secrets

HIDDEN = "<not stored>"


@pytest.mark.parametrize(
    "name", ["PASSWORD", "db_passwd", "API_KEY", "apikey", "GITHUB_TOKEN", "AWS_SECRET", "AUTH"]
)
def test_names_of_secrets_are_recognised(name):
    assert is_secret(name)


@pytest.mark.parametrize("name", ["friction", "OMP_NUM_THREADS", "PATH", "keyword", "wave_height"])
def test_other_names_are_not_secrets(name):
    assert not is_secret(name)


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
