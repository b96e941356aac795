"""Names of runs from their overrides: readable, stable, and valid on any file system."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable

from rompy_hydra.plugins import registry
from rompy_hydra.redaction import may_be_shown, redacted
from rompy_hydra.redaction.names import is_secret
from rompy_hydra.run.base import BackendConfig

# The name of a run that nothing distinguishes from the composition as it is.
DEFAULT_LABEL = "default"

# Settings of where and how a run executes are not part of its name.
_NOT_NAMED = {"pipeline", "site", "overwrite", "output_dir", "run_id", "log_level"}
_NOT_NAMED |= {"allowed_targets", "hydra", "sweep"}
_MAX_VALUE = 32
_MAX_LABEL = 160
_HASH = 10  # hexadecimal digits: ten thousand awkward values must not collide
_AWKWARD = re.compile(r"[^\w.+-]+", re.UNICODE)


def label(overrides: Iterable[tuple[str, object]]) -> str:
    """The label of a run from its overrides; see `join_pairs`.

    >>> label([("model.friction", 0.03), ("+model.depth", 10)])
    'depth=10,friction=0.03'
    """
    return join_pairs(pair for pair in (label_pair(key, value) for key, value in overrides) if pair)


def label_pair(key: str, value: object) -> tuple[str, str] | None:
    """An override as a label shows it: its key, and its value as a text; None if labels leave it out."""
    if not is_named(key):
        return None
    if not may_be_shown(key, value):
        return key.lstrip("+"), f"~{_hash(str(value))}"
    if isinstance(value, str | dict | list):
        value = redacted(value, key.rpartition(".")[2])
    if isinstance(value, bool | dict | list) or value is None:
        text = _safe(json.dumps(value, sort_keys=True, default=str), plain=False)
    else:
        text = _safe(str(value), plain=isinstance(value, int | float))
    return key.lstrip("+"), text


def join_pairs(overrides: Iterable[tuple[str, str]], omitted: Iterable[str] = ()) -> str:
    """The label of a run from pairs of `label_pair`, such as `friction=0.03,source=2.5`.

    Keys are sorted, so the order of the overrides does not matter, and shortened to their last part if
    that is unambiguous, also beside the `omitted` keys, which the label does not show. Long or awkward
    values are cut and distinguished by a hash.
    """
    pairs = sorted(overrides)
    keys = {key for key, _ in pairs}
    short = [_last(key) for key in keys.union(omitted)]
    parts = [_part(last if short.count(last := _last(key)) == 1 else key, value) for key, value in pairs]
    text = ",".join(parts)
    return text if len(text.encode()) <= _MAX_LABEL else _cut(text, _MAX_LABEL, text)


# Most of a point's keys and values are those of its neighbours.
@functools.lru_cache(maxsize=4096)
def is_named(key: str) -> bool:
    """Whether an override of this key is part of a run's name."""
    path = key.lstrip("+~")
    group, _, setting = path.partition(".")
    if group == "run_backend" and setting in _unnamed_settings():
        return False
    return group.split("/")[0].split("@")[0] not in _NOT_NAMED and not is_secret(path)


@functools.lru_cache(maxsize=4096)
def is_processing(key: str) -> bool:
    """Whether an override of this key only chooses postprocessors or their settings.

    They do not change what the model does, so they name a run only where a sweep compares several.
    """
    return re.split(r"[.@/]", key.lstrip("+~"), maxsplit=1)[0] == "processor"


@functools.cache
def _unnamed_settings() -> frozenset[str]:
    """The settings that run backends exclude from names, such as a time limit."""
    found = BackendConfig.unnamed
    for plugins in registry.plugins("run").values():
        if plugins[0].own:  # a name must not need the code of other packages
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


@functools.lru_cache(maxsize=4096)
def _safe(text: str, plain: bool) -> str:
    safe = text if plain else _AWKWARD.sub("_", text).strip("_.")
    if safe == text and len(text.encode()) <= _MAX_VALUE and text:
        return text
    return _cut(safe, _MAX_VALUE, text)


def _cut(text: str, length: int, hashed: str) -> str:
    cut = text.encode()[: length - 1 - _HASH].decode(errors="ignore")
    return f"{cut}~{_hash(hashed)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_HASH]
