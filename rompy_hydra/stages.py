"""Generate, run, postprocess: each stage with its place in the record, and its faults.

`perform` is the one way in which this package works on a run directory, be it for one verb of the
Python API, a pipeline or a point of a sweep.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from loguru import logger

from rompy_hydra import claim, process
from rompy_hydra import record as rec
from rompy_hydra.errors import (
    ConfigError,
    GenerateError,
    ModelFailed,
    ModelTimedOut,
    PostprocessError,
    RunError,
)
from rompy_hydra.memory import existing, needed
from rompy_hydra.models.base import BaseConfig, Input
from rompy_hydra.postprocess.base import answer
from rompy_hydra.provenance import Json, provenance
from rompy_hydra.record import Clock, RunRecord, file_fact
from rompy_hydra.run.base import Outcome, failure, judge
from rompy_hydra.run.local import LocalRunBackend
from rompy_hydra.task import ChosenBackend, Task
from rompy_hydra.workspace import COMPOSED, copy_atomic, write_atomic


class Busy(RunError):
    """Another living driver works on this run."""


def preflight(task: Task) -> None:
    """Find what is wrong with a task without changing anything; ConfigError or GenerateError tells."""
    files = {item.path for item in task.inputs}
    backend = task.backend
    if backend and backend.backend and "run" in task.stages:
        config = task.model_run.config
        if getattr(config, "needs_execution", True):
            backend.backend.preflight(
                backend.backend.commands(config), files, getattr(config, "image", None)
            )
    existing(task)


def perform(task: Task) -> RunRecord:
    """Do what is missing of a task, and return the record.

    Raises Busy if another living driver has the run, ConfigError if the directory holds another
    configuration, and the error of the first stage that fails, after the record says so.
    """
    workspace = task.workspace
    while True:
        record = existing(task)
        number, owner = claim.latest(workspace)
        claimed_later = number > (record.claim if record else 0)
        working = record is not None and not (record.ended or record.state == rec.PENDING)
        if (working or claimed_later) and owner is not None:
            if claim.is_alive(owner, claim.claim_path(workspace, number)):
                raise Busy(
                    f"{workspace.path} is being run by process {owner.pid} on {owner.host}; "
                    "wait for its end, or end it"
                )
        reasons = needed(task, record)
        if record is not None and not reasons and not task.overwrite:
            task.progress.record = record
            return record
        _set_aside_if_needed(task, record, reasons)
        if not workspace.record.exists():
            record, number = None, claim.latest(workspace)[0]
        workspace.create()
        if claim.claim(workspace, number + 1):
            break
        # Another driver was first: see what it makes of it.
    try:
        with logger.contextualize(run_id=task.model_run.run_id):
            return _Work(task, record, number + 1, reasons).do()
    finally:
        claim.release(workspace, number + 1)


def _set_aside_if_needed(task: Task, record: RunRecord | None, reasons: dict[str, str]) -> None:
    workspace = task.workspace
    outdated = (
        record is not None
        and record.stages["run"].state == rec.COMPLETED
        and "generate" in reasons
        and record.stages["generate"].key != task.generate_key
    )
    if (task.overwrite or outdated) and workspace.is_taken():
        aside = workspace.set_aside()
        logger.info("moved the earlier run aside: {}", aside)


class _Work:
    """One claimed attempt."""

    def __init__(self, task: Task, old: RunRecord | None, number: int, reasons: dict[str, str]) -> None:
        self.task = task
        self.workspace = task.workspace
        self.reasons = reasons
        self.record = old or RunRecord(task.model_run.run_id)
        self.fresh = old is None
        self.record.claim = number
        task.progress.record = self.record
        self.adopted: Callable[[], Outcome] | None = None

    def do(self) -> RunRecord:
        """The needed stages in order; the record is final when this returns or raises."""
        self._prepare()
        for stage in self.task.stages:
            if stage not in self.reasons:
                self.record.stages[stage].why = "unchanged: skipped"
                continue
            clock = Clock()
            self.task.progress.stage = stage
            try:
                getattr(self, f"_{stage}")()
            except BaseException as error:
                self._failed(stage, error, clock())
                raise
            self.record.end(stage, rec.COMPLETED, clock())
            self.record.stages[stage].why = self.reasons[stage]
            self.record.stages[stage].key = (
                getattr(self.task, f"{stage}_key") if stage != "run" or self.task.backend else ""
            )
        ran = self.record.stages["run"].state == rec.COMPLETED
        self.record.state = rec.COMPLETED if ran else rec.PENDING
        self.record.error = None
        self.record.save(self.workspace)
        self.task.watch(self.record.state)
        return self.record

    def _prepare(self) -> None:
        """Bring the record to this attempt, and the directory to where the attempt begins."""
        record, task = self.record, self.task
        again = not self.fresh and any(
            stage.state not in (rec.PENDING, rec.COMPLETED) for stage in record.stages.values()
        )
        again = again or (not self.fresh and record.stages["run"].state == rec.COMPLETED)
        if again:
            self._end_or_adopt()
            if "run" in self.reasons and self.adopted is None:
                if not record.ended:
                    record.error = rec.error_facts("run", RunError("the driver of this attempt died"), [])
                    record.state = rec.LOST
                keep = {fact.path for fact in record.inputs}
                if "generate" in self.reasons:
                    keep &= {item.path for item in task.inputs}
                keep |= set(record.found)
                self.workspace.archive_attempt(record.attempt, keep)
                record.attempts.append(record.archive())
                record.attempt += 1
                record.outputs, record.products, record.checks = [], [], []
                record.metrics, record.exit_code, record.resources = {}, None, {}
                record.backend_facts = {}
        record.config = _as_dict(rec.redacted(task.config()))
        record.config_hash = task.config_hash()
        merged = {**record.identity, **{k: v for k, v in task.identity.items() if v}}
        record.identity = merged
        record.overrides = list(task.origin.overrides) or record.overrides
        record.provenance = provenance(task.origin.config_dir)
        owner = claim.me()
        record.driver = {"host": owner.host, "pid": owner.pid, "started": owner.started}
        record.error = None
        if task.origin.composed:
            folder = self.workspace.path / COMPOSED
            folder.mkdir(exist_ok=True)
            for name, text in task.origin.composed.items():
                write_atomic(folder / name, text)

    def _end_or_adopt(self) -> None:
        """Deal with a model that a dead driver left: take its result, wait for it, or end it."""
        record, task, workspace = self.record, self.task, self.workspace
        if record.ended or record.stages["run"].state not in (rec.RUNNING, rec.CHECKING):
            return
        backend = task.backend.backend if task.backend else None
        mark = str(workspace.path)
        pid = process.find_leader(mark)
        same = (
            task.backend is not None
            and "generate" not in self.reasons
            and record.stages["run"].key == task.run_key
        )
        code = workspace.exit_code()
        if same and pid is None and code is not None:
            logger.info("the model ended after its driver died; its result is taken over")
            self.adopted = lambda: Outcome(code, 0.0, facts={"adopted": True})
        elif same and pid is not None and isinstance(backend, LocalRunBackend):
            logger.info("the model still runs (process {}); waiting for it", pid)
            job = backend.job(task.model_run, workspace, task.stop)
            self.adopted = lambda: backend.adopt(job, pid)
        elif pid is not None:
            logger.warning("ending what a dead driver left running (process {})", pid)
            process.end_tree(pid, mark, grace=5.0)

    def _begin(self, stage: str, state: str) -> None:
        self.record.begin(stage, state)
        self.record.save(self.workspace)
        self.task.watch(state)

    def _generate(self) -> None:
        task, workspace = self.task, self.workspace
        if self.fresh:
            self.record.found = [name for name, _ in workspace.files()]
        self._begin("generate", rec.GENERATING)
        config = task.model_run.config
        written = [self._write(item) for item in task.inputs]
        if isinstance(config, BaseConfig):
            for name in config.directories:
                self._make(workspace.inside(name))
        elif callable(config):
            config(task.model_run)
            before = set(self.record.found)
            written += [name for name, _ in workspace.files() if name not in before]
        if task.backend and task.backend.backend:
            task.backend.backend.job(task.model_run, workspace)
        self.record.inputs = [file_fact(workspace, name) for name in written]
        logger.info("generated {} input files in {}", len(written), workspace.path)

    def _make(self, directory: Path) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GenerateError(f"cannot make {directory}: {error.strerror}") from error

    def _write(self, item: Input) -> str:
        path = self.workspace.inside(item.path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if item.content is not None:
                write_atomic(path, item.content, mode=0o755 if item.executable else None)
            elif item.link:
                assert item.source is not None
                part = path.with_name(f".{path.name}.{os.getpid()}.part")
                part.symlink_to(item.source)
                os.replace(part, path)
            else:
                assert item.source is not None
                copy_atomic(item.source, path)
        except OSError as error:
            raise GenerateError(
                f"cannot write the input {path}: {error.strerror}. Free space or permissions, then "
                "run the same command again"
            ) from error
        return item.path

    def _run(self) -> None:
        task, record, workspace = self.task, self.record, self.workspace
        assert task.backend is not None
        config = task.model_run.config
        if not getattr(config, "needs_execution", True):
            self._begin("run", rec.RUNNING)
            self.reasons["run"] = "the model needs no execution"
            return
        record.run_backend = _as_dict(rec.redacted({"name": task.backend.name, **task.backend.settings}))
        backend = task.backend.backend
        if backend is not None:
            record.commands = [list(c) if not isinstance(c, str) else c for c in backend.commands(config)]
        # Known before the model starts, so that a later driver can tell whether its result is ours.
        self.record.begin("run", rec.RUNNING)
        record.stages["run"].key = task.run_key
        record.save(workspace)
        task.watch(rec.RUNNING)
        outcome = self._execute()
        record.exit_code = outcome.exit_code
        record.resources = {
            "seconds": round(outcome.seconds, 4),
            "cpu_seconds": outcome.cpu_seconds,
            "peak_memory_bytes": outcome.peak_memory_bytes,
        }
        record.backend_facts |= dict(outcome.facts)
        record.state = record.stages["run"].state = rec.CHECKING
        task.watch(rec.CHECKING)
        inputs = {fact.path for fact in record.inputs} | set(record.found)
        patterns = getattr(config, "outputs", ("**/*",))
        record.outputs = [
            file_fact(workspace, name)
            for name, _ in workspace.files()
            if name not in inputs and _matches(name, patterns)
        ]
        record.checks = list(judge(task.model_run, workspace, outcome))
        logger.info("the model ran in {:.2f} s; all checks hold", outcome.seconds)

    def _execute(self) -> Outcome:
        task, workspace = self.task, self.workspace
        assert task.backend is not None
        if self.adopted is not None:
            return self.adopted()
        backend = task.backend.backend
        if backend is None:
            return self._plain(task.backend)
        job = backend.job(task.model_run, workspace, task.stop, self.record.backend_facts.update)
        config = task.model_run.config
        if not job.commands and callable(getattr(config, "run", None)):
            if not isinstance(backend, LocalRunBackend):
                raise RunError(
                    f"{type(config).__name__} has no commands but a run() method of its own, which "
                    "only the local backend can call; choose run_backend=local"
                )
            return backend.call(job, task.model_run)
        return backend.execute(job)

    def _plain(self, chosen: ChosenBackend) -> Outcome:
        clock = Clock()
        assert chosen.call is not None
        success = chosen.call(self.task.model_run, self.workspace.path)
        if not isinstance(success, bool):
            raise RunError(
                f"the run backend {chosen.name} returned {success!r}, and not True or False, so "
                "that its success cannot be told"
            )
        if not success:
            raise failure(ModelFailed, self.workspace, f"the run backend {chosen.name} reported a failure")
        return Outcome(0, clock())

    def _postprocess(self) -> None:
        task, record, workspace = self.task, self.record, self.workspace
        self._begin("postprocess", rec.POSTPROCESSING)
        before = {fact.path for fact in [*record.inputs, *record.outputs]} | set(record.found)
        metrics: dict[str, Json] = {}
        for processor in task.processors:
            try:
                results = answer(processor.name, processor.process(task.model_run))
            except (PostprocessError, ConfigError, ValueError):
                raise
            except Exception as error:
                raise PostprocessError(
                    f"the postprocessor {processor.name} failed: {type(error).__name__}: {error}"
                ) from error
            task.progress.answers.append(results)
            if not results["success"]:
                raise PostprocessError(f"the postprocessor {processor.name} failed: {results['message']}")
            found = results.get("metrics")
            if isinstance(found, Mapping):
                metrics |= rec.plain({str(key): value for key, value in found.items()})
        record.metrics = metrics
        if metrics:
            write_atomic(workspace.metrics, json.dumps(metrics, indent=2) + "\n")
        record.products = [
            file_fact(workspace, name) for name, _ in workspace.files() if name not in before
        ]

    def _failed(self, stage: str, error: BaseException, seconds: float) -> None:
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
        message = error if str(error) or state != rec.INTERRUPTED else KeyboardInterrupt("interrupted")
        record.error = rec.error_facts(stage, message, self.workspace.last_log_lines())
        try:
            record.save(self.workspace)
        except OSError as disk:
            logger.error("cannot write {}: {}", self.workspace.record, disk.strerror)
        self.task.watch(state)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    if "**/*" in patterns:
        return True
    path = Path(name)
    return any(path.match(pattern) for pattern in patterns)


def _as_dict(value: Json) -> dict[str, Json]:
    assert isinstance(value, dict)
    return value
