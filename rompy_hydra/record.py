"""The run record `run.json`: what happened in a run, written as it happens."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from rompy_hydra.errors import RompyHydraError
from rompy_hydra.provenance import Json, hash_file
from rompy_hydra.workspace import Workspace, is_secret, write_atomic

SCHEMA_VERSION = 1

PENDING = "pending"
GENERATING = "generating"
RUNNING = "running"
CHECKING = "checking"
POSTPROCESSING = "postprocessing"
COMPLETED = "completed"
FAILED = "failed"
TIMED_OUT = "timed_out"
INTERRUPTED = "interrupted"
LOST = "lost"  # never written: what is said of a record whose driver is dead

FINAL = {COMPLETED, FAILED, TIMED_OUT, INTERRUPTED}
STAGES = ("generate", "run", "postprocess")


class DamagedRecord(RompyHydraError):
    """A `run.json` that cannot be understood; it is left as it is."""


@dataclass
class StageRecord:
    """What is known of one stage. `key` is a hash of everything that its result depends on."""

    state: str = PENDING
    started: str | None = None
    finished: str | None = None
    seconds: float | None = None
    key: str | None = None
    why: str | None = None


@dataclass(frozen=True)
class FileFact:
    """A file of a run: path relative to the run directory, bytes, SHA-256, modification time (ns)."""

    path: str
    size: int
    sha256: str
    mtime_ns: int

    def is_intact(self, workspace: Workspace) -> bool:
        """Whether the file is there as it was; its content is read only if its time changed."""
        path = workspace.path / self.path
        try:
            stat = path.stat()
        except OSError:
            return False
        if stat.st_size != self.size:
            return False
        return stat.st_mtime_ns == self.mtime_ns or hash_file(path) == self.sha256


def file_fact(workspace: Workspace, relative: str) -> FileFact:
    path = workspace.path / relative
    stat = path.stat()
    return FileFact(relative, stat.st_size, hash_file(path), stat.st_mtime_ns)


@dataclass
class RunRecord:
    """One run's facts. `save` writes them atomically; `load` reads them back."""

    run_id: str
    schema_version: int = SCHEMA_VERSION
    state: str = PENDING
    attempt: int = 1
    claim: int = 0
    stages: dict[str, StageRecord] = field(default_factory=lambda: {name: StageRecord() for name in STAGES})
    exit_code: int | None = None
    commands: list[Json] = field(default_factory=list)
    run_backend: dict[str, Json] = field(default_factory=dict)
    config: dict[str, Json] = field(default_factory=dict)
    config_hash: str = ""
    identity: dict[str, str] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    provenance: dict[str, Json] = field(default_factory=dict)
    # Files that were in the directory before the run came: never moved, never deleted.
    found: list[str] = field(default_factory=list)
    inputs: list[FileFact] = field(default_factory=list)
    outputs: list[FileFact] = field(default_factory=list)
    products: list[FileFact] = field(default_factory=list)
    metrics: dict[str, Json] = field(default_factory=dict)
    checks: list[dict[str, Json]] = field(default_factory=list)
    resources: dict[str, Json] = field(default_factory=dict)
    backend_facts: dict[str, Json] = field(default_factory=dict)
    error: dict[str, Json] | None = None
    driver: dict[str, Json] = field(default_factory=dict)
    attempts: list[dict[str, Json]] = field(default_factory=list)
    created: str = ""
    updated: str = ""

    @classmethod
    def load(cls, workspace: Workspace) -> RunRecord | None:
        """The record of a run directory, None if it has none; DamagedRecord if it cannot be read."""
        return cls.read(workspace.record)

    @classmethod
    def read(cls, path: Path) -> RunRecord | None:
        try:
            text = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            data = json.loads(text)
            version = data["schema_version"]
            if version != SCHEMA_VERSION:
                raise ValueError(f"schema_version {version!r} is not {SCHEMA_VERSION}")
            data["stages"] = {k: StageRecord(**v) for k, v in data["stages"].items()}
            for files in ("inputs", "outputs", "products"):
                data[files] = [FileFact(**fact) for fact in data[files]]
            return cls(**data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedRecord(
                f"{path} is damaged ({error}). It was left as it is; move {path.parent} aside, or "
                "run with overwrite=true, which does that"
            ) from error

    def save(self, workspace: Workspace) -> None:
        """Write `run.json` atomically."""
        self.updated = now()
        self.created = self.created or self.updated
        text = self.to_json()
        try:
            write_atomic(workspace.record, text)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            _write_in_place(workspace.record, text)

    def to_json(self) -> str:
        """JSON with one line a fact: readable, and quick to write (the C encoder knows no indent)."""
        data: dict[str, object] = dict(vars(self))
        data["stages"] = {name: vars(stage) for name, stage in self.stages.items()}
        for files in ("inputs", "outputs", "products"):
            data[files] = [vars(fact) for fact in cast("list[FileFact]", data[files])]
        return "{\n" + ",\n".join(f'"{k}": {_lines(v)}' for k, v in data.items()) + "\n}\n"

    @property
    def ended(self) -> bool:
        return self.state in FINAL

    def begin(self, stage: str, state: str) -> None:
        self.state = state
        self.stages[stage] = StageRecord(state=state, started=now())

    def end(self, stage: str, state: str, seconds: float) -> None:
        record = self.stages[stage]
        record.state, record.finished, record.seconds = state, now(), round(seconds, 4)

    def archive(self) -> dict[str, Json]:
        """What is kept of an attempt when the next one begins."""
        return {
            "attempt": self.attempt,
            "state": self.state,
            "exit_code": self.exit_code,
            "error": cast("Json", self.error),
            "started": min((s.started for s in self.stages.values() if s.started), default=None),
            "finished": self.updated,
        }


def _write_in_place(path: Path, text: str) -> None:
    """The last resort on a full disk: the blocks that the file has already are still ours."""
    room = path.stat().st_size
    block = 4096
    room = -(-room // block) * block
    data = text.encode()
    if len(data) > room:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))
    with path.open("r+b") as file:
        file.write(data)
        file.truncate()


def _lines(value: object) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n  " + ",\n  ".join(json.dumps(item) for item in value) + "\n]"
    if isinstance(value, dict) and any(isinstance(item, dict) for item in value.values()):
        rows = (f"{json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
        return "{\n  " + ",\n  ".join(rows) + "\n}"
    return json.dumps(value)


def now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def redacted(value: Json, name: str = "") -> Json:
    """A copy of a configuration that may be stored: no secrets, no values of environment variables."""
    if isinstance(value, dict):
        in_env = name in {"env", "env_vars", "build_args"}
        return {
            key: "<not stored>"
            if (in_env or is_secret(key)) and isinstance(item, str)
            else redacted(item, key)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [redacted(item, name) for item in value]
    return value


def error_facts(stage: str, error: BaseException, log: list[str]) -> dict[str, Json]:
    """An error as the record keeps it."""
    message = str(error) or type(error).__name__
    return {
        "stage": stage,
        "type": type(error).__name__,
        "message": message,
        "log": list(log),
    }


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() - self._begin


def plain(mapping: Mapping[str, object]) -> dict[str, Json]:
    """A mapping as JSON has it; what JSON cannot express becomes its text."""
    return cast("dict[str, Json]", json.loads(json.dumps(dict(mapping), default=str)))
