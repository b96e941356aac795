"""The command line: `rompy-hydra` and `python -m rompy_hydra`."""

from __future__ import annotations

import gc
import importlib
import io
import os
import re
import signal
import sys
import traceback
from types import FrameType

from rompy_hydra import __version__
from rompy_hydra.errors import INTERRUPTED_EXIT_CODE, ConfigError, RompyHydraError, closest

# Sub-commands and their modules; anything else is a composition, as in any Hydra program.
_COMMANDS = {
    "check": "rompy_hydra.cli.check",
    "new": "rompy_hydra.cli.new",
    "plugins": "rompy_hydra.cli.plugins",
}


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path that is no text is printed as the bytes that it is.
        sys.stdout.reconfigure(errors="surrogateescape")
    # What is imported and composed stays to the end: to look for garbage among it, now and once more
    # at the end of the process, takes a fifth of the time of a short run.
    gc.disable()
    try:
        return _done(arguments, is_process=argv is None)
    finally:
        gc.freeze()
        gc.enable()
        _end_output()


def _done(arguments: list[str], is_process: bool) -> int:
    # A terminated driver ends its models and says so in their records, like an interrupted one.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        name = arguments[0] if arguments else ""
        if name == "--version":
            sys.stdout.write(f"rompy-hydra {__version__}\n")
            return 0
        if name in _COMMANDS:
            module = importlib.import_module(_COMMANDS[name])
            return int(module.main(arguments[1:]))
        if re.fullmatch(r"[a-z][a-z-]*", name):  # an override has a sign
            raise ConfigError(f"there is no command '{name}'. {closest(name, _COMMANDS)}")
        from rompy_hydra.cli.run import main as run

        return run(arguments, is_process)
    except RompyHydraError as error:
        if "--debug" in arguments:
            traceback.print_exc()
        sys.stderr.write(f"rompy-hydra: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("rompy-hydra: interrupted\n")
        return INTERRUPTED_EXIT_CODE
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); nothing more can be said to it.
        sys.stderr.close()
        return 1


def _end_output() -> None:
    """See to it that output nobody takes any more is not tried again at the end of the process."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
