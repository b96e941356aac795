"""What a driver that died left of a run: its model is taken over, or ended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from loguru import logger

from rompy_hydra import process
from rompy_hydra.core import stages
from rompy_hydra.core.plan import Task
from rompy_hydra.errors import PluginError, RunLost
from rompy_hydra.jsonable import Json
from rompy_hydra.models.base import BaseConfig
from rompy_hydra.plugins import registry
from rompy_hydra.run.base import BaseRunBackend, Outcome
from rompy_hydra.workspace import record as rec
from rompy_hydra.workspace.record import RunRecord

if TYPE_CHECKING:
    from rompy_hydra.core.attempt import Attempt


def recovery_outlook(task: Task, record: RunRecord, reasons: Mapping[str, str]) -> str:
    """What is to be said of a lost run whose model is not started again; '' if it is, as far as is seen.

    It is a look at this machine and the run directory: a container that still runs is not asked for.
    """
    stage = record.stages["run"]
    if "run" not in reasons:
        return "its model has ended: the rest is done" if stage.state == rec.COMPLETED else ""
    backend = task.backend.backend if task.backend else None
    started = stage.state == rec.RUNNING if "generate" not in reasons else tells_of_run(task, reasons)
    if backend is None or not started or stage.key != task.run_key:
        return ""
    if task.workspace.exit_code() is not None:
        return "its model has ended: its results are taken"
    pid = record.backend_facts.get("pid")
    if process.find_leader(task.workspace.root, pid if isinstance(pid, int) else None):
        return "its model still runs: it is waited for"
    return ""


def tells_of_run(task: Task, reasons: Mapping[str, str]) -> bool:
    """Whether the record of generating tells as well what is started after it, by its key.

    So it need not be written again when a model starts whose backend reports at once: that
    writes it, together with what was started, and not at all for a model that is over by then.
    """
    backend = task.backend.backend if task.backend else None
    both = "generate" in reasons and "run" in reasons
    return both and backend is not None and backend.reports_at_once


def adopt_or_end(attempt: Attempt) -> Outcome | None:
    """Deal with a model that a dead driver left: take its result, wait for it, or else end it."""
    record, task, workspace = attempt.record, attempt.task, attempt.workspace
    backend = task.backend.backend if task.backend else None
    # Lost by a driver that died, or by one that lost sight of its model.
    lost = not record.ended or (record.error or {}).get("type") == RunLost.__name__
    adopted = started = None
    if (
        backend is not None
        and lost
        and _may_have_started(attempt)
        and record.stages["run"].key == task.run_key
    ):
        logger.info("looking for the model that an earlier driver started")
        task.watch(rec.RUNNING)
        job = backend.job(task.model_run, workspace, task.stop, reported=record.backend_facts)
        started = record.stages["run"].started
        attempt.ran_before = _between(started, time.time())
        adopted = backend.adopt(job)
    if adopted is not None:
        if adopted.seconds is None:
            adopted = replace(adopted, seconds=_between(started, workspace.ended_at()))
        attempt.ran_before = adopted.seconds
        record.error = None
        if "generate" in attempt.reasons:
            _was_generated(attempt)
        logger.info("took over the model that an earlier driver started")
        return adopted
    attempt.ran_before = 0.0
    if process.end_tree(None, workspace.root, grace=5.0):
        logger.warning("ended what an earlier driver left running")
    if lost:
        old = _backend_named(record.run_backend.get("name"))
        if backend is not None:
            backend.clean_up(workspace)
        if old is not None and not isinstance(backend, old):
            old().clean_up(workspace)
    return None


def _between(started: str | None, end: float | None) -> float | None:
    """Seconds from a time in a record to `end`; None if one is not known, or their clocks disagree."""
    if started is None or end is None:
        return None
    seconds = end - datetime.fromisoformat(started).timestamp()
    return seconds if seconds >= 0 else None


def _may_have_started(attempt: Attempt) -> bool:
    """Whether the model of a lost attempt may have been started, with the inputs of this task."""
    record = attempt.record
    if "generate" not in attempt.reasons:
        return record.ended or record.stages["run"].state == rec.RUNNING
    # Its start was not written down. The key, which tells of the inputs too, is compared in any case.
    whole = isinstance(attempt.task.model_run.config, BaseConfig)
    return whole and record.state == rec.GENERATING and attempt.tells_of_run


def _was_generated(attempt: Attempt) -> None:
    """Bring the record to where it is when a model starts; when that was is not known."""
    record, task = attempt.record, attempt.task
    done = record.stages["generate"]
    done.state, done.key, done.why = rec.COMPLETED, task.generate_key, attempt.reasons.pop("generate")
    record.inputs = stages.input_facts(task)
    attempt.begin("run", rec.RUNNING, key=task.run_key, save=False)
    record.stages["run"].started = None


def _backend_named(name: Json) -> type[BaseRunBackend] | None:
    """The backend that an earlier attempt used, if it is one of this package's kind."""
    try:
        found = registry.load("run", name) if isinstance(name, str) else None
    except PluginError:
        return None
    return found if isinstance(found, type) and issubclass(found, BaseRunBackend) else None
