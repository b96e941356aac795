"""One claimed attempt at a run: its place in the record, its stages in order, and its failure."""

from __future__ import annotations

from collections.abc import Mapping

from loguru import logger

from rompy_hydra import process
from rompy_hydra.core import stages as verbs
from rompy_hydra.core.plan import Task
from rompy_hydra.core.recovery import adopt_or_end, tells_of_run
from rompy_hydra.errors import GenerateError, ModelTimedOut, PostprocessError, RompyHydraError, RunError
from rompy_hydra.jsonable import Json
from rompy_hydra.provenance import provenance
from rompy_hydra.redaction import redacted_override, redacted_parameters
from rompy_hydra.run.base import Job, Outcome
from rompy_hydra.workspace import COMPOSED, lease
from rompy_hydra.workspace import record as rec
from rompy_hydra.workspace.atomic import write_atomic
from rompy_hydra.workspace.record import Clock, RunRecord, StageRecord

_ERRORS: dict[str, type[RompyHydraError]] = {
    "generate": GenerateError,
    "run": RunError,
    "postprocess": PostprocessError,
}


class Attempt:
    """The work of the driver that owns claim `number`; `reasons` names the stages to do.

    `made` says that this driver has just made the run directory, so that nothing is in it.
    """

    def __init__(
        self, task: Task, old: RunRecord | None, number: int, reasons: dict[str, str], made: bool
    ) -> None:
        self.task = task
        self.workspace = task.workspace
        self.reasons = reasons
        self.record = old or RunRecord(task.model_run.run_id)
        self.fresh = old is None
        self.made = made
        self.record.claim = number
        task.progress.record = self.record
        # The outcome of a model that a dead driver started.
        self.adopted: Outcome | None = None
        # How long that model had run before the clock of the stage began; None if nobody can tell.
        self.ran_before: float | None = 0.0
        # What the backend is to start, as generating left it.
        self.job: Job | None = None

    @property
    def tells_of_run(self) -> bool:
        """Whether the record of generating tells as well what is started after it."""
        return tells_of_run(self.task, self.reasons)

    def do(self) -> RunRecord:
        """The needed stages in order; the record is final when this returns or raises."""
        stage = next(iter(self.reasons))
        clock = Clock()
        try:
            self._prepare()
            for stage in self.task.stages:
                clock = Clock()
                if stage not in self.reasons:
                    self.record.stages[stage].why = "unchanged: skipped"
                    continue
                self.task.progress.stage = stage
                getattr(verbs, stage)(self)
                self._done(stage, self._seconds(stage, clock))
            # To process the outputs of a failed run does not mend it.
            ran = self.record.stages["run"].state
            self.record.state = ran if ran in rec.FINAL else rec.PENDING
            self.know_origin()
            self.record.save(self.workspace)
        except BaseException as error:
            self.task.progress.stage = stage
            if stage == "run":
                # Also where an interrupt came between a model and whoever was to watch it.
                process.end_tree(None, self.workspace.root, grace=5.0)
            told = _told(stage, error)
            self._failed(stage, told, self._seconds(stage, clock))
            if told is error:
                raise
            raise told from error
        self.task.watch(self.record.state)
        return self.record

    def begin(self, stage: str, state: str, key: str | None = None, save: bool = True) -> None:
        """Write down that a stage begins; its key only where a later driver must know it."""
        self.record.begin(stage, state)
        self.record.stages[stage].key = key
        if save:
            self.record.save(self.workspace)
        self.task.watch(state)

    def report(self, facts: Mapping[str, Json]) -> None:
        """Write down what the backend has started: at once, so that a driver after this one finds it."""
        self.know_origin()
        self.record.backend_facts |= dict(facts)
        self.task.forget_run_key()
        self.record.stages["run"].key = self.task.run_key
        try:
            self.record.save(self.workspace)
        except OSError as error:
            logger.warning("cannot write {}: {}", self.workspace.record, error.strerror)

    def know_origin(self) -> None:
        """Put into the record where the run comes from, as soon as that is known."""
        self.record.provenance = provenance(self.task.origin.config_dir)

    def _seconds(self, stage: str, clock: Clock) -> float | None:
        """How long a stage took, with what its model ran under a driver that died."""
        if stage != "run":
            return clock()
        return None if self.ran_before is None else self.ran_before + clock()

    def _done(self, stage: str, seconds: float | None) -> None:
        self.record.end(stage, rec.COMPLETED, seconds)
        done = self.record.stages[stage]
        done.why = self.reasons[stage]
        done.key = getattr(self.task, f"{stage}_key") if stage != "run" or self.task.backend else ""

    def _prepare(self) -> None:
        """Bring the record to this attempt, and the directory to where the attempt begins."""
        record, task = self.record, self.task
        stages = record.stages
        again = not self.fresh and (
            any(stage.state not in (rec.PENDING, rec.COMPLETED) for stage in stages.values())
            or stages["run"].state == rec.COMPLETED
        )
        if again:
            self.adopted = adopt_or_end(self)
            if "run" in self.reasons and self.adopted is None:
                self._archive()
            # What comes after a stage that is done again has not been done.
            first = min(rec.STAGES.index(stage) for stage in self.reasons)
            first += self.adopted is not None
            stages |= {name: StageRecord() for name in rec.STAGES[first:]}
            if record.error and record.error["stage"] in rec.STAGES[first:]:
                record.error = None
        record.config = task.stored_config()
        record.config_hash = task.config_hash()
        record.identity |= {part: value for part, value in task.identity.items() if value}
        record.overrides = [redacted_override(o) for o in task.origin.overrides] or record.overrides
        record.parameters = redacted_parameters(task.origin.parameters) or record.parameters
        owner = lease.me()
        record.driver = {"host": owner.host, "pid": owner.pid, "started": owner.started}
        if task.origin.composed:
            folder = self.workspace.path / COMPOSED
            folder.mkdir(exist_ok=True)
            for name, text in task.origin.composed.items():
                write_atomic(folder / name, text)

    def _archive(self) -> None:
        """Move what the last attempt left out of the way of this one, and remember how it ended."""
        record = self.record
        if not record.ended:
            record.error = rec.error_facts("run", RunError("the driver of this attempt died"), [])
            record.state = rec.LOST
        keep = {fact.path for fact in record.inputs}
        if "generate" in self.reasons:
            keep &= {item.path for item in self.task.inputs}
        self.workspace.archive_attempt(record.attempt, keep | set(record.found))
        record.attempts.append(record.archive())
        record.attempt += 1
        record.outputs, record.products, record.checks = [], [], []
        record.metrics, record.exit_code, record.resources = {}, None, {}
        record.backend_facts = {}

    def _failed(self, stage: str, error: BaseException, seconds: float | None) -> None:
        """Write down a failure, also on a full disk; the error itself is told by whoever catches it."""
        if isinstance(error, KeyboardInterrupt):
            state = rec.INTERRUPTED
        elif isinstance(error, ModelTimedOut):
            state = rec.TIMED_OUT
        else:
            state = rec.FAILED
        record = self.record
        if record.stages[stage].state == rec.PENDING:
            record.begin(stage, state)
        record.state = state
        record.end(stage, state, seconds)
        record.checks = getattr(error, "checks", record.checks)
        told = error if str(error) or state != rec.INTERRUPTED else KeyboardInterrupt("interrupted")
        self.know_origin()
        record.error = rec.error_facts(stage, told, self.workspace.last_log_lines())
        try:
            record.save(self.workspace)
        except OSError as disk:
            logger.error("cannot write {}: {}", self.workspace.record, disk.strerror)
        self.task.watch(state)


def _told(stage: str, error: BaseException) -> BaseException:
    """What the system answered, in this package's words; other errors are told as they are."""
    if not isinstance(error, OSError) or isinstance(error, RompyHydraError):
        return error
    where = f": {error.filename}" if error.filename else ""
    return _ERRORS[stage](
        f"the stage {stage} failed with '{error.strerror or error}'{where}. Free space or mend the "
        "permissions, then run the same command again"
    )
