"""The sweep of a command line: from Hydra's sweeper and launcher to the engine."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, ListConfig, OmegaConf

from rompy_hydra.compose import grid_parser
from rompy_hydra.compose.build import build
from rompy_hydra.compose.composer import Composed, Composer
from rompy_hydra.compose.hydra_errors import readable_errors
from rompy_hydra.compose.hydra_node import check_hydra_settings
from rompy_hydra.compose.override_parser import parse, text_of
from rompy_hydra.compose.point_composer import PointComposer
from rompy_hydra.compose.validate import option_as_text, problems
from rompy_hydra.errors import ConfigError, InvalidConfig, ModelFailed, SweepInvalid, closest
from rompy_hydra.jsonable import Json
from rompy_hydra.process.cpus import available_cores
from rompy_hydra.provenance import versions
from rompy_hydra.redaction import may_appear, redacted_overrides
from rompy_hydra.sweep.config import SweepConfig, SweepPlan
from rompy_hydra.sweep.engine import Engine, Watcher
from rompy_hydra.sweep.points import Grid, Naming, Point
from rompy_hydra.sweep.preflight import AGAIN, RETRY, RUN, Decision, Preflight, inspect_points
from rompy_hydra.sweep.results_table import ResultsTable
from rompy_hydra.sweep.spool import Spool
from rompy_hydra.sweep.summary import Summary
from rompy_hydra.sweep.sweep_file import check_directory, make_directory, read_naming, write_sweep_file
from rompy_hydra.workspace import Workspace
from rompy_hydra.workspace.record import COMPLETED, RunRecord, now

# Where Hydra finds this package's sweeper and launcher; it imports this module, and not the reverse.
_PLUGINS = "hydra_plugins.rompy_hydra"


@dataclass(frozen=True)
class SweepOutcome:
    """The outcome of a sweep: of the validation of its points, and of their runs if there were any."""

    config: SweepConfig | None = None
    preflight: Preflight | None = None
    summary: Summary | None = None
    # What one of Hydra's own launchers returned.
    jobs: Sequence[Any] = ()


@dataclass(frozen=True)
class SweepRequest:
    """What the command line asks of a sweep. Passed to Hydra's sweeper as its task function."""

    composer: Composer
    watcher: Watcher
    # One job of one of Hydra's own launchers.
    run_point: Callable[[DictConfig], Any]
    # Whether points are validated only, and not run.
    dry_run: bool = False
    # Called with every point that is validated only.
    report: Callable[[Point, Decision], None] = lambda _point, _decision: None
    # Called with the problems of the points before SweepInvalid is raised.
    report_problems: Callable[[Preflight], None] = lambda _preflight: None
    confirm: Callable[[int], bool] = lambda _points: False
    # When the command was given, as records write times; '' if that does not matter.
    since: str = ""
    # The outcome up to each batch that another sweeper has given to this package's launcher.
    batches: list[SweepOutcome] = field(default_factory=list)

    def accept(self, config: DictConfig) -> None:
        """ConfigError for a setting without effect, or a sweeper that would run what is to be validated."""
        trusted = self.composer.trusted
        check_hydra_settings(config, self.composer.loader.files, is_sweep=True, trusted=trusted)
        if problem := option_as_text("sweep", config.sweep):
            raise InvalidConfig([problem])
        chosen = config.hydra.sweeper.get("_target_")
        own = f"{_PLUGINS}.RompySweeper"
        if chosen != own and may_appear():
            raise ConfigError(
                f"{chosen} may write the configuration with its secrets to files of its own: leave out "
                "hydra/sweeper=..., or take the secrets from the environment, as in password: "
                "${oc.env:DB_PASSWORD}"
            )
        _check_objective(config)
        if not (self.dry_run or config.sweep.get("dry_run") is True):
            return
        config.hydra.callbacks = {}  # validating runs nobody's code
        if chosen != own:
            raise ConfigError(
                f"{chosen} cannot validate its points without running them: leave out hydra/sweeper=..., "
                "or validate each point with `rompy-hydra check`"
            )

    def __call__(self, config: DictConfig) -> Any:
        """One job of one of Hydra's own launchers."""
        return self.run_point(config)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # A launcher that starts processes needs nothing but the function of one job.
        return functools.partial, (self.run_point,)


def _check_objective(config: DictConfig) -> None:
    """ConfigError if a sweeper that optimises does not know what: before its first run."""
    if "direction" not in config.hydra.sweeper:
        return
    objective, direction = config.sweep.get("objective"), config.hydra.sweeper.direction
    if objective is None:
        choice = config.hydra.runtime.choices.get("hydra/sweeper")
        raise ConfigError(
            f"hydra/sweeper={choice} needs the metric that it optimises. Set sweep.objective=METRIC, one "
            "of the metrics in results.csv"
        )
    metrics, ways = (len(each) if isinstance(each, ListConfig) else 1 for each in (objective, direction))
    if metrics != ways:
        example = ",".join(["minimize"] * metrics)
        raise ConfigError(
            f"sweep.objective has {metrics} metric{'s' * (metrics != 1)}, and hydra.sweeper.direction "
            f"{ways} value{'s' * (ways != 1)}. Set 'hydra.sweeper.direction=[{example}]'"
        )


def multirun(request: SweepRequest, overrides: Sequence[str]) -> SweepOutcome:
    """A sweep with the sweeper and the launcher that the configuration chooses."""
    composer = request.composer
    composer.hydra.accept = request.accept
    with readable_errors(composer, overrides):
        returned = composer.hydra.multirun(
            composer.config_name, request, list(overrides), with_log_configuration=False
        )
    if isinstance(returned, SweepOutcome):
        return returned
    if request.batches:
        return request.batches[-1]
    return SweepOutcome(jobs=[job for batch in returned or [] for job in batch])


def _prepare(plugin: Any) -> tuple[SweepRequest, SweepConfig]:
    """The request that a sweeper or launcher works for, and the checked `sweep` node."""
    request = plugin.task_function
    if not isinstance(request, SweepRequest):
        raise ConfigError(
            "the rompy_hydra sweeper and launcher work in the rompy_hydra program only; choose "
            "hydra/launcher=basic hydra/sweeper=basic in this one"
        )
    HydraConfig.instance().set_config(plugin.config)
    plain = Composed(plugin.config, ()).resolved("sweep")
    if found := problems({"sweep": plain}, []):
        raise InvalidConfig(found)
    config = build(plain)
    assert isinstance(config, SweepConfig)
    return request, config.model_copy(update={"dry_run": config.dry_run or request.dry_run})


def sweep(sweeper: Any, arguments: Sequence[str]) -> Any:
    """The work of this package's sweeper: make the grid, and pass it to the launcher."""
    request, config = _prepare(sweeper)
    own, of_runs = _split(arguments)
    given = sweeper.config.hydra.sweeper.params
    params: Any = {} if given is None else OmegaConf.to_container(given, resolve=True)
    grid = grid_parser.grid(of_runs, params, config, sweeper.hydra_context.config_loader)
    if grid.size == 0:
        raise ConfigError("the sweep has no points")
    if grid.size > config.max_points and not request.confirm(grid.size):
        raise ConfigError(
            f"the grid has {grid.size} points, and sweep.max_points is {config.max_points}. If you "
            f"want them all, set sweep.max_points={grid.size}"
        )
    if config.objective is not None:
        raise ConfigError(
            f"sweep.objective = {config.objective}: this sweeper does not optimise. Choose one that does, "
            "such as hydra/sweeper=optuna, or leave it out: results.csv has all metrics"
        )
    config = _named(config, grid, sweeper.config)
    shared = [*sweeper.config.hydra.overrides.hydra, *own]
    if type(sweeper.launcher).__module__ == _PLUGINS:
        return drive(request, config, grid, shared, sweeper.launcher.workers, arguments)
    # Hydra's own launchers run every point that they are given.
    config = config.model_copy(update={"retry": "all"})
    outcome = drive(request, config, grid, shared, None, arguments, runs=False)
    if config.dry_run:
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
        for point in _named_points(grid, read_naming(config.path))
    ]
    return SweepOutcome(config, jobs=sweeper.launcher.launch(points, initial_job_idx=0))


def launch(launcher: Any, job_overrides: Sequence[Sequence[str]]) -> list[JobReturn]:
    """The work of this package's launcher for another sweeper: one batch of points."""
    request, config = _prepare(launcher)
    split = [_split(line) for line in job_overrides]
    # A sweeper that optimises may want one point twice.
    of_runs = [of_run for _, of_run in split]
    grid = grid_parser.batch([line for number, line in enumerate(of_runs) if line not in of_runs[:number]])
    shared = [*launcher.config.hydra.overrides.hydra, *split[0][0]]
    config = _named(config, grid, launcher.config)
    outcome = drive(request, config, grid, shared, launcher.workers, [])
    before = request.batches[-1].summary if request.batches else None
    if outcome.summary is not None and before is not None:
        outcome = replace(outcome, summary=outcome.summary.after(before))
    request.batches.append(outcome)
    if outcome.summary is not None and outcome.summary.interrupted:
        raise KeyboardInterrupt  # no more batches
    if config.objective is None:
        return [JobReturn(overrides=list(line), status=JobStatus.COMPLETED) for line in job_overrides]
    # Named as `drive` has named them.
    points = _named_points(grid, read_naming(config.path))
    labels = {tuple(point.overrides): point.label for point in points}
    return [
        _with_objective(list(line), Workspace(config.path / labels[tuple(of_run)]), config.objective)
        for line, of_run in zip(job_overrides, of_runs, strict=True)
    ]


def _with_objective(
    overrides: list[str], workspace: Workspace, objective: str | tuple[str, ...]
) -> JobReturn:
    """The answer to another sweeper: the run's metrics, or why it has none.

    ConfigError if a completed run has no such metric.
    """
    record = RunRecord.load(workspace)
    if record is None or record.state != COMPLETED:
        error = (record.error or {}).get("message") if record else None
        job = JobReturn(overrides=overrides, status=JobStatus.FAILED)
        job.return_value = ModelFailed(str(error or f"{workspace.path} has no completed run"))
        return job
    job = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)
    job.return_value = objective_of(record, objective)
    return job


def objective_of(record: RunRecord, objective: str | tuple[str, ...]) -> Json:
    """The value of a metric, or of several; ConfigError if a run has no such number."""
    names = (objective,) if isinstance(objective, str) else objective
    for name in names:
        if not isinstance(record.metrics.get(name), int | float):
            known = [key for key, value in record.metrics.items() if isinstance(value, int | float)]
            hint = (
                closest(name, known) if known else "It has none: choose a processor that computes metrics."
            )
            raise ConfigError(f"sweep.objective = {name}: {record.run_id} has no such metric. {hint}")
    values = [record.metrics[name] for name in names]
    return values[0] if isinstance(objective, str) else values


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

    `runs=False` stops before the first run, for a launcher that runs the points itself.
    """
    workers = available_cores() if workers is None else workers
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ConfigError(f"hydra.launcher.workers = {workers!r} must be a whole number above 0")
    check_directory(config.path)
    grid = _named_points(grid, read_naming(config.path))
    points = PointComposer(request.composer, config, shared)
    plan = SweepPlan(config, grid, points.compose, points.build, workers)
    spool = Spool()
    table = ResultsTable(config.path, spool)

    def report(point: Point, decision: Decision) -> None:
        if decision.row is not None:
            table.add(decision.row)
        if config.dry_run:
            request.report(point, decision)

    try:
        preflight = inspect_points(plan, spool, request.since, report)
        if preflight.problems:
            request.report_problems(preflight)
            raise SweepInvalid([found.problem for found in preflight.problems.values()])
        if not preflight.size:
            raise ConfigError("the sweep has no points: sweep.filter leaves out every one")
        outcome = SweepOutcome(config, preflight)
        if config.dry_run:
            return outcome
        make_directory(config.path)
        facts: dict[str, Json] = {
            "overrides": redacted_overrides(arguments),
            "started": now(),
            "points": preflight.size,
            "to_run": preflight.count(RUN, RETRY, AGAIN),
            "workers": workers if runs else None,
            "packages": dict(versions()),
        }

        def points_and_overrides() -> Iterator[tuple[str, list[str]]]:
            return ((point.label, point.overrides) for point in spool.points())

        write_sweep_file(config.path, config.name, facts, points_and_overrides, grid.naming)
        if not runs:
            return outcome
        table.add_earlier()
        summary = Engine(plan, preflight, spool, request.watcher, table).run()
        return replace(outcome, summary=summary)
    finally:
        spool.close()


def _named_points(grid: Grid, known: Naming | None) -> Grid:
    """The points, named as in the sweep's first command, or else by what varies in this one."""
    return replace(grid, naming=Naming(grid.constants) if known is None else known)


def _named(config: SweepConfig, grid: Grid, composed: DictConfig) -> SweepConfig:
    """The sweep, called `models` or `experiments` if it goes over these and has no name of its own."""
    given: Any = OmegaConf.to_container(composed.sweep)
    for group in ("experiment", "model"):
        if given["name"] == "${sweep_name:}" and grid.varies(group):
            return config.model_copy(update={"name": f"{group}s"})
    return config


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Overrides that are settings of the sweep, and those that make its points."""
    own, of_runs = [], []
    for override in parse(arguments):
        line, path = str(override.input_line), override.key_or_group
        grid_parser.check_settable(f"'{line}'", path)
        if path.split(".")[0] != "sweep":
            of_runs.append(line)
        elif override.is_sweep_override():
            raise ConfigError(f"'{line}': a setting of the sweep has one value; quote it if it has commas")
        else:
            own.append(line)
    return own, of_runs
