"""What each stage does: generate, run, postprocess. A failure raises; the attempt writes it down."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from loguru import logger

from rompy_hydra.adapters import model
from rompy_hydra.core.plan import Task
from rompy_hydra.errors import (
    ConfigError,
    GenerateError,
    ModelFailed,
    ModelTimedOut,
    PostprocessError,
    RompyHydraError,
    RunError,
)
from rompy_hydra.jsonable import plain
from rompy_hydra.models.base import BaseConfig
from rompy_hydra.models.inputs import Input
from rompy_hydra.plugins.configured import ChosenBackend
from rompy_hydra.postprocess.base import normalise_answer
from rompy_hydra.provenance import collect_in_background
from rompy_hydra.run.base import Outcome, check_success, error_with_log
from rompy_hydra.run.local import LocalRunBackend
from rompy_hydra.workspace import EVERYTHING, METRICS, Workspace
from rompy_hydra.workspace import record as rec
from rompy_hydra.workspace.atomic import copy_atomic, link_atomic, write_atomic, write_new
from rompy_hydra.workspace.record import Clock, FileFact, file_fact

if TYPE_CHECKING:
    from rompy_hydra.core.attempt import Attempt
    from rompy_hydra.model_run import ModelRun


def generate(attempt: Attempt) -> None:
    """Write the input files, make the directories, and leave `run.sh`."""
    task, record, workspace = attempt.task, attempt.record, attempt.workspace
    if attempt.fresh and not attempt.made:
        record.found = list(workspace.names())
    if attempt.tells_of_run:
        # From here on a later driver takes an exit code for that of this attempt's model.
        if not attempt.made:
            workspace.forget_exit_code()
        record.stages["run"].key = task.run_key
    attempt.begin("generate", rec.GENERATING)
    config = task.model_run.config
    # Inputs of before that are none any more, as after a template was renamed.
    planned = {item.path for item in task.inputs}
    old = [fact for fact in record.inputs if fact.path not in planned and fact.is_intact(workspace)]
    workspace.remove_files([fact.path for fact in old])
    for item in task.inputs:
        _write(workspace, item)
    foreign_names: list[str] = []
    if isinstance(config, BaseConfig):
        for name in config.directories:
            os.makedirs(workspace.inside(name), exist_ok=True)
    elif model.is_foreign(config):
        before = _stamps(workspace)
        model.generate(config, task.model_run.run_id, task.model_run.period, workspace.path)
        foreign_names = [name for name, stamp in _stamps(workspace).items() if before.get(name) != stamp]
    # A plugin that knows nothing of this package may start the script as well.
    backend = (task.backend and task.backend.backend) or LocalRunBackend()
    attempt.job = backend.job(task.model_run, workspace, task.stop, attempt.report)
    record.inputs = input_facts(task)
    record.inputs += [file_fact(workspace, name) for name in foreign_names]
    logger.info("generated {} input files in {}", len(record.inputs), workspace.path)


def input_facts(task: Task) -> list[FileFact]:
    """The facts of the inputs that generating has left; a model may have deleted some since."""
    found = []
    for item in task.inputs:
        # What was rendered need not be read to be known.
        known = task.hashes[item.path] if item.content is not None else None
        with contextlib.suppress(FileNotFoundError):
            found.append(file_fact(task.workspace, item.path, known))
    return found


def _stamps(workspace: Workspace) -> dict[str, tuple[int, int, int]]:
    """What tells a file that was written from one that was there."""
    return {name: (s.st_ino, s.st_mtime_ns, s.st_size) for name, s in workspace.files()}


def _write(workspace: Workspace, item: Input) -> None:
    path = workspace.inside(item.path)
    try:
        if "/" in item.path:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        if item.content is not None:
            mode = 0o755 if item.executable else None
            if not write_new(path, item.content, mode):
                write_atomic(path, item.content, mode)
        else:
            assert item.source is not None
            (link_atomic if item.link else copy_atomic)(item.source, path)
    except OSError as error:
        raise GenerateError(
            f"cannot write the input {path}: {error.strerror}. Free space or mend the permissions, "
            "then run the same command again"
        ) from error


def run(attempt: Attempt) -> None:
    """Start the model, or take over one that runs, wait for its end, and judge what it left."""
    task, record, workspace = attempt.task, attempt.record, attempt.workspace
    chosen = task.backend
    assert chosen is not None
    config = task.model_run.config
    outcome = Outcome(0, 0.0)
    if getattr(config, "needs_execution", True):
        record.run_backend = chosen.stored
        if chosen.backend is not None:
            commands = chosen.backend.commands(config)
            record.commands = [c if isinstance(c, str) else list(c) for c in commands]
        if attempt.adopted is None:
            if not attempt.fresh:
                workspace.forget_exit_code()
            # With its key, so that a later driver can tell whether the model's result is its own.
            attempt.begin("run", rec.RUNNING, key=task.run_key, save=not attempt.tells_of_run)
        outcome = attempt.adopted or _execute(attempt, chosen)
        record.exit_code = outcome.exit_code
        record.resources = {
            "seconds": None if outcome.seconds is None else round(outcome.seconds, 4),
            "cpu_seconds": outcome.cpu_seconds,
            "peak_memory_bytes": outcome.peak_memory_bytes,
        }
        record.backend_facts |= dict(outcome.facts)
        after = "" if outcome.seconds is None else f" after {outcome.seconds:.2f} s"
        logger.info("the model ended with {}{}", outcome.exit_code, after)
    else:
        attempt.begin("run", rec.RUNNING)
        attempt.reasons["run"] = "the model needs no execution"
    record.state = record.stages["run"].state = rec.CHECKING
    task.watch(rec.CHECKING)
    names = list(workspace.names())
    if not names and not workspace.exists():
        raise ModelFailed(f"the model removed its own run directory {workspace.path}")
    known = {fact.path for fact in record.inputs} | set(record.found)
    wanted = workspace.meant_by(getattr(config, "outputs", (EVERYTHING,)))
    record.outputs = [file_fact(workspace, name) for name in names if name not in known and wanted(name)]
    record.checks = list(check_success(task.model_run, workspace, outcome))


def _execute(attempt: Attempt, chosen: ChosenBackend) -> Outcome:
    task, record, workspace = attempt.task, attempt.record, attempt.workspace
    if chosen.backend is None:
        return _plain(task.model_run, workspace, chosen)
    if not record.provenance:
        collect_in_background(task.origin.config_dir)  # while the model runs
    job = attempt.job or chosen.backend.job(task.model_run, workspace, task.stop, attempt.report)
    return chosen.backend.carry_out(job, task.model_run)


def _plain(model_run: ModelRun, workspace: Workspace, chosen: ChosenBackend) -> Outcome:
    clock = Clock()
    assert chosen.call is not None
    try:
        success = chosen.call(model_run, workspace.path)
    except RompyHydraError:
        raise
    except TimeoutError as error:
        raise error_with_log(ModelTimedOut, workspace, f"the run backend {chosen.name}: {error}") from error
    except Exception as error:
        raise RunError(f"the run backend {chosen.name} failed: {type(error).__name__}: {error}") from error
    if not isinstance(success, bool):
        raise RunError(
            f"the run backend {chosen.name} returned {success!r}, and not True or False, so "
            "that its success cannot be told"
        )
    if not success:
        raise error_with_log(ModelFailed, workspace, f"the run backend {chosen.name} reported a failure")
    return Outcome(0, clock())


def postprocess(attempt: Attempt) -> None:
    """Let each postprocessor work on the outputs; collect their numbers and the files that they made."""
    task, record, workspace = attempt.task, attempt.record, attempt.workspace
    # An earlier postprocessor's numbers are not this one's.
    if any(fact.path == METRICS for fact in record.products):
        workspace.metrics.unlink(missing_ok=True)
    record.metrics, record.products = {}, []
    # What takes no time is written down with its end.
    instant = all(processor.instant for processor in task.processors)
    attempt.begin("postprocess", rec.POSTPROCESSING, save=not instant)
    for processor in task.processors:
        try:
            results = normalise_answer(processor.name, processor.process(task.model_run))
        except (PostprocessError, ConfigError):
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
            metrics = {str(key): value for key, value in found.items()}
            record.metrics |= plain(metrics, constant=lambda _nan: None)
    if attempt.fresh and instant:
        return  # nothing in the directory has changed
    if record.metrics:
        write_atomic(workspace.metrics, json.dumps(record.metrics, indent=2) + "\n")
    # A postprocessor may have changed or compressed the outputs: the model need not run again for that.
    outputs = [fact for fact in record.outputs if (workspace.path / fact.path).is_file()]
    record.outputs = [f if f.is_intact(workspace) else file_fact(workspace, f.path) for f in outputs]
    known = {fact.path for fact in (*record.inputs, *record.outputs)}.union(record.found)
    record.products = [file_fact(workspace, name) for name in workspace.names() if name not in known]
