"""What is never written to disk: values of environment variables, and whatever is named like a secret."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from rompy_hydra.jsonable import Json

NOT_STORED = "<not stored>"

_SECRETS = ("passw", "secret", "token", "credential", "private", "api_?key", "access_?key", "auth")
_SECRET = re.compile("|".join(_SECRETS), re.I)
_ENVIRONMENTS = {"env", "env_vars", "build_args"}
_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
_NUMBERS = re.compile(f"{_NUMBER}(,{_NUMBER})*")

# In canonical JSON: an environment, or a list of them, that is not empty; a text with the name of a
# secret; a name with characters that are written as others.
_MAY_HIDE = re.compile(
    rf'"(?:{"|".join(sorted(_ENVIRONMENTS))})":(?:{{"|\[(?!\]))|"[^"]*(?:{_SECRET.pattern})[^"]*":"|\\u',
    re.I,
)
# Where none of these is in the text, none of the above is.
_WORDS = [word.replace("_?", sign) for word in _SECRETS for sign in ("", "_")]
_WORDS += [f'"{name}":{sign}' for name in sorted(_ENVIRONMENTS) for sign in ('{"', "[")]
_WORDS = [*dict.fromkeys(_WORDS), "\\u"]


def may_hide(canonical: str) -> bool:
    """Whether something in a value must not be stored, by its canonical JSON: False is certain."""
    # Few configurations have any such word, and to look for words takes a tenth of the time.
    text = canonical.lower()
    return any(word in text for word in _WORDS) and bool(_MAY_HIDE.search(canonical))


@functools.lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Whether a variable of this name is never written to disk (passwords, tokens, keys)."""
    return bool(_SECRET.search(name))


def redacted(value: Json, name: str = "") -> Json:
    """A copy of a configuration that may be stored: no secrets, no values of environment variables."""
    if isinstance(value, dict):
        hide_all = name in _ENVIRONMENTS
        return {
            key: (NOT_STORED if hide_all or is_secret(key) else item)
            if isinstance(item, str)
            else redacted(item, key)
            if isinstance(item, dict | list)
            else item
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [redacted(item, name) if isinstance(item, dict | list) else item for item in value]
    return value


def redacted_mapping(mapping: Mapping[str, Json]) -> dict[str, Json]:
    """A mapping that may be stored."""
    return cast("dict[str, Json]", redacted({**mapping}))


def redacted_parameters(parameters: Mapping[str, Json]) -> dict[str, Json]:
    """Values by dotted key as they may be stored."""
    return {
        key: redacted(value, key.rpartition(".")[2]) if may_be_told(key, value) else NOT_STORED
        for key, value in parameters.items()
    }


def redacted_override(override: str) -> str:
    """An override of the command line as it may be stored.

    >>> redacted_override("run_backend.env_vars.API_KEY=xyz")
    'run_backend.env_vars.API_KEY=<not stored>'
    >>> redacted_override("run_backend.env_vars.OMP_NUM_THREADS=4")
    'run_backend.env_vars.OMP_NUM_THREADS=4'
    """
    key, sign, value = override.partition("=")
    hidden = is_hidden(key) and not (_NUMBERS.fullmatch(value) and may_be_told(key, 0))
    # A whole mapping in one override: what it holds is only told by its text.
    nested = value.lstrip().startswith("{") and (
        is_secret(value) or re.search(r"\b(env|env_vars)\b", value)
    )
    return f"{key}={NOT_STORED}" if sign and (hidden or nested) else override


def is_hidden(key: str) -> bool:
    """Whether the value of a dotted key is not told: a secret, or a variable of an environment.

    >>> is_hidden("run_backend.env_vars.HOME"), is_hidden("model.friction")
    (True, False)
    """
    return is_secret(key) or not _ENVIRONMENTS.isdisjoint(key.lstrip("+~").split("."))


def may_be_told(key: str, value: object) -> bool:
    """Whether a value that was given for a dotted key may stand in names, records and tables.

    Of an environment a number may, such as of threads: whoever gives it compares runs by it.
    """
    return not is_hidden(key) or (isinstance(value, int | float | None) and not is_secret(key))


def without_secrets(value: Json, name: str = "") -> Json:
    """A configuration without the values of secret environment variables.

    They decide about access and not about the result: a new password makes no new run.
    """
    if isinstance(value, Mapping):
        hide = name in _ENVIRONMENTS
        return {
            key: NOT_STORED
            if hide and is_secret(key)
            else without_secrets(item, key)
            if isinstance(item, dict | list)
            else item
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [without_secrets(item, name) if isinstance(item, dict | list) else item for item in value]
    return value
