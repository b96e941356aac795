"""`rompy-hydra --shell-completion query=SHELL`: what the shell offers after TAB.

Hydra completes groups and keys. It knows neither the commands and options of this program nor the files in
`--config-dir`, and answers words that it does not understand with a traceback. Here, a line that cannot be
understood has no completions: what is printed would appear in the middle of the line that is being typed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shlex
from collections.abc import Sequence

from rompy_hydra.cli import COMMANDS
from rompy_hydra.cli.report import say
from rompy_hydra.compose.completion import words_of_configuration
from rompy_hydra.compose.composer import parser
from rompy_hydra.errors import ConfigError

# The scripts for the shells. Nothing that a configuration contains is expanded by them, as Hydra's own
# script for bash does it (`compgen -W`).
_INSTALL = {
    "bash": """\
_rompy_hydra() {
    local word
    COMPREPLY=()
    while IFS= read -r word; do
        [[ -n $word ]] && COMPREPLY+=("$word")
    done <<< "$(COMP_LINE=$COMP_LINE COMP_POINT=$COMP_POINT COMP_WORD=$2 "$1" -sc query=bash 2>/dev/null)"
}
complete -o nospace -o default -F _rompy_hydra rompy-hydra""",
    "zsh": """\
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_rompy_hydra() {
    local -a found
    found=(${(f)"$(COMP_LINE="${(j: :)words[1,CURRENT-1]} $PREFIX" $words[1] -sc query=zsh 2>/dev/null)"})
    compadd -S '' -- $found
}
compdef _rompy_hydra rompy-hydra""",
    "fish": """\
function _rompy_hydra
    set -l words (commandline -cpo)
    set -lx COMP_LINE (commandline -cp)
    $words[1] -sc query=fish 2>/dev/null
end
complete -c rompy-hydra -x -a '(_rompy_hydra)'""",
}
_UNINSTALL = {
    "bash": "complete -r rompy-hydra; unset -f _rompy_hydra",
    "zsh": "compdef -d rompy-hydra; unfunction _rompy_hydra",
    "fish": "complete -e -c rompy-hydra; functions -e _rompy_hydra",
}
# Words of which no shell expands a part, whatever a name or a value of a stranger contains.
_SAFE = re.compile(r"[\w@%+=:,./~-]+")


def main(overrides: Sequence[str]) -> None:
    """Answer `install=SHELL`, `uninstall=SHELL` and `query=SHELL`; ConfigError for anything else."""
    request, _, shell = overrides[0].partition("=") if len(overrides) == 1 else ("", "", "")
    if shell not in _INSTALL or request not in ("install", "uninstall", "query"):
        raise ConfigError(
            f"--shell-completion {' '.join(overrides)}: write install=SHELL or uninstall=SHELL, with "
            f"{', '.join(_INSTALL)}, and let the shell run what is printed, as in "
            'eval "$(rompy-hydra --shell-completion install=bash)"'
        )
    if request != "query":
        say([_INSTALL[shell] if request == "install" else _UNINSTALL[shell]])
        return
    line = os.environ.get("COMP_LINE", "")
    with contextlib.suppress(ValueError):
        # In bytes, as bash counts.
        line = os.fsdecode(os.fsencode(line)[: int(os.environ.get("COMP_POINT", ""))])
    # Bash replaces only a part of the word, such as what follows its last `=`.
    replaced = os.environ.get("COMP_WORD")
    last = line.split()[-1] if line[-1:].strip() else ""
    kept = "" if replaced is None or not last.endswith(replaced) else last.removesuffix(replaced)
    found = (word for word in completions(line) if _SAFE.fullmatch(word))
    say([word.removeprefix(kept) for word in found])


def completions(line: str) -> list[str]:
    """All words that may stand at the end of a command line, up to the cursor, in place of the last one."""
    try:
        words = shlex.split(line)
    except ValueError:  # an open quotation mark
        words = line.split()
    word = "" if not words or line[-1:].isspace() else words.pop()
    # Without `rompy-hydra` or `python -m rompy_hydra`.
    words = words[3:] if words[1:3] == ["-m", "rompy_hydra"] else words[1:]
    command = words[0] if words and words[0] in COMMANDS else ""
    if command == "plugins":
        found = _plugins(words[1:], word)
    elif command == "new":
        found = _new(words[1:])
    else:
        commands = [] if words else list(COMMANDS)
        found = [*commands, *_of_run(words[bool(command) :], word)]
    return sorted({each for each in found if each.startswith(word)})


def _plugins(words: Sequence[str], word: str) -> list[str]:
    from rompy_hydra.compose.entry_points import GROUPS
    from rompy_hydra.plugins import registry

    if word.startswith("-"):
        return ["--json", "--debug", "--help"]
    names = [each for each in words if not each.startswith("-")]
    if not names:
        return list(GROUPS)
    return registry.names(GROUPS[names[0]]) if len(names) == 1 and names[0] in GROUPS else []


def _new(words: Sequence[str]) -> list[str]:
    from rompy_hydra.cli.new import KINDS

    return ["--directory", "--debug", "--help"] if words else list(KINDS)


def _of_run(words: Sequence[str], word: str) -> list[str]:
    """Options of the program and their values, groups, options of groups, keys."""
    options = parser()
    action = _waiting(options, words[-1]) if words else None
    if action is not None:
        if action.choices is not None:
            return list(map(str, action.choices))
        return _directories(word) if {"-cd", "-cp"} & set(action.option_strings) else []
    for flag in ("--config-dir=", "--config-path="):
        if word.startswith(flag):
            return [f"{flag}{name}" for name in _directories(word.removeprefix(flag))]
    if word.startswith("-"):
        return [name for each in options._actions for name in each.option_strings]
    # Wrong arguments, which the parser would report.
    with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
        return words_of_configuration(options.parse_intermixed_args(list(words)), word)
    return []


def _waiting(options: argparse.ArgumentParser, before: str) -> argparse.Action | None:
    """The option whose value comes next."""
    return next((a for a in options._actions if before in a.option_strings and a.nargs != 0), None)


def _directories(word: str) -> list[str]:
    parent, start = os.path.split(word)
    with contextlib.suppress(OSError), os.scandir(os.path.expanduser(parent) or ".") as entries:
        hidden = start.startswith(".")
        names = [e.name for e in entries if e.is_dir() and (hidden or not e.name.startswith("."))]
        return [f"{os.path.join(parent, name)}/" for name in names]
    return []
