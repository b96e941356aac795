"""Validating all points before the first run starts: what is wrong, what is done, what would run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from rompy_hydra.core.execute import preflight as preflight_of
from rompy_hydra.core.status import BUSY, RunStatus
from rompy_hydra.errors import NO_VALUE, InvalidConfig, Problem, RompyHydraError, shortened
from rompy_hydra.redaction import is_hidden
from rompy_hydra.sweep.config import Retry
from rompy_hydra.sweep.label import is_named
from rompy_hydra.sweep.plan import SweepPlan
from rompy_hydra.sweep.points import Point
from rompy_hydra.sweep.results_table import Row, row_of
from rompy_hydra.sweep.spool import Spool
from rompy_hydra.workspace import lease
from rompy_hydra.workspace.record import COMPLETED, FAILED, LOST, PENDING, TIMED_OUT, now

RUN = "run"  # not done yet, or its model has outlived its driver
RETRY = "retry"  # failed, timed out, interrupted or lost before
AGAIN = "again"  # done, but something changed, or everything is asked for
SKIP = "skip"  # done and unchanged
LEAVE = "leave"  # failed before, and not to be retried
ELSEWHERE = "elsewhere"  # another living driver works on it
# Distinct wrong values of a key that are shown.
SHOWN_VALUES = 3


@dataclass(frozen=True)
class Decision:
    """What a sweep does with one point, and why."""

    action: str
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
    # As they are shown, with one more than that if there are more.
    values: list[str] = field(default_factory=list)

    def add(self, value: object) -> None:
        self.count += 1
        is_shown = value is not NO_VALUE and not is_hidden(self.problem.path)
        if is_shown and len(self.values) <= SHOWN_VALUES:
            text = shortened(value)
            if text not in self.values:
                self.values.append(text)


@dataclass
class Preflight:
    """What was found out about all points, in counters: the points themselves are in a `Spool`."""

    size: int = 0
    actions: Counter[str] = field(default_factory=Counter)
    # States of the points that are left as they are: how many have each.
    left: Counter[str] = field(default_factory=Counter)
    # By place, kind of reason and hint.
    problems: dict[tuple[str, str, str], FoundProblem] = field(default_factory=dict)

    def count(self, *actions: str) -> int:
        return sum(self.actions[action] for action in actions)

    def add(self, decision: Decision) -> None:
        self.actions[decision.action] += 1
        if decision.action == LEAVE and decision.row is not None:
            self.left[decision.row.state] += 1

    def fail(self, label: str, error: Exception) -> None:
        for problem in error.problems if isinstance(error, InvalidConfig) else [_as_problem(error)]:
            self.add_problem(label, problem)

    def add_problem(self, label: str, problem: Problem) -> None:
        key = (problem.path, normalise_message(problem.reason.replace(label, "#")), problem.hint)
        self.problems.setdefault(key, FoundProblem(label, problem)).add(problem.value)


def inspect_points(
    plan: SweepPlan,
    spool: Spool,
    since: str = "",
    report: Callable[[Point, Decision], None] = lambda _point, _decision: None,
) -> Preflight:
    """Compose, check, build and render every point in memory; nothing on disk is changed.

    What is to run goes to the spool with its composed configuration. `since`: see `decide`.
    """
    preflight = Preflight()
    for point in plan.grid:
        preflight.size += 1
        try:
            composed = plan.compose(point)
            status = preflight_of(plan.build(composed).plan)
            decision = decide(status, plan.config.retry, since)
        except (RompyHydraError, OSError) as error:
            preflight.fail(point.label, error)
            continue
        preflight.add(decision)
        keep = b"" if decision.action in (SKIP, LEAVE) else composed
        if not spool.add_point(point.label, decision.action, decision.seen, point.overrides, keep):
            preflight.add_problem(point.label, _same_label(point))
        report(point, decision)
    return preflight


def decide(status: RunStatus, retry: Retry, since: str = "") -> Decision:
    """What a sweep does with a point, by its status and the policy of `sweep.retry`.

    What failed after `since`, when this driver began, is not tried again by it, whatever the policy.
    """
    record, seen, state = status.record, status.seen, status.state
    if record is None:
        return Decision(RUN, "not done yet", seen=seen)
    label = status.plan.spec.run_id
    if state == BUSY:
        return Decision(ELSEWHERE, "another driver works on it", seen=seen)
    if not status.stale and retry != "all" and state in (COMPLETED, PENDING, LOST):
        return Decision(SKIP, "done and unchanged", row_of(label, record, state), seen)
    if record.state == COMPLETED or (record.state == PENDING and not status.stale):
        return Decision(AGAIN, next(iter(status.stale.values()), "all are asked for"), seen=seen)
    if state == PENDING:
        return Decision(RUN, "not finished yet", seen=seen)
    if state in (FAILED, TIMED_OUT) and since and since < record.updated <= now():
        # It failed under another driver while this one was starting; a later command tries it again.
        # What a clock that is ahead has written says nothing about that.
        return Decision(LEAVE, f"{state} just now", row_of(label, record, state), seen)
    before = f"{state} before"
    outlook = status.recovery_outlook
    if retry == "all" and "run" not in status.stale:
        outlook = ""  # what was completed of it is done again as well
    if outlook and retry == "none":
        before += f"; with sweep.retry=lost, {outlook}"
    elif outlook:
        return Decision(RUN, outlook, seen=seen)
    if retry in ("failed", "all") or (retry == "lost" and state not in (FAILED, TIMED_OUT)):
        return Decision(RETRY, before, seen=seen)
    return Decision(LEAVE, before, row_of(label, record, state), seen)


def _same_label(point: Point) -> Problem:
    unnamed = [a for a in point.assignments if not a.fixed and not is_named(a.key)]
    if unnamed:
        path, value = unnamed[0].key, unnamed[0].value
        hint = f"{path} is not part of a label: sweep over each of its values separately, with a sweep.name"
        return Problem(path, value, "two points have the same label", hint)
    hint = "Leave out one of two equal values (0.1 and 0.10 are equal)"
    return Problem("", NO_VALUE, "two points have the same label", hint)


def _as_problem(error: Exception) -> Problem:
    """A problem from a message of the kind `PATH=VALUE: REASON. WHAT TO DO`."""
    if not isinstance(error, RompyHydraError):
        strerror, filename = getattr(error, "strerror", None), getattr(error, "filename", None)
        return Problem("", NO_VALUE, f"{filename}: {strerror}" if filename else str(error))
    text = " ".join(str(error).split())
    found = re.match(r"([\w.@/+~-]+)(?:=(\S*))?: (.*)", text)
    path, value, text = found.groups() if found else ("", None, text)
    reason, _, hint = text.partition(". ")
    return Problem(path, NO_VALUE if value is None else value, reason, hint)


def normalise_message(message: str) -> str:
    """A message without what differs from point to point, so that equal problems are grouped."""
    return re.sub(r"/\S+|0x[0-9a-f]+|-?\d+(\.\d+)?(e[-+]?\d+)?", "#", message, flags=re.IGNORECASE)
