"""Generate, run, postprocess: each stage with its memory, its place in the record, and its faults.

`perform` is the one way in which this package works on a run directory, be it for one verb of the
Python API, a pipeline or a point of a sweep.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from loguru import logger
from pydantic import BaseModel

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
from rompy_hydra.models.base import BaseConfig, Input, RunFacts
from rompy_hydra.postprocess.base import Results, answer
from rompy_hydra.provenance import Json, hash_file, hash_json, provenance
from rompy_hydra.record import Clock, FileFact, RunRecord, file_fact
from rompy_hydra.run.base import BaseRunBackend, Outcome, failure, judge
from rompy_hydra.run.local import LocalRunBackend
from rompy_hydra.workspace import (
    ATTEMPTS,
    COMPOSED,
    EXIT_CODE,
    LOG,
    METRICS,
    RECORD,
    SCRIPT,
    Workspace,
    copy_atomic,
    script_text,
    write_atomic,
)

if TYPE_CHECKING:
    from rompy_hydra.model_run import ModelRun

_RESERVED = {RECORD, SCRIPT, LOG, EXIT_CODE, METRICS, COMPOSED, ATTEMPTS}


class Busy(RunError):
    """Another living driver works on this run."""


@dataclass(frozen=True)
class ChosenBackend:
    """A run backend and its settings as plain data.

    `backend` is one of this package's kind; for a plugin in the reference's shape it is None, and
    `call` calls it with a model run and a workspace.
    """

    name: str
    settings: Mapping[str, Json] = field(default_factory=dict)
    backend: BaseRunBackend | None = None
    call: Callable[[ModelRun, Path], object] | None = None

    @property
    def identity(self) -> str:
        """A hash of the settings that decide about the result."""
        transient: frozenset[str] = frozenset()
        if self.backend is not None:
            transient = type(self.backend.config).transient
        kept = {k: v for k, v in self.settings.items() if k not in transient}
        return hash_json({"name": self.name, **kept})


@dataclass(frozen=True)
class ChosenProcessor:
    """A postprocessor, bound to its arguments, and its settings as plain data."""

    name: str
    process: Callable[[ModelRun], object]
    settings: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Origin:
    """Where a run comes from: the overrides that made it, and the directory of its configs."""

    overrides: tuple[str, ...] = ()
    config_dir: Path = field(default_factory=Path.cwd)
    # Files that tell the composed configuration, written below `.hydra/` when the run begins.
    composed: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Progress:
    """How far a task came: for whoever must answer after a failure."""

    record: RunRecord | None = None
    stage: str | None = None
    answers: list[Results] = field(default_factory=list)


@dataclass(frozen=True)
class Task:
    """What to do with one run."""

    model_run: ModelRun
    stages: tuple[str, ...] = rec.STAGES
    backend: ChosenBackend | None = None
    processors: tuple[ChosenProcessor, ...] = ()
    origin: Origin = field(default_factory=Origin)
    overwrite: bool = False
    # A single verb of the Python API does what it says, whatever was done before.
    imperative: bool = False
    stop: process.StopSignal | None = None
    # Told at the border of each stage, for those who watch.
    watch: Callable[[str], None] = lambda _state: None
    progress: Progress = field(default_factory=Progress)

    @functools.cached_property
    def workspace(self) -> Workspace:
        return self.model_run.workspace

    @functools.cached_property
    def inputs(self) -> tuple[Input, ...]:
        """Every file that generating will write, rendered in memory; GenerateError if it cannot."""
        return planned_inputs(self.model_run)

    @functools.cached_property
    def model(self) -> dict[str, Json]:
        return config_data(self.model_run.config)

    @functools.cached_property
    def period(self) -> Json:
        return self.model_run.period.model_dump(mode="json")

    @functools.cached_property
    def identity(self) -> dict[str, str]:
        """Hashes of what makes this run another one than its neighbour."""
        backend = self.backend.identity if self.backend and not self.imperative else ""
        return {
            "model": hash_json({"model": self.model, "period": self.period}),
            "run_backend": backend,
        }

    @functools.cached_property
    def generate_key(self) -> str:
        files = [[i.path, _content_hash(i), i.link, i.executable] for i in self.inputs]
        return hash_json(
            {"identity": self.identity["model"], "run_id": self.model_run.run_id, "files": files}
        )

    @functools.cached_property
    def run_key(self) -> str:
        backend = self.backend
        assert backend is not None
        script = ""
        digest = None
        if backend.backend is not None:
            commands = backend.backend.commands(self.model_run.config)
            env = backend.backend.environment(self.model_run.config)
            script = script_text(commands, env, title="")
            digest = getattr(backend.backend, "image_key", lambda _image: None)(
                getattr(self.model_run.config, "image", None)
            )
        parts = {"generate": self.generate_key, "backend": backend.identity, "script": script}
        return hash_json({**parts, "image": digest} if digest else {**parts})

    @functools.cached_property
    def postprocess_key(self) -> str:
        chosen: list[Json] = [{"name": p.name, **p.settings} for p in self.processors]
        return hash_json([self.run_key if self.backend else self.generate_key, chosen])

    def config(self) -> dict[str, Json]:
        """The resolved configuration, as the record keeps it."""
        run = self.model_run
        data: dict[str, Json] = {
            "run_id": run.run_id,
            "output_dir": str(run.output_dir),
            "period": self.period,
            "model": self.model,
        }
        if self.backend:
            data["run_backend"] = {"name": self.backend.name, **self.backend.settings}
        if self.processors:
            data["processor"] = [{"name": p.name, **p.settings} for p in self.processors]
        return data

    def config_hash(self) -> str:
        """A hash of what is run, leaving out where it is put."""
        data = self.config()
        return hash_json({k: v for k, v in data.items() if k not in {"run_id", "output_dir"}})


def config_data(config: object) -> dict[str, Json]:
    """A model configuration of any kind as plain data."""
    kind = type(config)
    target = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(config, BaseModel):
        return {"_target_": target, **rec.plain(config.model_dump(mode="json"))}
    return {"_target_": target, **rec.plain(getattr(config, "__dict__", {}))}


def planned_inputs(model_run: ModelRun) -> tuple[Input, ...]:
    """The input files of a run, rendered in memory and checked; GenerateError if there is a fault."""
    config = model_run.config
    if not isinstance(config, BaseConfig):
        return ()
    workspace = model_run.workspace
    facts = RunFacts(model_run.run_id, model_run.period, str(workspace.path))
    inputs = tuple(config.inputs(facts))
    seen: set[str] = set()
    for item in inputs:
        try:
            workspace.inside(item.path)
        except ValueError as error:
            raise GenerateError(f"{error} (a file of the model's template)") from error
        if item.path.split("/")[0] in _RESERVED:
            raise GenerateError(
                f"the input '{item.path}' has the name of a file of the engine; rename it"
            )
        if item.path in seen:
            raise GenerateError(f"two inputs have the same path '{item.path}'; rename one of them")
        seen.add(item.path)
    return inputs


def _content_hash(item: Input) -> str:
    import hashlib

    if item.content is not None:
        return hashlib.sha256(item.content).hexdigest()
    assert item.source is not None
    return hash_file(item.source)


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
    _existing(task)


def needed(task: Task, record: RunRecord | None) -> dict[str, str]:
    """The stages of a task that must be done, each with the reason; the others are remembered."""
    reasons: dict[str, str] = {}
    workspace = task.workspace
    for stage in task.stages:
        old = record.stages.get(stage) if record else None
        key = getattr(task, f"{stage}_key") if stage != "run" or task.backend else ""
        if reasons and stage != "generate":
            reasons[stage] = f"{next(reversed(reasons))} is done again"
        elif old is None or old.state == rec.PENDING:
            reasons[stage] = "not done yet"
        elif old.state != rec.COMPLETED:
            reasons[stage] = f"was {old.state} before"
        elif task.imperative and stage != "generate":
            reasons[stage] = "asked for"
        elif old.key != key:
            reasons[stage] = _what_changed(stage)
        else:
            assert record is not None
            kept = {"generate": record.inputs, "run": record.outputs}.get(stage, record.products)
            damaged = next((f.path for f in kept if not f.is_intact(workspace)), None)
            if damaged:
                reasons[stage] = f"{damaged} is missing or was changed"
    return reasons


def _what_changed(stage: str) -> str:
    return {
        "generate": "a template or a staged file changed",
        "run": "the commands, the backend or its image changed",
        "postprocess": "the postprocessor or its settings changed",
    }[stage]


def _existing(task: Task) -> RunRecord | None:
    """The record in the run directory if it is of this very run; ConfigError if it is of another."""
    workspace = task.workspace
    try:
        record = RunRecord.load(workspace)
    except rec.DamagedRecord as error:
        if task.overwrite:
            return None
        raise ConfigError(str(error)) from error
    if record is None:
        if not task.overwrite:
            _refuse_strangers(task)
        return None
    differs = [
        part
        for part, value in task.identity.items()
        if value and record.identity.get(part) not in (None, "", value)
    ]
    if differs and not task.overwrite:
        raise ConfigError(
            f"{workspace.path} holds another configuration ({_difference(record, task)}). Choose "
            "another run_id or output_dir, or say overwrite=true: it moves the old directory aside"
        )
    return record


def _refuse_strangers(task: Task) -> None:
    """ConfigError if generating would replace a file that no run of ours has made."""
    if not task.workspace.is_taken():
        return
    for item in task.inputs:
        path = task.workspace.path / item.path
        if os.path.lexists(path) and (not path.is_file() or hash_file(path) != _content_hash(item)):
            raise ConfigError(
                f"{path} is there already and differs from what the run would write. Choose another "
                "run_id or output_dir, or say overwrite=true: it moves the directory aside"
            )


def _difference(record: RunRecord, task: Task) -> str:
    old, new = _flat(record.config), _flat(rec.plain({"c": rec.redacted(task.config())}["c"]))  # type: ignore[arg-type]
    parts = [
        f"{key}: {json_text(old.get(key))} there, {json_text(new.get(key))} here"
        for key in sorted(old | new)
        if old.get(key) != new.get(key) and not key.startswith(("processor", "output_dir"))
    ]
    more = f" and {len(parts) - 3} more" if len(parts) > 3 else ""
    return "; ".join(parts[:3]) + more or "values that are not stored differ"


def json_text(value: Json) -> str:
    import json

    return "nothing" if value is None else json.dumps(value)


def _flat(value: Json, prefix: str = "") -> dict[str, Json]:
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Json] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}.{key}" if prefix else key)
    return flat


def perform(task: Task) -> RunRecord:
    """Do what is missing of a task, and return the record.

    Raises Busy if another living driver has the run, ConfigError if the directory holds another
    configuration, and the error of the first stage that fails, after the record says so.
    """
    workspace = task.workspace
    while True:
        record = _existing(task)
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

    def __init__(
        self, task: Task, old: RunRecord | None, number: int, reasons: dict[str, str]
    ) -> None:
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
                    record.error = rec.error_facts(
                        "run", RunError("the driver of this attempt died"), []
                    )
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
            task.model_run.call_config()
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
        record.run_backend = _as_dict(
            rec.redacted({"name": task.backend.name, **task.backend.settings})
        )
        backend = task.backend.backend
        if backend is not None:
            record.commands = [
                list(c) if not isinstance(c, str) else c for c in backend.commands(config)
            ]
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
            raise failure(
                ModelFailed, self.workspace, f"the run backend {chosen.name} reported a failure"
            )
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
                raise PostprocessError(
                    f"the postprocessor {processor.name} failed: {results['message']}"
                )
            found = results.get("metrics")
            if isinstance(found, Mapping):
                metrics |= rec.plain({str(key): value for key, value in found.items()})
        record.metrics = metrics
        if metrics:
            import json

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
