"""Top-level keys of a configuration that no part of the program reads.

`+friction=0.02` adds a key beside `model`, where nothing looks for it: a run that starts has another
friction than its name says. Such a key is refused, unless an interpolation (`${friction}`) refers to it.
Values that only interpolations refer to may stand below `vars`, also if no option that is chosen does.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig

from rompy_hydra.compose.validate import is_target, option_as_text, walk
from rompy_hydra.errors import NO_VALUE, Problem

# What building a run reads, and Hydra.
READ = frozenset(
    {"run_id", "output_dir", "overwrite", "log_level", "allowed_targets", "model", "period"}
    | {"run_backend", "processor", "pipeline", "sweep", "hydra", "success"}
)
VARIABLES = "vars"

_INNERMOST = re.compile(r"\$\{([^${}]*)\}")
_PATH = re.compile(r"(\.*)([\w*][\w.\[\]*-]*)?")
# How many paths a hint lists.
_SHOWN = 3


def references(config: DictConfig) -> dict[str, set[str]]:
    """The paths that interpolations refer to, by the top-level key that contains them."""
    found: dict[str, set[str]] = {}
    for key in config:
        node = config._get_node(key)
        for path, each in walk(node, str(key), item=lambda node, key: node._get_node(key)):
            if each is not None and each._is_interpolation():
                found.setdefault(str(key), set()).update(references_in(str(each._value()), path))
    return found


def references_in(text: str, path: str = "") -> Iterator[str]:
    """The paths that a text refers to; `*` stands for what another interpolation gives.

    >>> sorted(references_in("${a.b} ${oc.select:c,3} ${d.${e}} ${.f}", "model.friction"))
    ['3', 'a.b', 'c', 'd.*', 'e', 'model.f', 'oc.select']
    """
    parents = re.split(r"[.\[\]]+", path)[:-1]
    while found := _INNERMOST.search(text):
        for dots, name in _PATH.findall(found[1]):
            base = parents[: len(parents) + 1 - len(dots)] if dots else []
            if dots or name:
                yield ".".join([*base, *([name] if name else [])])
        text = f"{text[: found.start()]}*{text[found.end() :]}"


def unread(
    plain: Mapping[str, Any],
    typed: Iterable[tuple[str, Any]],
    refers: Mapping[str, Iterable[str]],
    choices: Mapping[str, Any],
) -> list[Problem]:
    """The keys of a resolved configuration that nothing reads, as problems with the path that was meant.

    `typed` are the paths and values that the user set, `refers` are `references`, and `choices` the
    options of the groups.
    """
    extra = [key for key in plain if key not in READ]
    if not extra:
        return []
    read: set[str] = set()
    waiting = dict(refers)
    # A key that only keys that nobody reads refer to is not read, either.
    while alive := [key for key in waiting if key in READ or is_read(key, read)]:
        for key in alive:
            read.update(waiting.pop(key))
    set_by_user = [(path, value) for path, value in typed if path.split(".")[0] in extra]
    found = [
        _problem(path, value, plain, choices) for path, value in set_by_user if not is_read(path, read)
    ]
    known = {problem.path.split(".")[0] for problem in found}
    for key in extra:
        if key not in known and key != VARIABLES and not is_read(key, read):
            found.append(_problem(key, plain[key], plain, choices))
    return found


def is_read(path: str, read: set[str]) -> bool:
    """Whether one of the paths is this one, or a part of it, or the other way round."""
    own = path.split(".")
    for each in read:
        other = re.split(r"\]?[.\[]|\]$", each)
        if all(a == b or "*" in b for a, b in zip(own, other, strict=False)):
            return True
    return False


def _problem(path: str, value: Any, plain: Mapping[str, Any], choices: Mapping[str, Any]) -> Problem:
    key = path.split(".")[0]
    if key in choices and (problem := option_as_text(key, plain.get(key))):
        return problem
    if key in choices and not isinstance(plain.get(key), str | int | float | None):
        reason = (
            f"{key}={choices[key]} puts its values below '{key}', where no part of the program reads them"
        )
        return Problem(key, NO_VALUE, reason, "Start its file with '# @package _global_'")
    hint = meant(path, plain) or f"Remove it, or refer to it as ${{{path}}}"
    shown = NO_VALUE if isinstance(value, dict | list) else value
    return Problem(path, shown, "no part of the program reads this key", hint)


def meant(path: str, plain: Mapping[str, Any]) -> str:
    """A hint: the keys that a user may have meant by an unknown one; empty if none is close."""
    name = path.rpartition(".")[2]
    names: dict[str, list[str]] = {}
    for key in READ & plain.keys() - {"hydra", "allowed_targets"}:
        names.setdefault(key, []).append(key)
        for found, node in walk(plain[key], key):
            # A parameter is set by its value.
            if isinstance(node, Mapping) and found != "model.parameter_limits":
                for each in node:
                    if not str(each).startswith("_"):
                        names.setdefault(str(each), []).append(f"{found}.{each}")
    near = [name] if name in names else difflib.get_close_matches(name, names, n=1, cutoff=0.75)
    paths = [each for match in near for each in names[match]]
    paths.sort(key=lambda each: (each.count("."), each))
    if not paths and is_target(plain.get("model")) and "parameters" in plain["model"]:
        paths = [f"+model.parameters.{name}"]
    return f"Did you mean {' or '.join(paths[:_SHOWN])}?" if paths else ""
