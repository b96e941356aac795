"""Which files are consecutive in time: parts of one series, as of a model that writes a file each month."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A file, or a group in it, with its times."""

    # Relative to the run directory, and the group inside the file.
    file: str
    group: str = ""
    # What identifies the place that it is about, such as a hash of its coordinates.
    grid: str
    # In seconds since 1970 in `calendar`; without a calendar, since the start of the run.
    times: tuple[float, ...]
    calendar: str
    # The first time step that no earlier part has.
    begin: int = 0

    @property
    def label(self) -> str:
        return f"{self.file}/{self.group}" if self.group else self.file


T = TypeVar("T", bound=Timed)


def join_times(parts: Sequence[T]) -> list[list[T]]:
    """Consecutive parts of the same grid as one series, in the order of time; each other part alone.

    Two parts are consecutive if the second begins at the end of the first, or later.
    """
    same: dict[tuple[str, str, str], list[T]] = {}
    for part in parts:
        same.setdefault((part.grid, part.calendar, part.group), []).append(part)
    found: list[list[T]] = []
    for group in same.values():
        ordered = sorted(group, key=lambda part: (part.times[:1], part.times[-1:]))
        chain, is_chain = ordered[:1], bool(ordered[0].times)
        for part in ordered[1:]:
            end = chain[-1].times[-1:]
            is_chain = is_chain and part.times[:1] >= end and part.times[-1:] > end
            chain.append(replace(part, begin=int(part.times[:1] == end)))
        found += [chain] if is_chain else [[part] for part in group]
    order = {part.label: number for number, part in enumerate(parts)}
    return sorted(found, key=lambda each: min(order[part.label] for part in each))
