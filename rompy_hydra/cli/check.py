"""`rompy-hydra check [-m] OVERRIDES`: validate a run, or every point of a sweep, and change nothing."""

from __future__ import annotations

import gc
from collections.abc import Sequence

from rompy_hydra.cli import report, sweep
from rompy_hydra.compose import app
from rompy_hydra.compose.composer import parser


def main(argv: Sequence[str]) -> int:
    """0 if everything can start, 2 if not."""
    arguments = parser().parse_intermixed_args(list(argv))
    if arguments.help:
        report.say([f"{__doc__}", "", "All other options are those of `rompy-hydra --help`."])
        return 0
    with app.opened(arguments) as composer:
        gc.freeze()
        gc.enable()  # mistakes in many points make many errors
        if arguments.multirun:
            return sweep.run(composer, arguments.overrides, check_only=True)
        built = app.prepared(composer, arguments.overrides)
        report.say([*report.opening(built.plan), "check      no problems found; nothing was changed"])
        return 0
