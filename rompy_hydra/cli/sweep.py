"""`rompy-hydra -m`: what a person sees of a sweep."""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Mapping, Sequence

from rompy_hydra.cli.display import LiveWatcher, PlainWatcher
from rompy_hydra.cli.report import counted, in_lines, say, table
from rompy_hydra.compose import app
from rompy_hydra.compose.composer import Composer
from rompy_hydra.compose.logging_setup import set_up_logging
from rompy_hydra.compose.sweeper import SweepOutcome, SweepRequest, multirun
from rompy_hydra.errors import INTERRUPTED_EXIT_CODE, SweepInvalid
from rompy_hydra.redaction import printable
from rompy_hydra.sweep.config import SweepConfig
from rompy_hydra.sweep.points import Point
from rompy_hydra.sweep.preflight import (
    AGAIN,
    ELSEWHERE,
    RETRY,
    RUN,
    SHOWN_VALUES,
    SKIP,
    Decision,
    Preflight,
)
from rompy_hydra.sweep.results_table import RESULTS
from rompy_hydra.sweep.summary import Summary
from rompy_hydra.workspace import Workspace
from rompy_hydra.workspace.record import COMPLETED

_SHOWN_KINDS = 10
_SHOWN_PROBLEMS = 20


def run(
    composer: Composer,
    overrides: Sequence[str],
    *,
    dry_run: bool = False,
    check_only: bool = False,
    since: str = "",
) -> int:
    """Check all points, run what is missing, and report the results; returns the exit code.

    `since` is when the command was given: what another driver saw fail later is left to a later command.
    """
    # A log needs one line for each finished run; the stages of each are in its record.
    set_up_logging("WARNING")
    listed: list[list[str]] = []

    def report(point: Point, decision: Decision) -> None:
        if not check_only:
            listed.append([decision.action, point.label, decision.why])

    request = SweepRequest(
        composer,
        LiveWatcher() if sys.stdout.isatty() and not (dry_run or check_only) else PlainWatcher(),
        run_point=functools.partial(app.stock_point, trusted=composer.trusted),
        dry_run=dry_run or check_only,
        report=report,
        report_problems=_report_problems,
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
        outcome = request.batches[-1]
    if outcome.summary is not None and outcome.config is not None:
        say(summary_lines(outcome.summary, outcome.config))
        if outcome.summary.interrupted:
            return INTERRUPTED_EXIT_CODE
        return 1 if outcome.summary.failed or outcome.summary.problem else 0
    if outcome.preflight is not None and outcome.config is not None:
        preflight, place = outcome.preflight, outcome.config.path
        counts = {
            "to run": preflight.count(RUN, RETRY, AGAIN),
            "done and unchanged": preflight.count(SKIP),
            **_not_retried(preflight.left),
            "run by another driver": preflight.count(ELSEWHERE),
        }
        found = [f"warning  {message}" for message in preflight.cautions]
        found += [line for each in preflight.commands.texts for line in in_lines("command", each)]
        found += [f"exposed    {each}" for each in preflight.exposures.texts]
        if more := preflight.commands.more + preflight.exposures.more:
            found.append(f"           and more in {counted(more, 'point')}: see `rompy-hydra check` of one")
        found += [f"{counted(preflight.size, 'point')} in {place}: {_listed(counts)}"]
        found += ["check      no problems found; nothing was changed"] if check_only else []
        say([*table(listed), *found])
        return 0
    return _report_jobs(outcome)


def _report_jobs(outcome: SweepOutcome) -> int:
    """Print the failures that one of Hydra's own launchers has kept; returns the exit code."""
    failed = []
    for job in outcome.jobs:
        try:
            job.return_value  # noqa: B018 - raises what the job raised
        except Exception as error:  # noqa: BLE001 - any failure of any job is reported
            first, *rest = str(error).splitlines() or [type(error).__name__]
            failed.append(f"{first} {rest[0].strip()}" if first.endswith(":") and rest else first)
    if not outcome.jobs:
        say(["the sweeper has finished; it does not report its runs: see their records"])
        return 0
    place = f" in {outcome.config.path}" if outcome.config is not None else ""
    runs = counted(len(outcome.jobs), "run")
    say([f"{runs}, {len(failed)} failed{place}", *(f"  {line}" for line in failed)])
    return 1 if failed else 0


def _confirmed(points: int) -> bool:
    """A large grid needs confirmation on a terminal; elsewhere it needs `sweep.max_points`."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    sys.stdout.write(f"The grid has {points} points. Run them all? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _report_problems(preflight: Preflight) -> None:
    """Print all problems of all points; the same one once, with the number of points that have it."""
    found = list(preflight.problems.values())
    rows = [["points", "example", "key", "value", "reason", "what to do"]]
    for each in found[:_SHOWN_PROBLEMS]:
        problem = each.problem
        values = ", ".join([*each.values[:SHOWN_VALUES], *(["..."] if each.values[SHOWN_VALUES:] else [])])
        cells = [str(each.count), each.label, problem.path, values, problem.reason, problem.hint]
        rows.append([" ".join(cell.split()) for cell in cells])
    used = [n for n in range(len(rows[0])) if any(row[n] for row in rows[1:])]
    summary = f"{counted(len(found), 'problem')} in {counted(preflight.size, 'point')}"
    lines = [f"rompy-hydra: the sweep cannot start: {summary}; nothing was changed"]
    lines += [f"  {line}" for line in table([[row[n] for n in used] for row in rows])]
    if len(found) > _SHOWN_PROBLEMS:
        lines.append(f"  ... and {len(found) - _SHOWN_PROBLEMS} more")
    sys.stderr.write(printable("\n".join(lines)) + "\n")


def _not_retried(states: Mapping[str, int]) -> dict[str, int]:
    return {f"{state} earlier and not retried": count for state, count in sorted(states.items())}


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def summary_lines(summary: Summary, config: SweepConfig) -> list[str]:
    """The end of a sweep: counts, the slowest, failures by their kind, and where the table is."""
    counts = {
        **dict(sorted(summary.counts.items())),
        "already done": summary.skipped,
        **_not_retried(summary.left),
        "not started": summary.not_started,
    }
    points = counted(summary.total, "point")
    lines = [f"sweep      {points}: {_listed(counts)} in {summary.seconds:.1f} s"]
    if summary.counts.get(COMPLETED, 0) > 1 and summary.slowest:
        slowest = ", ".join(f"{label} {seconds:.1f} s" for seconds, label in summary.slowest)
        lines.append(f"slowest    {slowest}")
    if summary.warned:
        what = f"{counted(summary.warned, 'run')} completed with warnings, see the column warnings"
        lines.append(f"warnings   {what}: {summary.warning}")
    if summary.interrupted:
        lines.append("stopped    by an interrupt; the running models were stopped")
    elif summary.stopped_early:
        failures = counted(config.max_failures or 0, "failure")
        lines.append(f"stopped    after {failures} (sweep.max_failures)")
    lines += _failures(summary, config)
    if summary.problem:
        lines.append(f"problem    {summary.problem}")
    lines.append(f"results    {config.path / RESULTS}")
    if summary.failed and config.retry in ("lost", "none"):
        lines.append("next       rerun the command with sweep.retry=failed to retry the failed runs")
    elif summary.failed or summary.not_started:
        lines.append("next       rerun the command: it does only what is missing")
    return lines


def _failures(summary: Summary, config: SweepConfig) -> list[str]:
    """Failures by their kind: how many, one example, and how to rerun that one by hand."""
    lines = []
    kinds = sorted(summary.failures.values(), key=lambda kind: -kind[0])
    for count, label, message in kinds[:_SHOWN_KINDS]:
        lines.append(f"failed     {count} like {label}:" if count > 1 else f"failed     {label}:")
        lines += [f"           {line}" for line in message.splitlines()]
        script = Workspace(config.path / label).script
        if script.exists() and str(script) not in message:
            lines.append(f"           Rerun by hand: sh {shlex.quote(str(script))}")
    if len(kinds) > _SHOWN_KINDS:
        lines.append(f"... and {len(kinds) - _SHOWN_KINDS} more of other kinds, see the table")
    return lines
