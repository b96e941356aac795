"""What a driver that died left of a run: its model is re-attached, or else stopped."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import datetime

from loguru import logger

from rompy_hydra import process
from rompy_hydra.core.attempt import Attempt, stamp_of
from rompy_hydra.core.status import backend_named, may_reattach
from rompy_hydra.errors import RunLost
from rompy_hydra.run.base import KILL_GRACE, Handle, Outcome
from rompy_hydra.workspace import EVERYTHING
from rompy_hydra.workspace import record as rec

# The longest time between two ticks, by which the time of a file is set on Linux.
_TICK_SECONDS = 0.02


def recover(attempt: Attempt) -> None:
    """Bring a run directory that an earlier attempt left to where this attempt begins.

    A model of that attempt with the same inputs and settings is re-attached; any other is stopped,
    and its files are archived if the model runs again.
    """
    if not attempt.made:
        attempt.workspace.remove_partials()
    stages = attempt.record.stages
    unfinished = any(stage.state not in (rec.PENDING, rec.COMPLETED) for stage in stages.values())
    if not attempt.fresh and (unfinished or stages["run"].state == rec.COMPLETED):
        attempt.recovered = _reattached(attempt)
        if attempt.recovered is None:
            _stop(attempt)
            if "run" in attempt.stale:
                _keep_added_files(attempt)
                attempt.archive()
        # Nothing counts that came after a stage which is done again.
        again = [stage for stage in attempt.stale if stage != "run" or attempt.recovered is None]
        attempt.reset_from(next(iter(again), None))
    elif not attempt.fresh and stages["generate"].state == rec.COMPLETED:
        _keep_added_files(attempt)
    if not attempt.fresh and "run" in attempt.stale and attempt.recovered is None:
        # What an earlier start left, also one by hand, is not the exit code of this one.
        attempt.workspace.forget_exit_code()
    attempt.prepare()


def _reattached(attempt: Attempt) -> Outcome | Handle | None:
    """The model that a dead driver, or one that lost sight of it, has started; None if there is none."""
    record, plan = attempt.record, attempt.plan
    backend = plan.backend
    if backend is None or not _is_lost(record) or not may_reattach(record, plan, attempt.stale):
        return None
    logger.info("looking for the model that an earlier driver started")
    attempt.watch(rec.RUNNING)
    job = backend.job(
        plan.spec, plan.model, attempt.workspace, attempt.stop, attempt.report, attempt.check_lease
    )
    started = record.stages["run"].started
    attempt.ran_before = _seconds_between(started, time.time())
    found = backend.reattach(job, record.backend_facts)
    if found is None:
        return None
    if isinstance(found, Outcome):
        if found.seconds is None:
            found = replace(found, seconds=_seconds_between(started, attempt.workspace.ended_at()))
        attempt.ran_before = found.seconds
    record.error = None
    logger.info("re-attached to the model that an earlier driver started")
    return found


def _stop(attempt: Attempt) -> None:
    """Stop what an earlier driver left running, on this machine and where its backend runs models."""
    attempt.ran_before = 0.0
    backend, workspace = attempt.plan.backend, attempt.workspace
    earlier = backend_named(attempt.record.run_backend.get("name"))
    stopper = backend or (earlier() if earlier else None)
    if process.end_tree(None, workspace.root, grace=stopper.kill_grace if stopper else KILL_GRACE):
        logger.warning("stopped what an earlier driver left running")
    if _is_lost(attempt.record):
        if backend is not None:
            backend.clean_up(workspace)
        if earlier is not None and not isinstance(backend, earlier):
            earlier().clean_up(workspace)


def _keep_added_files(attempt: Attempt) -> None:
    """Record the files that a user has added since the last attempt, or since generating, as found.

    After an attempt, they are those that changed later than its record. What an attempt left that did not
    end in an orderly way is all its own, as nobody knows when it was written; likewise after the times of
    the whole directory have changed, as in a copy of it.
    """
    record, workspace = attempt.record, attempt.workspace
    ran = record.stages["run"].state != rec.PENDING
    if ran and not record.ended:
        return
    since, by_content = 0.0, False
    if ran:
        try:
            since, log = os.stat(workspace.record).st_mtime, os.lstat(workspace.log)
        except OSError:
            return
        # Written before the record. If its status is newer, that of every file may be, as after `chmod -R`.
        by_content = log.st_ctime > since
        if log.st_mtime > since:
            return
    facts = (*record.inputs, *record.outputs, *record.products)
    known = {fact.path for fact in facts}.union(record.found)
    for name in workspace.conflicting_paths([EVERYTHING]):
        if name in known:
            continue
        now = os.lstat(workspace.at(name))
        if (now.st_mtime if by_content else now.st_ctime) > since:
            record.found.append(name)
            attempt.added[name] = stamp_of(now)


def _is_lost(record: rec.RunRecord) -> bool:
    """Whether the driver of the last attempt died, or lost sight of its model."""
    return not record.ended or (record.error or {}).get("type") == RunLost.__name__


def _seconds_between(started: str | None, end: float | None) -> float | None:
    """Seconds from a time in a record to `end`; None if one is unknown, or their clocks disagree."""
    if started is None or end is None:
        return None
    seconds = end - datetime.fromisoformat(started).timestamp()
    # The time of a file is that of the system's last tick.
    return max(seconds, 0.0) if seconds > -_TICK_SECONDS else None
