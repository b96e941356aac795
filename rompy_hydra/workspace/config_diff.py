"""Which values differ between two stored configurations."""

from __future__ import annotations

import json
from collections.abc import Mapping

from rompy_hydra.jsonable import Json


def describe_difference(stored: Mapping[str, Json], wanted: Mapping[str, Json]) -> str:
    old, new = _flat(dict(stored)), _flat(dict(wanted))
    parts = [
        f"{key}: {_json(old.get(key))} there, {_json(new.get(key))} here"
        for key in sorted(old | new)
        if old.get(key) != new.get(key) and not key.startswith(("processor", "output_dir"))
    ]
    more = f" and {len(parts) - 3} more" if len(parts) > 3 else ""
    return "; ".join(parts[:3]) + more or "values that are not stored differ"


def _json(value: Json) -> str:
    return "nothing" if value is None else json.dumps(value)


def _flat(value: Json, prefix: str = "") -> dict[str, Json]:
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Json] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}.{key}" if prefix else key)
    return flat
