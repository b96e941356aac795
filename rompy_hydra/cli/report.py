"""What a person sees of one run: what will run, its progress, and its results."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from rompy_hydra.core.attempt import record_of, stage_of
from rompy_hydra.core.plan import RunPlan
from rompy_hydra.core.status import inspect
from rompy_hydra.errors import Busy, RompyHydraError
from rompy_hydra.redaction import printable, public_url
from rompy_hydra.workspace.record import COMPLETED, INTERRUPTED, STAGES, RunRecord

_SHOWN_FILES = 6
_SHOWN_METRICS = 12
# A longer cell shifts only the rest of its own row.
_WIDEST = 48


def say(lines: list[str]) -> None:
    """Print lines without delay, also into a pipe.

    The reader may close the pipe, and a log's disk may be full: a run continues anyway.
    """
    with contextlib.suppress(OSError):
        sys.stdout.write(printable("\n".join(lines)) + "\n")
        sys.stdout.flush()


def opening(plan: RunPlan) -> list[str]:
    """What will run, where, and what is left to do."""
    assert plan.backend is not None
    status = inspect(plan)
    processors = ", ".join(p.plugin_name for p in plan.processors) or "none"
    rendered = [item.size for item in plan.inputs if item.content is not None]
    inputs = [f"{len(rendered)} rendered ({size(sum(rendered))})"]
    for item in plan.inputs:
        if item.url:
            inputs.append(f"{item.path} fetched from {public_url(item.url)}")
        elif item.source is not None:
            inputs.append(f"{item.path} {'linked' if item.link else 'copied'} ({size(item.size)})")
    stages = ", ".join(plan.stages if plan.overwrite else status.stale)
    if not plan.overwrite and status.record is not None:
        why = f" ({next(iter(status.stale.values()))})" if status.stale else ""
        stages = f"{stages}{why}" or "nothing to do: every stage is done and unchanged"
    place = f"{plan.model.kind} on {plan.backend.plugin_name}"
    lines = [
        f"run        {plan.spec.run_id}: {place}, then {processors}",
        f"directory  {shown(plan.workspace.path)}",
        f"inputs     {_first(inputs)}",
        f"stages     {stages}",
    ]
    return lines + ([f"warning    {each}" for each in plan.cautions] if status.stale else [])


def what_runs(plan: RunPlan) -> list[str]:
    """The commands of a run, and what they are not kept away from."""
    return [
        *(line for command in plan.commands for line in in_lines("command", command)),
        *(f"exposed    {each}" for each in plan.exposures),
    ]


def in_lines(title: str, text: str) -> list[str]:
    """A text of one or more lines, with a title before the first."""
    first, *rest = text.splitlines() or [""]
    return [f"{title:<10} {first}", *(f"{'':<10} {line}" for line in rest)]


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN_FILES} more" if names[_SHOWN_FILES:] else ""
    return ", ".join(names[:_SHOWN_FILES]) + more


def completed(plan: RunPlan) -> list[str]:
    """The results, and where they are."""
    record = _record(plan)
    lines = []
    if record is not None:
        seconds = sum(record.stages[name].seconds or 0 for name in STAGES)
        warned = f", with {counted(len(record.warnings), 'warning')}" if record.warnings else ""
        lines.append(f"{record.state:<10} {record.run_id} in {seconds:.1f} s{warned}")
        lines += [f"warning    {message}" for message in record.warnings]
        lines += [f"metric     {line}" for line in _metrics(record)]
        files = [f.path for f in [*record.outputs, *record.products]]
        if files:
            lines.append(f"outputs    {_first(files)}")
        pictures = [path for path in files if path.endswith(".png")]
        lines += [f"picture    {shown(plan.workspace.path / path)}" for path in pictures]
        if record.state != COMPLETED:
            lines.append("next       run the same command without pipeline.stages to continue")
    if plan.workspace.record.exists():
        lines.append(f"record     {shown(plan.workspace.record)}")
    else:
        name = plan.spec.run_id
        lines.append(
            f"completed  {name}, says the pipeline: it left no record in {shown(plan.workspace.path)}"
        )
    return lines


def failed(plan: RunPlan, error: BaseException, debug: bool = False) -> list[str]:
    """What went wrong, and what to do."""
    if debug:
        sys.stderr.write(printable("".join(traceback.format_exception(error))))
    if isinstance(error, Busy):
        return [f"busy       {plan.spec.run_id}", f"           {error}"]
    # An error that came before an attempt began is not in the record.
    attempted = record_of(error)
    state = attempted.state if attempted is not None and attempted.ended else "failed"
    if isinstance(error, KeyboardInterrupt):
        state = INTERRUPTED
    stage = stage_of(error)
    lines = [f"{state:<10} {plan.spec.run_id}" + (f" in the stage {stage}" if stage else "")]
    if isinstance(error, KeyboardInterrupt):
        lines.append("next       rerun the command to continue: completed stages are kept")
    else:
        lines += [f"           {line}" for line in (str(error) or type(error).__name__).splitlines()]
        lines.append("next       fix the cause and rerun the command: completed stages are kept")
    if os.path.exists(plan.workspace.record):
        lines.append(f"record     {shown(plan.workspace.record)}")
    return lines


def _record(plan: RunPlan) -> RunRecord | None:
    """The record, if it can be read; the failure that is reported may be that it cannot."""
    with contextlib.suppress(RompyHydraError, OSError):
        return RunRecord.load(plan.workspace)
    return None


def _metrics(record: RunRecord) -> list[str]:
    """One line for each quantity, with its statistics: the metric `eta.max` is the maximum of `eta`."""
    quantities: dict[str, list[str]] = {}
    for name, value in record.metrics.items():
        quantity, _, statistic = name.rpartition(".")
        number = f"{value:.6g}" if isinstance(value, float) else str(value)
        quantities.setdefault(quantity or name, []).append(f"{statistic if quantity else '='} {number}")
    lines = table([[name, ", ".join(values)] for name, values in quantities.items()])
    more = len(lines) - _SHOWN_METRICS
    return [*lines[:_SHOWN_METRICS], *([f"... and {more} more in metrics.json"] if more > 0 else [])]


def shown(path: Path) -> str:
    """A path as the user would type it: relative if it is below this directory."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def counted(count: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "point"), counted(2, "point")
    ('1 point', '2 points')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def size(count: int) -> str:
    """A number of bytes in a readable unit.

    >>> size(17881)
    '17.9 kB'
    """
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as aligned columns.

    >>> table([["run", "friction=0.01"], ["skip", "friction=0.02"]])
    ['run   friction=0.01', 'skip  friction=0.02']
    """
    widths = [min(max(len(cell) for cell in column), _WIDEST) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
