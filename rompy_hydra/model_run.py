"""The public face of one run: generate, run, postprocess, pipeline."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from loguru import logger
from pydantic import PrivateAttr, field_validator

from rompy_hydra.adapters.model import resolve_model, typed_config
from rompy_hydra.adapters.pipeline import resolve_pipeline
from rompy_hydra.adapters.resolve import resolve_backend, resolve_processors
from rompy_hydra.adapters.rompy import run_fields
from rompy_hydra.core import scope
from rompy_hydra.core.attempt import record_of
from rompy_hydra.core.execute import busy, steps
from rompy_hydra.core.plan import RunPlan
from rompy_hydra.core.spec import RunSpec
from rompy_hydra.errors import (
    ConfigError,
    GenerateError,
    ModelRaised,
    ModelTimedOut,
    PostprocessError,
    RompyHydraError,
)
from rompy_hydra.plugins import log as plugin_log
from rompy_hydra.postprocess.base import BasePostprocessor, Results, merge_results, normalise_answer
from rompy_hydra.run.base import BaseRunBackend
from rompy_hydra.run.handle import Waiting, drive
from rompy_hydra.run.job import RunLike, check_workspace_dir
from rompy_hydra.workspace import Workspace, lease
from rompy_hydra.workspace.archive import zip_directory
from rompy_hydra.workspace.record import RunRecord

T = TypeVar("T")


class ModelRun(RunSpec):
    """One run of one model configuration, in the directory `output_dir/run_id`.

    >>> run = ModelRun(run_id="shoal", output_dir="runs")
    >>> run.workspace.path.name
    'shoal'
    """

    # Whether the present call may overwrite, and whether an earlier one has done so.
    _overwriting: bool = PrivateAttr(default=False)
    _overwrote: bool = PrivateAttr(default=False)

    @field_validator("config", mode="before")
    @classmethod
    def _typed(cls, value: object) -> object:
        return typed_config(value)

    def generate(self, *, overwrite: bool = False) -> str:
        """Make the workspace: input files and `run.sh`. Returns its path.

        `overwrite` moves an earlier run in the directory aside. Raises GenerateError if a file cannot be
        made, ConfigError if the directory holds another run. What a model configuration of another
        package raises comes as it is, as in rompy, with a GenerateError as its cause.
        """
        # A plugin may call this while a stage of this run calls the plugin.
        if not scope.is_executing(self.workspace):
            try:
                with self._overwriting_if(overwrite):
                    self.perform(self._plan("generate"), steps)
            except ModelRaised as error:
                raised, error.__cause__ = error.__cause__, None
                assert raised is not None
                raise raised from error
        return self.workspace.root

    def __call__(self) -> str:
        """`generate`, as in rompy."""
        return self.generate()

    def zip(self) -> Path:
        """Write the run directory into a zip file beside it, and return its path.

        The directory stays as it is, and an earlier zip file is renamed. GenerateError if there is
        nothing to zip, or if it cannot be written; Busy if a driver works on the run.
        """
        workspace = self.workspace
        if not workspace.is_taken():
            raise GenerateError(f"nothing to zip in {workspace.path}; call generate() first")
        if owner := lease.holder(workspace, lease.latest(workspace)):
            raise busy(workspace, owner)
        record = RunRecord.load(workspace)
        inputs = [fact.path for fact in record.inputs if fact.is_intact(workspace)] if record else []
        return zip_directory(workspace, inputs)

    def run(
        self,
        backend: object = "local",
        workspace_dir: str | Path | None = None,
        *,
        overwrite: bool = False,
        **settings: object,
    ) -> bool:
        """Run the model with a backend: its name with its settings, a config object, or a backend.

        True if the model succeeded, with the checks that its configuration declares. Generates first
        if that was not done; `overwrite` moves an earlier run in the directory aside before. Raises
        PluginError or ConfigError for a backend that cannot be chosen, TimeoutError if the model's time
        limit was reached.
        """
        check_workspace_dir(workspace_dir)
        resolved = resolve_backend(backend, settings)
        if workspace_dir is not None and Workspace(workspace_dir).path != self.workspace.path:
            if overwrite:
                raise ConfigError("overwrite goes with the run's own directory, not with workspace_dir")
            # In a workspace that somebody else made; its facts are theirs, so nothing is recorded.
            return resolved.run(self, None, Path(workspace_dir))
        try:
            with self._overwriting_if(overwrite):
                self.perform(self._plan("generate", "run", backend=resolved), steps)
        except ModelTimedOut as error:
            logger.error("{}", error)
            raise
        except ConfigError:
            raise
        except RompyHydraError as error:
            logger.error("{}", error)
            return False
        return True

    def postprocess(self, processor: object = "noop", **settings: object) -> Results:
        """Process the outputs: a dict with at least `success` and `message`.

        `processor` is a name, a postprocessor, or a list of them, done in order; `settings` go to
        each. Raises PluginError or ConfigError for a postprocessor that cannot be chosen.
        """
        processors = resolve_processors(processor, settings)
        if RunRecord.load(self.workspace) is None:
            # Nothing was done here yet, so there is nothing to record either.
            return merge_results([normalise_answer(p.plugin_name, p.process(self)) for p in processors])
        try:
            plan = self._plan("postprocess", processors=processors)
            answers = self.perform(plan, steps).answers
        except PostprocessError as error:
            failed = record_of(error)
            answers = failed.answers if failed else []
            if not answers or answers[-1]["success"]:
                text = str(error)
                answers = [
                    *answers,
                    {"success": False, "message": text, "error": text, "run_id": self.run_id},
                ]
        return merge_results(answers)

    def pipeline(
        self, pipeline_backend: object = "local", *, overwrite: bool = False, **settings: object
    ) -> Results:
        """Generate, run and postprocess with a pipeline backend; its results as a dict.

        `overwrite` moves an earlier run in the directory aside.
        """
        pipeline = resolve_pipeline(pipeline_backend, settings)
        with self._overwriting_if(overwrite):
            plan = RunPlan(
                self,
                resolve_model(self.config, self.success),
                pipeline.stages_of(),
                overwrite=self._overwrites(),
                pipeline_key=pipeline.result_key,
            )
            return pipeline.call(plan)

    def perform(self, plan: RunPlan, carry_out: Callable[..., Waiting[T]]) -> T:
        """Carry out stages of this run; what `generate`, `run`, `postprocess` and pipelines use.

        Inside of a composed pipeline they are steps of its plan.
        """
        overwrites = "generate" in plan.stages and self._overwrites()
        if overwrites:
            plan = replace(plan, overwrite=True)
        outer = scope.current()
        try:
            with plugin_log.forwarded():
                if outer is None:
                    found = drive(carry_out(plan))
                else:
                    found = drive(carry_out(outer.extend(plan), stop=outer.stop, watch=outer.watch))
        except BaseException as error:
            if overwrites and record_of(error) is not None:
                self._overwriting, self._overwrote = False, True
            raise
        if overwrites:
            self._overwriting, self._overwrote = False, True
        return found

    def _overwrites(self) -> bool:
        """Whether what is done next moves an earlier run aside: once for all calls, or for this one."""
        return self._overwriting or ((self.overwrite or self.delete_existing) and not self._overwrote)

    @contextlib.contextmanager
    def _overwriting_if(self, overwrite: object) -> Iterator[None]:
        if not isinstance(overwrite, bool):
            raise ConfigError(f"overwrite must be True or False, not {overwrite!r}")
        before, self._overwriting = self._overwriting, overwrite or self._overwriting
        try:
            yield
        finally:
            self._overwriting = before and self._overwriting

    def _plan(
        self,
        *stages: str,
        backend: BaseRunBackend | None = None,
        processors: tuple[BasePostprocessor, ...] = (),
    ) -> RunPlan:
        """A single method does what it says, whatever was done before and with which backend."""
        model = resolve_model(self.config, self.success)
        return RunPlan(self, model, stages, backend, processors, rerun=True, any_backend=True)


def own_run(model_run: RunLike) -> ModelRun:
    """A `ModelRun` of this package for one of rompy's: the same run, in the same directory."""
    return model_run if isinstance(model_run, ModelRun) else ModelRun.model_validate(run_fields(model_run))
