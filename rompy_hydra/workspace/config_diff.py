"""How the configuration in a run directory differs from the one that is to run there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from rompy_hydra.jsonable import Json

# A run keeps its identity if these change.
_IGNORED = ("processor", "output_dir")


def describe_difference(stored: Mapping[str, Json], wanted: Mapping[str, Json]) -> str:
    """The settings that differ, as text for an error message; at most three, then how many more.

    >>> describe_difference({"model": {"friction": 0.02}}, {"model": {"friction": 0.05, "depth": 5}})
    'model.depth: nothing there, 5 here; model.friction: 0.02 there, 0.05 here'
    """
    there, here = dict(_flatten(stored)), dict(_flatten(wanted))
    parts = [
        f"{key}: {_text(there.get(key))} there, {_text(here.get(key))} here"
        for key in sorted(there | here)
        if there.get(key) != here.get(key) and not key.startswith(_IGNORED)
    ]
    more = f" and {len(parts) - 3} more" if len(parts) > 3 else ""
    return "; ".join(parts[:3]) + more or "values that are not stored differ"


def _flatten(values: Mapping[str, Json], prefix: str = "") -> Iterator[tuple[str, Json]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _text(value: Json) -> str:
    return "nothing" if value is None else json.dumps(value)
