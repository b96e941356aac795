"""Run a command in its own session, watch it, and terminate it with all its child processes."""

from rompy_hydra.process.command import run as run
from rompy_hydra.process.command import signal_name as signal_name
from rompy_hydra.process.command import wait_for as wait_for
from rompy_hydra.process.tree import end_tree as end_tree
from rompy_hydra.process.tree import find_leader as find_leader
from rompy_hydra.process.tree import kill_marked as kill_marked
from rompy_hydra.process.wait import StopSignal as StopSignal
