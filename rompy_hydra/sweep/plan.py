"""What a sweep is to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rompy_hydra.core.pipeline import BasePipeline
from rompy_hydra.core.plan import RunPlan

if TYPE_CHECKING:  # single runs use `Ready` only
    from rompy_hydra.sweep.config import SweepConfig
    from rompy_hydra.sweep.points import Grid, Point


@dataclass(frozen=True)
class Ready:
    """A run of a sweep that can start: its plan, and the pipeline that carries it out."""

    plan: RunPlan
    pipeline: BasePipeline


@dataclass(frozen=True)
class SweepPlan:
    """A whole sweep: its settings, its points, and how a point becomes a run.

    `compose` gives a point's configuration, which is kept on disk as a pickle until the run starts;
    `build` makes the run of it.
    """

    config: SweepConfig
    grid: Grid
    compose: Callable[[Point], object]
    build: Callable[[object], Ready]
    workers: int
