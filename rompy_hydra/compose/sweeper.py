"""The sweep of a command line: from Hydra's sweeper and launcher to the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from rompy_hydra.compose import grid_parser
from rompy_hydra.compose.build import Built, build
from rompy_hydra.compose.composer import Composed, Composer
from rompy_hydra.compose.grid_parser import text_of
from rompy_hydra.compose.override_parser import parse
from rompy_hydra.compose.point_composer import PointComposer
from rompy_hydra.errors import ConfigError, InvalidConfig, SweepInvalid
from rompy_hydra.jsonable import Json
from rompy_hydra.process.cpus import available_cores
from rompy_hydra.provenance import versions
from rompy_hydra.redaction import redacted_override
from rompy_hydra.sweep.config import SweepConfig
from rompy_hydra.sweep.engine import run_sweep
from rompy_hydra.sweep.plan import Plan, Ready, Watcher
from rompy_hydra.sweep.points import Grid, Point
from rompy_hydra.sweep.preflight import RUN, Decision, Preflight, inspect_points
from rompy_hydra.sweep.results_table import ResultsTable
from rompy_hydra.sweep.spool import Spool
from rompy_hydra.sweep.summary import Summary
from rompy_hydra.sweep.sweep_file import check_directory, make_directory, write_sweep_file
from rompy_hydra.workspace.record import now

_NO_POINTS = "the sweep has no points: every one is left out by sweep.filter"


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
    told: Callable[[Point, Decision], None] = lambda _point, _verdict: None
    confirm: Callable[[int], bool] = lambda _points: False
    # When the command was given, as records tell times; '' leaves out what that is for.
    since: str = ""
    forecast: Preflight | None = None
    summary: Summary | None = None
    config: SweepConfig | None = None
    answers: list[Any] = field(default_factory=list)

    @property
    def only_looks(self) -> bool:
        """Whether nothing is to be run."""
        return self.check_only or self.dry_run or (self.config is not None and self.config.dry_run)

    def accept(self, config: DictConfig) -> None:
        """ConfigError if the chosen sweeper would write or run what is only to be looked at."""
        from hydra_plugins.rompy_hydra import RompySweeper

        chosen = config.hydra.sweeper.get("_target_")
        own = f"{RompySweeper.__module__}.{RompySweeper.__qualname__}"
        if chosen != own and (self.only_looks or config.sweep.get("dry_run") is True):
            raise ConfigError(
                f"{chosen} cannot look at its points without running them: leave out hydra/sweeper=..., or "
                "look at each point with `rompy-hydra check`"
            )

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
    own, of_runs = _parted(arguments)
    params = OmegaConf.to_container(sweeper.config.hydra.sweeper.params, resolve=True) or {}
    assert isinstance(params, dict)
    config = settings(sweeper.config)
    grid = grid_parser.grid(of_runs, params, config, sweeper.hydra_context.config_loader)  # type: ignore[arg-type]
    _refuse_huge(grid, config, request)
    config = _named(config, grid, sweeper.config)
    from hydra_plugins.rompy_hydra import RompyLauncher

    shared = [*sweeper.config.hydra.overrides.hydra, *own]
    if isinstance(sweeper.launcher, RompyLauncher):
        return drive(request, _plan(request, config, grid, shared, sweeper.launcher.workers, arguments))
    # Hydra's own launchers run every point that they are given.
    plan = _plan(request, config.model_copy(update={"retry": "all"}), grid, shared, None, arguments)
    _foreseen(request, plan, request.told)
    if request.only_looks:
        return None
    # Each job is composed alone, and would name the sweep after its own model.
    points = [[*own, f"sweep.name={text_of(config.name)}", *point.overrides] for point in grid]
    return [sweeper.launcher.launch(points, initial_job_idx=0)]


def launch(launcher: Any, job_overrides: Sequence[Sequence[str]]) -> list[JobReturn]:
    """What this package's launcher does for another sweeper: one batch of points."""
    request = _request(launcher.task_function)
    config = settings(launcher.config)
    parted = [_parted(line) for line in job_overrides]
    grid = grid_parser.batch([of_run for _, of_run in parted])
    shared = [*launcher.config.hydra.overrides.hydra, *parted[0][0]]
    earlier = request.summary
    config = _named(config, grid, launcher.config)
    drive(request, _plan(request, config, grid, shared, launcher.workers, []))
    if earlier is not None and request.summary is not None:
        request.summary = request.summary.after(earlier)
    if request.summary is not None and request.summary.interrupted:
        raise KeyboardInterrupt  # no more batches
    returned = []
    for line in job_overrides:
        answer = JobReturn()
        answer.overrides = list(line)
        answer.status = JobStatus.COMPLETED
        returned.append(answer)
    return returned


def drive(request: Request, plan: Plan) -> Summary | None:
    """Look at all points, then run what is missing; SweepInvalid if a point is wrong."""
    config = plan.config
    spool = Spool()
    results = ResultsTable(config.path, spool)

    def told(point: Point, verdict: Decision) -> None:
        spool.add_point(point.label, verdict.decision, *verdict.seen, point.overrides, b"")
        if verdict.row is not None:
            results.add(verdict.row)
        request.told(point, verdict)

    try:
        forecast = _foreseen(request, plan, told)
        if request.only_looks:
            return None
        make_directory(config.path)
        write_sweep_file(config.path, config.name, _command(plan, forecast), spool.overrides())
        results.add_earlier()
        request.summary = run_sweep(plan, forecast, request.watcher, results)
        return request.summary
    finally:
        spool.close()


def _plan(
    request: Request,
    config: SweepConfig,
    grid: Grid,
    shared: Sequence[str],
    workers: int | None,
    arguments: Sequence[str],
) -> Plan:
    request.config = config
    points = PointComposer(request.composer, config, shared)

    def ready(point: Point) -> Ready:
        built = points.build(point)
        return Ready(built.task, lambda task: request.carry_out(Built(task, built.pipeline, built.config)))

    return Plan(config, grid, ready, _workers(workers), {"overrides": _stored(arguments)})


def _foreseen(request: Request, plan: Plan, told: Callable[[Point, Decision], None]) -> Preflight:
    """What a look at all points found; SweepInvalid or ConfigError if they cannot be run."""
    forecast = inspect_points(plan.grid, plan.config.retry, plan.task, told, request.since)
    request.forecast = forecast
    if forecast.problems:
        raise SweepInvalid([found.problem for found in forecast.problems.values()])
    if not forecast.size:
        raise ConfigError(_NO_POINTS)
    check_directory(plan.config.path)
    return forecast


def _named(config: SweepConfig, grid: Grid, composed: DictConfig) -> SweepConfig:
    """The sweep, called `models` or `experiments` if it goes over these and has no name of its own."""
    given = OmegaConf.to_container(composed.sweep, resolve=False)
    assert isinstance(given, dict)
    if given["name"] != "${sweep_name:}":
        return config
    for group in ("experiment", "model"):
        if grid.varies(group):
            return config.model_copy(update={"name": f"{group}s"})
    return config


def _stored(arguments: Sequence[str]) -> list[Json]:
    return [redacted_override(line) for line in arguments]


def _command(plan: Plan, forecast: Preflight) -> dict[str, Json]:
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


def _parted(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Overrides that are settings of the sweep, and those that make its points."""
    own, of_runs = [], []
    for override in parse(list(arguments)):
        line, path = str(override.input_line), override.key_or_group
        grid_parser.refuse_given(f"'{line}'", path)
        if path.split(".")[0] != "sweep":
            of_runs.append(line)
        elif override.is_sweep_override():
            raise ConfigError(f"'{line}': a setting of the sweep has one value; quote it if it has commas")
        else:
            own.append(line)
    return own, of_runs


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


__all__ = ["Request", "drive", "launch", "settings", "sweep"]
