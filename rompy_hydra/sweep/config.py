"""The settings of a sweep, and the plan that they lead to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rompy_hydra.core.pipeline import BasePipeline
from rompy_hydra.core.plan import RunPlan
from rompy_hydra.sweep.points import Grid, Point

Retry = Literal["failed", "lost", "none", "all"]


class SweepConfig(BaseModel):
    """Settings of a sweep, besides its overrides. Plain data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    directory: Path = Path("sweeps")
    # Groups of keys whose values vary together: [[model.a, model.b]].
    zip: tuple[tuple[str, ...], ...] = ()
    # A CSV or YAML file of cases; its columns are configuration keys.
    cases: Path | None = None
    # An expression of swept keys; points for which it is false are left out.
    filter: str | None = None
    # A space-filling design over keys given as interval(low,high).
    design: Literal["latin_hypercube", "sobol"] | None = None
    samples: int | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0)
    # Which earlier runs are repeated: failed and lost ones, lost ones only, none, or all.
    retry: Retry = "failed"
    # How often one command attempts a run that fails.
    attempts: int = Field(default=1, gt=0)
    # Start no more runs after this number of failures.
    max_failures: int | None = Field(default=None, gt=0)
    # A larger grid needs confirmation.
    max_points: int = Field(default=10_000, gt=0)
    # The metric of a run, or several, that the job of another sweeper returns, such as one that optimises.
    objective: str | tuple[str, ...] | None = None
    dry_run: bool = False

    @field_validator("name")
    @classmethod
    def _one_directory(cls, value: str) -> str:
        if not value or "/" in value or value in {".", ".."}:
            raise ValueError(f"'{value}' must be the name of one directory")
        return value

    @field_validator("zip", mode="before")
    @classmethod
    def _list_of_groups(cls, value: object) -> object:
        if isinstance(value, list | tuple) and value and all(isinstance(each, str) for each in value):
            raise ValueError(f"must be a list of groups of keys. Write sweep.zip=[[{','.join(value)}]]")
        return value

    @model_validator(mode="after")
    def _design_has_samples(self) -> SweepConfig:
        if self.design is not None and self.samples is None:
            raise ValueError(f"the design {self.design} needs sweep.samples, the number of points")
        if self.design is None and self.samples is not None:
            raise ValueError("samples goes with a design: sweep.design=latin_hypercube or sobol")
        return self

    @property
    def path(self) -> Path:
        """The sweep's directory."""
        return self.directory / self.name


class Ready(Protocol):
    """A run of a sweep that can start."""

    @property
    def plan(self) -> RunPlan: ...
    @property
    def pipeline(self) -> BasePipeline: ...


@dataclass(frozen=True)
class SweepPlan:
    """A whole sweep: its settings, its points, and how a point becomes a run.

    `compose` returns a point's configuration, which is pickled to disk until the run starts; `build`
    makes of it the plan of the run and the pipeline that executes it.
    """

    config: SweepConfig
    grid: Grid
    compose: Callable[[Point], object]
    build: Callable[[object], Ready]
    workers: int
