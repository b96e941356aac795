"""The outcome of a sweep: counts, the slowest runs, and failures by kind."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field

from rompy_hydra.sweep.preflight import normalise_message
from rompy_hydra.sweep.results_table import Row
from rompy_hydra.workspace.record import COMPLETED, INTERRUPTED, PENDING, TIMED_OUT

_SLOWEST = 3
# Errors that all differ must not fill the memory: kinds beyond this number are grouped by their first
# line, and beyond twice this number all are one kind.
_MOST_KINDS = 200
_OTHER_KINDS = "many different errors, such as this one"
# A run that was asked to stop after a stage stays pending.
_SOUND = (COMPLETED, PENDING)


@dataclass
class Summary:
    """Counts of a sweep. Only one thread may use it at a time."""

    total: int = 0
    # Runs that ended while this driver worked, by state, including those of other drivers.
    counts: Counter[str] = field(default_factory=Counter)
    # Earlier runs: those completed and unchanged, and those that are not retried, by state.
    skipped: int = 0
    left: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    slowest: list[tuple[float, str]] = field(default_factory=list)
    # Failures by kind: their number, and the label and the message of the first one.
    failures: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    # Runs that completed with warnings, and the label and the warning of the first one.
    warned: int = 0
    warning: str = ""
    interrupted: bool = False
    stopped_early: bool = False
    # What is wrong with the sweep as a whole.
    problem: str = ""

    def add(self, row: Row) -> None:
        """Count a run that ended."""
        self.counts[row.state] += 1
        if row.seconds is not None:
            self.slowest = heapq.nlargest(_SLOWEST, [*self.slowest, (row.seconds, row.label)])
        if row.warnings:
            self.warned += 1
            self.warning = self.warning or f"{row.label}: {row.warnings}"
        if is_failure(row.state):
            self._add_failures(_kind(row), 1, row.label, row.error)

    def _add_failures(self, kind: str, count: int, label: str, message: str) -> None:
        if kind not in self.failures and len(self.failures) >= _MOST_KINDS:
            kind = kind.partition("\n")[0]
        if kind not in (*self.failures, _OTHER_KINDS) and len(self.failures) >= 2 * _MOST_KINDS:
            kind, message = _OTHER_KINDS, f"{_OTHER_KINDS}:\n{message}"
        before, label, message = self.failures.get(kind, (0, label, message))
        self.failures[kind] = (before + count, label, message)

    def after(self, earlier: Summary) -> Summary:
        """The summary of this and an earlier part of a sweep together."""
        both = Summary(
            total=earlier.total + self.total,
            counts=earlier.counts + self.counts,
            skipped=earlier.skipped + self.skipped,
            left=earlier.left + self.left,
            seconds=earlier.seconds + self.seconds,
            slowest=heapq.nlargest(_SLOWEST, earlier.slowest + self.slowest),
            failures=dict(earlier.failures),
            warned=earlier.warned + self.warned,
            warning=earlier.warning or self.warning,
            interrupted=earlier.interrupted or self.interrupted,
            stopped_early=earlier.stopped_early or self.stopped_early,
            problem=earlier.problem or self.problem,
        )
        for kind, (count, label, message) in self.failures.items():
            both._add_failures(kind, count, label, message)
        return both

    @property
    def failed(self) -> int:
        """The number of runs that were attempted and not completed, by this command or an earlier one."""
        ended = sum(count for state, count in self.counts.items() if state not in _SOUND)
        return self.left.total() + ended

    @property
    def not_started(self) -> int:
        return self.total - self.skipped - self.left.total() - self.counts.total()


def is_failure(state: str) -> bool:
    """Whether a run failed by itself; an interrupted one did not."""
    return state not in (*_SOUND, INTERRUPTED)


def _kind(row: Row) -> str:
    """What equal failures share: the first line of the message and the last one of the log."""
    first, *more = row.error.splitlines() or [row.state]
    # How far a run came before its timeout is not the cause.
    log = [line for line in more if line.startswith("  ") and line.strip() and row.state != TIMED_OUT]
    text = "\n".join([first, *log[-1:]])
    return f"{row.state}: {normalise_message(text.replace(row.label, '#'))}"
