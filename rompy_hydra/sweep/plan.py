"""The plan of a sweep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rompy_hydra.core.pipeline import BasePipeline
from rompy_hydra.core.plan import RunPlan
from rompy_hydra.sweep.config import SweepConfig
from rompy_hydra.sweep.points import Grid, Point


@dataclass(frozen=True)
class Ready:
    """A run of a sweep that can start: its plan, and the pipeline that executes it."""

    plan: RunPlan
    pipeline: BasePipeline


@dataclass(frozen=True)
class SweepPlan:
    """A whole sweep: its settings, its points, and how a point becomes a run.

    `compose` gives a point's configuration as bytes, which are kept on disk until the run starts;
    `build` makes the run of them.
    """

    config: SweepConfig
    grid: Grid
    compose: Callable[[Point], bytes]
    build: Callable[[bytes], Ready]
    workers: int
