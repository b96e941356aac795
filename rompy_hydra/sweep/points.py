"""The points of a sweep: grids, pairs, cases and designs, made one at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from rompy_hydra.errors import ConfigError, closest
from rompy_hydra.jsonable import Json
from rompy_hydra.sweep.label import Naming, is_named, shown


@dataclass(frozen=True)
class Assignment:
    """One override with one value: its key, its value in Python, and its text as typed.

    `fixed` says that the key has this one value in all points.
    """

    key: str
    value: Json
    text: str
    fixed: bool = False

    @cached_property
    def shown(self) -> tuple[str, str] | None:
        """How a label shows it; most points share most of their assignments."""
        return shown(self.key, self.value)


@dataclass(frozen=True)
class Point:
    """One run of a sweep: its overrides, in the order in which they were given, and its name."""

    assignments: tuple[Assignment, ...]
    naming: Naming = field(default_factory=Naming, compare=False)

    @cached_property
    def label(self) -> str:
        """The name of the run's directory."""
        return self.naming.label(a.shown for a in self.assignments if a.shown)

    @property
    def overrides(self) -> list[str]:
        return [a.text for a in self.assignments]

    @property
    def parameters(self) -> dict[str, Json]:
        """The values by key: the columns of the results."""
        return {
            a.key.lstrip("+"): a.value
            for a in self.assignments
            if is_named(a.key) and not a.key.startswith("~")
        }


# What varies together: each alternative sets one or several keys.
Axis = Collection[tuple[Assignment, ...]]


class Lazy(Collection[tuple[Assignment, ...]]):
    """An axis that is counted at once, and made when it is stepped through."""

    def __init__(self, length: int, make: Callable[[], Iterable[tuple[Assignment, ...]]]) -> None:
        self._length = length
        self._make = make

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[Assignment, ...]]:
        return iter(self._make())

    def __contains__(self, item: object) -> bool:
        return any(item == each for each in self)


@dataclass(frozen=True)
class Grid:
    """The product of axes, less the points that `keep` refuses. Iterating makes one point at a time."""

    axes: tuple[Axis, ...]
    keep: Callable[[Mapping[str, Json]], bool] | None = field(default=None)
    naming: Naming = field(default_factory=Naming)

    @property
    def size(self) -> int:
        """The number of points before `keep`."""
        return math.prod(len(axis) for axis in self.axes)

    @property
    def constants(self) -> dict[str, str]:
        """The overrides that all points share, as a label shows them.

        Of a single point, which a later command may extend: the options of groups, if there are
        other values that can name it.
        """
        firsts = (next(iter(axis), ()) for axis in self.axes)
        shared = dict(a.shown for first in firsts for a in first if a.fixed and a.shown)
        if self.size > 1:
            return shared
        groups = {key: text for key, text in shared.items() if "." not in key}
        return groups if len(groups) < len(shared) else {}

    def varies(self, key: str) -> bool:
        """Whether a key is set by an axis and not by one value for all points."""
        firsts = (next(iter(axis), ()) for axis in self.axes)
        return any(a.key == key and not a.fixed for first in firsts for a in first)

    def __iter__(self) -> Iterator[Point]:
        for combination in _product(self.axes):
            point = Point(tuple(itertools.chain.from_iterable(combination)), self.naming)
            if self.keep is None or self.keep(point.parameters):
                yield point


def _product(axes: Sequence[Axis]) -> Iterator[tuple[tuple[Assignment, ...], ...]]:
    """As itertools.product, which would hold the first axis as a whole."""
    if not axes:
        yield ()
        return
    others = [tuple(axis) for axis in axes[1:]]
    for first in axes[0]:
        for rest in itertools.product(*others):
            yield first, *rest


def zipped(axes: Mapping[str, Axis], groups: Sequence[Sequence[str]]) -> tuple[Axis, ...]:
    """Axes by key, with those of each group joined into one that steps through them together.

    ConfigError names a key that is not swept, and a group whose lists have different lengths.
    """
    joined: dict[str, Axis] = {}
    partner: dict[str, list[str]] = {}
    swept = {key.lstrip("+"): key for key in axes}
    for group in groups:
        names = [swept.get(name.lstrip("+"), "") for name in group]
        for name, key in zip(group, names, strict=True):
            if not key:
                raise ConfigError(f"sweep.zip: '{name}' is not swept. {closest(name, swept)}")
            if key in partner or names.count(key) > 1:
                raise ConfigError(f"sweep.zip: '{name}' is there twice")
        partner |= dict.fromkeys(names, names)
    for key, axis in axes.items():
        together = partner.get(key)
        if together is None:
            joined[key] = axis
        elif together[0] not in joined:
            joined[together[0]] = _together({name: axes[name] for name in together})
    return tuple(joined.values())


def _together(axes: Mapping[str, Axis]) -> Axis:
    lengths = {name: len(axis) for name, axis in axes.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {count}" for name, count in lengths.items())
        raise ConfigError(f"sweep.zip: the lists differ in length: {told}")
    columns = tuple(axes.values())
    return Lazy(
        len(columns[0]),
        lambda: (tuple(itertools.chain.from_iterable(row)) for row in zip(*columns, strict=True)),
    )
