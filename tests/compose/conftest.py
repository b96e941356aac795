"""The command line, started in milliseconds, in a temporary directory with configurations."""

from tests.sweep.conftest import Sweeps, _sweep_fork_server, sweeps

__all__ = ["Sweeps", "_sweep_fork_server", "sweeps"]
