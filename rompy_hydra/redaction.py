"""What is never written to disk: values of environment variables, and anything named like a secret."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from rompy_hydra.jsonable import Json

NOT_STORED = "<not stored>"
_T = TypeVar("_T")

_SECRETS = ("passw", "secret", "token", "credential", "private", "api_?key", "access_?key", "auth")
_SECRET = re.compile("|".join(_SECRETS), re.I)
_ENVIRONMENTS = {"env", "env_vars", "build_args"}
_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
_NUMBERS = re.compile(f"{_NUMBER}(,{_NUMBER})*")

# In canonical JSON without empty lists: the name of a secret; an environment or a list of environments;
# an escaped character.
_MAY_HIDE = {word.replace("_?", sign) for word in _SECRETS for sign in ("", "_")}
_MAY_HIDE |= {f'"{name}":{sign}' for name in _ENVIRONMENTS for sign in ('{"', "[")} | {"\\u"}


def may_hide(canonical: str) -> bool:
    """Whether a value, by its canonical JSON, may hold something that must not be stored."""
    # Few configurations contain any of these words, and a pattern takes ten times as long.
    text = canonical.lower().replace("[]", "")
    return any(word in text for word in _MAY_HIDE)


@functools.lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Whether the name looks like that of a password, token or key, whose value is never stored."""
    return bool(_SECRET.search(name))


def redacted(value: _T, name: str = "") -> _T:
    """A copy of a configuration without secrets and values of environment variables."""
    return _replace(
        value, name, lambda in_env, key, item: isinstance(item, str) and (in_env or is_secret(key))
    )


def without_secrets(value: _T, name: str = "") -> _T:
    """A copy of a configuration without the values of secret environment variables, for its hash.

    They control access and do not affect the result, so a new password does not make it another run.
    """
    return _replace(value, name, lambda in_env, key, _: in_env and is_secret(key))


def _replace(value: _T, name: str, hidden: Callable[[bool, str, Json], bool]) -> _T:
    """A copy with NOT_STORED for each `hidden` item of a mapping, which may be an environment."""
    if not value or isinstance(value, str | int | float):
        return value
    changed: object = value
    if isinstance(value, Mapping):
        changed = {
            key: NOT_STORED if hidden(name in _ENVIRONMENTS, key, item) else _replace(item, key, hidden)
            for key, item in value.items()
        }
    elif isinstance(value, list):
        changed = [_replace(item, name, hidden) for item in value]
    return cast("_T", changed)


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


@functools.lru_cache(maxsize=4096)
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
