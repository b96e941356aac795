"""Names of runs made from their overrides: readable, stable, and fit for any file system."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

# What says where and how, and not what: it is no part of a run's name.
NOT_IN_LABELS = {"pipeline", "site", "overwrite", "output_dir", "run_id", "log_level"}
NOT_IN_LABELS |= {"allowed_targets", "hydra", "sweep"}
_MAX_VALUE = 32
_MAX_LABEL = 160
_AWKWARD = re.compile(r"[^\w.+-]+", re.UNICODE)


def label(overrides: Iterable[tuple[str, object]]) -> str:
    """The label of a run from its overrides, such as `friction=0.03,source=2.5`.

    Keys are sorted, so the order of the overrides does not matter, and shortened to their last
    part where that is not ambiguous. Long or awkward values are cut and told apart by a hash.

    >>> label([("model.friction", 0.03), ("model.depth", 10)])
    'depth=10,friction=0.03'
    """
    pairs = sorted((key, _text(value)) for key, value in overrides if named(key))
    short = [key.rsplit(".", 1)[-1] for key, _ in pairs]
    parts = [
        f"{last if short.count(last) == 1 else key}={value}"
        for (key, value), last in zip(pairs, short, strict=True)
    ]
    text = ",".join(_safe_key(part) for part in parts)
    if len(text.encode()) > _MAX_LABEL:
        cut = text.encode()[: _MAX_LABEL - 9].decode(errors="ignore")
        text = f"{cut}~{_hash(text)}"
    return text


def named(key: str) -> bool:
    """Whether an override of this key is part of a run's name."""
    return key.lstrip("+~").split(".")[0].split("/")[0].split("@")[0] not in NOT_IN_LABELS


def _text(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    safe = _AWKWARD.sub("_", text).strip("_.") if not isinstance(value, int | float) else text
    if safe == text and len(text.encode()) <= _MAX_VALUE and text:
        return text
    cut = safe.encode()[: _MAX_VALUE - 7].decode(errors="ignore")
    return f"{cut}~{_hash(text)[:6]}"


def _safe_key(part: str) -> str:
    key, _, value = part.partition("=")
    return f"{re.sub(r'[^A-Za-z0-9_.@~+-]+', '_', key)}={value}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
