"""The sweep of a command line: from Hydra's sweeper and launcher to the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from rompy_hydra.compose import axes
from rompy_hydra.compose.build import Built, build
from rompy_hydra.compose.composer import Composed, Composer, assignments
from rompy_hydra.compose.points import PointComposer
from rompy_hydra.errors import ConfigError, InvalidConfig, SweepError
from rompy_hydra.provenance import Json, versions
from rompy_hydra.record import now
from rompy_hydra.sweep.config import SweepConfig
from rompy_hydra.sweep.engine import Plan, Ready, Summary, Watcher, run_sweep
from rompy_hydra.sweep.forecast import RUN, Forecast, Verdict, look
from rompy_hydra.sweep.points import Grid, Point
from rompy_hydra.sweep.results import Results, write_sweep_file
from rompy_hydra.sweep.workers import available_cores


class SweepInvalid(InvalidConfig):
    """Points of a sweep are wrong; `forecast` tells which, and how many."""

    def __init__(self, forecast: Forecast) -> None:
        self.forecast = forecast
        super().__init__([problem for _, problem, _ in forecast.problems.values()])


@dataclass
class Request:
    """What the command line wants of a sweep. Handed to Hydra's sweeper as its task function."""

    composer: Composer
    watcher: Watcher
    carry_out: Callable[[Built], Mapping[str, object]]
    run_point: Callable[[DictConfig], Any]
    check_only: bool = False
    dry_run: bool = False
    # Told of every point that is looked at, for a list of them.
    told: Callable[[Point, Verdict], None] = lambda _point, _verdict: None
    confirm: Callable[[int], bool] = lambda _points: False
    forecast: Forecast | None = None
    summary: Summary | None = None
    config: SweepConfig | None = None
    answers: list[Any] = field(default_factory=list)

    def __call__(self, config: DictConfig) -> Any:
        """One job of one of Hydra's own launchers."""
        return self.run_point(config)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # A launcher that starts processes needs no more of this than what one job is.
        return _only, (self.run_point,)


def _only(run_point: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    return run_point


def settings(config: DictConfig) -> SweepConfig:
    """The checked `sweep` node of a composed configuration."""
    HydraConfig.instance().set_config(config)
    plain = Composed(config, ()).resolved("sweep")
    from rompy_hydra.compose.validate import problems

    found = problems({"sweep": plain}, [])
    if found:
        raise InvalidConfig(found)
    built = build(plain)
    assert isinstance(built, SweepConfig)
    return built


def sweep(sweeper: Any, arguments: Sequence[str]) -> Any:
    """What this package's sweeper does: make the grid, and hand it to the launcher."""
    request = _request(sweeper.task_function)
    config = settings(sweeper.config)
    params = OmegaConf.to_container(sweeper.config.hydra.sweeper.params, resolve=True)
    loader = sweeper.hydra_context.config_loader
    grid = axes.grid(_of_the_run(arguments), params or {}, config, loader)  # type: ignore[arg-type]
    _refuse_huge(grid, config, request)
    hydra_overrides = list(sweeper.config.hydra.overrides.hydra)
    from hydra_plugins.rompy_hydra import RompyLauncher

    if isinstance(sweeper.launcher, RompyLauncher):
        return drive(request, config, grid, hydra_overrides, sweeper.launcher.workers, arguments)
    points = [point.overrides for point in grid]
    if not points:
        raise ConfigError("the sweep has no points: every one is left out by sweep.filter")
    return [sweeper.launcher.launch(points, initial_job_idx=0)]


def launch(launcher: Any, job_overrides: Sequence[Sequence[str]]) -> list[JobReturn]:
    """What this package's launcher does for another sweeper: one batch of points."""
    request = _request(launcher.task_function)
    config = settings(launcher.config)
    batch = [tuple(assignments(line)) for line in job_overrides]
    hydra_overrides = list(launcher.config.hydra.overrides.hydra)
    drive(request, config, Grid((batch,)), hydra_overrides, launcher.workers, [])
    returned = []
    for line in job_overrides:
        answer = JobReturn()
        answer.overrides = list(line)
        answer.status = JobStatus.COMPLETED
        returned.append(answer)
    return returned


def drive(
    request: Request,
    config: SweepConfig,
    grid: Grid,
    hydra_overrides: Sequence[str],
    workers: int | None,
    arguments: Sequence[str],
) -> Summary | None:
    """Look at all points, then run what is missing; SweepInvalid if a point is wrong."""
    points = PointComposer(request.composer, config, hydra_overrides)

    def ready(point: Point) -> Ready:
        built = points.build(point)
        return Ready(built.task, lambda task: request.carry_out(Built(task, built.pipeline, built.config)))

    plan = Plan(config, grid, ready, _workers(workers), {"overrides": list(arguments)})
    results = Results(config.path)
    listed: dict[str, list[str]] = {}

    def told(point: Point, verdict: Verdict) -> None:
        listed[point.label] = point.overrides
        if verdict.row is not None:
            results.add(verdict.row)
        request.told(point, verdict)

    try:
        forecast = look(grid, config, plan.task, told)
        request.forecast, request.config = forecast, config
        if forecast.problems:
            raise SweepInvalid(forecast)
        if not forecast.size:
            raise ConfigError("the sweep has no points: every one is left out by sweep.filter")
        if request.check_only or request.dry_run or config.dry_run:
            return None
        _make_directory(config)
        write_sweep_file(config.path, config.name, _command(plan, forecast), listed)
        listed.clear()
        request.summary = run_sweep(plan, forecast, request.watcher, results)
        return request.summary
    finally:
        results.close()


def _make_directory(config: SweepConfig) -> None:
    try:
        config.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SweepError(
            f"cannot make the sweep's directory {config.path}: {error.strerror}. Choose another one "
            "with sweep.directory=DIR"
        ) from error


def _command(plan: Plan, forecast: Forecast) -> dict[str, Json]:
    return {
        **plan.command,
        "started": now(),
        "points": forecast.size,
        "to_run": forecast.count(RUN),
        "workers": plan.workers,
        "packages": dict(versions()),
    }


def _request(task_function: Any) -> Request:
    if not isinstance(task_function, Request):
        raise ConfigError(
            "the rompy_hydra sweeper and launcher work in the rompy_hydra program only; choose "
            "hydra/launcher=basic hydra/sweeper=basic in this one"
        )
    return task_function


def _of_the_run(arguments: Sequence[str]) -> list[str]:
    """The overrides that make points; those of `sweep` are settings."""
    return [line for line in arguments if not line.lstrip("+~").startswith("sweep.")]


def _workers(workers: int | None) -> int:
    if workers is None:
        return available_cores()
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ConfigError(f"hydra.launcher.workers = {workers!r} must be a whole number above 0")
    return workers


def _refuse_huge(grid: Grid, config: SweepConfig, request: Request) -> None:
    if grid.size == 0:
        raise ConfigError("the sweep has no points")
    if grid.size > config.max_points and not request.confirm(grid.size):
        raise ConfigError(
            f"the grid has {grid.size} points, and sweep.max_points is {config.max_points}. If you "
            f"want them all, say sweep.max_points={grid.size}"
        )


__all__ = ["Request", "SweepInvalid", "drive", "launch", "settings", "sweep"]
