"""`rompy-hydra -m`: what a person sees of a sweep."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Mapping, Sequence

from rompy_hydra.cli.display import PlainWatcher, watcher
from rompy_hydra.cli.report import counted, say
from rompy_hydra.cli.tables import problem_table, table
from rompy_hydra.compose import app
from rompy_hydra.compose.composer import Composer
from rompy_hydra.compose.logging_setup import set_up_logging
from rompy_hydra.compose.sweeper import SweepOutcome, SweepRequest, merge_outcomes, multirun
from rompy_hydra.errors import INTERRUPTED_EXIT_CODE, SweepInvalid
from rompy_hydra.sweep.config import SweepConfig
from rompy_hydra.sweep.points import Point
from rompy_hydra.sweep.preflight import AGAIN, ELSEWHERE, RETRY, RUN, SKIP, Decision, Preflight
from rompy_hydra.sweep.results_table import RESULTS
from rompy_hydra.sweep.summary import Summary
from rompy_hydra.workspace import SCRIPT
from rompy_hydra.workspace.record import COMPLETED

_SHOWN_KINDS = 10


def run(
    composer: Composer,
    overrides: Sequence[str],
    *,
    dry_run: bool = False,
    check_only: bool = False,
    since: str = "",
) -> int:
    """Check all points, run what is missing, tell what came out; the exit code.

    `since` is when the command was given: what another driver saw fail later is left to a later command.
    """
    # One line a finished run is what a log needs; the stages of each are in its record.
    set_up_logging("WARNING")
    listed: list[list[str]] = []

    def report(point: Point, decision: Decision) -> None:
        listed.append([decision.action, point.label, decision.why])

    def report_problems(preflight: Preflight) -> None:
        sys.stderr.write("\n".join(problem_table(preflight)) + "\n")

    request = SweepRequest(
        composer,
        watcher() if not (dry_run or check_only) else PlainWatcher(),
        run_point=functools.partial(app.stock_point, trusted=composer.trusted),
        dry_run=dry_run,
        check_only=check_only,
        report=report,
        report_problems=report_problems,
        confirm=_confirmed,
        since=since,
    )
    try:
        outcome = multirun(request, overrides)
    except SweepInvalid as error:
        return error.exit_code
    except KeyboardInterrupt:
        if not request.batches:
            raise
        outcome = merge_outcomes(request.batches)
    if outcome.summary is not None and outcome.config is not None:
        say(summary_lines(outcome.summary, outcome.config))
        if outcome.summary.interrupted:
            return INTERRUPTED_EXIT_CODE
        return 1 if outcome.summary.failed or outcome.summary.problem else 0
    if outcome.preflight is not None and outcome.config is not None:
        say([*(table(listed) if listed else []), preflight_line(outcome.preflight, outcome.config)])
        return 0
    return _stock_answer(outcome)


def _stock_answer(outcome: SweepOutcome) -> int:
    """What one of Hydra's own launchers left: the failures it has kept."""
    failed = []
    for job in outcome.jobs:
        try:
            job.return_value  # noqa: B018 - raises what the job raised
        except Exception as error:  # noqa: BLE001 - any failure of any job is told
            first, *rest = str(error).splitlines() or [type(error).__name__]
            failed.append(f"{first} {rest[0].strip()}" if first.endswith(":") and rest else first)
    place = f" in {outcome.config.path}" if outcome.config is not None else ""
    runs = counted(len(outcome.jobs), "run")
    say([f"{runs}, {len(failed)} failed{place}", *(f"  {line}" for line in failed)])
    return 1 if failed else 0


def _confirmed(points: int) -> bool:
    """On a terminal a large grid is asked for; elsewhere it needs `sweep.max_points`."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    sys.stdout.write(f"The grid has {points} points. Run them all? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def preflight_line(preflight: Preflight, config: SweepConfig) -> str:
    """How many points there are, and what would happen to them."""
    told = {
        "to run": preflight.count(RUN, RETRY, AGAIN),
        "done and unchanged": preflight.count(SKIP),
        **_left(preflight.left),
        "run by another driver": preflight.count(ELSEWHERE),
    }
    parts = ", ".join(f"{count} {what}" for what, count in told.items() if count)
    return f"{counted(preflight.size, 'point')} in {config.path}: {parts}"


def _left(states: Mapping[str, int]) -> dict[str, int]:
    return {f"{state} before and left": count for state, count in sorted(states.items())}


def summary_lines(summary: Summary, config: SweepConfig) -> list[str]:
    """The end of a sweep: counts, the slowest, failures by their kind, and where the table is."""
    counts = [f"{count} {state}" for state, count in sorted(summary.counts.items())]
    more = {
        "done before": summary.skipped,
        **_left(summary.left),
        "not started": summary.not_started,
    }
    counts += [f"{count} {what}" for what, count in more.items() if count]
    points = counted(summary.total, "point")
    lines = [f"sweep      {points}: {', '.join(counts)} in {summary.seconds:.1f} s"]
    if summary.counts.get(COMPLETED, 0) > 1 and summary.slowest:
        slowest = ", ".join(f"{label} {seconds:.1f} s" for seconds, label in summary.slowest)
        lines.append(f"slowest    {slowest}")
    if summary.interrupted:
        lines.append("stopped    by an interrupt; the running models were ended")
    elif summary.stopped_early:
        failures = counted(config.max_failures or 0, "failure")
        lines.append(f"stopped    after {failures} (sweep.max_failures)")
    lines += _failures(summary, config)
    if summary.problem:
        lines.append(f"problem    {summary.problem}")
    lines.append(f"results    {config.path / RESULTS}")
    if summary.failed and config.retry in ("lost", "none"):
        lines.append("next       with sweep.retry=failed the same command tries them again")
    elif summary.failed or summary.not_started:
        lines.append("next       run the same command again: only what is missing is done")
    return lines


def _failures(summary: Summary, config: SweepConfig) -> list[str]:
    """Failures by their kind: how many, one example, and how to run that one by hand."""
    lines = []
    kinds = sorted(summary.failures.values(), key=lambda kind: -kind[0])
    for count, label, message in kinds[:_SHOWN_KINDS]:
        lines.append(f"failed     {count} like {label}:" if count > 1 else f"failed     {label}:")
        lines += [f"           {line}" for line in message.splitlines()]
        script = config.path / label / SCRIPT
        if script.exists() and str(script) not in message:
            lines.append(f"           By hand: sh {shlex.quote(str(script))}")
    if len(kinds) > _SHOWN_KINDS:
        lines.append(f"... and {len(kinds) - _SHOWN_KINDS} more of other kinds, see the table")
    return lines
