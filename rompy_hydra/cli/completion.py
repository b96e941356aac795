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
import shlex
from collections.abc import Sequence

from hydra.errors import HydraException
from hydra.plugins.completion_plugin import DefaultCompletionPlugin
from omegaconf.errors import OmegaConfBaseException

from rompy_hydra.cli import COMMANDS
from rompy_hydra.cli.report import say
from rompy_hydra.compose.composer import Composer, parser
from rompy_hydra.compose.override_parser import in_hydra_grammar
from rompy_hydra.errors import RompyHydraError

# Hydra's script for bash does not split words in zsh.
_ZSH = """\
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_rompy_hydra() {
    local -a found
    found=(${(f)"$(COMP_LINE="${(j: :)words[1,CURRENT-1]} $PREFIX" $words[1] -sc query=zsh 2>/dev/null)"})
    compadd -Q -S '' -- $found
}
compdef _rompy_hydra rompy-hydra"""


def main(overrides: Sequence[str]) -> bool:
    """Answer `query=SHELL` and `install=zsh`; False for what Hydra answers."""
    if list(overrides) == ["install=zsh"]:
        say([_ZSH])
        return True
    shell = next((line.partition("=")[2] for line in overrides if line.startswith("query=")), "")
    if not shell:
        return False
    line = os.environ.get("COMP_LINE", "")
    with contextlib.suppress(ValueError):
        # In bytes, as bash counts.
        line = os.fsdecode(os.fsencode(line)[: int(os.environ.get("COMP_POINT", ""))])
    say([(" " if shell == "bash" else "\n").join(completions(line))])
    return True


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
        arguments = options.parse_intermixed_args(list(words))
        with contextlib.suppress(HydraException, OmegaConfBaseException, RompyHydraError, ValueError):
            return _of_configuration(arguments, word)
    return []


def _of_configuration(arguments: argparse.Namespace, word: str) -> list[str]:
    # Hydra splits the line again at spaces; a value with spaces decides about no completion.
    arguments.overrides = [line for line in in_hydra_grammar(arguments.overrides) if " " not in line]
    with contextlib.closing(Composer(arguments)) as composer:
        composer.loader.shown_resolved = True
        several = ["--multirun"] if arguments.multirun else []
        line = " ".join([*several, *arguments.overrides, word])
        plugin = DefaultCompletionPlugin(composer.hydra.config_loader)
        return [str(each) for each in plugin._query(composer.config_name, line)]


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
