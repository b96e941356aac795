"""One try at a run, as its record tells it: begin, report, complete, fail, archive."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from loguru import logger

from rompy_hydra import process
from rompy_hydra.core.scope import Watch
from rompy_hydra.core.status import RunStatus
from rompy_hydra.errors import (
    GenerateError,
    LeaseLost,
    ModelTimedOut,
    PostprocessError,
    RompyHydraError,
    RunError,
)
from rompy_hydra.jsonable import Json
from rompy_hydra.process import StopSignal
from rompy_hydra.provenance import provenance
from rompy_hydra.redaction import redacted_override, redacted_parameters
from rompy_hydra.run.base import Handle, Job, Outcome
from rompy_hydra.workspace import COMPOSED, lease
from rompy_hydra.workspace import record as rec
from rompy_hydra.workspace.atomic import write_atomic
from rompy_hydra.workspace.record import RunRecord, StageRecord

_ERRORS: dict[str, type[RompyHydraError]] = {
    "generate": GenerateError,
    "run": RunError,
    "postprocess": PostprocessError,
}


# What distinguishes a file that was written from one that was there before: inode, time (ns), size.
Stamp: TypeAlias = tuple[int, int, int]


class Attempt:
    """The record of one try, while it happens. Its driver holds the lease of the directory."""

    def __init__(self, status: RunStatus, stop: StopSignal | None, watch: Watch) -> None:
        self.plan = status.plan
        self.workspace = status.plan.workspace
        self.stop = stop
        self.watch = watch
        # The stages to do, in order, each with the reason.
        self.stale = dict(status.stale)
        self.fresh = status.record is None
        self.made = status.seen.directory == 0
        self.record = status.record or RunRecord(status.plan.spec.run_id)
        self.record.claim = status.seen.number
        # A model that a dead driver started: its outcome, or the handle of its job.
        self.recovered: Outcome | Handle | None = None
        # Seconds that model had run before the clock of the stage began; None if nobody knows.
        self.ran_before: float | None = 0.0
        # The files that a user has added to the directory since the last attempt.
        self.added: dict[str, Stamp] = {}
        # What the backend is to start, as generating left it.
        self.job: Job | None = None

    def prepare(self) -> None:
        """Bring the record to this attempt: its configuration, its driver, and what is still to do."""
        record, plan = self.record, self.plan
        for stage in plan.stages:
            if stage not in self.stale:
                record.stages[stage].why = "unchanged: skipped"
        record.config = plan.stored_config()
        record.config_hash = plan.config_hash()
        record.identity |= {part: value for part, value in plan.identity.items() if value}
        record.overrides = [redacted_override(o) for o in plan.origin.overrides] or record.overrides
        record.parameters = redacted_parameters(plan.origin.parameters) or record.parameters
        owner = lease.me()
        record.driver = {"host": owner.host, "pid": owner.pid, "started": owner.started}
        if plan.origin.composed:
            folder = self.workspace.make_directories(COMPOSED)
            for name, text in plan.origin.composed.items():
                write_atomic(f"{folder}/{name}", text)

    def reset_from(self, stage: str | None) -> None:
        """Forget what is recorded of a stage and those after it; None keeps everything."""
        record = self.record
        stages = rec.STAGES[rec.STAGES.index(stage) :] if stage else ()
        record.stages |= {name: StageRecord() for name in stages}
        if record.error and record.error["stage"] in stages:
            record.error = None

    def archive(self) -> None:
        """Move what the last attempt left out of the way of this one, and record how it ended."""
        record = self.record
        if not record.ended:
            record.error = rec.error_facts("run", RunError("the driver of this attempt died"), [])
            record.state = rec.LOST
        keep = {fact.path for fact in record.inputs}
        if "generate" in self.stale:
            keep &= {item.path for item in self.plan.inputs}
        self.workspace.archive_attempt(record.attempt, keep | set(record.found))
        record.attempts.append(record.archive())
        record.attempt += 1
        record.outputs, record.products, record.checks = [], [], []
        record.pipeline = {}
        record.metrics, record.exit_code, record.resources = {}, None, {}
        record.messages = []
        record.backend_facts = {}

    @contextlib.contextmanager
    def recording(self, stage: str, completes: bool = True) -> Iterator[None]:
        """A context for a stage's work: its end, good or bad, goes into the record.

        An error leaves it with `record_of(error)` and `stage_of(error)`.
        """
        begin = time.monotonic()
        try:
            yield
            if completes:
                self._complete(stage, self._seconds(stage, begin))
        except (GeneratorExit, LeaseLost):
            raise  # whoever drives this run has let go of it; its job may still run
        except BaseException as error:
            if stage == "run" and self.plan.backend is not None:
                # Also if an interrupt came between the start of a model and the wait for it.
                process.end_tree(None, self.workspace.root, grace=self.plan.backend.kill_grace)
            failure = _in_plain_words(stage, error)
            self._fail(stage, failure, self._seconds(stage, begin))
            vars(failure)["run_record"], vars(failure)["run_stage"] = self.record, stage
            if failure is error:
                raise
            raise failure from error

    def begin(self, stage: str, state: str, key: str | None = None, save: bool = True) -> None:
        """Record that a stage begins; its key only where a later driver must know it."""
        self.record.begin(stage, state)
        self.record.stages[stage].key = key
        if save:
            self.save()
        else:
            self.check_lease()
        self.watch(state)

    def enter(self, stage: str, state: str, save: bool = False) -> None:
        """Record that a stage has come to another state."""
        self.record.state = self.record.stages[stage].state = state
        if save:
            self.save()
        self.watch(state)

    def check_lease(self) -> None:
        """LeaseLost if another driver has taken over the run: from then on, everything in it is theirs."""
        if lease.is_lost(self.workspace, self.record.claim):
            raise LeaseLost(
                f"{self.workspace.path} is no longer this driver's: another driver has taken it over, as "
                f"this one sent no heartbeat for {lease.STALE_SECONDS:g} s, or it was replaced. "
                "Its model was stopped, and nothing more is written"
            )

    def save(self) -> None:
        """Write the record, unless the run is no longer this driver's: LeaseLost."""
        self.check_lease()
        self.record.save(self.workspace)

    def report(self, facts: Mapping[str, Json]) -> None:
        """Record what the backend has started: at once, so that a later driver finds it."""
        self._add_provenance()
        self.record.backend_facts |= dict(facts)
        self.record.stages["run"].key = self.plan.key("run")
        try:
            self.save()
        except OSError as error:
            logger.warning("cannot write {}: {}", self.workspace.record, error.strerror)

    def finish(self) -> RunRecord:
        """Save the record of an attempt whose stages are done, and return it."""
        # To process the outputs of a failed run does not repair it.
        ran = self.record.stages["run"].state
        self.record.state = ran if ran in rec.FINAL else rec.PENDING
        self._add_provenance()
        self.save()
        self.watch(self.record.state)
        return self.record

    def _add_provenance(self) -> None:
        self.record.provenance = provenance(self.plan.origin.config_dir)

    def _seconds(self, stage: str, begin: float) -> float | None:
        """How long a stage took, including the time its model ran under a driver that died."""
        seconds = time.monotonic() - begin
        if stage != "run":
            return seconds
        return None if self.ran_before is None else self.ran_before + seconds

    def _complete(self, stage: str, seconds: float | None) -> None:
        self.record.end(stage, rec.COMPLETED, seconds)
        done = self.record.stages[stage]
        done.why = self.stale[stage]
        run_key = self.record.stages["run"].key if "run" in self.plan.stages else None
        done.key = done.key or self.plan.key(stage, run_key)

    def _fail(self, stage: str, error: BaseException, seconds: float | None) -> None:
        """Record a failure, also on a full disk; whoever catches the error reports it."""
        self.check_lease()
        if isinstance(error, KeyboardInterrupt):
            state = rec.INTERRUPTED
        else:
            state = rec.TIMED_OUT if isinstance(error, ModelTimedOut) else rec.FAILED
        record = self.record
        if record.stages[stage].state == rec.PENDING:
            record.begin(stage, state)
        record.state = state
        record.end(stage, state, seconds)
        record.checks = getattr(error, "checks", record.checks)
        named = error if str(error) or state != rec.INTERRUPTED else KeyboardInterrupt("interrupted")
        self._add_provenance()
        record.error = rec.error_facts(stage, named, self.workspace.last_log_lines())
        try:
            self.save()
        except OSError as disk:
            logger.error("cannot write {}: {}", self.workspace.record, disk.strerror)
        self.watch(state)


def stamp_of(facts: os.stat_result) -> Stamp:
    """The stamp of a file's status."""
    return facts.st_ino, facts.st_mtime_ns, facts.st_size


def record_of(error: BaseException) -> RunRecord | None:
    """The record of the run that failed with this error; None if it had not begun."""
    record = getattr(error, "run_record", None)
    return record if isinstance(record, RunRecord) else None


def stage_of(error: BaseException) -> str | None:
    """The stage that failed with this error; None if none had begun."""
    stage = getattr(error, "run_stage", None)
    return stage if isinstance(stage, str) else None


def _in_plain_words(stage: str, error: BaseException) -> BaseException:
    """An answer of the operating system as an error of this package; others are kept."""
    if isinstance(error, SystemExit):
        return _ERRORS[stage](f"a plugin ended the stage {stage} with SystemExit ({error.code})")
    if not isinstance(error, OSError) or isinstance(error, RompyHydraError):
        return error
    where = f": {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _ERRORS[stage](
            f"the stage {stage} failed because the disk is full ('{error.strerror}'){where}. Free space, "
            "then rerun the command"
        )
    return _ERRORS[stage](
        f"the stage {stage} failed with '{error.strerror or error}'{where}. Free space or fix the "
        "permissions, then rerun the command"
    )
