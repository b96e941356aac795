"""Looking at every point before anything starts: what is wrong, what is done, what would run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from rompy_hydra import claim
from rompy_hydra.errors import ConfigError, GenerateError, InvalidConfig, PluginError, Problem
from rompy_hydra.memory import existing, needed
from rompy_hydra.record import COMPLETED, FAILED, PENDING, TIMED_OUT, RunRecord
from rompy_hydra.stages import preflight
from rompy_hydra.sweep.config import SweepConfig
from rompy_hydra.sweep.points import Grid, Point
from rompy_hydra.sweep.results import Row, row_of
from rompy_hydra.task import Task

RUN = "run"  # not done yet
RETRY = "retry"  # failed, timed out, interrupted or lost before
AGAIN = "again"  # done, but something changed, or everything is asked for
SKIP = "skip"  # done and unchanged
LEAVE = "leave"  # failed before, and not to be tried again
ELSEWHERE = "elsewhere"  # another living driver has it
_CODES = (RUN, RETRY, AGAIN, SKIP, LEAVE, ELSEWHERE)


@dataclass(frozen=True)
class Verdict:
    """What would happen to one point, and why."""

    decision: str
    why: str
    row: Row | None = None


@dataclass
class Forecast:
    """What a look at all points found. Decisions are a byte a point."""

    decisions: bytearray = field(default_factory=bytearray)
    problems: dict[tuple[str, str, str], tuple[str, Problem, int]] = field(default_factory=dict)
    # Whether two points have one name: their names' hashes, since names alone would fill the memory.
    _seen: dict[int, None] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return len(self.decisions)

    def decision(self, index: int) -> str:
        return _CODES[self.decisions[index]]

    def count(self, *decisions: str) -> int:
        return sum(self.decisions.count(_CODES.index(each)) for each in decisions)

    def add(self, point: Point, verdict: Verdict) -> None:
        self.decisions.append(_CODES.index(verdict.decision))
        key = hash(point.label)
        if key in self._seen:
            self._problem(
                point.label,
                Problem(
                    point.label,
                    " ".join(point.overrides),
                    "two points have the same label",
                    "Remove the value that is there twice",
                ),
            )
        self._seen[key] = None

    def fail(self, point: Point, error: Exception) -> None:
        self.decisions.append(_CODES.index(RUN))
        found = error.problems if isinstance(error, InvalidConfig) else [_whole(error)]
        for problem in found:
            self._problem(point.label, problem)

    def _problem(self, label: str, problem: Problem) -> None:
        key = (problem.path, _general(problem.reason), problem.hint)
        first, example, count = self.problems.get(key, (label, problem, 0))
        self.problems[key] = (first, example, count + 1)


def _whole(error: Exception) -> Problem:
    text = str(error)
    path, separator, reason = text.partition(": ")
    if separator and re.fullmatch(r"[\w.@/\[\]]+", path):
        return Problem(path, "", reason)
    return Problem("", "", text)


def _general(reason: str) -> str:
    """A reason without what differs from point to point, so that equal problems meet."""
    return re.sub(r"/\S+|\d+(\.\d+)?", "#", reason)


def look(
    grid: Grid,
    config: SweepConfig,
    task_of: Callable[[Point], Task],
    told: Callable[[Point, Verdict], None] = lambda _point, _verdict: None,
) -> Forecast:
    """Compose, check, build and render every point in memory; nothing on disk is changed."""
    forecast = Forecast()
    for point in grid:
        try:
            task = task_of(point)
            preflight(task)
            verdict = judged(task, config)
        except (ConfigError, GenerateError, PluginError) as error:
            forecast.fail(point, error)
            continue
        forecast.add(point, verdict)
        told(point, verdict)
    return forecast


def judged(task: Task, config: SweepConfig) -> Verdict:
    """What a sweep does with a point, by its record and the policy of `sweep.retry`."""
    record = existing(task)
    if record is None:
        return Verdict(RUN, "not done yet")
    label = task.model_run.run_id
    state = true_state(task, record)
    if state == "running":
        return Verdict(ELSEWHERE, "another driver works on it")
    reasons = needed(task, record)
    if record.state == COMPLETED or (record.state == PENDING and not reasons):
        if not reasons and config.retry != "all":
            return Verdict(SKIP, "done and unchanged", row_of(label, record))
        return Verdict(AGAIN, next(iter(reasons.values()), "all are asked for"))
    if state == PENDING:
        return Verdict(RUN, "not finished yet")
    wanted = config.retry in ("failed", "all") or (
        config.retry == "lost" and state not in (FAILED, TIMED_OUT)
    )
    if wanted:
        return Verdict(RETRY, f"{state} before")
    return Verdict(LEAVE, f"{state} before", row_of(label, record, state))


def true_state(task: Task, record: RunRecord) -> str:
    """A record's state; `running` if a living driver works on it, `lost` if its driver died."""
    number, owner = claim.latest(task.workspace)
    alive = owner is not None and claim.is_alive(owner, claim.claim_path(task.workspace, number))
    if record.ended:
        return "running" if alive and number > record.claim else record.state
    if alive:
        return "running"
    return PENDING if record.state == PENDING else "lost"
