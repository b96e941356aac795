"""The progress of one run on a terminal, and what all displays have in common."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rompy_hydra.compose.logging_setup import logging_above
from rompy_hydra.core.plan import RunPlan
from rompy_hydra.core.scope import Watch, ignore
from rompy_hydra.redaction import printable
from rompy_hydra.workspace import record as rec

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

# The colour of each state.
COLOURS = {
    rec.PENDING: "bright_black",
    rec.GENERATING: "blue",
    rec.QUEUED: "blue",
    rec.RUNNING: "cyan",
    rec.CHECKING: "cyan",
    rec.POSTPROCESSING: "cyan",
    rec.COMPLETED: "green",
    rec.FAILED: "red",
    rec.TIMED_OUT: "red",
    rec.INTERRUPTED: "yellow",
    rec.LOST: "yellow",
}


@contextlib.contextmanager
def run_progress(plan: RunPlan) -> Iterator[Watch]:
    """On a terminal, the stage of one run, its time and a bar of its stages, below the log."""
    config = plan.backend.config if plan.backend else None
    if not sys.stdout.isatty() or getattr(config, "stream_output", False):
        yield ignore
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    # No markup, also in what plugins print meanwhile: names may look like it.
    console = Console(file=sys.stdout, markup=False, emoji=False, highlight=False)
    stage_of = {rec.GENERATING: 0, rec.QUEUED: 1, rec.RUNNING: 1, rec.CHECKING: 1}
    stage_of |= {rec.POSTPROCESSING: 2, rec.COMPLETED: 3}
    bar = BarColumn(20, complete_style="green", finished_style="green")
    columns = SpinnerColumn(), TextColumn("{task.description}"), bar, TimeElapsedColumn()
    with (
        Progress(*columns, console=console, transient=True, redirect_stderr=False) as display,
        logging_above(lambda text: print_above(console, text)),
    ):
        line = display.add_task("starting".ljust(14), total=len(rec.STAGES))

        def watch(state: str) -> None:
            text = f"[{COLOURS.get(state, 'default')}]{state:<14}"
            display.update(line, description=text, completed=stage_of.get(state))

        yield watch


def print_above(console: Console, text: str) -> None:
    """Print a line of the log above the display, as it is: only the terminal breaks it."""
    from rich.text import Text

    console.print(Text.from_ansi(text.rstrip("\n")), soft_wrap=True, highlight=False)


def coloured(line: str, state: str) -> Text:
    """A line that begins with a state, in its colour."""
    from rich.text import Text

    text = Text(printable(line))
    text.stylize(COLOURS.get(state, "default"), 0, len(state))
    return text
