"""What a person sees of one run: what will happen, what happens, what came out."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from rompy_hydra.core.plan import Task
from rompy_hydra.core.status import stale_stages
from rompy_hydra.workspace.record import COMPLETED, STAGES, RunRecord

_SHOWN_METRICS = 12


def say(lines: list[str]) -> None:
    """Print lines at once, also into a pipe.

    Whoever reads them may go away, and a log's disk may be full: a run goes on all the same.
    """
    with contextlib.suppress(OSError):
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()


def opening(task: Task) -> list[str]:
    """What will run, where, and what is left to do."""
    run = task.model_run
    kind = getattr(run.config, "kind", type(run.config).__name__)
    assert task.backend is not None
    record = None if task.overwrite else RunRecord.load(task.workspace)
    reasons = stale_stages(task, record)
    todo = ", ".join(name for name in task.stages if name in reasons)
    processors = ", ".join(p.name for p in task.processors) or "none"
    lines = [
        f"run        {run.run_id}: {kind} on {task.backend.name}, then {processors}",
        f"directory  {shown(task.workspace.path)}",
        f"inputs     {_inputs(task)}",
    ]
    if record is None:
        lines.append(f"stages     {todo}")
    elif reasons:
        lines.append(f"stages     {todo} ({reasons[next(iter(reasons))]})")
    else:
        lines.append("stages     nothing to do: every stage is done and unchanged")
    return lines


def _inputs(task: Task) -> str:
    inputs = task.inputs
    rendered = [item for item in inputs if item.content is not None]
    parts = [f"{len(rendered)} rendered ({size(sum(i.size for i in rendered))})"]
    for item in inputs:
        if item.source is not None:
            how = "linked" if item.link else "copied"
            parts.append(f"{item.path} {how} ({size(item.size)})")
    more = len(parts) - 6
    return ", ".join(parts[:6]) + (f" and {more} more" if more > 0 else "")


def closing(task: Task, results: Mapping[str, object]) -> list[str]:
    """What came out and where; after a failure, what went wrong and what to do."""
    try:
        record = RunRecord.load(task.workspace)
    except Exception:  # noqa: BLE001 - the failure that is told below may be this very one
        record = None
    if results.get("success") is not True:
        there = record is not None or task.workspace.record.exists()
        where = [f"record     {shown(task.workspace.record)}"] if there else []
        return [*_failure(task, results, record), *where]
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
        lines += [f"picture    {shown(task.workspace.path / path)}" for path in pictures]
        if record.state != COMPLETED:
            lines.append("next       run the same command with pipeline.stages left out to go on")
    lines.append(f"record     {shown(task.workspace.record)}")
    return lines


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


def _failure(task: Task, results: Mapping[str, object], record: RunRecord | None) -> list[str]:
    state = record.state if record is not None and record.ended else "failed"
    stage = results.get("stage", "pipeline")
    lines = [f"{state:<10} {task.model_run.run_id} in the stage {stage}"]
    message = str(results.get("error") or results.get("message") or "no reason was given")
    lines += [f"           {line}" for line in message.splitlines()]
    lines.append("next       mend the cause and run the same command again: done stages are kept")
    return lines


@contextlib.contextmanager
def progress(task: Task) -> Iterator[None]:
    """On a terminal, a line that shows the stage and the time; elsewhere the log says it."""
    streams = bool(getattr(getattr(task.backend and task.backend.backend, "config", 0), "stream_output", 0))
    if not sys.stdout.isatty() or streams:
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(file=sys.stdout), transient=True) as display:
        line = display.add_task("starting", total=None)
        task.watch = lambda state: display.update(line, description=state)
        yield


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
