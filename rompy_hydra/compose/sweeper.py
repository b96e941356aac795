"""The sweep of a command line: from Hydra's sweeper and launcher to the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from rompy_hydra.compose import grid_parser
from rompy_hydra.compose.build import build
from rompy_hydra.compose.composer import Composed, Composer
from rompy_hydra.compose.grid_parser import text_of
from rompy_hydra.compose.override_parser import parse
from rompy_hydra.compose.point_composer import PointComposer
from rompy_hydra.core.pipeline import BasePipeline
from rompy_hydra.core.plan import RunPlan
from rompy_hydra.errors import ConfigError, InvalidConfig, SweepInvalid
from rompy_hydra.jsonable import Json
from rompy_hydra.process.cpus import available_cores
from rompy_hydra.provenance import versions
from rompy_hydra.redaction import redacted_override
from rompy_hydra.sweep.config import SweepConfig, SweepPlan
from rompy_hydra.sweep.engine import Engine, Watcher
from rompy_hydra.sweep.points import Grid, Point
from rompy_hydra.sweep.preflight import RUN, Decision, Preflight, inspect_points
from rompy_hydra.sweep.results_table import ResultsTable
from rompy_hydra.sweep.spool import Spool
from rompy_hydra.sweep.summary import Summary
from rompy_hydra.sweep.sweep_file import (
    check_directory,
    make_directory,
    read_constants,
    write_sweep_file,
)
from rompy_hydra.workspace.record import now

_NO_POINTS = "the sweep has no points: sweep.filter leaves out every one"


@dataclass(frozen=True)
class SweepOutcome:
    """What came of a sweep: of the validation of its points, and of their runs if there were any."""

    config: SweepConfig | None = None
    preflight: Preflight | None = None
    summary: Summary | None = None
    # What one of Hydra's own launchers returned.
    jobs: Sequence[Any] = ()


@dataclass(frozen=True)
class SweepRequest:
    """What the command line wants of a sweep. Handed to Hydra's sweeper as its task function."""

    composer: Composer
    watcher: Watcher
    # One job of one of Hydra's own launchers.
    run_point: Callable[[DictConfig], Any]
    check_only: bool = False
    dry_run: bool = False
    # Called with every point that a dry run lists.
    report: Callable[[Point, Decision], None] = lambda _point, _decision: None
    # Called with the problems of the points before SweepInvalid is raised.
    report_problems: Callable[[Preflight], None] = lambda _preflight: None
    confirm: Callable[[int], bool] = lambda _points: False
    # When the command was given, as records write times; '' if that does not matter.
    since: str = ""
    # What came of each batch that another sweeper has given to this package's launcher.
    batches: list[SweepOutcome] = field(default_factory=list)

    def only_looks(self, config: SweepConfig) -> bool:
        """Whether nothing is to be run."""
        return self.check_only or self.dry_run or config.dry_run

    def accept(self, config: DictConfig) -> None:
        """ConfigError if the chosen sweeper would write or run what is only to be validated."""
        from hydra_plugins.rompy_hydra import RompySweeper

        chosen = config.hydra.sweeper.get("_target_")
        own = f"{RompySweeper.__module__}.{RompySweeper.__qualname__}"
        only_looks = self.check_only or self.dry_run or config.sweep.get("dry_run") is True
        if chosen != own and only_looks:
            raise ConfigError(
                f"{chosen} cannot validate its points without running them: leave out hydra/sweeper=..., "
                "or validate each point with `rompy-hydra check`"
            )

    def __call__(self, config: DictConfig) -> Any:
        """One job of one of Hydra's own launchers."""
        return self.run_point(config)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # A launcher that starts processes needs no more of this than what one job is.
        return _only, (self.run_point,)


def _only(run_point: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    return run_point


def multirun(request: SweepRequest, overrides: Sequence[str]) -> SweepOutcome:
    """A sweep with the sweeper and the launcher that the configuration chooses."""
    composer = request.composer
    composer.hydra.accept = request.accept
    with composer.explained(overrides):
        returned = composer.hydra.multirun(
            composer.config_name, request, list(overrides), with_log_configuration=False
        )
    if isinstance(returned, SweepOutcome):
        return returned
    if request.batches:
        return merge_outcomes(request.batches)
    return SweepOutcome(jobs=[job for batch in returned or [] for job in batch])


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
        return drive(request, config, grid, shared, sweeper.launcher.workers, arguments)
    # Hydra's own launchers run every point that they are given.
    config = config.model_copy(update={"retry": "all"})
    outcome = drive(request, config, grid, shared, None, arguments, runs=False)
    if request.only_looks(config):
        return outcome
    # Each job is composed alone, and would name the sweep after its own model, and itself with all
    # of its overrides.
    points = [
        [
            *own,
            f"sweep.name={text_of(config.name)}",
            f"hydra.sweep.subdir={text_of(point.label)}",
            *point.overrides,
        ]
        for point in _with_baseline(grid, read_constants(config.path))
    ]
    return SweepOutcome(config, jobs=sweeper.launcher.launch(points, initial_job_idx=0))


def launch(launcher: Any, job_overrides: Sequence[Sequence[str]]) -> list[JobReturn]:
    """What this package's launcher does for another sweeper: one batch of points."""
    request = _request(launcher.task_function)
    config = settings(launcher.config)
    parted = [_parted(line) for line in job_overrides]
    grid = grid_parser.batch([of_run for _, of_run in parted])
    shared = [*launcher.config.hydra.overrides.hydra, *parted[0][0]]
    config = _named(config, grid, launcher.config)
    outcome = drive(request, config, grid, shared, launcher.workers, [])
    request.batches.append(outcome)
    if outcome.summary is not None and outcome.summary.interrupted:
        raise KeyboardInterrupt  # no more batches
    returned = []
    for line in job_overrides:
        answer = JobReturn()
        answer.overrides = list(line)
        answer.status = JobStatus.COMPLETED
        returned.append(answer)
    return returned


def drive(
    request: SweepRequest,
    config: SweepConfig,
    grid: Grid,
    shared: Sequence[str],
    workers: int | None,
    arguments: Sequence[str],
    runs: bool = True,
) -> SweepOutcome:
    """Validate all points, then run what is missing; SweepInvalid if a point is wrong.

    `runs=False` leaves it at the validation, for a launcher that runs the points itself.
    """
    check_directory(config.path)
    grid = _with_baseline(grid, read_constants(config.path))
    points = PointComposer(request.composer, config, shared)

    def build_point(composed: bytes) -> tuple[RunPlan, BasePipeline]:
        built = points.build(composed)
        return built.plan, built.pipeline

    plan = SweepPlan(config, grid, points.compose, build_point, _workers(workers))
    spool = Spool()
    table = ResultsTable(config.path, spool)
    lists = request.dry_run or config.dry_run

    def report(point: Point, decision: Decision) -> None:
        if decision.row is not None:
            table.add(decision.row)
        if lists:
            request.report(point, decision)

    try:
        preflight = inspect_points(plan, spool, request.since, report)
        _refuse_problems(request, preflight)
        outcome = SweepOutcome(config, preflight)
        if not runs or request.only_looks(config):
            return outcome
        make_directory(config.path)
        overrides = ((point.label, point.overrides) for point in spool.points())
        command = _command(arguments, plan, preflight)
        write_sweep_file(config.path, config.name, command, overrides, grid.baseline)
        table.add_earlier()
        summary = Engine(plan, preflight, spool, request.watcher, table).run()
        return replace(outcome, summary=summary)
    finally:
        spool.close()


def merge_outcomes(batches: Sequence[SweepOutcome]) -> SweepOutcome:
    """The outcome of a sweep whose points came in batches."""
    last = batches[-1]
    summary = last.summary
    for earlier in reversed(batches[:-1]):
        if summary is not None and earlier.summary is not None:
            summary = summary.after(earlier.summary)
    return replace(last, summary=summary)


def _with_baseline(grid: Grid, known: Mapping[str, str] | None) -> Grid:
    """The points, named as in the sweep's first command, or else by what varies in this one."""
    return replace(grid, baseline=grid.constants if known is None else known)


def _refuse_problems(request: SweepRequest, preflight: Preflight) -> None:
    """SweepInvalid or ConfigError if the points cannot be run."""
    if preflight.problems:
        request.report_problems(preflight)
        raise SweepInvalid([found.problem for found in preflight.problems.values()])
    if not preflight.size:
        raise ConfigError(_NO_POINTS)


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


def _command(arguments: Sequence[str], plan: SweepPlan, preflight: Preflight) -> dict[str, Json]:
    return {
        "overrides": [redacted_override(line) for line in arguments],
        "started": now(),
        "points": preflight.size,
        "to_run": preflight.count(RUN),
        "workers": plan.workers,
        "packages": dict(versions()),
    }


def _request(task_function: Any) -> SweepRequest:
    if not isinstance(task_function, SweepRequest):
        raise ConfigError(
            "the rompy_hydra sweeper and launcher work in the rompy_hydra program only; choose "
            "hydra/launcher=basic hydra/sweeper=basic in this one"
        )
    return task_function


def _parted(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Overrides that are settings of the sweep, and those that make its points."""
    own, of_runs = [], []
    for override in parse(arguments):
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


def _refuse_huge(grid: Grid, config: SweepConfig, request: SweepRequest) -> None:
    if grid.size == 0:
        raise ConfigError("the sweep has no points")
    if grid.size > config.max_points and not request.confirm(grid.size):
        raise ConfigError(
            f"the grid has {grid.size} points, and sweep.max_points is {config.max_points}. If you "
            f"want them all, set sweep.max_points={grid.size}"
        )
