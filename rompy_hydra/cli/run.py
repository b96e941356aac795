"""`rompy-hydra [OVERRIDES]`: compose, check, run, and tell what came out."""

from __future__ import annotations

import gc
from collections.abc import Sequence

from rompy_hydra.cli import report
from rompy_hydra.compose import app
from rompy_hydra.compose.logging_setup import set_up_logging
from rompy_hydra.errors import INTERRUPTED_EXIT_CODE
from rompy_hydra.workspace import lease
from rompy_hydra.workspace.record import iso_utc, now


def main(argv: Sequence[str], is_process: bool = False) -> int:
    """The exit code of one run, a sweep, or one of Hydra's own flags.

    `is_process` says that this process was started for this command alone.
    """
    arguments = app.parser().parse_intermixed_args(list(argv))
    with app.opened(arguments) as composer:
        if app.is_hydras_own(arguments):
            return app.delegate(composer, arguments)
        gc.freeze()
        gc.enable()
        if arguments.multirun:
            from rompy_hydra.cli import sweep

            since = iso_utc(lease.process_start_time()) if is_process else now()
            return sweep.run(composer, arguments.overrides, dry_run=arguments.dry_run, since=since)
        built = app.prepared(composer, arguments.overrides)
        set_up_logging(str(built.config["log_level"]))
        report.say(report.opening(built.task))
        if arguments.dry_run:
            return 0
        try:
            with report.progress(built.task):
                results = app.carry_out(built)
        except KeyboardInterrupt:
            told = {"stage": built.task.progress.stage, "error": "interrupted"}
            report.say(report.closing(built.task, told))
            return INTERRUPTED_EXIT_CODE
        report.say(report.closing(built.task, results))
        return 0 if results.get("success") is True else 1
