"""Whether the programs of commands are installed, checked before anything starts."""

from __future__ import annotations

import functools
import os
import re
import shutil

from rompy_hydra.errors import closest
from rompy_hydra.workspace.script import Command

# First words of a shell line that are no programs, so their absence from PATH says nothing.
_SHELL_WORDS = {"alias", "bg", "break", "case", "cd", "command", "continue", "do", "done", "echo", "eval"}
_SHELL_WORDS |= {"exec", "exit", "export", "false", "fg", "for", "getopts", "hash", "if", "jobs", "kill"}
_SHELL_WORDS |= {"printf", "pwd", "read", "readonly", "return", "set", "shift", "test", "times", "trap"}
_SHELL_WORDS |= {"true", "type", "ulimit", "umask", "unset", "until", "wait", "while", ".", ":", "["}


def missing_program(command: Command, files: set[str], path: str | None) -> str | None:
    """The program of a command that is neither on PATH nor among the run's files, or None."""
    if isinstance(command, str):
        first = re.match(r"\s*([A-Za-z0-9_./+-]+)(?=\s|;|&|$)", command)
        if first is None or "=" in command.split()[0]:
            return None
        program = first[1]
        if program in _SHELL_WORDS:
            return None
    else:
        program = command[0]
    if "/" in program and not program.startswith("/"):
        return None if os.path.normpath(program) in files else program
    return None if _which(program, path) else program


@functools.lru_cache(maxsize=256)
def _which(program: str, path: str | None) -> str | None:
    # Once a process: all points of a sweep run the same programs.
    return shutil.which(program, path=path)


def near_program(program: str) -> str:
    """The program on PATH whose name is closest, as a hint."""
    if "/" in program:
        return ""
    names: set[str] = set()
    for directory in os.get_exec_path():
        try:
            names.update(os.listdir(directory))
        except OSError:
            continue
    hint = closest(program, (name for name in names if abs(len(name) - len(program)) <= 2))
    return hint.split("?")[0] + "? " if "?" in hint else ""
