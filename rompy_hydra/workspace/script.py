"""The text of `run.sh`, the script that every backend starts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from rompy_hydra.jsonable import path_text
from rompy_hydra.redaction import holds_secret, is_secret_variable

SCRIPT = "run.sh"
BESIDE_THEIRS = "rompy_hydra.sh"  # its name where the model has a `run.sh` of its own
SECRETS = "run.secrets"  # commands with secrets, which only the owner may read
EXIT_CODE = "exit_code"  # that of `run.sh`; incomplete without its line end

STEP = "run.step"  # the numbers of the commands that were started, from 1; where there are several

Command = str | list[str]

# The end of the second line, by which the script is known, also one of version 0.1.0.
_BY_HAND = f". Start it again by hand: sh {SCRIPT}"
# The directory whose script has started the process that asks.
_STARTED = "ROMPY_HYDRA_SCRIPT_IN"
_STARTS_ITSELF = f"{SCRIPT} starts itself: give the model's own program as the command"


def check_env_names(env: Mapping[str, str]) -> Mapping[str, str]:
    """`env` unchanged if a POSIX shell can export all of it; ValueError names the first it cannot."""
    for name, value in env.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"{name!r} is not a valid environment variable name (letters, digits, _)")
        if "\0" in value:
            raise ValueError(f"the value of {name} contains a null byte, which is not valid")
    return env


# Values may be numbers, `OMP_NUM_THREADS: 4`, and paths. The option of `str` must stand next to it.
_Value = Annotated[str, Field(coerce_numbers_to_str=True), BeforeValidator(path_text)]
Env = Annotated[dict[str, _Value], AfterValidator(check_env_names)]


def script_text(
    commands: Sequence[Command], env: Mapping[str, str], *, title: str, working_dir: str | None = None
) -> str:
    """A script that needs nothing but a POSIX `/bin/sh`, and can be started by hand from anywhere.

    It runs the commands in order and stops at the first that fails. Values of secret variables are
    not in it: they must be in its environment, and it reports which one is missing. Commands that
    contain a secret are in a file of their own, see `secret_commands`.
    """
    lines = [
        "#!/bin/sh",
        f"# {' '.join(title.split())}{_BY_HAND}",
        'case $0 in */*) CDPATH= cd -- "${0%/*}" || exit 126 ;; esac',
        # A command may start the script of another run, but not this one: that would never end.
        f'[ "${{{_STARTED}-}}" != "$PWD" ] || {{ echo "{_STARTS_ITSELF}" >&2; exit 2; }}',
        f'export {_STARTED}="$PWD"',
        # Names that a user's commands and variables are unlikely to have.
        "_rh_end() {",
        # The line end comes with the same write(2).
        '  echo "$1" >&9',
        '  exit "$1"',
        "}",
        # Not `command || _rh_end`: a shell ignores `set -e` in such a command.
        '_rh_next() { [ "$1" -eq 0 ] || _rh_end "$1"; }',
        # Opened once: if this directory is moved, or the name is that of a later attempt, this start
        # still writes into its own files. The exit code of an earlier start must not remain.
        _open(9, EXIT_CODE),
    ]
    several = len(commands) > 1
    if several:
        # Its time is when the last command began. Not even a full disk may stop the commands for it.
        lines += [_open(8, STEP), '_rh_step() { { echo "$1" >&8; } 2>/dev/null; }']
    closed = "8>&- 9>&-" if several else "9>&-"
    for name, value in env.items():
        if is_secret_variable(name, value):
            lines.append(f': "${{{name}?set it before you start this script}}"')
        else:
            lines.append(f"export {name}={shlex.quote(value)}")
    if any(map(_is_secret_command, commands)):
        lines.append(f'[ -r ./{SECRETS} ] || {{ echo "{SECRETS} cannot be read" >&2; _rh_end 126; }}')
        lines.append(f". ./{SECRETS}")
    if working_dir is not None:
        lines += [f"CDPATH= cd -- {shlex.quote(working_dir)}", "[ $? -eq 0 ] || _rh_end 126"]
    for number, command in enumerate(commands, 1):
        if several:
            lines.append(f"_rh_step {number}")
        if _is_secret_command(command):
            lines.append(f"(_rh_command_{number}) {closed}")
        elif isinstance(command, str):
            # In a subshell, so that its `cd`, `exit` or `set` does not affect the next command.
            lines += ["(", command.strip("\n"), f") {closed}"]
        else:
            lines.append(f"{shlex.join(command)} {closed}")
        lines.append("_rh_next $?")
    lines.append("_rh_end 0")
    return "\n".join(lines) + "\n"


def is_engine_script(content: bytes, text: str) -> bool:
    """Whether a file is the script of some run, or the beginning of `text` that a killed driver left."""
    lines = content.split(b"\n", 2)
    is_whole = len(lines) > 1 and _BY_HAND.encode() in lines[1]
    return is_whole or text.encode(errors="surrogateescape").startswith(content)


def _open(descriptor: int, name: str) -> str:
    """A line that opens a new file for writing, if the directory allows that."""
    return (
        f"if {{ true >{name}; }} 2>/dev/null; then exec {descriptor}>{name}; "
        f"else exec {descriptor}>/dev/null; fi"
    )


def secret_commands(commands: Sequence[Command]) -> str:
    """The text of `run.secrets`: the commands that contain a secret, as functions; '' for none."""
    return "".join(
        f"_rh_command_{number}() {{\n{_line(command)}\n}}\n"
        for number, command in enumerate(commands, 1)
        if _is_secret_command(command)
    )


def _is_secret_command(command: Command) -> bool:
    return holds_secret(command if isinstance(command, str) else " ".join(command))


def _line(command: Command) -> str:
    return command.strip("\n") if isinstance(command, str) else shlex.join(command)
