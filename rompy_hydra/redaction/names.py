"""Which names sound like those of secrets: of keys, environment variables and options."""

from __future__ import annotations

import functools
import re

# What sounds like a secret anywhere in a name.
_ANYWHERE = re.compile(
    "passw|passphrase|passcode|secret|credential|cookie|bearer|webhook|connection[^a-z0-9]?string|"
    "(api|access|private|ssh|signing|encryption|account|storage|master|license|session)[^a-z0-9]?key|"
    "session[^a-z0-9]?id"
)
# As one of the words of a name: DB_PWD, githubToken.
_WORDS = {"private", "auth", "oauth", "authorization", "cred", "creds", "jwt", "psk", "dsn", "otp", "totp"}
_WORDS |= {"pw"}
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
# Beside these, a `pat` is a personal access token, and a `pin` binds a process to a processor.
_HOSTS = {
    "git",
    "github",
    "gitlab",
    "gh",
    "bitbucket",
    "azure",
    "devops",
    "ado",
    "huggingface",
    "hf",
    "access",
}
_PROCESSORS = {"mpi", "omp", "cpu", "cpus", "core", "cores", "gpu", "thread", "threads", "memory", "numa"}
_PROCESSORS |= {"affinity", "process", "processes", "socket", "sockets", "domain"}
# The working directory is not a secret.
_NO_SECRETS = {"PWD", "OLDPWD"}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


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
    if words[-1] == "pat":
        return bool(others & _HOSTS)
    if words[-1] == "pin":
        return not others & _PROCESSORS
    return words[-1] in ("url", "uri") and bool(others & _SERVERS)


def is_only_a_key(name: str) -> bool:
    """Whether nothing but the last word `key` makes a name sound like a secret."""
    return not _ANYWHERE.search(name.lower()) and _WORD.findall(name)[-1:] in (["key"], ["KEY"], ["Key"])
