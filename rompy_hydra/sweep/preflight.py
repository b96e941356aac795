"""Looking at every point before anything starts: what is wrong, what is done, what would run."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from rompy_hydra.core.execute import check
from rompy_hydra.core.plan import Task
from rompy_hydra.core.recovery import recovery_outlook
from rompy_hydra.core.status import load_own_record, stale_stages
from rompy_hydra.errors import NO_VALUE, InvalidConfig, Problem, RompyHydraError, shortened
from rompy_hydra.redaction import is_hidden
from rompy_hydra.sweep.config import Retry
from rompy_hydra.sweep.label import named
from rompy_hydra.sweep.points import Grid, Point
from rompy_hydra.sweep.results_table import Row, row_of
from rompy_hydra.workspace import lease
from rompy_hydra.workspace.record import COMPLETED, FAILED, LOST, PENDING, TIMED_OUT, RunRecord, now

RUN = "run"  # not done yet, or its model has outlived its driver
RETRY = "retry"  # failed, timed out, interrupted or lost before
AGAIN = "again"  # done, but something changed, or everything is asked for
SKIP = "skip"  # done and unchanged
LEAVE = "leave"  # failed before, and not to be tried again
ELSEWHERE = "elsewhere"  # another living driver has it
# Distinct wrong values of a key that are told.
SHOWN_VALUES = 3
_CODES = (RUN, RETRY, AGAIN, SKIP, LEAVE, ELSEWHERE)


@dataclass(frozen=True)
class Decision:
    """What would happen to one point, and why."""

    decision: str
    why: str
    row: Row | None = None
    # What was there: if that has changed when the run begins, another driver has come.
    seen: lease.Snapshot = lease.EMPTY


@dataclass
class FoundProblem:
    """A problem that points have: the first one's label and problem, how many, some of their values."""

    label: str
    problem: Problem
    count: int = 0
    # As they are shown, with one more than that to tell that there are more.
    values: list[str] = field(default_factory=list)

    def add(self, value: object) -> None:
        self.count += 1
        told = value is not NO_VALUE and not is_hidden(self.problem.path)
        if told and len(self.values) <= SHOWN_VALUES:
            text = shortened(value)
            if text not in self.values:
                self.values.append(text)


@dataclass
class Preflight:
    """What a look at all points found, in few bytes a point."""

    decisions: bytearray = field(default_factory=bytearray)
    claims: array[int] = field(default_factory=lambda: array("L"))
    directories: array[int] = field(default_factory=lambda: array("Q"))
    # States of the points that are left as they are: how many have each.
    left: dict[str, int] = field(default_factory=dict)
    # By place, kind of reason and hint.
    problems: dict[tuple[str, str, str], FoundProblem] = field(default_factory=dict)
    # Whether two points have one name: their names' hashes, since names alone would fill the memory.
    _seen: dict[int, None] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return len(self.decisions)

    def decision(self, index: int) -> str:
        return _CODES[self.decisions[index]]

    def count(self, *decisions: str) -> int:
        return sum(self.decisions.count(_CODES.index(each)) for each in decisions)

    def seen(self, index: int) -> lease.Snapshot:
        return lease.Snapshot(self.directories[index], self.claims[index])

    def _saw(self, seen: lease.Snapshot) -> None:
        self.directories.append(seen.directory)
        self.claims.append(seen.number)

    def add(self, point: Point, verdict: Decision) -> None:
        self.decisions.append(_CODES.index(verdict.decision))
        self._saw(verdict.seen)
        if verdict.decision == LEAVE and verdict.row is not None:
            self.left[verdict.row.state] = self.left.get(verdict.row.state, 0) + 1
        key = hash(point.label)
        if key in self._seen:
            self._problem(point.label, _same_label(point))
        self._seen[key] = None

    def fail(self, point: Point, error: Exception) -> None:
        self.decisions.append(_CODES.index(RUN))
        self._saw(lease.EMPTY)
        for problem in error.problems if isinstance(error, InvalidConfig) else [_whole(error)]:
            self._problem(point.label, problem)

    def _problem(self, label: str, problem: Problem) -> None:
        key = (problem.path, normalise_message(problem.reason.replace(label, "#")), problem.hint)
        self.problems.setdefault(key, FoundProblem(label, problem)).add(problem.value)


def _same_label(point: Point) -> Problem:
    unnamed = [a for a in point.assignments if not a.fixed and not named(a.key)]
    if unnamed:
        path, value = unnamed[0].key, unnamed[0].value
        hint = f"{path} is no part of a label: make a sweep of each of its values, with a sweep.name"
        return Problem(path, value, "two points have the same label", hint)
    hint = "Leave out one of two equal values (0.1 and 0.10 are equal)"
    return Problem("", NO_VALUE, "two points have the same label", hint)


def _whole(error: Exception) -> Problem:
    """A problem from a message of the kind `PATH=VALUE: REASON. WHAT TO DO`."""
    if not isinstance(error, RompyHydraError):
        strerror, filename = getattr(error, "strerror", None), getattr(error, "filename", None)
        return Problem("", NO_VALUE, f"{filename}: {strerror}" if filename else str(error))
    text = " ".join(str(error).split())
    found = re.match(r"([\w.@/+~-]+)(?:=(\S*))?: (.*)", text)
    path, value, text = found.groups() if found else ("", None, text)
    reason, _, hint = text.partition(". ")
    return Problem(path, NO_VALUE if value is None else value, reason, hint)


def normalise_message(reason: str) -> str:
    """A reason without what differs from point to point, so that equal problems meet."""
    return re.sub(r"/\S+|0x[0-9a-f]+|-?\d+(\.\d+)?(e[-+]?\d+)?", "#", reason, flags=re.IGNORECASE)


def inspect_points(
    grid: Grid,
    retry: Retry,
    task_of: Callable[[Point], Task],
    told: Callable[[Point, Decision], None] = lambda _point, _verdict: None,
    since: str = "",
) -> Preflight:
    """Compose, check, build and render every point in memory; nothing on disk is changed."""
    forecast = Preflight()
    for point in grid:
        try:
            task = task_of(point)
            check(task)
            verdict = decide(task, retry, since)
        except (RompyHydraError, OSError) as error:
            forecast.fail(point, error)
            continue
        forecast.add(point, verdict)
        told(point, verdict)
    return forecast


def decide(task: Task, retry: Retry, since: str = "") -> Decision:
    """What a sweep does with a point, by its record and the policy of `sweep.retry`.

    What failed after `since`, when this driver began, is not tried again by it, whatever the policy.
    """
    seen = lease.look(task.workspace)
    record = load_own_record(task)
    if record is None:
        return Decision(RUN, "not done yet", seen=seen)
    label = task.model_run.run_id
    state = _state(task, record, seen.number)
    if state == "running":
        return Decision(ELSEWHERE, "another driver works on it", seen=seen)
    reasons = stale_stages(task, record)
    if record.state == COMPLETED or (record.state == PENDING and not reasons):
        if not reasons and retry != "all":
            return Decision(SKIP, "done and unchanged", row_of(label, record), seen)
        return Decision(AGAIN, next(iter(reasons.values()), "all are asked for"), seen=seen)
    if state == PENDING:
        return Decision(RUN, "not finished yet", seen=seen)
    if state in (FAILED, TIMED_OUT) and since and since < record.updated <= now():
        # It failed under another driver while this one was starting; a later command tries it again.
        # What a clock that is ahead has written says nothing of that.
        return Decision(LEAVE, f"{state} just now", row_of(label, record, state), seen)
    before = f"{state} before"
    told = recovery_outlook(task, record, reasons) if state == LOST else ""
    if retry == "all" and "run" not in reasons:
        told = ""  # what was completed of it is done again as well
    if told and retry == "none":
        before += f"; with sweep.retry=lost, {told}"
    elif told:
        return Decision(RUN, told, seen=seen)
    if retry in ("failed", "all") or (retry == "lost" and state not in (FAILED, TIMED_OUT)):
        return Decision(RETRY, before, seen=seen)
    return Decision(LEAVE, before, row_of(label, record, state), seen)


def _state(task: Task, record: RunRecord, number: int) -> str:
    """A record's state; `running` if a living driver works on it, `lost` if its driver died."""
    may_run = not record.ended or number > record.claim
    if may_run and lease.holder(task.workspace, number):
        return "running"
    if record.ended or record.state == PENDING:
        return record.state
    return LOST
