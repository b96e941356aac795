"""The progress of a sweep: lines in a log, a live display on a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from rompy_hydra.cli.report import counted, say
from rompy_hydra.sweep.config import SweepPlan
from rompy_hydra.sweep.engine import Watcher
from rompy_hydra.sweep.preflight import LEAVE, SKIP, Preflight
from rompy_hydra.sweep.results_table import Row
from rompy_hydra.sweep.summary import is_failure
from rompy_hydra.workspace.record import COMPLETED, INTERRUPTED

if TYPE_CHECKING:
    from rich.console import RenderableType

_STOPPING = "stopping   what runs is ended; once more: at once"


def watcher() -> Watcher:
    """The live display on a terminal, else lines."""
    return LiveWatcher() if sys.stdout.isatty() else PlainWatcher()


class PlainWatcher:
    """One line a finished run."""

    live = False

    def __init__(self) -> None:
        self._done = 0
        self._total = 0

    def begin(self, plan: SweepPlan, preflight: Preflight) -> None:
        self._total = preflight.size - preflight.count(SKIP, LEAVE)
        skipped = preflight.count(SKIP)
        before = f", {skipped} done before" if skipped else ""
        points = counted(preflight.size, "point")
        say([f"sweep      {plan.config.path}: {points}{before}, {plan.workers} at once"])

    def state(self, label: str, state: str) -> None:
        """A log tells only what is finished."""

    def finished(self, row: Row) -> None:
        self._done += 1
        say([f"{finished_line(row)}  [{self._done}/{self._total}]"])

    def stopping(self) -> None:
        say([_STOPPING])

    def end(self) -> None:
        """Nothing is left open."""


class LiveWatcher:
    """Counts, the running runs with their times, and the time that is left."""

    live = True

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._running: dict[str, tuple[str, float]] = {}
        self._counts: dict[str, int] = {}
        self._total = self._skipped = 0
        self._stopping = False
        self._begun = time.monotonic()
        self._console = Console(file=sys.stdout)
        self._live = Live(
            console=self._console, refresh_per_second=4, transient=True, get_renderable=self._shown
        )

    def begin(self, plan: SweepPlan, preflight: Preflight) -> None:
        self._total = preflight.size - preflight.count(SKIP, LEAVE)
        self._skipped = preflight.count(SKIP)
        self._begun = time.monotonic()
        points = counted(preflight.size, "point")
        self._console.print(f"sweep      {plan.config.path}: {points}", highlight=False)
        self._live.start()

    def state(self, label: str, state: str) -> None:
        since = self._running.get(label, ("", time.monotonic()))[1]
        self._running[label] = (state, since)

    def finished(self, row: Row) -> None:
        self._running.pop(row.label, None)
        self._counts[row.state] = self._counts.get(row.state, 0) + 1
        if row.state != COMPLETED:
            self._console.print(finished_line(row), highlight=False, markup=False)

    def stopping(self) -> None:
        self._stopping = True
        self._live.refresh()  # what is printed goes above the picture that was drawn last
        self._console.print(_STOPPING, highlight=False, markup=False)

    def end(self) -> None:
        self._live.stop()

    def _shown(self) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        interrupted = self._counts.get(INTERRUPTED, 0)
        done = sum(self._counts.values()) - interrupted
        elapsed = time.monotonic() - self._begun
        # Once it is stopping, most of the points that are left never start.
        foretold = done and not (interrupted or self._stopping)
        left = (self._total - done) * elapsed / done if foretold else None
        grid = Table.grid(padding=(0, 2))
        failed = sum(count for state, count in self._counts.items() if is_failure(state))
        head = [f"{done}/{self._total} finished", f"{failed} failed"]
        head += [f"{interrupted} interrupted"] if interrupted else []
        head += [f"{self._skipped} done before"] if self._skipped else []
        head += [f"{clock(elapsed)} gone"]
        head += [f"about {clock(left)} left"] if left is not None else []
        grid.add_row(Text(", ".join(head), style="bold red" if failed else "bold"))
        now = time.monotonic()
        for label, (state, since) in list(self._running.items())[:16]:
            grid.add_row(Text(f"  {state:<14} {clock(now - since):>8}  {label}"))
        return grid


def finished_line(row: Row) -> str:
    """A finished run in a line."""
    seconds = f"{row.seconds:.1f} s" if row.seconds is not None else ""
    line = f"{row.state:<10} {row.label}  {seconds}".rstrip()
    if row.state != COMPLETED and row.error:
        line += f"  {row.error.splitlines()[0]}"
    return line


def clock(seconds: float | None) -> str:
    """Seconds as a person reads them.

    >>> clock(3725)
    '1:02:05'
    """
    whole = int(seconds or 0)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
