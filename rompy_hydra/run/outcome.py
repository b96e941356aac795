"""How a model ended, judged by what its configuration calls success."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from rompy_hydra.errors import ModelFailed, RompyHydraError
from rompy_hydra.jsonable import Json
from rompy_hydra.process import signal_name
from rompy_hydra.workspace import Workspace


class HasConfig(Protocol):
    """What judging needs of a model run."""

    config: object


class CheckLike(Protocol):
    """The outcome of one success check."""

    check: str
    ok: bool
    message: str

    def facts(self) -> dict[str, Json]: ...


@dataclass(frozen=True)
class Outcome:
    """How a model ended: its exit code, times in seconds, memory in bytes, and the backend's facts.

    `seconds` is None where the backend cannot tell, as of a model that another driver started.
    """

    exit_code: int
    seconds: float | None
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    facts: Mapping[str, Json] = field(default_factory=dict)


def check_success(model_run: HasConfig, workspace: Workspace, outcome: Outcome) -> list[dict[str, Json]]:
    """The outcome of a model against what its configuration calls success.

    Returns the facts of all checks; ModelFailed names what did not hold.
    """
    success = getattr(model_run.config, "success", None)
    judging = getattr(success, "judge", None)
    checks = judging(workspace) if callable(judging) else []
    failed = [check for check in checks if not check.ok]
    facts = [check.facts() for check in checks]
    reasons = [f"check {check.check}: {check.message}" for check in failed]
    kind = getattr(model_run.config, "kind", type(model_run.config).__name__)
    if outcome.exit_code == 0 and not reasons:
        return facts
    name = signal_name(outcome.exit_code)
    ended = f"{kind} exited with {outcome.exit_code}" + (f" ({name})" if name else "")
    if not getattr(model_run.config, "needs_execution", True):
        ended = f"{kind} was generated"
    detail = outcome.facts.get("why")
    text = "; ".join([*([str(detail)] if detail else []), *reasons])
    separator = " but " if outcome.exit_code == 0 else "; "
    raise error_with_log(ModelFailed, workspace, f"{ended}{separator + text if text else ''}", facts)


def error_with_log(
    kind: type[RompyHydraError],
    workspace: Workspace,
    message: str,
    checks: list[dict[str, Json]] | None = None,
) -> RompyHydraError:
    """An error about a run, with where it was, the end of its log and how to start it by hand."""
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
