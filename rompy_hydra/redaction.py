"""What is never written to disk: values of environment variables, and anything named like a secret."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from rompy_hydra.jsonable import Json

NOT_STORED = "<not stored>"

_SECRETS = ("passw", "secret", "token", "credential", "private", "api_?key", "access_?key", "auth")
_SECRET = re.compile("|".join(_SECRETS), re.I)
_ENVIRONMENTS = {"env", "env_vars", "build_args"}
_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
_NUMBERS = re.compile(f"{_NUMBER}(,{_NUMBER})*")

# In canonical JSON: a non-empty environment or list of environments; a text with the name of a secret; a
# name with escaped characters.
_MAY_HIDE = re.compile(
    rf'"(?:{"|".join(sorted(_ENVIRONMENTS))})":(?:{{"|\[(?!\]))|"[^"]*(?:{_SECRET.pattern})[^"]*":"|\\u',
    re.I,
)
# A text with none of these cannot match the pattern above.
_WORDS = [word.replace("_?", sign) for word in _SECRETS for sign in ("", "_")]
_WORDS += [f'"{name}":{sign}' for name in sorted(_ENVIRONMENTS) for sign in ('{"', "[")]
_WORDS = [*dict.fromkeys(_WORDS), "\\u"]


def may_hide(canonical: str) -> bool:
    """Whether a value, by its canonical JSON, may hold something that must not be stored."""
    # Few configurations contain any of the words, and searching for words takes a tenth of the time.
    text = canonical.lower()
    return any(word in text for word in _WORDS) and bool(_MAY_HIDE.search(canonical))


@functools.lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Whether the name looks like that of a password, token or key, whose value is never stored."""
    return bool(_SECRET.search(name))


def redacted(value: Json, name: str = "") -> Json:
    """A copy of a configuration without secrets and values of environment variables."""
    return _replace(
        value,
        name,
        lambda owner, key, item: isinstance(item, str) and (owner in _ENVIRONMENTS or is_secret(key)),
    )


def without_secrets(value: Json, name: str = "") -> Json:
    """A copy of a configuration without the values of secret environment variables, for its hash.

    They control access and do not affect the result, so a new password does not make it another run.
    """
    return _replace(value, name, lambda owner, key, _: owner in _ENVIRONMENTS and is_secret(key))


def _replace(value: Json, name: str, hidden: Callable[[str, str, Json], bool]) -> Json:
    """A copy with NOT_STORED for each item whose mapping's name, key and value are `hidden`."""
    if isinstance(value, Mapping):
        return {
            key: NOT_STORED if hidden(name, key, item) else _replace(item, key, hidden)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_replace(item, name, hidden) for item in value]
    return value


def redacted_mapping(mapping: Mapping[str, Json]) -> dict[str, Json]:
    """`redacted` for a mapping."""
    return cast("dict[str, Json]", redacted({**mapping}))


def redacted_parameters(parameters: Mapping[str, Json]) -> dict[str, Json]:
    """Values by dotted key, without secrets and values of environment variables."""
    return {
        key: redacted(value, key.rpartition(".")[2]) if may_be_shown(key, value) else NOT_STORED
        for key, value in parameters.items()
    }


def redacted_override(override: str) -> str:
    """A command-line override without secrets and values of environment variables.

    >>> redacted_override("run_backend.env_vars.API_KEY=xyz")
    'run_backend.env_vars.API_KEY=<not stored>'
    >>> redacted_override("run_backend.env_vars.OMP_NUM_THREADS=4")
    'run_backend.env_vars.OMP_NUM_THREADS=4'
    """
    key, sign, value = override.partition("=")
    hidden = is_hidden(key) and not (_NUMBERS.fullmatch(value) and may_be_shown(key, 0))
    # An override that sets an entire mapping: only its text shows what it contains.
    nested = value.lstrip().startswith("{") and (
        is_secret(value) or re.search(r"\b(env|env_vars)\b", value)
    )
    return f"{key}={NOT_STORED}" if sign and (hidden or nested) else override


def is_hidden(key: str) -> bool:
    """Whether a dotted key is that of a secret or of an environment variable.

    >>> is_hidden("run_backend.env_vars.HOME"), is_hidden("model.friction")
    (True, False)
    """
    return is_secret(key) or not _ENVIRONMENTS.isdisjoint(key.lstrip("+~").split("."))


def may_be_shown(key: str, value: object) -> bool:
    """Whether the value of a dotted key may appear in names, records and tables.

    Numbers in an environment may, such as a number of threads: sweeps compare runs by them.
    """
    return not is_hidden(key) or (isinstance(value, int | float | None) and not is_secret(key))
