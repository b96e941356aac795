"""The run record `run.json`: what happened in a run, written as it happens."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from rompy_hydra.errors import DamagedRecord
from rompy_hydra.hashing import hash_file
from rompy_hydra.jsonable import Json, json_text, read_json
from rompy_hydra.redaction import hide, may_appear, without_known_secrets
from rompy_hydra.regular_files import open_regular, read_regular
from rompy_hydra.workspace import RECORD, Workspace
from rompy_hydra.workspace.atomic import write_atomic

SCHEMA_VERSION = 1

PENDING = "pending"
GENERATING = "generating"
QUEUED = "queued"  # its job was submitted and waits in a queue
RUNNING = "running"
CHECKING = "checking"
POSTPROCESSING = "postprocessing"
COMPLETED = "completed"
FAILED = "failed"
TIMED_OUT = "timed_out"
INTERRUPTED = "interrupted"
LOST = "lost"  # never written: how a record is reported whose driver is dead

FINAL = {COMPLETED, FAILED, TIMED_OUT, INTERRUPTED}
STAGES = ("generate", "run", "postprocess")
# The fields of a record that list files.
_FILES = ("inputs", "outputs", "products")
_LINK = "link:"
# The fields whose texts may come from anywhere: known secrets are not stored in them.
_TEXTS = ["commands", "run_backend", "config", "overrides", "parameters", "provenance", "metrics", "checks"]
_TEXTS += ["backend_facts", "error", "attempts", "pipeline"]


@dataclass(frozen=True)
class FileFact:
    """A file of a run: path relative to the run directory, bytes, SHA-256, modification time (ns).

    Of a link that a model made, `sha256` is `link:` and where it leads: its content is never read.
    """

    path: str
    size: int
    sha256: str
    mtime_ns: int

    def is_intact(self, workspace: Workspace) -> bool:
        """Whether the file is unchanged; its content is read only if its modification time changed."""
        path = workspace.at(self.path)
        try:
            if self.sha256.startswith(_LINK):
                return _LINK + os.readlink(path) == self.sha256
            facts = os.stat(path)
            same_time = facts.st_mtime_ns == self.mtime_ns
            return facts.st_size == self.size and (same_time or hash_file(path, facts) == self.sha256)
        except (OSError, ValueError):  # ValueError: no system has a file of such a name
            return False

    def is_untouched(self, workspace: Workspace) -> bool:
        """Whether nobody has written the file since, not even with the same content."""
        path = workspace.at(self.path)
        try:
            if self.sha256.startswith(_LINK):
                return _LINK + os.readlink(path) == self.sha256
            facts = os.stat(path)
            return (facts.st_mtime_ns, facts.st_size) == (self.mtime_ns, self.size)
        except (OSError, ValueError):
            return False


def file_fact(
    workspace: Workspace, relative: str, sha256: str | None = None, follow: bool = False
) -> FileFact:
    """The facts of an existing file; its content is read unless its hash is given.

    A link is recorded as a link. `follow` is for links that are inputs: nobody but the user made them.
    """
    path = workspace.at(relative)
    facts = os.stat(path) if follow else os.lstat(path)
    if stat.S_ISLNK(facts.st_mode):
        return FileFact(relative, facts.st_size, _LINK + os.readlink(path), facts.st_mtime_ns)
    return FileFact(relative, facts.st_size, sha256 or hash_file(path, facts), facts.st_mtime_ns)


@dataclass
class StageRecord:
    """One stage: state, times, and why it ran. `key` is a hash of all that its result depends on."""

    state: str = PENDING
    started: str | None = None
    finished: str | None = None
    seconds: float | None = None
    key: str | None = None
    why: str | None = None


@dataclass
class RunRecord:
    """The facts of one run. `save` writes them atomically; `load` reads them back."""

    run_id: str
    schema_version: int = SCHEMA_VERSION
    state: str = PENDING
    attempt: int = 1
    claim: int = 0
    stages: dict[str, StageRecord] = field(default_factory=lambda: {name: StageRecord() for name in STAGES})
    exit_code: int | None = None
    commands: list[Json] = field(default_factory=list)
    run_backend: dict[str, Json] = field(default_factory=dict)
    # The pipeline plugin that did some `stages` by itself, with its settings and what it returned.
    pipeline: dict[str, Json] = field(default_factory=dict)
    config: dict[str, Json] = field(default_factory=dict)
    config_hash: str = ""
    identity: dict[str, str] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    parameters: dict[str, Json] = field(default_factory=dict)
    provenance: dict[str, Json] = field(default_factory=dict)
    # Files that were in the directory before the run: never moved, never deleted.
    found: list[str] = field(default_factory=list)
    inputs: list[FileFact] = field(default_factory=list)
    # What servers said of the inputs that were fetched from them without a checksum, by path.
    remote: dict[str, str] = field(default_factory=dict)
    outputs: list[FileFact] = field(default_factory=list)
    products: list[FileFact] = field(default_factory=list)
    metrics: dict[str, Json] = field(default_factory=dict)
    # What the postprocessors say that they did: `processor` and `message`.
    messages: list[dict[str, Json]] = field(default_factory=list)
    checks: list[dict[str, Json]] = field(default_factory=list)
    resources: dict[str, Json] = field(default_factory=dict)
    backend_facts: dict[str, Json] = field(default_factory=dict)
    error: dict[str, Json] | None = None
    driver: dict[str, Json] = field(default_factory=dict)
    attempts: list[dict[str, Json]] = field(default_factory=list)
    created: str = ""
    updated: str = ""
    # What the postprocessors of this process returned: kept in memory only.
    answers: list[dict[str, object]] = field(default_factory=list, init=False, repr=False, compare=False)

    @classmethod
    def load(cls, workspace: Workspace) -> RunRecord | None:
        """The record of a run directory, None if it has none; DamagedRecord if it cannot be read."""
        return cls.read(workspace.at(RECORD))

    @classmethod
    def read(cls, path: str | Path) -> RunRecord | None:
        """The record in a file, None if it does not exist; DamagedRecord if it cannot be read."""
        try:
            text = read_regular(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise DamagedRecord(
                f"{path} cannot be read: {error.strerror}. Fix its permissions or remove it, or choose "
                "another run_id or output_dir"
            ) from error
        try:
            return cls(**_parse(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            what = str(error) if type(error) is ValueError else "a field is missing or unknown"
            raise DamagedRecord(
                f"{path} is damaged ({what}). The file is left unchanged; move "
                f"{os.path.dirname(path)} aside, or run with overwrite=true, which does that and, in a "
                "sweep, keeps the completed runs"
            ) from error

    def save(self, workspace: Workspace) -> None:
        """Write `run.json` atomically.

        If that is not possible, as on a full disk, it is written in place, and reduced to its error if
        all of it does not fit into the existing file. OSError if that fails as well.
        """
        self.updated = now()
        self.created = self.created or self.updated
        # Until it is final it is rarely read, so it is written in the fastest way, with 4096 bytes of
        # space for an error that may have to be written on a full disk.
        final = self.ended or self.state == PENDING
        text = self.to_json(indent=2 if final else None)
        try:
            write_atomic(workspace.at(RECORD), text if final else text + " " * 4096 + "\n")
        except OSError:
            if not any(_write_in_place(workspace.record, each) for each in self._ever_shorter()):
                raise

    def _ever_shorter(self) -> Iterator[str]:
        """The record as text, and then with an error without the fields that it can do without."""
        yield self.to_json()
        yield self.to_json(indent=None)
        if self.error is None:
            return
        error = self.error | {"message": str(self.error.get("message", ""))[:1000], "log": []}
        short = replace(self, error=error, products=[], checks=[], metrics={}, messages=[])
        yield short.to_json(indent=None)
        # Without its outputs, the model must run again: nothing says whether they are intact.
        stages = short.stages | {"run": replace(short.stages["run"], key=None)}
        yield replace(short, outputs=[], stages=stages).to_json(indent=None)

    def to_json(self, indent: int | None = 2) -> str:
        """The record as text, by default for people to read."""
        data: dict[str, Any] = dict(vars(self))
        del data["answers"]
        data["stages"] = {name: vars(stage) for name, stage in self.stages.items()}
        for files in _FILES:
            data[files] = [vars(fact) for fact in data[files]]
        if may_appear():
            data |= {name: without_known_secrets(data[name]) for name in _TEXTS}
        return json_text(data, indent=indent, strict=True) + "\n"

    @property
    def ended(self) -> bool:
        """Whether its state is final."""
        return self.state in FINAL

    @property
    def warnings(self) -> list[str]:
        """What the run's checks warn of, although it passes them."""
        return [str(check["message"]) for check in self.checks if check.get("warning")]

    def begin(self, stage: str, state: str) -> None:
        """Note that a stage begins now; `save` is left to the caller."""
        self.state = state
        self.stages[stage] = StageRecord(state=state, started=now())

    def end(self, stage: str, state: str, seconds: float | None) -> None:
        """Note that a stage ends now; `save` is left to the caller."""
        record = self.stages[stage]
        record.state, record.finished = state, now()
        record.seconds = None if seconds is None else round(seconds, 4)

    def archive(self) -> dict[str, Json]:
        """The entry of this attempt in `attempts`, when the next one begins."""
        return {
            "attempt": self.attempt,
            "state": self.state,
            "exit_code": self.exit_code,
            "error": cast("Json", self.error),
            "started": min((s.started for s in self.stages.values() if s.started), default=None),
            "finished": self.updated,
        }


# The types of the fields that are in the file and never None.
_TYPES = {name: type(value) for name, value in vars(RunRecord("")).items() if value is not None}


def _parse(text: bytes) -> dict[str, Any]:
    """The fields of a record; a plain ValueError says what is wrong with the file."""
    if not text.strip():
        raise ValueError("it is empty")
    try:
        data = read_json(text)
    except ValueError:
        raise ValueError("it is not valid JSON, or incomplete") from None
    if not isinstance(data, dict):
        raise ValueError("it is not a record")
    if (version := data.get("schema_version", SCHEMA_VERSION)) != SCHEMA_VERSION:
        raise ValueError(f"schema_version {version!r} is not {SCHEMA_VERSION}")
    for name in ("schema_version", "run_id", "stages", *_FILES):
        if name not in data:
            raise ValueError(f"it has no {name}")
    for name, kind in _TYPES.items():
        if name in data and not isinstance(data[name], kind):
            raise ValueError(f"{name} is {data[name]!r}")
    if not isinstance(data.get("error"), dict | None):
        raise ValueError(f"error is {data['error']!r}")
    data["stages"] = {name: StageRecord(**data["stages"][name]) for name in STAGES}
    for files in _FILES:
        data[files] = [_parse_fact(fact) for fact in data[files]]
    return data


def _parse_fact(fact: dict[str, Any]) -> FileFact:
    found = FileFact(**fact)
    if not (isinstance(found.path, str) and isinstance(found.sha256, str)):
        raise ValueError(f"a file is {fact!r}")
    return found


def _write_in_place(path: Path, text: str) -> bool:
    """Overwrite a file without needing space: what it occupies already is available on a full disk.

    False if there is no file, or if the text does not fit into it.
    """
    data = text.encode()
    try:
        with open(open_regular(path, os.O_RDWR), "r+b") as file:
            room = os.fstat(file.fileno()).st_size - len(data)
            if room >= 0:
                # Not truncated: the next error may need the space.
                file.write(data + b" " * room)
        return room >= 0
    except OSError:
        return False


def now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return iso_utc(time.time())


def iso_utc(moment: float) -> str:
    """Seconds since 1970 as a record has them; sorting these texts sorts the times."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")


def error_facts(stage: str, error: BaseException, log: list[str]) -> dict[str, Json]:
    """An error as the record stores it, with the last lines of the log."""
    message = hide(str(error)) or type(error).__name__
    return {"stage": stage, "type": type(error).__name__, "message": message, "log": list(map(hide, log))}
