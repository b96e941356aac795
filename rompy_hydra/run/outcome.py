"""How a model ended, and whether that is what its configuration declares as success."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from rompy_hydra.errors import ModelFailed, RompyHydraError
from rompy_hydra.jsonable import Json
from rompy_hydra.process import signal_name
from rompy_hydra.workspace import Workspace


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


def check_success(model: object, workspace: Workspace, outcome: Outcome) -> list[dict[str, Json]]:
    """Check a model's outcome against what its configuration declares as success.

    Returns the facts of all checks; ModelFailed names the checks that failed.
    """
    judge = getattr(getattr(model, "success", None), "judge", None)
    checks: list[CheckLike] = judge(workspace) if callable(judge) else []
    facts = [check.facts() for check in checks]
    reasons = [f"check {check.check}: {check.message}" for check in checks if not check.ok]
    if outcome.exit_code == 0 and not reasons:
        return facts
    kind = getattr(model, "kind", type(model).__name__)
    name = signal_name(outcome.exit_code)
    ended = f"{kind} exited with {outcome.exit_code}" + (f" ({name})" if name else "")
    if not getattr(model, "needs_execution", True):
        ended = f"{kind} was generated"
    why = outcome.facts.get("why")
    text = "; ".join([*([str(why)] if why else []), *reasons])
    separator = " but " if outcome.exit_code == 0 else "; "
    raise error_with_log(ModelFailed, workspace, f"{ended}{separator + text if text else ''}", facts)


def error_with_log(
    kind: type[RompyHydraError],
    workspace: Workspace,
    message: str,
    checks: list[dict[str, Json]] | None = None,
) -> RompyHydraError:
    """An error about a run, with its directory, the end of its log and how to rerun it by hand."""
    lines = workspace.last_log_lines()
    text = f"{message} in {workspace.path}."
    if lines:
        text += "\nLast lines of run.log:\n" + "\n".join(f"  {line}" for line in lines)
    else:
        text += " run.log is empty."
    if workspace.script.exists():
        text += f"\nRerun by hand: sh {shlex.quote(str(workspace.script))}"
    error = kind(text)
    error.checks = checks or []  # type: ignore[attr-defined]
    error.log = lines  # type: ignore[attr-defined]
    return error
