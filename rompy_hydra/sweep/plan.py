"""What a sweep is to do, and who watches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from rompy_hydra.core.plan import Task
from rompy_hydra.jsonable import Json
from rompy_hydra.sweep.config import SweepConfig
from rompy_hydra.sweep.points import Grid, Point
from rompy_hydra.sweep.preflight import Preflight
from rompy_hydra.sweep.results_table import Row


@dataclass(frozen=True)
class Ready:
    """A run of a sweep that can start: its task, and the pipeline that carries it out."""

    task: Task
    carry_out: Callable[[Task], Mapping[str, object]]


@dataclass(frozen=True)
class Plan:
    """A whole sweep: its settings, its points, and how a point becomes a run."""

    config: SweepConfig
    grid: Grid
    build: Callable[[Point], Ready]
    workers: int
    command: Mapping[str, Json] = field(default_factory=dict)

    def task(self, point: Point) -> Task:
        return self.build(point).task


class Watcher(Protocol):
    """Whoever shows the progress of a sweep. Called from several threads, one at a time."""

    # Whether it is told of every stage of every run.
    live: bool

    def begin(self, plan: Plan, forecast: Preflight) -> None: ...
    def state(self, label: str, state: str) -> None: ...
    def finished(self, row: Row) -> None: ...
    def stopping(self) -> None: ...
    def end(self) -> None: ...
