"""Which run: its name, its period, its directory and its model configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from loguru import logger
from pydantic import PrivateAttr

from rompy_hydra.adapters.pipeline import chosen_pipeline
from rompy_hydra.adapters.resolve import chosen_backend, chosen_processors
from rompy_hydra.core.execute import perform
from rompy_hydra.core.plan import Task
from rompy_hydra.core.spec import RunSpec
from rompy_hydra.errors import ConfigError, ModelTimedOut, PostprocessError, RompyHydraError
from rompy_hydra.plugins.configured import ChosenBackend
from rompy_hydra.postprocess.base import Results, merge_results, normalise_answer
from rompy_hydra.run.base import RunLike
from rompy_hydra.time_range import TimeRange
from rompy_hydra.workspace import Workspace
from rompy_hydra.workspace.record import RunRecord


class ModelRun(RunSpec):
    """One run of one model configuration, in the directory `output_dir/run_id`.

    >>> run = ModelRun(run_id="shoal", output_dir="runs")
    >>> run.workspace.path.name
    'shoal'
    """

    # Set while a stage works on this run, so that a plugin's own call of `generate` does not nest.
    _busy: bool = PrivateAttr(default=False)
    # The composed task to which the verbs belong that a pipeline plugin calls.
    _within: Task | None = PrivateAttr(default=None)

    def generate(self) -> str:
        """Make the workspace: input files and `run.sh`. Returns its path.

        Raises GenerateError if a file cannot be made, ConfigError if the directory holds another run.
        """
        if not self._busy:
            self.perform(Task(self, ("generate",), imperative=True))
        return self.workspace.root

    def run(
        self,
        backend: object = "local",
        workspace_dir: str | Path | None = None,
        **settings: object,
    ) -> bool:
        """Run the model with a backend: its name with its settings, a config object, or a backend.

        True if the model succeeded, with the checks that its configuration declares. Generates first
        if that was not done. Raises PluginError or ConfigError for a backend that cannot be chosen,
        TimeoutError if the model's time was up.
        """
        chosen = chosen_backend(backend, settings)
        if workspace_dir is not None and Workspace(workspace_dir).path != self.workspace.path:
            return self._run_elsewhere(chosen, Path(workspace_dir))
        try:
            self.perform(Task(self, ("generate", "run"), backend=chosen, imperative=True))
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
        chosen = chosen_processors(
            processor if isinstance(processor, list | tuple) else [processor], settings
        )
        if RunRecord.load(self.workspace) is None:
            # Nothing was done here yet, so there is nothing to write down either.
            answers = [normalise_answer(each.name, each.process(self)) for each in chosen]
            return merge_results(answers)
        task = Task(self, ("postprocess",), processors=chosen, imperative=True)
        try:
            self.perform(task)
        except PostprocessError as error:
            if not task.progress.answers or task.progress.answers[-1]["success"]:
                failed = {"success": False, "message": str(error), "error": str(error)}
                task.progress.answers.append({**failed, "run_id": self.run_id})
        return merge_results(task.progress.answers)

    def pipeline(self, pipeline_backend: object = "local", **settings: object) -> Results:
        """Generate, run and postprocess with a pipeline backend; its results as a dict."""
        return chosen_pipeline(pipeline_backend, settings).execute(self, {})

    @contextlib.contextmanager
    def within(self, task: Task) -> Iterator[None]:
        """A context in which the verbs belong to `task`: for a plugin that calls them one by one."""
        self._within = task
        try:
            yield
        finally:
            self._within = None

    def perform(self, task: Task) -> RunRecord:
        """Carry out stages of this run; what `generate`, `run`, `postprocess` and pipelines stand on."""
        if self._within is not None:
            task = task.within(self._within)
            # What was there before is moved aside once, and not what this very task makes.
            self._within = replace(self._within, overwrite=False)
        self._busy = True
        try:
            return perform(task)
        finally:
            self._busy = False

    def _run_elsewhere(self, chosen: ChosenBackend, workspace: Path) -> bool:
        """Run in a workspace that somebody else made; its facts are theirs, so nothing is recorded."""
        if chosen.backend is not None:
            return chosen.backend.run(self, None, workspace)
        assert chosen.call is not None
        return chosen.call(self, workspace) is True


def own_run(model_run: RunLike) -> ModelRun:
    """A `ModelRun` of this package for one of rompy's: the same run, in the same directory."""
    if isinstance(model_run, ModelRun):
        return model_run
    directory = Path(model_run.output_dir) / model_run.run_id
    if not getattr(model_run, "run_id_subdir", True):
        directory = Path(model_run.output_dir)
    given: dict[str, object] = {}
    period: object = getattr(model_run, "period", None)
    if period is not None:
        parts = {name: getattr(period, name, None) for name in ("start", "end", "interval")}
        given["period"] = TimeRange.model_validate({k: v for k, v in parts.items() if v is not None})
    return ModelRun.model_validate(
        {"run_id": directory.name, "output_dir": directory.parent, "config": model_run.config, **given}
    )
