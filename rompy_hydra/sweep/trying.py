"""One try of one run: what its pipeline answers and what its record says, as a row."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace

from rompy_hydra.core.plan import Task
from rompy_hydra.sweep.points import Point
from rompy_hydra.sweep.results_table import Row, row_of
from rompy_hydra.workspace.record import COMPLETED, FAILED, INTERRUPTED, RunRecord


def row_of_try(point: Point, task: Task, carry_out: Callable[[Task], Mapping[str, object]]) -> Row | None:
    """Carry out a task; whatever happens is told by the row. None if another driver has the run."""
    label, parameters = point.label, point.parameters
    try:
        results = carry_out(task)
    except KeyboardInterrupt:
        results = {"success": False, "error": "interrupted"}
        if task.progress.record is None:
            return Row(label, INTERRUPTED, parameters, error="interrupted")
    except Exception as failure:  # noqa: BLE001 - one run must never end the others
        results = {"success": False, "error": str(failure) or type(failure).__name__}
    if results.get("error_type") == "Busy":
        return None
    success = results.get("success") is True
    error = "" if success else str(results.get("error") or results.get("message"))
    record = task.progress.record or _record(task)
    if record is None:
        return Row(label, COMPLETED if success else FAILED, parameters, error=error)
    if not success and (not record.ended or record.state == COMPLETED):
        # It failed outside of what its record tells, such as on a full disk.
        return replace(row_of(label, record, FAILED), error=error)
    return row_of(label, record)


def _record(task: Task) -> RunRecord | None:
    with contextlib.suppress(Exception):
        return RunRecord.load(task.workspace)
    return None
