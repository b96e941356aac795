"""How a model ended, and whether that is what its configuration declares as success."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rompy_hydra.errors import ModelFailed, RompyHydraError
from rompy_hydra.jsonable import Json
from rompy_hydra.process import signal_name
from rompy_hydra.regular_files import open_inside
from rompy_hydra.run.explain import disk_is_full, disk_was_full, lines_like_errors, quoted_files
from rompy_hydra.time_range import TimeRange
from rompy_hydra.workspace import EXIT_CODE, STEP, Workspace
from rompy_hydra.workspace.script import Command

# What the shell returns if a program cannot be started.
_NOT_STARTED = {126: "the program is not executable", 127: "the program was not found"}
_LONGEST_COMMAND = 80
# Checks that fail by what a model left, which says more about an error than what it did not write.
_TELLING = {"must_not_exist", "must_be_empty", "log_must_not_contain", "error_files", "error_lines"}


class CheckLike(Protocol):
    """The outcome of one success check."""

    check: str
    ok: bool
    message: str

    def facts(self) -> dict[str, Json]: ...


@dataclass(frozen=True)
class Outcome:
    """How a model ended: its exit code, times in seconds, memory in bytes, and the backend's facts.

    `seconds` is None if the backend does not know it, as for a model that another driver started.
    """

    exit_code: int
    seconds: float | None
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    facts: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """What else is known of a run that ended, to check its success and to explain a failure."""

    commands: Sequence[Command] = ()
    period: TimeRange | None = None
    # Names of the files that the model wrote; None if they are not in the run directory.
    outputs: Sequence[str] | None = None
    # The checks, if they are not those of the model alone.
    success: object = None
    # Whether anything was run at all.
    executed: bool = True
    # Whether a file is an input that the model did not write, so that it is no result.
    is_input: Callable[[str], bool] = lambda _name: False


NOTHING_KNOWN = Ended()


def check_success(
    model: object, workspace: Workspace, outcome: Outcome, ended: Ended = NOTHING_KNOWN
) -> list[dict[str, Json]]:
    """Check a model's outcome against what its configuration declares as success.

    Returns the facts of all checks; ModelFailed names the checks that failed.
    """
    success = ended.success or getattr(model, "success", None)
    checks = _evaluated(success, workspace, outcome.exit_code, ended if ended.executed else None)
    facts = [check.facts() for check in checks]
    wrong = [check for check in checks if not check.ok]
    if outcome.exit_code:
        wrong.sort(key=lambda check: check.check not in _TELLING)
    reasons = [f"check {check.check}: {check.message}" for check in wrong]
    if outcome.exit_code == 0 and not reasons:
        if ended.executed and disk_is_full(workspace):
            message = "the disk is full: the outputs may be incomplete"
            facts.append({"check": "disk", "target": "", "ok": True, "message": message, "warning": True})
        return facts
    kind = getattr(model, "kind", type(model).__name__)
    text = _how_it_ended(kind, workspace, outcome.exit_code, ended.commands)
    if not ended.executed:
        text = f"{kind} was generated"
    why = outcome.facts.get("why")
    more = "; ".join([*([str(why)] if why else []), *_shortened(reasons, outcome.exit_code)])
    separator = " but " if outcome.exit_code == 0 else "; "
    raise error_with_log(
        ModelFailed,
        workspace,
        f"{text}{separator + more if more else ''}",
        facts,
        error_files=[*getattr(success, "error_files", ()), *_left_files(checks)],
    )


def _shortened(reasons: list[str], exit_code: int) -> list[str]:
    """The reasons for a message. After an error code, most failed checks are its consequences."""
    if exit_code == 0 or not reasons:
        return reasons
    shown = 0 if exit_code in _NOT_STARTED else 1
    rest = len(reasons) - shown
    if not rest:
        return reasons
    others = f"{rest} {'more ' if shown else ''}check{'s' * (rest > 1)} failed as well"
    return [*reasons[:shown], others]


def _evaluated(
    success: object, workspace: Workspace, exit_code: int, ended: Ended | None
) -> list[CheckLike]:
    """The checks that are declared, or else those of what is never right; a plugin's own are asked."""
    evaluate: Callable[..., list[CheckLike]] | None = getattr(success, "evaluate", None)
    if callable(evaluate) and ended is not None:
        return evaluate(workspace, ended.period, ended.outputs, ended.commands, exit_code, ended.is_input)
    judge: Callable[[Workspace], list[CheckLike]] | None = getattr(success, "judge", None)
    return judge(workspace) if callable(judge) else []


def _left_files(checks: Sequence[CheckLike]) -> list[str]:
    """Globs of the files that failed a check by their existence: they say what went wrong."""
    kinds = ("must_not_exist", "must_be_empty", "error_files")
    return [str(c.facts().get("target", "")) for c in checks if not c.ok and c.check in kinds]


def _how_it_ended(kind: str, workspace: Workspace, code: int, commands: Sequence[Command]) -> str:
    """The exit code, with the command that it comes from if there are several."""
    name = signal_name(code) or _NOT_STARTED.get(code)
    ended = f"exited with {code}" + (f" ({name})" if name else "")
    step = started_command(workspace, commands)
    if code in _NOT_STARTED and step is None and len(commands) == 1:
        return f"the command {_shown(commands[0])} {ended}"
    if code == 0 or step is None:
        return f"{kind} {ended}"
    try:
        seconds = os.stat(workspace.at(EXIT_CODE)).st_mtime - os.stat(workspace.at(STEP)).st_mtime
    except OSError:
        return f"{step} {ended}"
    return f"{step} {ended} after {max(seconds, 0):.1f} s"


def started_command(workspace: Workspace, commands: Sequence[Command]) -> str | None:
    """The command that was started last, with its position; None if there are not several."""
    if len(commands) < 2:
        return None
    try:
        with open_inside(workspace.root, STEP) as file:
            number = int(file.read(65536).split()[-1])
        command = commands[number - 1] if number >= 1 else ""
    except (OSError, ValueError, IndexError):
        return None
    return f"command {number} of {len(commands)}, {_shown(command)},"


def _shown(command: Command) -> str:
    """A command in backquotes, shortened."""
    lines = (command if isinstance(command, str) else shlex.join(command)).strip().splitlines()
    first = lines[0] if lines else ""
    shown = (
        first if len(first) <= _LONGEST_COMMAND and len(lines) == 1 else f"{first[:_LONGEST_COMMAND]}..."
    )
    return f"`{shown}`"


def error_with_log(
    kind: type[RompyHydraError],
    workspace: Workspace,
    message: str,
    checks: list[dict[str, Json]] | None = None,
    *,
    error_files: Sequence[str] = (),
) -> RompyHydraError:
    """An error about a run: its directory, what the model left about it, how to rerun it by hand.

    `error_files` are globs of the files in which a model explains errors. They are quoted, and so are
    the lines of `run.log` that look like errors, and its end.
    """
    lines = workspace.last_log_lines()
    text = f"{message} in {workspace.path}."
    if disk_is_full(workspace) or disk_was_full(workspace):
        text += f"\nThe disk is full: no space is left for {workspace.path}."
    for name, quoted in quoted_files(workspace, error_files):
        text += f"\n{name}:\n" + "\n".join(f"  {line}" for line in quoted)
    if suspicious := lines_like_errors(workspace, len(lines)):
        text += "\nLines of run.log that look like errors:\n" + "\n".join(f"  {s}" for s in suspicious)
    if lines:
        text += "\nLast lines of run.log:\n" + "\n".join(f"  {line}" for line in lines)
    else:
        text += " run.log is empty." if "\n" not in text else "\nrun.log is empty."
    if workspace.script.exists():
        text += f"\nRerun by hand: sh {shlex.quote(str(workspace.script))}"
    error = kind(text)
    error.checks = checks or []  # type: ignore[attr-defined]
    error.log = lines  # type: ignore[attr-defined]
    return error
