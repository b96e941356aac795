"""Secrets: which values are never shown or stored, and how they are hidden in what is.

One rule for everything that is written. A value is hidden if its key or any key above it sounds like a
secret, if it came from an environment variable of such a name, or if it is the password in a URL. The same
text is then hidden wherever it appears again. Values of environment variables are not stored either.
"""

from __future__ import annotations

import functools
import json
import re
import shlex
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from rompy_hydra.jsonable import Json

NOT_STORED = "<not stored>"
_T = TypeVar("_T")

# What sounds like a secret anywhere in a name.
_ANYWHERE = re.compile(
    "passw|passphrase|passcode|secret|credential|cookie|bearer|webhook|connection[^a-z0-9]?string|"
    "(api|access|private|ssh|signing|encryption|account|storage|master|license)[^a-z0-9]?key"
)
# As one of the words of a name: DB_PWD, githubToken.
_WORDS = {"private", "auth", "oauth", "authorization", "cred", "creds", "jwt", "psk", "dsn", "otp", "totp"}
_ENDS = ("pwd", "token", "tokens", "pass")
# Words that end like that, and words beside which it means something else: tokens_per_s, low_pass.
_HARMLESS = {"bypass", "compass", "encompass", "overpass", "underpass", "trespass", "surpass", "multipass"}
_HARMLESS |= {"lowpass", "highpass", "bandpass", "allpass"}
_COUNTS = {"per", "count", "max", "min", "num", "n", "number", "limit", "rate", "total", "size", "length"}
_FILTERS = {
    "low",
    "high",
    "band",
    "all",
    "filter",
    "by",
    "first",
    "second",
    "single",
    "multi",
    "two",
    "one",
}
_SORTS = {"sort", "primary", "foreign", "partition", "group", "join", "lookup", "index", "cache", "public"}
_SORTS |= {"dict", "map", "row", "column", "variable", "merge", "order", "unique", "field", "item", "hash"}
_SERVERS = {
    "database",
    "db",
    "postgres",
    "postgresql",
    "pg",
    "mysql",
    "mariadb",
    "redis",
    "mongo",
    "mongodb",
}
_SERVERS |= {"amqp", "rabbitmq", "broker", "sqlalchemy", "jdbc", "slack", "sentry"}
# The working directory is not a secret.
_NO_SECRETS = {"PWD", "OLDPWD"}
_PLAIN_WORD = re.compile("[a-z_]+")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_ENVIRONMENTS = {"env", "env_vars", "build_args"}
_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
_NUMBERS = re.compile(f"{_NUMBER}(,{_NUMBER})*")
_NAME_IN_TEXT = re.compile(r"([\w.-]+)['\"]?\s*[:=]")
_URL_PASSWORD = re.compile(r"(?<=://)((?:\$\{[^}]*\}|[^/\s:@\"{])*):(?!\$\{)([^/\s\"]+)@")
# Of signed URLs, and whatever sounds like a secret in a query.
_QUERY_SECRET = re.compile(
    r"([?&][\w.-]*(?:signature|token|secret|password|passwd|credential|api[_-]?key|access[_-]?key|sig|auth)=)"
    r"([^&#\s\"']+)",
    re.IGNORECASE,
)
_INTERPOLATION = re.compile(r"\$\{[\w.:\[\]]+\}")
_ENV_DEFAULT = re.compile(r"\$\{\s*oc\.env\s*:\s*['\"]?([^,}'\"\s]+)['\"]?\s*,\s*([^}]+)\}")

# In canonical JSON without empty lists: part of the name of a secret; an environment or a list of
# environments; a URL; an escaped character.
_MAY_HIDE = {"pass", "pwd", "secret", "token", "cred", "private", "auth", "key", "cookie", "jwt", "bearer"}
_MAY_HIDE |= {"psk", "dsn", "otp", "url", "uri", "connection", "webhook", "://"}
_MAY_HIDE |= {f'"{name}":{sign}' for name in _ENVIRONMENTS for sign in ('{"', "[")} | {"\\u"}

# Shorter secrets are hidden in place, and not searched for elsewhere: too much would look like them.
_SHORTEST = 6


class _Known:
    """The secrets that this process has seen, to hide them wherever they appear again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: set[str] = set()
        self.pattern: re.Pattern[str] | None = None

    def add(self, value: str) -> None:
        if value in self._texts:
            return
        with self._lock:
            self._texts |= {text for text in _spellings(value) if len(text) >= _SHORTEST}
            # The longest first: one may be part of another.
            texts = sorted(self._texts, key=lambda text: (-len(text), text))
            self.pattern = re.compile("|".join(map(re.escape, texts))) if texts else None


_known = _Known()


def _spellings(value: str) -> Iterator[str]:
    """A secret as it is, and as the formats in which it may appear write it."""
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    yield value.replace("'", "''")  # YAML
    yield shlex.quote(value)
    yield value.strip()
    if re.search(r"[^\w.~-]", value):
        from urllib.parse import quote, quote_plus

        yield from (quote(value, safe=""), quote_plus(value))
    if "\n" in value:
        yield from (line.strip() for line in value.splitlines() if len(line.strip()) >= 2 * _SHORTEST)


def remember(value: object) -> None:
    """Hide a secret, and everything in it, wherever it appears again in this process."""
    if isinstance(value, Mapping):
        for item in value.values():
            remember(item)
    elif isinstance(value, list | tuple):
        for item in value:
            remember(item)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        text = str(value)
        if len(text) >= _SHORTEST and text != NOT_STORED and not _INTERPOLATION.fullmatch(text):
            _known.add(text)


def remember_secrets(value: object, name: str = "") -> None:
    """Remember every secret in a configuration, by its keys, URLs and defaults of environment variables."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            key = str(key)
            if is_secret(key):
                _remember_value_of(key, item)
            else:
                remember_secrets(item, key)
    elif isinstance(value, list | tuple):
        for item in value:
            remember_secrets(item, name)
    elif isinstance(value, str):
        if is_secret(name):
            _remember_value_of(name, value)
        if "://" in value:
            remembered_url(value)
        if "oc.env" in value:
            for found in _ENV_DEFAULT.finditer(value):
                if is_secret(found[1]):
                    remember(found[2].strip().strip("'\""))
    elif is_secret(name):
        remember(value)


def _remember_value_of(key: str, value: object) -> None:
    # `key: friction` may well be no secret: a word is hidden there, and not everywhere.
    if not (isinstance(value, str) and _PLAIN_WORD.fullmatch(value) and _is_only_a_key(key)):
        remember(value)


def hide(text: str) -> str:
    """A text without the secrets that this process has seen, and without passwords in URLs.

    >>> hide("https://ada:opensesame@host/data")
    'https://ada:<not stored>@host/data'
    """
    pattern = _known.pattern
    if pattern is not None:
        text = pattern.sub(NOT_STORED, text)
    if "://" in text and "@" in text:
        text = _URL_PASSWORD.sub(rf"\1:{NOT_STORED}@", text)
    return text


def public_url(url: str) -> str:
    """A URL without its password and without secrets in its query, which are remembered as such.

    >>> public_url("https://host/a.nc?version=3&X-Amz-Signature=abcdef")
    'https://host/a.nc?version=3&X-Amz-Signature=<not stored>'
    """
    return hide(_QUERY_SECRET.sub(lambda found: f"{found[1]}{NOT_STORED}", remembered_url(url)))


def remembered_url(url: str) -> str:
    """The URL itself, after its secrets were remembered."""
    for found in _URL_PASSWORD.finditer(url):
        remember(found[2])
    for found in _QUERY_SECRET.finditer(url):
        remember(found[2])
    return url


def is_secret_variable(name: str, value: str) -> bool:
    """Whether an environment variable is a secret, by its name or by its value."""
    return is_secret(name) or holds_secret(value)


def may_appear() -> bool:
    """Whether this process has seen a secret at all."""
    return _known.pattern is not None


def without_known_secrets(value: _T) -> _T:
    """A copy of plain data in which the secrets that this process has seen are hidden."""
    changed: object = value
    if isinstance(value, str):
        changed = hide(value)
    elif isinstance(value, Mapping):
        changed = {hide(key): without_known_secrets(item) for key, item in value.items()}
    elif isinstance(value, list | tuple):
        changed = [without_known_secrets(item) for item in value]
    return cast("_T", changed)


def holds_secret(text: str) -> bool:
    """Whether a text contains a secret that this process has seen, or a password in a URL."""
    return hide(text) != text


def forget_secrets() -> None:
    """Forget what this process has seen, for tests."""
    global _known
    _known = _Known()


def may_hide(canonical: str) -> bool:
    """Whether a value, by its canonical JSON, may hold something that must not be stored."""
    if may_appear():
        return True
    # Few configurations contain any of these words, and a pattern takes ten times as long.
    text = canonical.lower().replace("[]", "")
    return any(map(text.__contains__, _MAY_HIDE))


@functools.lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Whether a name, or a dotted key with any part of it, sounds like a password, a token or a key.

    >>> [is_secret(name) for name in ("db.password", "API_KEY", "tokens_per_s", "key_parameter", "PWD")]
    [True, True, False, False, False]
    """
    if not name.isascii():
        import unicodedata

        name = unicodedata.normalize("NFKC", name)
    return any(_sounds_secret(part) for part in re.split(r"[.\[\]/@+~]+", name) if part)


def _sounds_secret(part: str) -> bool:
    if part in _NO_SECRETS:
        return False
    if _ANYWHERE.search(part.lower()):
        return True
    words = [word.lower() for word in _WORD.findall(part)]
    others = set(words)
    if others & _WORDS:
        return True
    for word in words:
        if word.endswith(_ENDS) and word not in _HARMLESS:
            neighbours = _FILTERS | _COUNTS if word.endswith("pass") else _COUNTS
            if not others & neighbours:
                return True
    if not words:
        return False
    if words[-1] == "key":
        return not others & _SORTS
    return words[-1] in ("url", "uri") and bool(others & _SERVERS)


def _is_only_a_key(name: str) -> bool:
    """Whether nothing but the last word `key` makes a name sound like a secret."""
    return not _ANYWHERE.search(name.lower()) and _WORD.findall(name)[-1:] in (["key"], ["KEY"], ["Key"])


def redacted(value: _T, name: str = "", interpolations: bool = True) -> _T:
    """A copy of a configuration without secrets and values of environment variables.

    Under the key of a secret, `interpolations` are kept, which say only where it comes from.
    """
    return cast("_T", _redacted(value, name, is_secret(name), interpolations))


def _redacted(value: object, name: str, secret: bool, interpolations: bool) -> object:
    if value is None or isinstance(value, bool):
        return value
    if secret:
        if interpolations and isinstance(value, str) and _INTERPOLATION.fullmatch(value):
            return value
        if value in ("", {}, []):
            return value
        _remember_value_of(name, value)
        return NOT_STORED
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, Mapping):
        in_environment = name in _ENVIRONMENTS
        return {
            hide(key) if isinstance(key, str) else key: NOT_STORED
            if in_environment and isinstance(item, str) and not is_secret(str(key))
            else _redacted(item, str(key), is_secret(str(key)), interpolations)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_redacted(item, name, False, interpolations) for item in value]
    if may_appear() and holds_secret(str(value)):
        return NOT_STORED  # a number
    return value


def without_secrets(value: _T, name: str = "") -> _T:
    """A copy of a configuration without the values of secret environment variables, for its hash.

    They control access and do not affect the result, so a new password does not make it another run.
    """
    if not value or isinstance(value, str | int | float):
        return value
    changed: object = value
    if isinstance(value, Mapping):
        changed = {
            key: NOT_STORED if name in _ENVIRONMENTS and is_secret(key) else without_secrets(item, key)
            for key, item in value.items()
        }
    elif isinstance(value, list):
        changed = [without_secrets(item, name) for item in value]
    return cast("_T", changed)


def redacted_parameters(parameters: Mapping[str, Json]) -> dict[str, Json]:
    """Values by dotted key, without secrets and values of environment variables."""
    return {
        key: redacted(value, key.rpartition(".")[2]) if may_be_shown(key, value) else NOT_STORED
        for key, value in parameters.items()
    }


def redacted_override(override: str) -> str:
    """A command-line override without secrets and values of environment variables, also an invalid one.

    >>> redacted_override("run_backend.env_vars.API_KEY=xyz")
    'run_backend.env_vars.API_KEY=<not stored>'
    >>> redacted_override("run_backend.env_vars.OMP_NUM_THREADS=4")
    'run_backend.env_vars.OMP_NUM_THREADS=4'
    """
    key, sign, value = override.partition("=")
    if not sign:
        return f"{hide(key)[:40]}..." if is_secret(key) and len(key) > 40 else hide(override)
    if is_hidden(key) and not (_NUMBERS.fullmatch(value) and may_be_shown(key, 0)):
        whole = _INTERPOLATION.fullmatch(value.strip("'\""))
        return override if whole else f"{key}={NOT_STORED}"
    # An override that sets an entire mapping: only its text shows what it contains.
    names = _NAME_IN_TEXT.findall(value) if "{" in value or "[" in value else ()
    return f"{key}={NOT_STORED}" if any(map(is_hidden, names)) else hide(override)


def redacted_overrides(overrides: Iterable[str]) -> list[Json]:
    """Command-line overrides without secrets and values of environment variables."""
    return [redacted_override(override) for override in overrides]


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


# Control characters but tab and line feed; marks that change the direction of text; line separators.
# Half of a pair that stands for a byte of a file name is left to the stream, apart from bytes that are
# control characters or a part of one; other halves are no text.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
    "\ud800-\udc9f\udcbb\udd00-\udfff]"
)


def printable(text: str) -> str:
    r"""A text that a terminal shows as it is: names of strangers cannot colour, move or hide anything.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return escaped(hide(text))


def escaped(text: str) -> str:
    """A text as `printable` shows it, with its secrets."""
    return _CONTROL.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
