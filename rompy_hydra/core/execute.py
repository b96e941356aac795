"""Generate, run, postprocess: what is missing of a run is done, by one driver at a time.

`perform` is the one way in which this package works on a run directory, be it for one verb of the
Python API, a pipeline or a point of a sweep.
"""

from __future__ import annotations

import os

from loguru import logger

from rompy_hydra.core.attempt import Attempt
from rompy_hydra.core.plan import Task
from rompy_hydra.core.status import load_own_record, stale_stages
from rompy_hydra.errors import Busy, GenerateError, RompyHydraError
from rompy_hydra.workspace import RECORD, lease
from rompy_hydra.workspace import record as rec
from rompy_hydra.workspace.record import RunRecord


def preflight(task: Task) -> None:
    """Find what is wrong with a task without changing anything; ConfigError or GenerateError tells."""
    check(task)
    load_own_record(task)


def check(task: Task) -> None:
    """The part of `preflight` that does not look at what is in the run directory."""
    files = {item.path for item in task.inputs}
    backend = task.backend
    config = task.model_run.config
    if backend and "run" in task.stages and getattr(config, "needs_execution", True):
        if backend.backend:
            backend.backend.check(config, files)
        elif backend.check:
            backend.check(config)


def perform(task: Task) -> RunRecord:
    """Do what is missing of a task, and return the record.

    Raises Busy if another living driver has the run, ConfigError if the directory holds another
    configuration, and the error of the first stage that fails, after the record says so.
    """
    try:
        return _perform(task)
    except RompyHydraError:
        raise
    except OSError as error:
        raise GenerateError(
            f"cannot work in the run directory {task.workspace.path}: {error.strerror}. Free space or "
            "mend its permissions, or choose another one with output_dir=DIR"
        ) from error


def _perform(task: Task) -> RunRecord:
    workspace = task.workspace
    seen = task.seen
    while True:
        # In this order: who claims or writes after the look makes our claim fail, or our stamp differ.
        directory, number = now = lease.look(workspace)
        stamp = _stamp(workspace.at(RECORD)) if directory else None
        if seen is not None and seen.is_outdated(now):
            raise Busy(f"another driver took {workspace.path} since it was looked at")
        record = load_own_record(task) if directory else None
        reasons = stale_stages(task, record)
        done = record is not None and not reasons and not task.overwrite
        # An ended run that needs nothing is nobody's, whoever claimed it since.
        if not (done and record is not None and record.ended):
            _check_free(task, record, number)
        if done and record is not None:
            task.progress.record = record
            return record
        aside = _goes_aside(task, record, reasons)
        made = workspace.create()
        if not lease.claim(workspace, number + 1, directory):
            continue  # Another driver was first: see what it makes of it.
        unused = True
        try:
            if _stamp(workspace.at(RECORD)) != stamp:
                continue
            unused = False
            if aside:
                logger.info("moved the earlier run aside: {}", workspace.set_aside())
                seen = seen and lease.EMPTY
                continue
            with logger.contextualize(run_id=task.model_run.run_id):
                return Attempt(task, record, number + 1, reasons, made).do()
        finally:
            lease.release(workspace, number + 1, unused)


def _check_free(task: Task, record: RunRecord | None, number: int) -> None:
    """Busy if another living driver has the run."""
    claimed_later = number > (record.claim if record else 0)
    working = record is not None and not (record.ended or record.state == rec.PENDING)
    if (working or claimed_later) and (holder := lease.holder(task.workspace, number)):
        raise Busy(
            f"{task.workspace.path} is being run by process {holder.pid} on {holder.host}; "
            "wait for its end, or end it"
        )


def _stamp(record: str) -> tuple[int, int, int] | None:
    """What differs when a record was written again."""
    try:
        stat = os.stat(record)
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _goes_aside(task: Task, record: RunRecord | None, reasons: dict[str, str]) -> bool:
    """Whether the directory is moved away first: on demand, or because its inputs changed."""
    outdated = (
        record is not None
        and record.stages["run"].state == rec.COMPLETED
        and "generate" in reasons
        and record.stages["generate"].key != task.generate_key
    )
    return (task.overwrite or outdated) and task.workspace.is_taken()
