"""What to do with one run: the run, its stages, its backend and its processors, and their keys."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from rompy_hydra import process
from rompy_hydra.core.inputs import content_hash, planned_inputs
from rompy_hydra.hashing import hash_list, hash_text
from rompy_hydra.jsonable import Json, canonical_json, json_text, plain, to_plain
from rompy_hydra.models.base import BaseConfig
from rompy_hydra.models.inputs import Input
from rompy_hydra.plugins.configured import ChosenBackend, ChosenProcessor
from rompy_hydra.postprocess.base import Results
from rompy_hydra.redaction import may_hide, redacted_mapping, without_secrets
from rompy_hydra.time_range import TimeRange
from rompy_hydra.workspace import Workspace
from rompy_hydra.workspace import record as rec
from rompy_hydra.workspace.lease import Snapshot
from rompy_hydra.workspace.record import RunRecord

if TYPE_CHECKING:
    from rompy_hydra.model_run import ModelRun


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
    seen: Snapshot | None = None
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


def config_data(config: object) -> dict[str, Json]:
    """A model configuration of any kind as plain data."""
    kind = type(config)
    target = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(config, BaseConfig):
        fields = config.model_dump(mode="json")
        return {"_target_": target, **(fields if _is_json(fields) else plain(fields))}
    data = to_plain(config if isinstance(config, BaseModel) else getattr(config, "__dict__", {}))
    assert isinstance(data, dict)
    return {"_target_": target, **plain({**data})}


def _is_json(value: object) -> bool:
    """Whether there is no number in it that JSON does not have; False may be wrong."""
    text = json_text(value)
    return "NaN" not in text and "Infinity" not in text
