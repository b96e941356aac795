"""Run a command in its own session, watch it, and terminate it with all its child processes."""

from rompy_hydra.process.command import Finished, run, signal_name, wait_for
from rompy_hydra.process.stop_signal import StopSignal
from rompy_hydra.process.tree import end_tree, find_leader, kill_marked

__all__ = [
    "Finished",
    "StopSignal",
    "end_tree",
    "find_leader",
    "kill_marked",
    "run",
    "signal_name",
    "wait_for",
]
