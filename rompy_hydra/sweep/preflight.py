"""Validating all points before the first run starts: which are invalid, done, or to be run."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rompy_hydra.core.execute import preflight as preflight_of
from rompy_hydra.core.status import BUSY, WAY_OUT, RunStatus
from rompy_hydra.errors import NO_VALUE, InvalidConfig, Problem, RompyHydraError
from rompy_hydra.sweep.config import Retry, SweepPlan
from rompy_hydra.sweep.label import is_named
from rompy_hydra.sweep.points import Point
from rompy_hydra.sweep.results_table import Row, row_of
from rompy_hydra.sweep.spool import Spool
from rompy_hydra.workspace import lease
from rompy_hydra.workspace.record import COMPLETED, FAILED, LOST, PENDING, TIMED_OUT, now

RUN = "run"  # not done yet, or its model has outlived its driver
RETRY = "retry"  # failed, timed out, was interrupted or lost earlier
AGAIN = "again"  # done, but something changed, or everything is requested
SKIP = "skip"  # done and unchanged
LEAVE = "leave"  # failed earlier, and is not retried
ELSEWHERE = "elsewhere"  # another living driver works on it
# Distinct wrong values of a key that are shown.
SHOWN_VALUES = 3
# What to do about a directory that is another run's: the runs of a sweep have no names of their own.
_WAY_OUT = "Choose another sweep.name, or set overwrite=true, which moves the directory aside"


@dataclass(frozen=True)
class Decision:
    """What a sweep does with one point, and why."""

    action: str
    why: str
    row: Row | None = None
    # The state of its directory: if that has changed when the run begins, another driver has it.
    seen: lease.Snapshot = lease.EMPTY


@dataclass
class FoundProblem:
    """A problem of one or more points: the first label and problem, the number, some of the values."""

    label: str
    problem: Problem
    count: int = 0
    # Distinct values as they are shown; one too many if there are more.
    values: list[str] = field(default_factory=list)


@dataclass
class Distinct:
    """Different texts of the points, `most` of them at most, and the number of points that have others."""

    most: int
    texts: list[str] = field(default_factory=list)
    more: int = 0

    def see(self, texts: Sequence[str]) -> None:
        new = [each for each in dict.fromkeys(texts) if each not in self.texts]
        shown = new[: max(0, self.most - len(self.texts))]
        self.texts += shown
        self.more += len(new) > len(shown)


@dataclass
class Preflight:
    """The result of the validation, in counters: the points themselves are in a `Spool`."""

    size: int = 0
    actions: Counter[str] = field(default_factory=Counter)
    # Points that are left as they are, by state.
    left: Counter[str] = field(default_factory=Counter)
    # What a person should know of points that will run: each message with the number of points.
    cautions: Counter[str] = field(default_factory=Counter)
    # What a sweep that is only looked at would execute, and what that is not kept away from.
    commands: Distinct = field(default_factory=lambda: Distinct(6))
    exposures: Distinct = field(default_factory=lambda: Distinct(60))
    # By path, kind of reason and hint.
    problems: dict[tuple[str, str, str], FoundProblem] = field(default_factory=dict)

    def count(self, *actions: str) -> int:
        return sum(self.actions[action] for action in actions)

    def fail(self, label: str, *problems: Problem) -> None:
        for problem in problems:
            kind = normalise_message(problem.reason.replace(label, "#"))
            found = self.problems.setdefault(
                (problem.path, kind, problem.hint), FoundProblem(label, problem)
            )
            found.count += 1
            text = problem.shown_value
            if text is not None and text not in found.values and len(found.values) <= SHOWN_VALUES:
                found.values.append(text)


def inspect_points(
    plan: SweepPlan,
    spool: Spool,
    since: str = "",
    report: Callable[[Point, Decision], None] = lambda _point, _decision: None,
) -> Preflight:
    """Compose, check, build and render every point in memory, without changes on disk.

    Points to run go to the spool with their composed configuration. `since`: see `decide`.
    """
    preflight = Preflight()
    for point in plan.grid:
        preflight.size += 1
        try:
            composed = plan.compose(point)
            built = plan.build(composed).plan
            status = preflight_of(built, looks=plan.config.dry_run)
            decision = decide(status, plan.config.retry, since)
        except InvalidConfig as error:
            preflight.fail(point.label, *error.problems)
            continue
        except (RompyHydraError, OSError) as error:
            preflight.fail(point.label, _as_problem(error))
            continue
        preflight.actions[decision.action] += 1
        if decision.action in (RUN, RETRY, AGAIN):
            preflight.cautions.update(built.cautions)
            if plan.config.dry_run:
                preflight.commands.see(built.commands)
                preflight.exposures.see(built.exposures)
        if decision.action == LEAVE and decision.row is not None:
            preflight.left[decision.row.state] += 1
        keep = b"" if decision.action in (SKIP, LEAVE) else pickle.dumps(composed)
        if not spool.add_point(point.label, decision.action, decision.seen, point.overrides, keep):
            preflight.fail(point.label, _same_label(point))
        report(point, decision)
    return preflight


def decide(status: RunStatus, retry: Retry, since: str = "") -> Decision:
    """What a sweep does with a point, by its status and the policy of `sweep.retry`.

    This driver does not retry what failed after `since`, when it began, whatever the policy.
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
        # It failed under another driver while this one was starting; a later command retries it. A time
        # in the future comes from a wrong clock, and proves nothing.
        return Decision(LEAVE, f"{state} just now", row_of(label, record, state), seen)
    before = f"{state} before"
    outlook = status.recovery_outlook
    if retry == "all" and "run" not in status.stale:
        outlook = ""  # its completed stages are repeated as well
    if outlook and retry == "none":
        before += f"; with sweep.retry=lost, {outlook}"
    elif outlook:
        return Decision(RUN, outlook, seen=seen)
    if retry in ("failed", "all") or (retry == "lost" and state not in (FAILED, TIMED_OUT)):
        return Decision(RETRY, before, seen=seen)
    return Decision(LEAVE, before, row_of(label, record, state), seen)


def _same_label(point: Point) -> Problem:
    reason = "two points have the same label"
    unnamed = next((a for a in point.assignments if not a.fixed and not is_named(a.key)), None)
    if unnamed is None:
        return Problem("", NO_VALUE, reason, "Leave out one of two equal values (0.1 and 0.10 are equal)")
    hint = (
        f"{unnamed.key} is not part of a label: sweep over each of its values separately, with a sweep.name"
    )
    return Problem(unnamed.key, unnamed.value, reason, hint)


def _as_problem(error: RompyHydraError | OSError) -> Problem:
    """A problem from a message of the form `PATH=VALUE: REASON. WHAT TO DO`."""
    if not isinstance(error, RompyHydraError):
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return Problem("", NO_VALUE, reason)
    text = " ".join(str(error).replace(WAY_OUT, _WAY_OUT).split())
    found = re.match(r"([\w.@/+~-]+)(?:=(\S*))?: (.*)", text)
    path, value, text = found.groups() if found else ("", None, text)
    reason, _, hint = text.partition(". ")
    return Problem(path, NO_VALUE if value is None else value, reason, hint)


def normalise_message(message: str) -> str:
    """A message without the paths and numbers that differ between points, to group equal problems."""
    return re.sub(r"/\S+|0x[0-9a-f]+|-?\d+(\.\d+)?(e[-+]?\d+)?", "#", message, flags=re.IGNORECASE)
