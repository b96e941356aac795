"""Whether the programs of commands are installed, checked before anything starts."""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from rompy_hydra.errors import closest
from rompy_hydra.workspace.script import SCRIPT, Command

# First words of a shell line that are no programs, so their absence from PATH says nothing.
_SHELL_WORDS = {"alias", "bg", "break", "case", "cd", "command", "continue", "do", "done", "echo", "eval"}
_SHELL_WORDS |= {"exec", "exit", "export", "false", "fg", "for", "getopts", "hash", "if", "jobs", "kill"}
_SHELL_WORDS |= {"printf", "pwd", "read", "readonly", "return", "set", "shift", "test", "times", "trap"}
_SHELL_WORDS |= {"true", "type", "ulimit", "umask", "unset", "until", "wait", "while", ".", ":", "["}


# Programs that start another one, with the number of values that each of their options takes. An option
# that is not listed may have a value or none, so that what follows it is not known.
_ONE_VALUE = (
    "-n -np --np -c -N -npernode -ppn -H -host --host -hosts -hostfile --hostfile -machinefile "
    "--machinefile -f -x --map-by -map-by --bind-to -bind-to --rank-by -wdir --wdir --ntasks --nodes"
)
_TWO_VALUES = "--mca -mca -genv -env"
_NO_VALUE = (
    "--oversubscribe -oversubscribe --allow-run-as-root --use-hwthread-cpus --report-bindings --quiet "
    "-q -v -l --tag-output -tag-output -prepend-rank --exclusive"
)
_MPI = {word: n for n, words in enumerate([_NO_VALUE, _ONE_VALUE, _TWO_VALUES]) for word in words.split()}
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_STARTERS: dict[str, dict[str, int]] = {
    **dict.fromkeys(["mpirun", "mpiexec", "mpiexec.hydra", "orterun", "prterun", "srun"], _MPI),
    "nice": {"-n": 1},
    "time": {"-p": 0, "-v": 0},
    "nohup": {},
}


# What a shell line may begin with before the name of a script.
_SHELLS = {"sh", "bash", "dash", "ksh", "zsh", "exec", ".", "source"}


@dataclass(frozen=True)
class Places:
    """Where programs are looked for: the names of the run's files, PATH, and where the commands start."""

    files: Set[str]
    path: str | None
    directory: str
    # Whether the run will have no other files, as far as is known before it is generated.
    complete: bool = True


def program_problem(command: Command, places: Places) -> str | None:
    """Why a program of a command cannot start, and what to do; None if nothing speaks against it.

    Programs have to be on PATH, among the run's files, or at the path that is given; and executable.
    """
    for program in programs_of(command):
        if problem := _problem(program, places):
            what, advice = problem
            return f"{what} (command: {command}). {advice}"
    return None


def starts_script(command: Command) -> bool:
    """Whether all that a command does is to start the script of its own run."""
    if SCRIPT not in (command if isinstance(command, str) else " ".join(command)):
        return False  # splitting takes longer
    try:
        words = shlex.split(command) if isinstance(command, str) else command
    except ValueError:  # the shell will find the quotes wrong, too
        return False
    while words and words[0].rpartition("/")[2] in _SHELLS:
        words = words[1:]
    return bool(words) and os.path.normpath(words[0]) == SCRIPT


def loses_exit_code(command: Command) -> bool:
    """Whether a command is a pipeline, of which the shell returns only the last program's exit code.

    POSIX shells have no other way before 2024; other shells have the option `pipefail`.
    """
    line = command if isinstance(command, str) else ""
    words = [] if isinstance(command, str) else list(command)
    if words and words[0].rpartition("/")[2] in _SHELLS and "-c" in words[:-1]:
        line = words[words.index("-c") + 1] if "pipefail" not in words else ""
    if "|" not in line or "pipefail" in line:
        return False
    try:
        parts = list(shlex.shlex(line, posix=True, punctuation_chars=True))
    except ValueError:
        return False
    return "|" in parts or "|&" in parts


def programs_of(command: Command) -> Iterator[str]:
    """The first program of a command, and those that it starts, as far as they are certain."""
    words = list(_plain_words(command) if isinstance(command, str) else command)
    if isinstance(command, str):
        # OMP_NUM_THREADS=2 swan.exe
        while words and _ASSIGNMENT.match(words[0]):
            if words.pop(0).startswith("PATH="):
                return
    if not words or (isinstance(command, str) and words[0] in _SHELL_WORDS):
        return
    yield words[0]
    options = _STARTERS.get(words[0].rpartition("/")[2])
    # `mpirun -n 1 ocean : -n 2 waves` starts two programs.
    for part in _parts(words[1:]) if options is not None else ():
        started = _after_options(part, options or {})
        if started is not None and started not in _SHELL_WORDS:
            yield started


def _plain_words(line: str) -> Iterator[str]:
    """The words at the beginning of a shell line, up to the first that the shell changes."""
    rest = line
    while found := re.match(r"\s*([A-Za-z0-9_./+:,=-]+)(?=\s|;|&|$)", rest):
        yield found[1]
        rest = rest[found.end() :]


def _parts(words: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for word in words:
        if word == ":":
            yield part
            part = []
        else:
            part.append(word)
    yield part


def _after_options(words: Sequence[str], options: Mapping[str, int]) -> str | None:
    """The first word that is neither an option nor the value of one; None if that is not certain."""
    number = 0
    while number < len(words):
        word = words[number]
        if not word.startswith("-"):
            return word
        if word not in options and not (word.startswith("--") and "=" in word):
            return None
        number += 1 + options.get(word, 0)
    return None


def _problem(program: str, places: Places) -> tuple[str, str] | None:
    """What is wrong with a program, and what to do."""
    if os.path.normpath(program) in places.files:
        return None
    if "/" not in program:
        if _which(program, places.path):
            return None
        if file := _on_path(program, places.path):
            return _not_executable(file)
        what = f"the program '{program}' was not found on PATH nor among the run's files"
        advice = "Install it, give its full path, or set run_backend.env_vars.PATH"
        return what, f"{_near(program)}{advice}"
    # As the shell finds a relative path: from the directory in which the commands run.
    at = os.path.normpath(os.path.join(places.directory, program))
    if os.path.isfile(at):
        return _not_executable(at)
    if at == os.path.join(places.directory, SCRIPT) or (not places.complete and not os.path.isabs(program)):
        return None
    here = os.path.abspath(program)
    relative = f": {at} does not exist, and commands start in the run directory" if at != program else ""
    advice = f"Give its full path, {here}" if os.path.isfile(here) else "Correct its path"
    return f"the program '{program}' was not found{relative}", f"{advice}, or add it to model.files"


def _not_executable(path: str) -> tuple[str, str] | None:
    if os.access(path, os.X_OK):
        return None
    return f"the program {path} is not executable", f"Run: chmod +x {shlex.quote(path)}"


def _on_path(program: str, path: str | None) -> str | None:
    """A file of this name on PATH, also one that is not executable."""
    found = (os.path.join(folder, program) for folder in (path or os.defpath).split(os.pathsep))
    return next((file for file in found if os.path.isfile(file)), None)


@functools.lru_cache(maxsize=256)
def _which(program: str, path: str | None) -> str | None:
    # Once a process: all points of a sweep run the same programs.
    return shutil.which(program, path=path)


def _near(program: str) -> str:
    """The program on PATH whose name is closest, as a hint."""
    names: set[str] = set()
    for directory in os.get_exec_path():
        try:
            names.update(os.listdir(directory))
        except OSError:
            continue
    hint = closest(program, (name for name in names if abs(len(name) - len(program)) <= 2))
    return hint.split("?")[0] + "? " if "?" in hint else ""
