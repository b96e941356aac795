"""What came of a sweep, in numbers and in kinds of failures."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

from rompy_hydra.sweep.preflight import normalise_message
from rompy_hydra.sweep.results_table import Row
from rompy_hydra.workspace.record import COMPLETED, INTERRUPTED, PENDING, TIMED_OUT

_SLOWEST = 3
# Models that all die with other words must not fill the memory; of what comes later only the first
# line counts.
_MOST_KINDS = 200
# A run that was asked to stop after a stage stays pending.
_SOUND = (COMPLETED, PENDING)


@dataclass
class Summary:
    """Counts of a sweep. Not for several threads at once."""

    total: int = 0
    # Runs that ended while this driver worked, by state, its own ones and those of other drivers.
    counts: dict[str, int] = field(default_factory=dict)
    # Done before and unchanged; not completed before and not to be tried again, by state.
    skipped: int = 0
    left: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    slowest: list[tuple[float, str]] = field(default_factory=list)
    # Failures by their kind: how many, an example's label, its whole message.
    failures: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    interrupted: bool = False
    stopped_early: bool = False
    # What is wrong with the sweep as a whole.
    problem: str = ""

    def add(self, row: Row) -> None:
        """Count a run that ended."""
        self.counts[row.state] = self.counts.get(row.state, 0) + 1
        fastest_told = self.slowest[-1][0] if len(self.slowest) == _SLOWEST else -1.0
        if row.seconds is not None and row.seconds > fastest_told:
            self.slowest = heapq.nlargest(_SLOWEST, [*self.slowest, (row.seconds, row.label)])
        if is_failure(row.state):
            kind = _kind(row)
            if kind not in self.failures and len(self.failures) >= _MOST_KINDS:
                kind = _kind(row, with_log=False)
            count, label, message = self.failures.get(kind, (0, row.label, row.error))
            self.failures[kind] = (count + 1, label, message)

    def after(self, earlier: Summary) -> Summary:
        """The summary of this and an earlier part of a sweep together."""
        failures = dict(earlier.failures)
        for kind, (count, label, message) in self.failures.items():
            before, *example = failures.get(kind, (0, label, message))
            failures[kind] = (before + count, example[0], example[1])
        return Summary(
            total=earlier.total + self.total,
            counts=_together(earlier.counts, self.counts),
            skipped=earlier.skipped + self.skipped,
            left=_together(earlier.left, self.left),
            seconds=earlier.seconds + self.seconds,
            slowest=heapq.nlargest(_SLOWEST, earlier.slowest + self.slowest),
            failures=failures,
            interrupted=earlier.interrupted or self.interrupted,
            stopped_early=earlier.stopped_early or self.stopped_early,
            problem=earlier.problem or self.problem,
        )

    @property
    def failed(self) -> int:
        """Runs that are not completed after an attempt, of this command or an earlier one."""
        ended = sum(count for state, count in self.counts.items() if state not in _SOUND)
        return sum(self.left.values()) + ended

    @property
    def not_started(self) -> int:
        return self.total - self.skipped - sum(self.left.values()) - sum(self.counts.values())


def _together(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {state: one.get(state, 0) + other.get(state, 0) for state in {**one, **other}}


def is_failure(state: str) -> bool:
    """Whether a run failed of itself; that a model was ended from here is no failure of its own."""
    return state not in (*_SOUND, INTERRUPTED)


def _kind(row: Row, *, with_log: bool = True) -> str:
    """A failure's kind: its message's first line and its log's last one, without what differs by run."""
    first, *more = row.error.splitlines() or [row.state]
    # How far a run came until its time was up is no cause.
    with_log = with_log and row.state != TIMED_OUT
    log = [line for line in more if line.startswith("  ") and line.strip()] if with_log else []
    told = "\n".join([first, *log[-1:]])
    return f"{row.state}: {normalise_message(told.replace(row.label, '#'))}"
