"""The text of `run.sh`, the one script that every backend starts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from rompy_hydra.redaction import is_secret

SCRIPT = "run.sh"
EXIT_CODE = "exit_code"

Command = str | list[str]

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_env_names(env: Mapping[str, str]) -> Mapping[str, str]:
    """`env` itself if a POSIX shell can export all of it; ValueError naming the first that it cannot."""
    for name, value in env.items():
        if not _ENV_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of an environment variable (letters, digits, _)")
        if "\0" in value:
            raise ValueError(f"the value of {name} holds a null byte, which no environment can")
    return env


# Numbers are welcome as values: OMP_NUM_THREADS: 4
Env = Annotated[
    dict[str, Annotated[str, Field(coerce_numbers_to_str=True)]], AfterValidator(check_env_names)
]


def script_text(
    commands: Sequence[Command],
    env: Mapping[str, str],
    *,
    title: str,
    working_dir: str | None = None,
) -> str:
    """POSIX shell, nothing needed but `/bin/sh`; it can be started by hand from anywhere.

    The commands run in order and stop at the first that fails. Values of secret variables are
    not written: they come with the process, and the script says which one is missing.
    """
    lines = [
        "#!/bin/sh",
        f"# {' '.join(title.split())}. Start it again by hand: sh {SCRIPT}",
        'case $0 in */*) CDPATH= cd -- "${0%/*}" || exit 126 ;; esac',
        # Names that no command and no variable of a user is likely to have.
        "_rh_dir=$PWD",
        "_rh_end() {",
        # One write of a few bytes, which nobody sees in part; without its line end it does not count.
        f'  echo "$1" >"$_rh_dir/{EXIT_CODE}"',
        '  exit "$1"',
        "}",
        # Not `command || _rh_end`: a shell ignores `set -e` inside of such a command.
        '_rh_next() { [ "$1" -eq 0 ] || _rh_end "$1"; }',
        # An earlier start's exit code is not this one's, should this one be killed.
        f'{{ true >"$_rh_dir/{EXIT_CODE}"; }} 2>/dev/null',
    ]
    for name, value in env.items():
        if is_secret(name):
            lines.append(f': "${{{name}?set it before you start this script}}"')
        else:
            lines.append(f"export {name}={shlex.quote(value)}")
    if working_dir is not None:
        lines += [f"CDPATH= cd -- {shlex.quote(working_dir)}", "[ $? -eq 0 ] || _rh_end 126"]
    for command in commands:
        if isinstance(command, str):
            # A subshell of its own, so that its `cd`, `exit` or `set` ends with it.
            lines += ["(", command.strip("\n"), ")"]
        else:
            lines.append(shlex.join(command))
        lines.append("_rh_next $?")
    lines.append("_rh_end 0")
    return "\n".join(lines) + "\n"
