"""The command line: `rompy-hydra` and `python -m rompy_hydra`."""

from __future__ import annotations

import argparse
import gc
import importlib
import io
import itertools
import os
import re
import signal
import sys
import traceback
import warnings
from typing import NoReturn

from rompy_hydra import __version__
from rompy_hydra.errors import INTERRUPTED_EXIT_CODE, ConfigError, RompyHydraError, closest
from rompy_hydra.redaction import printable

# Sub-commands, each a module; anything else is a composition, as in any Hydra program.
COMMANDS = ("check", "from-rompy", "new", "plugins")
# Options whose value is the next argument.
_WITH_VALUE = {"--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--package", "-p"}
_WITH_VALUE |= {"--rompy", "--rompy-include"}


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path that is not valid text is printed as bytes.
        sys.stdout.reconfigure(errors="surrogateescape")
    # What is imported and composed stays to the end: searching it for garbage, now and again at the end
    # of the process, takes a fifth of the time of a short run.
    gc.disable()
    try:
        return _run(arguments, is_process=argv is None)
    finally:
        gc.freeze()
        gc.enable()
        _end_output()


def _run(arguments: list[str], is_process: bool) -> int:
    # A terminated driver stops its models and records that, like an interrupted one.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if is_process:
        warnings.showwarning = _show_warning
    try:
        name = arguments[0] if arguments else ""
        if name == "--version":
            sys.stdout.write(f"rompy-hydra {__version__}\n")
            return 0
        if name in COMMANDS:
            module = importlib.import_module(f"rompy_hydra.cli.{name.replace('-', '_')}")
            return int(module.main(arguments[1:]))
        check_command(name)
        for before, argument in itertools.pairwise(arguments):
            if argument in COMMANDS and before not in _WITH_VALUE:
                raise ConfigError(f"write the command first: rompy-hydra {argument} ...")
        from rompy_hydra.cli.run import main as run

        return run(arguments, is_process)
    except RompyHydraError as error:
        if "--debug" in arguments:
            sys.stderr.write(printable(traceback.format_exc()))
        sys.stderr.write(printable(f"rompy-hydra: {error}") + "\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("rompy-hydra: interrupted\n")
        return INTERRUPTED_EXIT_CODE
    except BrokenPipeError:
        # The reader has closed the pipe (`| head`).
        sys.stderr.close()
        return 1


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """A warning of a library, which may quote a configuration."""
    sys.stderr.write(printable(f"{category.__name__}: {message}") + "\n")


def check_command(word: str) -> None:
    """ConfigError for a word that can only be a command: an override has a sign."""
    if re.fullmatch(r"[A-Za-z][\w-]*", word):
        raise ConfigError(f"there is no command '{word}'. {closest(word, COMMANDS)}")


def explain_usage(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """A parser that raises ConfigError with the closest name instead of printing its usage."""

    def error(message: str) -> NoReturn:
        flags = [flag for action in parser._actions for flag in action.option_strings if flag[:2] == "--"]
        if found := re.search(r"unrecognized arguments:.*? (-[^\s=]+)", message):
            flag = found[1]
            raise ConfigError(f"there is no option {flag}. {closest(flag, flags)}")
        if found := re.search(r"argument (\S+): invalid choice: (\S+) \(choose from (.*)\)", message):
            name, value, choices = found[1], found[2].strip("'"), re.findall(r"[\w-]+", found[3])
            raise ConfigError(f"{name}: there is no choice '{value}'. {closest(value, choices)}")
        raise ConfigError(f"{message}. `{parser.prog} --help` shows how to write it")

    parser.error = error  # type: ignore[method-assign]
    return parser


def _end_output() -> None:
    """Prevent the process from writing to a closed pipe once more when it exits."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
