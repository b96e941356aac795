"""What this thread is working on, for plugins that call the methods of a `ModelRun` themselves."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from rompy_hydra.core.plan import RunPlan
from rompy_hydra.process import StopSignal
from rompy_hydra.process.tree import RUN_MARK
from rompy_hydra.workspace import Workspace

# Called with the state of a run at each change.
Watch: TypeAlias = Callable[[str], None]


def ignore(_state: str) -> None:
    """Watch nothing."""


@dataclass
class Scope:
    """The composed plan that a pipeline plugin carries out step by step."""

    plan: RunPlan
    stop: StopSignal | None
    watch: Watch

    def extend(self, plan: RunPlan) -> RunPlan:
        """A plan of one step of this scope's run, with the origin and the choices of the whole."""
        whole = self.plan
        if plan.workspace.root != whole.workspace.root:
            return plan
        # The key of postprocessing depends on the backend that made the outputs.
        alone = plan.stages == ("postprocess",) and plan.backend is None
        extended = replace(
            plan,
            backend=whole.backend if alone else plan.backend,
            origin=whole.origin,
            overwrite=plan.overwrite or whole.overwrite,
        )
        # What was there before is moved aside once, and not what this very plan has made.
        self.plan = replace(whole, overwrite=False)
        return extended


_scope: ContextVar[Scope | None] = ContextVar("rompy_hydra_scope", default=None)
_executing: ContextVar[str | None] = ContextVar("rompy_hydra_executing", default=None)


def current() -> Scope | None:
    """The scope in which a plugin was called; None outside of one."""
    return _scope.get()


def entered(plan: RunPlan, stop: StopSignal | None, watch: Watch) -> AbstractContextManager[None]:
    """A context in which the methods of the plan's run are steps of the plan."""
    return _set(_scope, Scope(plan, stop, watch))


def executing(workspace: Workspace) -> AbstractContextManager[None]:
    """A context in which a stage of the run in this directory is executed."""
    return _set(_executing, workspace.root)


@contextlib.contextmanager
def _set(variable: ContextVar[Any], value: object) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def is_executing(workspace: Workspace) -> bool:
    """Whether a stage of this very run has called the code that asks, or has started its process."""
    return workspace.root in (_executing.get(), os.environ.get(RUN_MARK))
