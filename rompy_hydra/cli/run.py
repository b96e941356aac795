"""`rompy-hydra [OVERRIDES]`: compose, check, run, and report the results."""

from __future__ import annotations

import gc
from collections.abc import Sequence

from rompy_hydra.cli import check_command, explain_usage, report
from rompy_hydra.cli.progress import run_progress
from rompy_hydra.compose import app
from rompy_hydra.compose.composer import parser
from rompy_hydra.compose.logging_setup import set_up_logging
from rompy_hydra.errors import INTERRUPTED_EXIT_CODE, ConfigError
from rompy_hydra.run.handle import drive
from rompy_hydra.workspace import lease
from rompy_hydra.workspace.record import iso_utc, now


def main(argv: Sequence[str], is_process: bool = False, check_only: bool = False) -> int:
    """The exit code of one run, a sweep, or one of Hydra's own flags.

    `is_process` means that this process was started for this command alone; `check_only` validates a
    run or every point of a sweep, and returns 0 if everything can start.
    """
    arguments = explain_usage(parser()).parse_intermixed_args(list(argv))
    if arguments.shell_completion:
        from rompy_hydra.cli import completion

        completion.main(arguments.overrides)
        return 0
    for word in arguments.overrides:
        check_command(word)
    if arguments.experimental_rerun is not None:
        raise ConfigError(
            "--experimental-rerun reads a file that this program does not write. To run a stored "
            "configuration again: --config-path RUN/.hydra --config-name config"
        )
    with app.opened(arguments) as composer:
        if not check_only and app.delegate(composer, arguments):
            return 0
        if notes := app.notes(arguments):
            report.say(notes)
        gc.freeze()
        gc.enable()  # mistakes in many points make many errors
        composed = None if arguments.multirun else app.composed_run(composer, arguments.overrides)
        if composed is None:
            from rompy_hydra.cli import sweep

            since = iso_utc(lease.process_start_time()) if is_process else now()
            flags = {"dry_run": arguments.dry_run, "check_only": check_only}
            return sweep.run(composer, arguments.overrides, **flags, since=since)
        looks = check_only or arguments.dry_run
        built = app.prepared(composer, composed, looks)
        if looks:
            found = ["check      no problems found; nothing was changed"] if check_only else []
            report.say([*report.opening(built.plan), *report.what_runs(built.plan), *found])
            return 0
        set_up_logging(str(built.config["log_level"]))
        report.say(report.opening(built.plan))
        try:
            with run_progress(built.plan) as watch:
                drive(built.pipeline.steps(built.plan, watch=watch))
        except KeyboardInterrupt as error:
            report.say(report.failed(built.plan, error))
            return INTERRUPTED_EXIT_CODE
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; it is reported here
            report.say(report.failed(built.plan, error, debug=arguments.debug))
            return 1
        report.say(report.completed(built.plan))
        return 0
