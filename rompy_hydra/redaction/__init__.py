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

from rompy_hydra.redaction.names import is_only_a_key, is_secret

if TYPE_CHECKING:
    from rompy_hydra.jsonable import Json

NOT_STORED = "<not stored>"
_T = TypeVar("_T")

_PLAIN_WORD = re.compile("[a-z_]+")

_ENVIRONMENTS = {"env", "env_vars", "build_args"}
_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
_NUMBERS = re.compile(f"{_NUMBER}(,{_NUMBER})*")
_NAME_IN_TEXT = re.compile(r"([\w.-]+)['\"]?\s*[:=]")
_URL_PASSWORD = re.compile(r"(?<=://)((?:\$\{[^}]*\}|[^/\s:@\"{])*):(?!\$\{)([^/\s\"]+)@")
# Of signed URLs, and whatever sounds like a secret in a query.
_INTERPOLATION = re.compile(r"\$\{[\w.:\[\]]+\}")
_ENV_DEFAULT = re.compile(r"\$\{\s*oc\.env\s*:\s*['\"]?([^,}'\"\s]+)['\"]?\s*,\s*([^}]+)\}")

# In canonical JSON without empty lists: part of the name of a secret; an environment or a list of
# environments; a URL; an escaped character.
_MAY_HIDE = {"pass", "pwd", "secret", "token", "cred", "private", "auth", "key", "cookie", "jwt", "bearer"}
_MAY_HIDE |= {"psk", "dsn", "otp", "url", "uri", "connection", "webhook", "://"}
_MAY_HIDE |= {
    "pw",
    'pin":',
    "pin=",
    'pat":',
    "pat=",
    "session",
    "sig=",
    "signature=",
    "-u ",
    "--user",
    "-u=",
}
_MAY_HIDE |= {f'"{name}":{sign}' for name in _ENVIRONMENTS for sign in ('{"', "[")} | {"\\u"}

# Secrets inside of texts such as commands, in the group `secret`. A text without a mark has none.
_MARK = re.compile("://|=|--|-u |[Bb]earer|BEARER|[Aa]uthorization|AUTHORIZATION")
_VALUE = rf"(?!{NOT_STORED}|\$[{{(\w])(?P<secret>'[^']+'|\"[^\"]+\"|[^\s'\"&;]+)"
_NAMED = re.compile(rf"(?<![\w.-])-{{0,2}}(?P<name>[A-Za-z_][\w.-]*)={_VALUE}")
_OPTION = re.compile(rf"(?<!\S)--?(?P<name>[A-Za-z][\w-]+)\s+(?!-){_VALUE}")
_PLACEHOLDER = re.compile(r"<?[A-Z_]+>?[\])}.,:]*|\.\.\.")  # in a description: --token VALUE
_QUERY_NAMES = {"sig", "signature", "x-amz-signature", "x-goog-signature", "sas", "key"}
_SCHEME = r"(?:(?:bearer|basic|token|digest)\s+|(?!(?:bearer|basic|token|digest)\s))"
_INSIDE = {
    "authorization": re.compile(rf"(?i)authorization['\"]?\s*[:=]\s*['\"]?{_SCHEME}{_VALUE}"),
    "bearer": re.compile(rf"(?i)\bbearer\s+(?=\S*\d|\S{{20}}){_VALUE}"),
    "-u": re.compile(rf"(?<!\S)(?:-u|--user)[\s=]+(?![\d:]+(?!\S))['\"]?[\w.@-]+:{_VALUE}"),
    "@": re.compile(rf"(?i)https?://(?!git@)(?P<secret>(?!{NOT_STORED}|\$\{{)[^/\s:@\"'?#]{{6,}})@"),
    "private key-----": re.compile(
        r"(?P<secret>-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|\Z))", re.DOTALL
    ),
}

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
        remembered_url(value)
        if "oc.env" in value:
            for found in _ENV_DEFAULT.finditer(value):
                if is_secret(found[1]):
                    remember(found[2].strip().strip("'\""))
    elif is_secret(name):
        remember(value)


def _remember_value_of(key: str, value: object) -> None:
    # `key: friction` may well be no secret: a word is hidden there, and not everywhere.
    if not (isinstance(value, str) and _PLAIN_WORD.fullmatch(value) and is_only_a_key(key)):
        remember(value)


def hide(text: str) -> str:
    """A text without the secrets that this process has seen, and without what looks like one in it.

    >>> hide("https://ada:opensesame@host/data")
    'https://ada:<not stored>@host/data'
    """
    pattern = _known.pattern
    if pattern is not None:
        text = pattern.sub(NOT_STORED, text)
    if "://" in text and "@" in text:
        text = _URL_PASSWORD.sub(rf"\1:{NOT_STORED}@", text)
    for start, end in sorted(_secrets_inside(text), reverse=True):
        text = f"{text[:start]}{NOT_STORED}{text[end:]}"
    return text


def public_url(url: str) -> str:
    """A URL without its password and without secrets in its query, which are remembered as such.

    >>> public_url("https://host/a.nc?version=3&X-Amz-Signature=abcdef")
    'https://host/a.nc?version=3&X-Amz-Signature=<not stored>'
    """
    return hide(remembered_url(url))


def remembered_url(url: str) -> str:
    """The URL, or a text with URLs, itself, after the secrets in it were remembered."""
    for found in _URL_PASSWORD.finditer(url) if "://" in url else ():
        remember(found[2])
    for start, end in _secrets_inside(url):
        remember(url[start:end].strip("'\""))
    return url


def _secrets_inside(text: str) -> list[tuple[int, int]]:
    """Where a text has secrets: values of options and variables, tokens, private keys."""
    if not _MARK.search(text):
        return []
    lower = text.lower()
    found = [
        each.span("secret")
        for mark, pattern in _INSIDE.items()
        if mark in lower
        for each in pattern.finditer(text)
    ]
    for mark, pattern in (("=", _NAMED), ("-", _OPTION)):
        for each in pattern.finditer(text) if mark in text else ():
            if _names_value(each, text):
                found.append(each.span("secret"))
    spans: list[tuple[int, int]] = []
    for start, end in sorted(found):
        if not spans or start >= spans[-1][1]:
            spans.append((start, end))
    return spans


def _names_value(found: re.Match[str], text: str) -> bool:
    name, value = found["name"], found["secret"]
    if (
        text[max(0, found.start() - 1) : found.start()] in ("?", "&", ";")
        and "://" in text[: found.start()]
    ):
        return name.lower() in _QUERY_NAMES or is_secret(name)
    if not is_secret(name) or name.lower().endswith(("file", "path", "dir")):
        return False
    if name == "key":
        return False  # messages about overrides explain them as key=value
    if _PLACEHOLDER.fullmatch(value):
        return False
    # `key = value` of a namelist may be anything.
    return not (is_only_a_key(name) and _PLAIN_WORD.fullmatch(value))


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
