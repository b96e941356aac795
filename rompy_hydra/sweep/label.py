"""Names of runs made from their overrides: readable, stable, and fit for any file system."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable

from rompy_hydra.redaction import is_secret, may_be_shown

# What says where and how, and not what: it is no part of a run's name.
NOT_IN_LABELS = {"pipeline", "site", "overwrite", "output_dir", "run_id", "log_level"}
NOT_IN_LABELS |= {"allowed_targets", "hydra", "sweep"}
# Nor what decides how one waits and what one sees.
_TRANSIENT = {"timeout", "stream_output", "kill_grace", "remove_container", "pull"}
_MAX_VALUE = 32
_MAX_LABEL = 160
_HASH = 10  # hexadecimal digits: ten thousand awkward values must not meet
_AWKWARD = re.compile(r"[^\w.+-]+", re.UNICODE)


def label(overrides: Iterable[tuple[str, object]]) -> str:
    """The label of a run from its overrides; see `joined`.

    >>> label([("model.friction", 0.03), ("+model.depth", 10)])
    'depth=10,friction=0.03'
    """
    return joined(pair for pair in (shown(key, value) for key, value in overrides) if pair)


def shown(key: str, value: object) -> tuple[str, str] | None:
    """An override as a label shows it: its key, and its value as a text; None if it is no part of it."""
    if not named(key):
        return None
    text = _text(value) if may_be_shown(key, value) else f"~{_hash(str(value))}"
    return key.lstrip("+"), text


def joined(overrides: Iterable[tuple[str, str]]) -> str:
    """The label of a run from overrides as `shown`, such as `friction=0.03,source=2.5`.

    Keys are sorted, so the order of the overrides does not matter, and shortened to their last
    part where that is not ambiguous. Long or awkward values are cut and told apart by a hash.
    """
    pairs = sorted(overrides)
    short = [_last(key) for key, _ in pairs]
    parts = [
        _part(last if short.count(last) == 1 else key, value)
        for (key, value), last in zip(pairs, short, strict=True)
    ]
    text = ",".join(parts)
    if len(text.encode()) > _MAX_LABEL:
        cut = text.encode()[: _MAX_LABEL - 1 - _HASH].decode(errors="ignore")
        text = f"{cut}~{_hash(text)}"
    return text


# Most of a point's keys and values are those of its neighbours.
@functools.lru_cache(maxsize=4096)
def named(key: str) -> bool:
    """Whether an override of this key is part of a run's name."""
    path = key.lstrip("+~")
    first, _, rest = path.partition(".")
    if first == "run_backend" and rest in _TRANSIENT:
        return False
    return first.split("/")[0].split("@")[0] not in NOT_IN_LABELS and not is_secret(path)


@functools.lru_cache(maxsize=4096)
def _last(key: str) -> str:
    sign = "~" if key.startswith("~") else ""
    return sign + key.removeprefix("~").rsplit(".", 1)[-1]


@functools.lru_cache(maxsize=4096)
def _part(key: str, value: str) -> str:
    key = re.sub(r"[^\w.@~-]+", "_", key)
    return key if key.startswith("~") else f"{key}={value}"


def _text(value: object) -> str:
    if isinstance(value, bool | dict | list) or value is None:
        return _safe(json.dumps(value, sort_keys=True, default=str), plain=False)
    return _safe(str(value), plain=isinstance(value, int | float))


@functools.lru_cache(maxsize=4096)
def _safe(text: str, plain: bool) -> str:
    safe = text if plain else _AWKWARD.sub("_", text).strip("_.")
    if safe == text and len(text.encode()) <= _MAX_VALUE and text:
        return text
    cut = safe.encode()[: _MAX_VALUE - 1 - _HASH].decode(errors="ignore")
    return f"{cut}~{_hash(text)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_HASH]
