"""Names of runs made from their overrides: readable, stable, and valid on any file system."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from rompy_hydra.plugins import registry
from rompy_hydra.redaction import is_secret, may_be_shown
from rompy_hydra.run.base import BackendConfig

# The name of a run that nothing distinguishes from the composition as it is.
DEFAULT_LABEL = "default"

# What says where and how, and not what, is no part of a run's name.
_NOT_NAMED = {"pipeline", "site", "overwrite", "output_dir", "run_id", "log_level"}
_NOT_NAMED |= {"allowed_targets", "hydra", "sweep"}
_MAX_VALUE = 32
_MAX_LABEL = 160
_HASH = 10  # hexadecimal digits: ten thousand awkward values must not collide
_AWKWARD = re.compile(r"[^\w.+-]+", re.UNICODE)


@dataclass(frozen=True)
class Naming:
    """How the runs of a sweep are named: by what distinguishes them from one another.

    `constants` are the overrides that all points of the sweep's first command share, each with its
    value as a label shows it. A label leaves out what is equal to them, so that a later command with
    another value of a constant, or with several, gets names of its own and keeps the old ones.
    """

    constants: Mapping[str, str] = field(default_factory=dict)

    def label(self, overrides: Iterable[tuple[str, str]]) -> str:
        """The label of a point from its overrides as `shown`."""
        pairs = dict(overrides)
        told = [(key, text) for key, text in pairs.items() if self.constants.get(key) != text]
        told += [(f"~{key}", "") for key in self.constants if key not in pairs]
        return joined(told) or DEFAULT_LABEL


def label(overrides: Iterable[tuple[str, object]]) -> str:
    """The label of a run from its overrides; see `joined`.

    >>> label([("model.friction", 0.03), ("+model.depth", 10)])
    'depth=10,friction=0.03'
    """
    return joined(pair for pair in (shown(key, value) for key, value in overrides) if pair)


def shown(key: str, value: object) -> tuple[str, str] | None:
    """An override as a label shows it: its key, and its value as a text; None if it is no part of it."""
    if not is_named(key):
        return None
    text = _text(value) if may_be_shown(key, value) else f"~{_hash(str(value))}"
    return key.lstrip("+"), text


def joined(overrides: Iterable[tuple[str, str]]) -> str:
    """The label of a run from overrides as `shown`, such as `friction=0.03,source=2.5`.

    Keys are sorted, so the order of the overrides does not matter, and shortened to their last
    part where that is not ambiguous. Long or awkward values are cut and distinguished by a hash.
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
def is_named(key: str) -> bool:
    """Whether an override of this key is part of a run's name."""
    path = key.lstrip("+~")
    group, _, setting = path.partition(".")
    if group == "run_backend" and setting in _unnamed_settings():
        return False
    return group.split("/")[0].split("@")[0] not in _NOT_NAMED and not is_secret(path)


@functools.cache
def _unnamed_settings() -> frozenset[str]:
    """The settings that run backends declare to be no part of a name, such as a time limit."""
    found = BackendConfig.unnamed
    for plugins in registry.plugins("run").values():
        if plugins[0].own:  # the code of others is not run to make a name
            found |= getattr(plugins[0].load(), "config_class", BackendConfig).unnamed
    return found


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
