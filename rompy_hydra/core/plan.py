"""What is asked for: one run, its stages, its backend and postprocessors, and the key of each stage."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rompy_hydra.core.inputs import content_hash, rendered_inputs
from rompy_hydra.core.spec import RunSpec
from rompy_hydra.hashing import hash_list, hash_text
from rompy_hydra.jsonable import Json, canonical_json
from rompy_hydra.models.base import BaseConfig
from rompy_hydra.models.checks import EXTRA
from rompy_hydra.models.inputs import Input, RunFacts
from rompy_hydra.models.success import can_read_netcdf
from rompy_hydra.postprocess.base import BasePostprocessor
from rompy_hydra.redaction import may_hide, redacted, without_secrets
from rompy_hydra.run.base import BaseRunBackend
from rompy_hydra.run.programs import loses_exit_code
from rompy_hydra.time_range import TimeRange
from rompy_hydra.workspace import Workspace
from rompy_hydra.workspace.record import STAGES


@dataclass(frozen=True)
class Origin:
    """Where a run comes from: the overrides that made it, and the directory of its configs."""

    overrides: tuple[str, ...] = ()
    config_dir: Path = field(default_factory=Path.cwd)
    # The values that the overrides set: the columns of a table of results.
    parameters: Mapping[str, Json] = field(default_factory=dict)
    # What a person should know of the configuration, although nothing is wrong.
    cautions: tuple[str, ...] = ()
    # The composed configuration by file name, written below `.hydra/` when the run begins.
    composed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class RunPlan:
    """What to do with one run. Its rendered inputs and keys are computed once, when they are needed."""

    spec: RunSpec
    # `spec.config`, as a type of this package.
    model: BaseConfig
    stages: tuple[str, ...] = STAGES
    backend: BaseRunBackend | None = None
    processors: tuple[BasePostprocessor, ...] = ()
    origin: Origin = field(default_factory=Origin)
    overwrite: bool = False
    # Run and postprocess again even if they are done and unchanged.
    rerun: bool = False
    # The run backend is not part of the identity: each call of the Python API may choose another one.
    any_backend: bool = False
    # Identifies the pipeline plugin and its settings; '' for pipelines of which no result depends.
    pipeline_key: str = ""
    # The period in the record of a run whose model does not depend on it: version 0.1.0 made it part of
    # every identity.
    recorded_period: Json = None
    # What servers say of the inputs that are fetched from them without a checksum, by path. None: they
    # were not asked, and what the record has of them is assumed to hold.
    remote: Mapping[str, str] | None = None

    @functools.cached_property
    def workspace(self) -> Workspace:
        return self.spec.workspace

    @property
    def facts(self) -> RunFacts:
        """What a template knows about the run."""
        period = self.spec.period if self.model.depends_on_period else None
        return RunFacts(self.spec.run_id, period, self.workspace.root)

    @functools.cached_property
    def inputs(self) -> tuple[Input, ...]:
        """Every file that generating will write, rendered in memory; GenerateError if it cannot be."""
        return rendered_inputs(self.model, self.facts, self.workspace)

    @functools.cached_property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of what each input will be, by its path."""
        return {
            item.path: content_hash(item, (self.remote or {}).get(item.path, "")) for item in self.inputs
        }

    @functools.cached_property
    def model_data(self) -> dict[str, Json]:
        return self.model.plain_data()

    @functools.cached_property
    def _model_text(self) -> str:
        return canonical_json(self.model_data)

    @functools.cached_property
    def _hides(self) -> bool:
        return may_hide(self._model_text)

    @functools.cached_property
    def identity(self) -> dict[str, str]:
        """Hashes of what distinguishes this run from every other one."""
        backend = self.backend.result_hash if self.backend and not self.any_backend else ""
        model = canonical_json(without_secrets(self.model_data)) if self._hides else self._model_text
        if self.model.depends_on_period:
            period = _period_text(self.spec.period)
        else:
            period = canonical_json(self.recorded_period)
        text = f'{{"model":{model},"period":{period}}}'
        return {"model": hash_text(text), "run_backend": backend}

    def key(self, stage: str, run_key: str | None = None) -> str:
        """A hash of everything that the result of a stage depends on.

        `run_key` is the present key of the run stage where the caller knows it.
        """
        if stage == "generate":
            return self._generate_key
        if stage == "run":
            return self._run_key if self.backend else ""
        before = (run_key or self._run_key) if self.backend else self._generate_key
        return hash_list(before, [processor.settings_hash for processor in self.processors])

    @functools.cached_property
    def _generate_key(self) -> str:
        files: list[Json] = [[i.path, self.hashes[i.path], i.link, i.executable] for i in self.inputs]
        return hash_list(self.identity["model"], self.spec.run_id, files)

    @property
    def _run_key(self) -> str:
        # Not cached: an image that had only a name may have been pulled or built meanwhile.
        assert self.backend is not None
        return hash_list(
            self._generate_key, self.backend.result_hash, *self.backend.execution_key(self.model)
        )

    @property
    def executes(self) -> bool:
        """Whether there is something to run: a command that is given, or what the model needs."""
        return self.model.needs_execution or (self.backend is not None and self.backend.has_command)

    @property
    def cautions(self) -> tuple[str, ...]:
        """What a person should know before the run, although nothing is wrong."""
        found = [*self.origin.cautions]
        if "run" not in self.stages or not self.executes:
            return tuple(found)
        if getattr(self.model.success, "is_default", False):
            missing = (
                "" if can_read_netcdf() else f" (netCDF outputs only with xarray and netCDF4: {EXTRA})"
            )
            found.append(
                f"the model ({self.model.kind}) declares no success checks (model.success): only its exit "
                f"code and what is never right are checked{missing}"
            )
        commands = self.backend.commands(self.model) if self.backend else ()
        for number, command in enumerate(commands, start=1):
            if loses_exit_code(command):
                found.append(
                    f"command {number} is a pipeline, and only the exit code of its last program counts: "
                    "redirect the output to a file instead, or use [bash, -o, pipefail, -c, ...]"
                )
        return tuple(found)

    @property
    def commands(self) -> list[str]:
        """The commands that would be executed, as a shell takes them."""
        if not self.backend or "run" not in self.stages or not self.executes:
            return []
        commands = self.backend.commands(self.model)
        return [each if isinstance(each, str) else shlex.join(each) for each in commands]

    @property
    def exposures(self) -> list[str]:
        """What the commands are not kept away from; see `BaseRunBackend.exposures`."""
        return self.backend.exposures(self.model) if self.backend and self.commands else []

    def stored_config(self) -> dict[str, Json]:
        """The resolved configuration, as the record keeps it."""
        data: dict[str, Json] = {
            "run_id": self.spec.run_id,
            "output_dir": str(self.spec.output_dir),
            "model": redacted(self.model_data) if self._hides else self.model_data,
        }
        if self.model.depends_on_period:
            data["period"] = self.spec.period.plain_data()
        if self.backend:
            data["run_backend"] = self.backend.redacted
        if self.processors:
            data["processor"] = [processor.redacted for processor in self.processors]
        return data

    def config_hash(self) -> str:
        """A hash of what is run, leaving out where it is put."""
        backend = self.backend.settings_hash if self.backend else ""
        processors: list[Json] = [processor.settings_hash for processor in self.processors]
        return hash_list(self.identity["model"], backend, processors)


# The runs of a sweep share their period.
@functools.lru_cache(maxsize=64)
def _period_text(period: TimeRange) -> str:
    return canonical_json(period.plain_data())
