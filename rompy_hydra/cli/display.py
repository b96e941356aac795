"""The progress of a sweep: lines in a log; on a terminal, a live display below the log."""

from __future__ import annotations

import contextlib
import datetime
import shutil
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from rompy_hydra.cli.progress import COLOURS, coloured, print_above
from rompy_hydra.cli.report import counted, say
from rompy_hydra.compose.logging_setup import logging_above
from rompy_hydra.sweep.config import SweepPlan
from rompy_hydra.sweep.preflight import LEAVE, SKIP, Preflight
from rompy_hydra.sweep.results_table import Row
from rompy_hydra.sweep.summary import is_failure
from rompy_hydra.workspace.record import COMPLETED, INTERRUPTED

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_STOPPING = "stopping   running models; press Ctrl-C again to kill them"


_BAR = 40  # characters


class PlainWatcher:
    """One line for each finished run."""

    live = False

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._total = self._skipped = 0

    def begin(self, plan: SweepPlan, preflight: Preflight) -> None:
        self._total = preflight.size - preflight.count(SKIP, LEAVE)
        self._skipped = preflight.count(SKIP)
        before = f", {self._skipped} already done" if self._skipped else ""
        points = counted(preflight.size, "point")
        say([f"sweep      {plan.config.path}: {points}{before}, {plan.workers} in parallel"])
        if preflight.cautions:
            say([f"warning    {message}" for message in preflight.cautions])

    def state(self, label: str, state: str) -> None:
        """A log only lists finished runs."""

    def finished(self, row: Row) -> None:
        self._counts[row.state] += 1
        say([f"{_finished_line(row)}  [{self._counts.total()}/{self._total}]"])

    def stopping(self) -> None:
        say([_STOPPING])

    def end(self) -> None:
        """Nothing to close."""


class LiveWatcher(PlainWatcher):
    """A bar, counts, the running runs with their times, and the time that is left, below the log."""

    live = True

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__()
        self._running: dict[str, tuple[str, float]] = {}
        self._stopping = False
        self._started = time.monotonic()
        # No markup, also in what plugins print meanwhile: names may look like it.
        self._console = Console(file=sys.stdout, markup=False, emoji=False, highlight=False)
        self._live = Live(
            console=self._console,
            refresh_per_second=4,
            transient=True,
            redirect_stderr=False,
            get_renderable=self._render,
        )
        self._open = contextlib.ExitStack()

    def begin(self, plan: SweepPlan, preflight: Preflight) -> None:
        super().begin(plan, preflight)
        self._started = time.monotonic()
        self._live.start()
        self._open.callback(self._live.stop)
        self._open.enter_context(logging_above(lambda text: print_above(self._console, text)))

    def state(self, label: str, state: str) -> None:
        since = self._running.get(label, ("", time.monotonic()))[1]
        self._running[label] = (state, since)

    def finished(self, row: Row) -> None:
        self._running.pop(row.label, None)
        self._counts[row.state] += 1
        if row.state != COMPLETED or row.warnings:
            self._console.print(coloured(_finished_line(row), row.state), soft_wrap=True)

    def stopping(self) -> None:
        self._stopping = True
        self._live.refresh()  # what is printed goes above the display that was drawn last
        self._console.print(_STOPPING)

    def end(self) -> None:
        self._open.close()

    def _render(self) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        interrupted = self._counts[INTERRUPTED]
        done = self._counts.total() - interrupted
        now = time.monotonic()
        elapsed = now - self._started
        failed = sum(count for state, count in self._counts.items() if is_failure(state))
        head = [f"{done}/{self._total} finished", f"{failed} failed"]
        head += [f"{interrupted} interrupted"] if interrupted else []
        head += [f"{self._skipped} already done"] if self._skipped else []
        head.append(f"{clock(elapsed)} elapsed")
        # Once it is stopping, most of the points that are left never start.
        if done and not (interrupted or self._stopping):
            head.append(f"about {clock((self._total - done) * elapsed / done)} left")
        grid = Table.grid()
        grid.add_row(self._bar())
        grid.add_row(Text(", ".join(head), style="bold red" if failed else "bold", no_wrap=True))
        # A display that is higher than the terminal would leave lines behind.
        rows = max(1, min(16, shutil.get_terminal_size().lines - 4))
        running = list(self._running.items())
        for label, (state, since) in running[:rows]:
            text = f"{state:<14} {clock(now - since):>8}  {label}"
            grid.add_row(Text("  ", no_wrap=True, overflow="ellipsis").append(coloured(text, state)))
        if len(running) > rows:
            grid.add_row(Text(f"  and {len(running) - rows} more"))
        return grid

    def _bar(self) -> Text:
        """One character or more for each state that runs are in, in its colour."""
        from rich.text import Text

        states = Counter(self._counts)
        states.update(state for state, _ in self._running.values())
        bar, drawn, runs = Text(no_wrap=True), 0, 0
        ended = [state for state in COLOURS if state in self._counts]
        for state in dict.fromkeys([*ended, *(state for state, _ in self._running.values())]):
            runs += states[state]
            end = round(_BAR * min(runs, self._total) / max(self._total, 1))
            bar.append("━" * (end - drawn), style=COLOURS.get(state, "default"))
            drawn = end
        return bar.append("━" * (_BAR - drawn), style="bright_black")


def _finished_line(row: Row) -> str:
    seconds = f"{row.seconds:.1f} s" if row.seconds is not None else ""
    line = f"{row.state:<10} {row.label}  {seconds}".rstrip()
    if row.warnings:
        line += f"  with warnings: {row.warnings}"
    if row.state != COMPLETED and row.error:
        line += f"  {row.error.splitlines()[0]}"
    return line


def clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds.

    >>> clock(3725)
    '1:02:05'
    """
    return str(datetime.timedelta(seconds=int(seconds)))
