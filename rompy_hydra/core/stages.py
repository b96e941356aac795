"""What each stage does: generate, run, postprocess. A failure raises; the attempt records it."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping

from loguru import logger

from rompy_hydra.core.attempt import Attempt, Stamp, stamp_of
from rompy_hydra.errors import ConfigError, GenerateError, ModelFailed, PostprocessError
from rompy_hydra.hashing import remember_hashes
from rompy_hydra.jsonable import Json, plain, python_scalar
from rompy_hydra.models.inputs import Input
from rompy_hydra.postprocess.base import normalise_answer
from rompy_hydra.provenance import collect_in_background
from rompy_hydra.redaction import holds_secret, may_appear
from rompy_hydra.run.base import Handle, Outcome
from rompy_hydra.run.handle import Waiting, outcome_of
from rompy_hydra.run.local import LocalRunBackend
from rompy_hydra.run.outcome import Ended, check_success
from rompy_hydra.transfer.urls import fetch
from rompy_hydra.workspace import EVERYTHING, METRICS, SCRIPT, Workspace
from rompy_hydra.workspace import record as rec
from rompy_hydra.workspace.atomic import copy_atomic, link_atomic, write_atomic, write_new
from rompy_hydra.workspace.record import file_fact


def generate(attempt: Attempt) -> None:
    """Write the input files, make the directories, and leave `run.sh`."""
    plan, record, workspace = attempt.plan, attempt.record, attempt.workspace
    if attempt.fresh and not attempt.made:
        record.found = list(workspace.names())
    attempt.begin("generate", rec.GENERATING)
    # Inputs of before that the plan no longer has, as after a template was renamed.
    planned = {item.path for item in plan.inputs}
    old = [fact for fact in record.inputs if fact.path not in planned and fact.is_intact(workspace)]
    workspace.remove_files([fact.path for fact in old])
    record.remote = dict(plan.remote or {})
    for item in plan.inputs:
        _write(workspace, item, record.remote.get(item.path, ""))
    for name in plan.model.directories:
        workspace.inside(name)
        workspace.make_directories(os.path.normpath(name))
    by_the_model: list[str] = []
    if plan.model.renders_itself:
        before = _stamps(workspace)
        plan.model.render_into(plan.facts)
        by_the_model = [name for name, stamp in _stamps(workspace).items() if before.get(name) != stamp]
    # A plugin that knows nothing of this package may start the script as well.
    backend = plan.backend or LocalRunBackend()
    attempt.job = backend.job(
        plan.spec, plan.model, workspace, attempt.stop, attempt.report, attempt.check_lease
    )
    record.inputs = [
        # What was rendered need not be read for its hash.
        file_fact(workspace, item.path, plan.hashes[item.path])
        if item.content is not None
        else file_fact(workspace, item.path, follow=True)
        for item in plan.inputs
    ]
    record.inputs += [file_fact(workspace, name, follow=True) for name in by_the_model]
    remember_hashes()
    logger.info("generated {} input files in {}", len(record.inputs), workspace.path)


def run(attempt: Attempt) -> Waiting[None]:
    """Start the model, or take a re-attached one; wait for it to end, and check what it left."""
    plan, record, workspace = attempt.plan, attempt.record, attempt.workspace
    outcome = Outcome(0, 0.0)
    if plan.executes:
        outcome = yield from _executed(attempt)
        attempt.check_lease()
        record.exit_code = outcome.exit_code
        record.resources = {
            "seconds": None if outcome.seconds is None else round(outcome.seconds, 4),
            "cpu_seconds": outcome.cpu_seconds,
            "peak_memory_bytes": outcome.peak_memory_bytes,
        }
        record.backend_facts |= dict(outcome.facts)
        after = "" if outcome.seconds is None else f" after {outcome.seconds:.2f} s"
        logger.info("the model exited with {}{}", outcome.exit_code, after)
    else:
        attempt.begin("run", rec.RUNNING)
        attempt.stale["run"] = "the model needs no execution"
    attempt.enter("run", rec.CHECKING)
    written = _record_outputs(attempt)
    backend = plan.backend
    inputs = {fact.path: fact for fact in record.inputs}
    ended = Ended(
        backend.commands(plan.model) if backend else (),
        plan.spec.period,
        _written(attempt, written),
        executed=plan.executes,
        # A model without execution has no results but its inputs.
        is_input=lambda name: plan.executes and name in inputs and inputs[name].is_untouched(workspace),
    )
    record.checks = list(check_success(plan.model, workspace, outcome, ended))
    record.checks += _unmatched_outputs(attempt, written)
    for message in record.warnings:
        logger.warning("{}", message)


def _record_outputs(attempt: Attempt) -> list[str]:
    """Record the outputs in the run directory; all files that the model wrote there."""
    plan, record, workspace = attempt.plan, attempt.record, attempt.workspace
    names = list(workspace.names())
    if not names and not workspace.exists():
        raise ModelFailed(f"the model removed its own run directory {workspace.path}")
    for name, stamp in attempt.added.items():
        if name in names and stamp_of(os.lstat(workspace.at(name))) != stamp:
            record.found.remove(name)  # an earlier output of the model, such as one of a start by hand
    known = {fact.path for fact in record.inputs} | set(record.found)
    wanted = workspace.meant_by(plan.model.outputs)
    written = [name for name in names if name not in known]
    record.outputs = [file_fact(workspace, name) for name in written if wanted(name)]
    return written


def take_over(attempt: Attempt, stage: str) -> None:
    """Record a stage that a pipeline did by itself, with the files that it left in the run directory.

    ModelFailed if a success check that the model declares does not hold there. What is never right is
    not searched for: the outputs may be elsewhere.
    """
    plan, record, workspace = attempt.plan, attempt.record, attempt.workspace
    attempt.begin(stage, rec.RUNNING, save=False)
    if stage == "run":
        _record_outputs(attempt)
        if getattr(plan.model.success, "declares_checks", False) and plan.model.needs_execution:
            ended = Ended((), plan.spec.period)
            record.checks = list(check_success(plan.model, workspace, Outcome(0, None), ended))
    elif stage == "postprocess":
        known = {fact.path for fact in (*record.inputs, *record.outputs)}.union(record.found)
        record.products = [file_fact(workspace, name) for name in workspace.names() if name not in known]


def _written(attempt: Attempt, names: list[str]) -> list[str] | None:
    """The files that the model wrote, including those that it changed; None if they are elsewhere."""
    record, backend = attempt.record, attempt.plan.backend
    if names:
        return names
    if backend is not None and backend.working_dir() is not None:
        return None
    changed = [fact.path for fact in record.inputs if not fact.is_intact(attempt.workspace)]
    # Whether the files that were there before have changed is not known.
    return changed or record.found


def _unmatched_outputs(attempt: Attempt, written: list[str]) -> list[dict[str, Json]]:
    """A warning for each glob of `outputs` that selects nothing: it may be misspelled."""
    model, workspace = attempt.plan.model, attempt.workspace
    found: list[dict[str, Json]] = []
    for glob in model.outputs if attempt.plan.executes else ():
        if glob != EVERYTHING and not any(map(workspace.meant_by([glob]), written)):
            message = f"the model wrote nothing that matches '{glob}' (model.outputs)"
            found.append(
                {"check": "outputs", "target": glob, "ok": True, "message": message, "warning": True}
            )
    return found


def _executed(attempt: Attempt) -> Waiting[Outcome]:
    """The outcome of the model."""
    plan, record, workspace = attempt.plan, attempt.record, attempt.workspace
    backend = plan.backend
    assert backend is not None
    record.run_backend = backend.redacted
    record.commands = [c if isinstance(c, str) else list(c) for c in backend.commands(plan.model)]
    started = attempt.recovered
    if started is None:
        # With its key, by which a later driver knows whether the model's result is its own.
        attempt.begin("run", rec.QUEUED if backend.submits else rec.RUNNING, key=plan.key("run"))
        if not record.provenance:
            collect_in_background(plan.origin.config_dir)  # while the model runs
        job = attempt.job or backend.job(
            plan.spec, plan.model, workspace, attempt.stop, attempt.report, attempt.check_lease
        )
        started = backend.start(job)
        if isinstance(started, Handle):
            attempt.report(started.facts)
    if isinstance(started, Outcome):
        return started
    return (yield from outcome_of(started, lambda: attempt.enter("run", rec.RUNNING, save=True)))


def postprocess(attempt: Attempt) -> None:
    """Run each postprocessor on the outputs; collect its metrics and the files that it made."""
    plan, record, workspace = attempt.plan, attempt.record, attempt.workspace
    # An earlier postprocessor's metrics are not this one's.
    if any(fact.path == METRICS for fact in record.products):
        workspace.metrics.unlink(missing_ok=True)
    record.metrics, record.products, record.messages = {}, [], []
    # A stage that takes no time is recorded with its end.
    instant = all(processor.instant for processor in plan.processors)
    attempt.begin("postprocess", rec.POSTPROCESSING, save=not instant)
    for processor in plan.processors:
        name = processor.plugin_name
        try:
            results = normalise_answer(name, processor.process(plan.spec))
        except (PostprocessError, ConfigError):
            raise
        except Exception as error:
            raise PostprocessError(
                f"the postprocessor {name} failed: {type(error).__name__}: {error}"
            ) from error
        record.answers.append(results)
        if not results["success"]:
            raise PostprocessError(f"the postprocessor {name} failed: {results['message']}")
        if not processor.instant:
            record.messages.append({"processor": name, "message": str(results["message"])})
        record.metrics |= _metrics(name, results.get("metrics"))
    if attempt.fresh and instant:
        return  # nothing in the directory has changed
    if record.metrics:
        write_atomic(workspace.metrics, json.dumps(record.metrics, indent=2) + "\n")
    # A postprocessor may have changed or compressed the outputs: the model need not run again for that.
    outputs = [fact for fact in record.outputs if os.path.lexists(workspace.at(fact.path))]
    record.outputs = [f if f.is_intact(workspace) else file_fact(workspace, f.path) for f in outputs]
    known = {fact.path for fact in (*record.inputs, *record.outputs)}.union(record.found)
    record.products = [file_fact(workspace, name) for name in workspace.names() if name not in known]


def _metrics(processor: str, found: object) -> dict[str, Json]:
    """The metrics in a postprocessor's result; PostprocessError if they have no form on disk."""
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise PostprocessError(
            f"the postprocessor {processor} returned metrics {found!r}: they must be numbers by name"
        )
    for key, value in found.items():
        if not isinstance(python_scalar(value), int | float | str | list | tuple | dict | None):
            kind = type(value).__name__
            raise PostprocessError(
                f"the postprocessor {processor} returned the metric '{key}' as {kind}: it must be a number"
            )
    return plain({str(key): value for key, value in found.items()}, constant=lambda _nan: None)


# A stage that may have to wait is a generator, see `run.handle`.
STAGES: Mapping[str, Callable[[Attempt], Waiting[None] | None]] = {
    "generate": generate,
    "run": run,
    "postprocess": postprocess,
}


def _write(workspace: Workspace, item: Input, facts: str) -> None:
    path = workspace.inside(item.path)
    try:
        if "/" in item.path:
            workspace.make_directories(os.path.dirname(item.path))
        if item.url:
            fetch(item.url, path, item.checksum, facts)
        elif item.content is not None:
            mode = 0o755 if item.executable else None
            if may_appear() and holds_secret(item.content.decode(errors="replace")):
                mode = 0o700 if item.executable else 0o600
            if not write_new(path, item.content, mode):
                write_atomic(path, item.content, mode)
        else:
            assert item.source is not None
            (link_atomic if item.link else copy_atomic)(item.source, path)
    except OSError as error:
        raise GenerateError(
            f"cannot write the input {path}: {error.strerror}. Free space or fix the permissions, "
            "then rerun the command"
        ) from error


def _stamps(workspace: Workspace) -> dict[str, Stamp]:
    files = dict(workspace.files())
    # The model may have a `run.sh` of its own; the engine's is not written yet.
    with contextlib.suppress(FileNotFoundError):
        files[SCRIPT] = os.lstat(workspace.at(SCRIPT))
    return {name: stamp_of(facts) for name, facts in files.items()}
