"""The points of a sweep: grids, pairs, cases and designs, one after the other and never all at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from rompy_hydra.errors import ConfigError, closest
from rompy_hydra.provenance import Json
from rompy_hydra.sweep.label import label


@dataclass(frozen=True)
class Assignment:
    """One override with one value: its key, its value as Python has it, and its text as typed.

    `fixed` says that the key has this one value in all points.
    """

    key: str
    value: Json
    text: str
    fixed: bool = False


@dataclass(frozen=True)
class Point:
    """One run of a sweep: its overrides, in the order in which they were given."""

    assignments: tuple[Assignment, ...]

    @cached_property
    def label(self) -> str:
        """The name of the run's directory."""
        return label((a.key, a.value) for a in self.assignments) or "default"

    @property
    def overrides(self) -> list[str]:
        return [a.text for a in self.assignments]

    @property
    def parameters(self) -> dict[str, Json]:
        """The values by key: the columns of the results."""
        return {a.key.lstrip("+"): a.value for a in self.assignments}


# What varies together: each alternative sets one or several keys.
Axis = Sequence[tuple[Assignment, ...]]


@dataclass(frozen=True)
class Grid:
    """The product of axes, less the points that `keep` refuses. Iterating makes one point at a time."""

    axes: tuple[Axis, ...]
    keep: Callable[[Mapping[str, Json]], bool] | None = field(default=None)

    @property
    def size(self) -> int:
        """The number of points before `keep`."""
        return math.prod(len(axis) for axis in self.axes)

    def __iter__(self) -> Iterator[Point]:
        for combination in itertools.product(*self.axes):
            point = Point(tuple(itertools.chain.from_iterable(combination)))
            if self.keep is None or self.keep(point.parameters):
                yield point


def zipped(axes: Mapping[str, Axis], groups: Sequence[Sequence[str]]) -> tuple[Axis, ...]:
    """Axes by key, with those of each group joined into one that steps through them together.

    ConfigError names a key that is not swept, and a group whose lists have different lengths.
    """
    joined: dict[str, Axis] = {}
    partner = {key: tuple(group) for group in groups for key in group}
    for key in partner:
        if key not in axes:
            raise ConfigError(f"sweep.zip: '{key}' is not swept. {closest(key, axes)}")
    for key, axis in axes.items():
        group = partner.get(key)
        if group is None:
            joined[key] = axis
        elif group[0] not in joined:
            lengths = {name: len(axes[name]) for name in group}
            if len(set(lengths.values())) > 1:
                told = ", ".join(f"{name} has {count}" for name, count in lengths.items())
                raise ConfigError(f"sweep.zip: the lists differ in length: {told}")
            rows = zip(*(axes[name] for name in group), strict=True)
            joined[group[0]] = [tuple(itertools.chain.from_iterable(row)) for row in rows]
    return tuple(joined.values())
