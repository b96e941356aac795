"""`rompy-hydra check [-m] OVERRIDES`: validate a run, or every point of a sweep, and change nothing."""

from __future__ import annotations

from collections.abc import Sequence

from rompy_hydra.cli import explain_usage, report, run
from rompy_hydra.compose.composer import parser


def main(argv: Sequence[str]) -> int:
    """0 if everything can start, 2 if not."""
    if explain_usage(parser()).parse_intermixed_args(list(argv)).help:
        report.say([f"{__doc__}", "", "All other options are those of `rompy-hydra --help`."])
        return 0
    return run.main(argv, check_only=True)
