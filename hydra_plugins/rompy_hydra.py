"""The sweeper and the launcher of rompy_hydra, where Hydra looks for them.

Hydra imports this module in every Hydra program of the environment: it must stay this small, and
import the rest only when it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper


class RompySweeper(Sweeper):
    """Makes the points of a sweep: grids, pairs, cases and designs."""

    def __init__(self, params: dict[str, Any] | None = None) -> None:
        self.params = params or {}

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        from hydra.core.plugins import Plugins

        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from rompy_hydra.compose.sweeper import sweep

        return sweep(self, arguments)


class RompyLauncher(Launcher):
    """Runs points in parallel, in one process, and never the same one twice."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[Any]:
        from rompy_hydra.compose.sweeper import launch

        return launch(self, job_overrides)
