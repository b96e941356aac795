"""What to do with one run: the run, its stages, its backend and its processors, and their keys."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from rompy_hydra import process
from rompy_hydra import record as rec
from rompy_hydra.claim import Seen
from rompy_hydra.described import described
from rompy_hydra.errors import GenerateError
from rompy_hydra.models.base import BaseConfig, Input, RunFacts
from rompy_hydra.postprocess.base import Results
from rompy_hydra.provenance import (
    Json,
    canonical_json,
    hash_file,
    hash_json,
    hash_list,
    hash_text,
    json_text,
)
from rompy_hydra.record import RunRecord
from rompy_hydra.redaction import may_hide, redacted_mapping, without_secrets
from rompy_hydra.run.base import BaseRunBackend
from rompy_hydra.time_range import TimeRange
from rompy_hydra.workspace import (
    ATTEMPTS,
    BUILD_LOG,
    COMPOSED,
    EXIT_CODE,
    LOG,
    METRICS,
    RECORD,
    SCRIPT,
    Workspace,
)

if TYPE_CHECKING:
    from rompy_hydra.model_run import ModelRun

_RESERVED = {RECORD, SCRIPT, LOG, EXIT_CODE, METRICS, COMPOSED, ATTEMPTS, BUILD_LOG}


class _Chosen:
    """What a chosen backend and a chosen postprocessor share: a name, and settings as plain data."""

    name: str
    settings: Mapping[str, Json]

    @functools.cached_property
    def whole(self) -> str:
        """A hash of all settings."""
        return hash_json(with_name(self.name, self.settings))

    @functools.cached_property
    def stored(self) -> dict[str, Json]:
        """What a record keeps of it."""
        return redacted_mapping(with_name(self.name, self.settings))


@dataclass(frozen=True)
class ChosenBackend(_Chosen):
    """A run backend and its settings as plain data.

    `backend` is one of this package's kind; for a plugin in the reference's shape it is None, and
    `call` calls it with a model run and a workspace.
    """

    name: str
    settings: Mapping[str, Json] = field(default_factory=dict)
    backend: BaseRunBackend | None = None
    call: Callable[[ModelRun, Path], object] | None = None
    # What tells such a plugin's ConfigError, for a model configuration, before anything starts.
    check: Callable[[object], None] | None = None

    @functools.cached_property
    def identity(self) -> str:
        """A hash of the settings that decide about the result."""
        transient: frozenset[str] = frozenset()
        if self.backend is not None:
            transient = type(self.backend.config).transient
        kept = {k: without_secrets(v, k) for k, v in self.settings.items() if k not in transient}
        return hash_json(with_name(self.name, kept))


@dataclass(frozen=True)
class ChosenProcessor(_Chosen):
    """A postprocessor, bound to its arguments, and its settings as plain data."""

    name: str
    process: Callable[[ModelRun], object]
    settings: Mapping[str, Json] = field(default_factory=dict)
    # Whether it takes no longer than to write down that it begins.
    instant: bool = False


@dataclass(frozen=True)
class Origin:
    """Where a run comes from: the overrides that made it, and the directory of its configs."""

    overrides: tuple[str, ...] = ()
    config_dir: Path = field(default_factory=Path.cwd)
    # The values that the overrides set: the columns of a table of results.
    parameters: Mapping[str, Json] = field(default_factory=dict)
    # Files that tell the composed configuration, written below `.hydra/` when the run begins.
    composed: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Progress:
    """How far a task came: for whoever must answer after a failure."""

    record: RunRecord | None = None
    stage: str | None = None
    answers: list[Results] = field(default_factory=list)


@dataclass(eq=False)
class Task:
    """What to do with one run. Its keys and rendered inputs are made once, when they are asked for."""

    model_run: ModelRun
    stages: tuple[str, ...] = rec.STAGES
    backend: ChosenBackend | None = None
    processors: tuple[ChosenProcessor, ...] = ()
    origin: Origin = field(default_factory=Origin)
    overwrite: bool = False
    # A single verb of the Python API does what it says, whatever was done before.
    imperative: bool = False
    # Do all stages again, also those that are done and unchanged.
    again: bool = False
    # What was there when somebody decided to do this task: what came later is another driver's.
    seen: Seen | None = None
    stop: process.StopSignal | None = None
    # Told at the border of each stage, for those who watch.
    watch: Callable[[str], None] = lambda _state: None
    progress: Progress = field(default_factory=Progress)

    def within(self, outer: Task) -> Task:
        """This task as a part of another one: with its origin, its signal to stop and its watcher."""
        alone = self.stages == (rec.STAGES[-1],)
        return replace(
            self,
            backend=outer.backend if alone and self.backend is None else self.backend,
            origin=outer.origin,
            overwrite=outer.overwrite,
            stop=outer.stop,
            watch=outer.watch,
        )

    @functools.cached_property
    def workspace(self) -> Workspace:
        return self.model_run.workspace

    @functools.cached_property
    def inputs(self) -> tuple[Input, ...]:
        """Every file that generating will write, rendered in memory; GenerateError if it cannot."""
        return planned_inputs(self.model_run, self.workspace)

    @functools.cached_property
    def model(self) -> dict[str, Json]:
        return config_data(self.model_run.config)

    @functools.cached_property
    def _model_text(self) -> str:
        return canonical_json(self.model)

    @functools.cached_property
    def _hides(self) -> bool:
        return may_hide(self._model_text)

    @functools.cached_property
    def identity(self) -> dict[str, str]:
        """Hashes of what makes this run another one than its neighbour."""
        backend = self.backend.identity if self.backend and not self.imperative else ""
        model = canonical_json(without_secrets(self.model)) if self._hides else self._model_text
        period = _period_text(self.model_run.period)
        text = f'{{"model":{model},"period":{period}}}'
        return {"model": hash_text(text), "run_backend": backend}

    @functools.cached_property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of what each input will be, by its path."""
        return {item.path: content_hash(item) for item in self.inputs}

    @functools.cached_property
    def generate_key(self) -> str:
        hashes = self.hashes
        files: list[Json] = [[i.path, hashes[i.path], i.link, i.executable] for i in self.inputs]
        return hash_list(self.identity["model"], self.model_run.run_id, files)

    @functools.cached_property
    def run_key(self) -> str:
        backend = self.backend
        assert backend is not None
        script: list[Json] = []
        digest = None
        if backend.backend is not None:
            # Not the text of `run.sh`: another version of it makes no other result.
            commands = backend.backend.commands(self.model_run.config)
            env = backend.backend.environment(self.model_run.config)
            script = [
                [c if isinstance(c, str) else [*c] for c in commands],
                without_secrets({"env": dict(sorted(env.items()))}),
            ]
            digest = getattr(backend.backend, "image_key", lambda _image: None)(
                getattr(self.model_run.config, "image", None)
            )
        return hash_list(self.generate_key, backend.identity, script, digest)

    def forget_run_key(self) -> None:
        """Let the keys be made anew: an image that had only a name before may have come meanwhile."""
        for name in ("run_key", "postprocess_key"):
            self.__dict__.pop(name, None)

    @functools.cached_property
    def postprocess_key(self) -> str:
        before = self.run_key if self.backend else self.generate_key
        return hash_list(before, [p.whole for p in self.processors])

    def stored_config(self) -> dict[str, Json]:
        """The resolved configuration, as the record keeps it."""
        run = self.model_run
        data: dict[str, Json] = {
            "run_id": run.run_id,
            "output_dir": str(run.output_dir),
            "period": run.period.model_dump(mode="json"),
            "model": redacted_mapping(self.model) if self._hides else self.model,
        }
        if self.backend:
            data["run_backend"] = self.backend.stored
        if self.processors:
            data["processor"] = [p.stored for p in self.processors]
        return data

    def config_hash(self) -> str:
        """A hash of what is run, leaving out where it is put."""
        backend = self.backend.whole if self.backend else ""
        return hash_list(self.identity["model"], backend, [p.whole for p in self.processors])


# The runs of a sweep share their period.
@functools.lru_cache(maxsize=64)
def _period_text(period: TimeRange) -> str:
    return canonical_json(period.model_dump(mode="json"))


def with_name(name: str, settings: Mapping[str, Json]) -> dict[str, Json]:
    """A plugin's name beside its settings, of which one may be called `name` as well."""
    return {"name": name} | {"settings.name" if k == "name" else k: v for k, v in settings.items()}


def config_data(config: object) -> dict[str, Json]:
    """A model configuration of any kind as plain data."""
    kind = type(config)
    target = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(config, BaseConfig):
        fields = config.model_dump(mode="json")
        return {"_target_": target, **(fields if _is_json(fields) else rec.plain(fields))}
    data = described(config if isinstance(config, BaseModel) else getattr(config, "__dict__", {}))
    assert isinstance(data, dict)
    return {"_target_": target, **rec.plain({**data})}


def _is_json(value: object) -> bool:
    """Whether there is no number in it that JSON does not have; False may be wrong."""
    text = json_text(value)
    return "NaN" not in text and "Infinity" not in text


def planned_inputs(model_run: ModelRun, workspace: Workspace | None = None) -> tuple[Input, ...]:
    """The input files of a run, rendered in memory and checked; GenerateError if there is a fault."""
    config = model_run.config
    if not isinstance(config, BaseConfig):
        return ()
    workspace = workspace or model_run.workspace
    facts = RunFacts(model_run.run_id, model_run.period, workspace.root)
    # One spelling of a path, so that it is found again among the files of the directory.
    inputs = tuple(
        i if i.path == (path := os.path.normpath(i.path)) else replace(i, path=path)
        for i in config.inputs(facts)
    )
    seen: set[str] = set()
    for item in inputs:
        try:
            workspace.inside(item.path)
        except ValueError as error:
            raise GenerateError(f"{error} (a file of the model's template)") from error
        if item.path.split("/")[0] in _RESERVED:
            raise GenerateError(f"the input '{item.path}' has the name of a file of the engine; rename it")
        if item.path in seen:
            raise GenerateError(f"two inputs have the same path '{item.path}'; rename one of them")
        seen.add(item.path)
    return inputs


def content_hash(item: Input) -> str:
    """SHA-256 of what an input will be."""
    if item.content is not None:
        return hashlib.sha256(item.content).hexdigest()
    assert item.source is not None
    return hash_file(item.source)
