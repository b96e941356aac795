"""What a person sees of one run: what will happen, what happens, what came out."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from rompy_hydra.core.attempt import stage_of
from rompy_hydra.core.plan import RunPlan
from rompy_hydra.core.scope import Watch, ignore
from rompy_hydra.core.status import inspect
from rompy_hydra.errors import RompyHydraError
from rompy_hydra.workspace.record import COMPLETED, STAGES, RunRecord

_SHOWN_METRICS = 12


def say(lines: list[str]) -> None:
    """Print lines at once, also into a pipe.

    Whoever reads them may go away, and a log's disk may be full: a run goes on all the same.
    """
    with contextlib.suppress(OSError):
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()


def opening(plan: RunPlan) -> list[str]:
    """What will run, where, and what is left to do."""
    assert plan.backend is not None
    status = inspect(plan)
    todo = ", ".join(status.stale)
    processors = ", ".join(p.plugin_name for p in plan.processors) or "none"
    place = f"{plan.model.kind} on {plan.backend.plugin_name}"
    lines = [
        f"run        {plan.spec.run_id}: {place}, then {processors}",
        f"directory  {shown(plan.workspace.path)}",
        f"inputs     {_inputs(plan)}",
    ]
    if plan.overwrite:
        lines.append(f"stages     {', '.join(plan.stages)}")
    elif status.record is None:
        lines.append(f"stages     {todo}")
    elif status.stale:
        lines.append(f"stages     {todo} ({next(iter(status.stale.values()))})")
    else:
        lines.append("stages     nothing to do: every stage is done and unchanged")
    return lines


def _inputs(plan: RunPlan) -> str:
    inputs = plan.inputs
    rendered = [item for item in inputs if item.content is not None]
    parts = [f"{len(rendered)} rendered ({size(sum(i.size for i in rendered))})"]
    for item in inputs:
        if item.source is not None:
            how = "linked" if item.link else "copied"
            parts.append(f"{item.path} {how} ({size(item.size)})")
    more = len(parts) - 6
    return ", ".join(parts[:6]) + (f" and {more} more" if more > 0 else "")


def completed(plan: RunPlan) -> list[str]:
    """What came out, and where."""
    record = _record(plan)
    lines = []
    if record is not None:
        seconds = sum(record.stages[name].seconds or 0 for name in STAGES)
        lines.append(f"{record.state:<10} {record.run_id} in {seconds:.1f} s")
        lines += [f"metric     {line}" for line in _metrics(record)]
        made = [f.path for f in [*record.outputs, *record.products]]
        if made:
            shown_files = ", ".join(made[:6]) + (f" and {len(made) - 6} more" if made[6:] else "")
            lines.append(f"outputs    {shown_files}")
        pictures = [path for path in made if path.endswith(".png")]
        lines += [f"picture    {shown(plan.workspace.path / path)}" for path in pictures]
        if record.state != COMPLETED:
            lines.append("next       run the same command without pipeline.stages to continue")
    lines.append(f"record     {shown(plan.workspace.record)}")
    return lines


def failed(plan: RunPlan, error: BaseException, debug: bool = False) -> list[str]:
    """What went wrong, and what to do."""
    if debug:
        traceback.print_exception(error)
    record = _record(plan)
    state = record.state if record is not None and record.ended else "failed"
    lines = [f"{state:<10} {plan.spec.run_id} in the stage {stage_of(error) or 'pipeline'}"]
    interrupted = isinstance(error, KeyboardInterrupt)
    message = "interrupted" if interrupted else str(error) or type(error).__name__
    lines += [f"           {line}" for line in message.splitlines()]
    lines.append("next       fix the cause and rerun the command: completed stages are kept")
    if record is not None or plan.workspace.record.exists():
        lines.append(f"record     {shown(plan.workspace.record)}")
    return lines


def _record(plan: RunPlan) -> RunRecord | None:
    """The record, if it can be read; the failure that is reported may be that it cannot."""
    with contextlib.suppress(RompyHydraError, OSError):
        return RunRecord.load(plan.workspace)
    return None


def _metrics(record: RunRecord) -> list[str]:
    """A line a quantity: its statistics, which have its name and a dot before theirs."""
    quantities: dict[str, list[str]] = {}
    for name, value in record.metrics.items():
        quantity, _, statistic = name.rpartition(".")
        told = f"{statistic} {_number(value)}" if quantity else f"= {_number(value)}"
        quantities.setdefault(quantity or name, []).append(told)
    width = max((len(name) for name in quantities), default=0)
    lines = [f"{name:<{width}}  {', '.join(told)}" for name, told in quantities.items()]
    more = len(lines) - _SHOWN_METRICS
    return [*lines[:_SHOWN_METRICS], *([f"... and {more} more in metrics.json"] if more > 0 else [])]


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@contextlib.contextmanager
def progress(plan: RunPlan) -> Iterator[Watch]:
    """On a terminal, a line that shows the stage and the time; elsewhere the log says it."""
    config = plan.backend.config if plan.backend else None
    if not sys.stdout.isatty() or getattr(config, "stream_output", False):
        yield ignore
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(file=sys.stdout), transient=True) as display:
        line = display.add_task("starting", total=None)
        yield lambda state: display.update(line, description=state)


def shown(path: Path) -> str:
    """A path as the user would type it: relative where it lies below this directory."""
    try:
        return str(path.relative_to(os.path.abspath(".")))
    except ValueError:
        return str(path)


def counted(count: int, noun: str) -> str:
    """So many of something.

    >>> counted(1, "point"), counted(2, "point")
    ('1 point', '2 points')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def size(count: int) -> str:
    """Bytes for people.

    >>> size(17881)
    '17.9 kB'
    """
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
