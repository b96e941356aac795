"""`rompy-hydra -m`: what a person sees of a sweep."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rompy_hydra.cli.display import PlainWatcher, watcher
from rompy_hydra.cli.report import say
from rompy_hydra.compose import app
from rompy_hydra.compose.composer import Composer
from rompy_hydra.compose.log import set_up_logging
from rompy_hydra.compose.sweeper import Request, SweepInvalid
from rompy_hydra.errors import INTERRUPTED_EXIT_CODE
from rompy_hydra.record import COMPLETED
from rompy_hydra.sweep.config import SweepConfig
from rompy_hydra.sweep.engine import Summary
from rompy_hydra.sweep.forecast import AGAIN, ELSEWHERE, LEAVE, RETRY, RUN, SKIP, Forecast, Verdict
from rompy_hydra.sweep.points import Point
from rompy_hydra.sweep.results import RESULTS

_SHOWN_PROBLEMS = 20
_SHOWN_KINDS = 10


def run(
    composer: Composer, overrides: Sequence[str], *, dry_run: bool = False, check_only: bool = False
) -> int:
    """Check all points, run what is missing, tell what came out; the exit code."""
    # One line a finished run is what a log needs; the stages of each are in its record.
    set_up_logging("WARNING")
    request = Request(
        composer,
        watcher() if not (dry_run or check_only) else PlainWatcher(),
        carry_out=app.carry_out,
        run_point=app.stock_point,
        dry_run=dry_run,
        check_only=check_only,
        confirm=_confirmed,
    )
    listed: list[list[str]] = []
    if not check_only:
        request.told = lambda point, verdict: listed.append(_listing(point, verdict))
    try:
        app.multirun(request, overrides)
    except SweepInvalid as error:
        sys.stderr.write("\n".join(problem_table(error.forecast)) + "\n")
        return error.exit_code
    if request.summary is not None and request.config is not None:
        say(summary_lines(request.summary, request.config))
        if request.summary.interrupted:
            return INTERRUPTED_EXIT_CODE
        return 1 if request.summary.failed else 0
    if request.forecast is not None and request.config is not None:
        say([*(table(listed) if listed else []), forecast_line(request.forecast, request.config)])
        return 0
    return _stock_answer(request)


def _stock_answer(request: Request) -> int:
    """What one of Hydra's own launchers left: the failures it has kept."""
    failed = []
    for job in request.answers:
        try:
            job.return_value  # noqa: B018 - raises what the job raised
        except Exception as error:  # noqa: BLE001 - any failure of any job is told
            failed.append(str(error).splitlines()[0])
    say([f"{len(request.answers)} runs, {len(failed)} failed", *(f"  {line}" for line in failed)])
    return 1 if failed else 0


def _confirmed(points: int) -> bool:
    """On a terminal a large grid is asked for; elsewhere it needs `sweep.max_points`."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    sys.stdout.write(f"The grid has {points} points. Run them all? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _listing(point: Point, verdict: Verdict) -> list[str]:
    return [verdict.decision, point.label, verdict.why]


def table(rows: list[list[str]]) -> list[str]:
    """Rows as aligned columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def forecast_line(forecast: Forecast, config: SweepConfig) -> str:
    """How many points there are, and what would happen to them."""
    told = {
        "to run": forecast.count(RUN, RETRY, AGAIN),
        "done and unchanged": forecast.count(SKIP),
        "failed before and left": forecast.count(LEAVE),
        "run by another driver": forecast.count(ELSEWHERE),
    }
    parts = ", ".join(f"{count} {what}" for what, count in told.items() if count)
    return f"{forecast.size} points in {config.path}: {parts}"


def problem_table(forecast: Forecast) -> list[str]:
    """All problems of all points; the same one once, with the number of points that have it."""
    found = list(forecast.problems.values())
    points = forecast.size
    lines = [f"rompy-hydra: the sweep cannot start: {len(found)} problems in {points} points"]
    for label, problem, count in found[:_SHOWN_PROBLEMS]:
        where = f"{label} and {count - 1} more points" if count > 1 else label
        lines += [f"  {line}" for line in str(problem).removeprefix(": ").splitlines()]
        lines.append(f"      at {where}")
    if len(found) > _SHOWN_PROBLEMS:
        lines.append(f"  ... and {len(found) - _SHOWN_PROBLEMS} more problems")
    return lines


def summary_lines(summary: Summary, config: SweepConfig) -> list[str]:
    """The end of a sweep: counts, the slowest, failures by their kind, and where the table is."""
    counts = ", ".join(f"{count} {state}" for state, count in sorted(summary.counts.items()))
    done = f"{summary.skipped} done before" if summary.skipped else ""
    left = summary.total - summary.skipped - sum(summary.counts.values())
    missing = f"{left} not started" if left else ""
    told = ", ".join(part for part in (counts, done, missing) if part) or "nothing to do"
    lines = [f"sweep      {summary.total} points: {told} in {summary.seconds:.1f} s"]
    if summary.slowest and summary.counts.get(COMPLETED, 0) > 1:
        slowest = ", ".join(f"{label} {seconds:.1f} s" for seconds, label in reversed(summary.slowest))
        lines.append(f"slowest    {slowest}")
    if summary.stopped_early:
        lines.append(f"stopped    after {config.max_failures} failures (sweep.max_failures)")
    kinds = sorted(summary.failures.values(), reverse=True)
    for count, label, message in kinds[:_SHOWN_KINDS]:
        lines.append(f"{count} failed like {label}:" if count > 1 else f"failed     {label}:")
        lines += [f"           {line}" for line in message.splitlines()]
    if len(kinds) > _SHOWN_KINDS:
        lines.append(f"... and {len(kinds) - _SHOWN_KINDS} more kinds of failures, see the table")
    lines.append(f"results    {config.path / RESULTS}")
    if summary.failed or left:
        lines.append("next       run the same command again: only what is missing is done")
    return lines
