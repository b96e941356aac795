"""Parameters of a template model that are set and that nothing reads.

A misspelt `+model.parameters.frction=9` would be part of the run's name and of its record, and change
nothing. It is refused where an override or an experiment sets it. What only the model's own file declares
is worth a warning.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf

from rompy_hydra.compose.config_files import files_setting, package_of
from rompy_hydra.compose.unread_keys import is_read
from rompy_hydra.errors import InvalidConfig, Problem, closest

_ROOT = "model.parameters"
# A class that inherits from it may do more with its parameters.
_TARGETS = {f"rompy_hydra.{where}TemplateModel" for where in ("", "models.", "models.template.")}
_REASON = "nothing reads this parameter"


class Setting(NamedTuple):
    """A value below `model.parameters`, and the file that sets it; '' for the command line."""

    path: str
    value: Any
    file: str = ""


def settings_of(path: str, value: Any, file: str = "") -> Iterator[Setting]:
    """The parameters that an override or a part of a file sets, each with its whole path."""
    if isinstance(value, dict) and (value or path == _ROOT):
        for key, each in value.items():
            yield from settings_of(f"{path}.{key}", each, file)
    elif path.startswith(f"{_ROOT}."):
        yield Setting(path, value, file)


def settings_in(files: Mapping[str, ConfigResult]) -> tuple[list[Setting], list[Setting]]:
    """The parameters that files set for a model, and those that the model's own files declare."""
    given: list[Setting] = []
    declared: list[Setting] = []
    of_model = [(name, each.config) for name, each in files.items() if package_of(name, each) == "model"]
    for name, node in [*files_setting(files, "model"), *of_model]:
        if not isinstance(node, DictConfig) or node._is_none():
            continue
        own = name.startswith("model/") or "_target_" in node
        parameters = node._get_node("parameters", validate_access=False)
        if isinstance(parameters, DictConfig):
            plain = OmegaConf.to_container(parameters, resolve=False)
            (declared if own else given).extend(settings_of(_ROOT, plain, name))
    return given, declared


def check_parameters(
    model: Any,
    given: Sequence[Setting],
    declared: Sequence[Setting],
    references: Callable[[], Iterable[str]],
) -> tuple[str, ...]:
    """What is declared without use, as warnings; InvalidConfig if something is given that nothing reads.

    `references` are the paths that interpolations refer to.
    """
    directory = template_of(model)
    if directory is None or not (given or declared):
        return ()
    used = read_in(directory)
    if used is None:
        return ()
    unread = [each for each in given if not _is_used(each.path, used)]
    idle = [each for each in declared if not _is_used(each.path, used)]
    if not (unread or idle):
        return ()
    referred = set(references())
    if wrong := {e.path: e for e in unread if not is_read(e.path, referred)}:
        names = {".".join(path) for path in used}
        raise InvalidConfig([_problem(each, names) for each in wrong.values()])
    unused = dict.fromkeys(
        each.path.removeprefix(f"{_ROOT}.") for each in idle if not is_read(each.path, referred)
    )
    return (f"nothing reads these parameters of the model: {', '.join(unused)}",) if unused else ()


def template_of(model: Any) -> str | None:
    """The directory of a template model; None for another one, or without a directory."""
    if not isinstance(model, Mapping) or str(model.get("_target_")) not in _TARGETS:
        return None
    template = model.get("template")
    return template if isinstance(template, str) and template not in ("", "???") else None


# One process composes all points of a sweep, and templates do not change meanwhile.
@functools.lru_cache(maxsize=64)
def read_in(template: str) -> frozenset[tuple[str, ...]] | None:
    """See `parameters_read`; here the modules for templates are imported if they are needed."""
    from rompy_hydra.models.template_reads import parameters_read

    return parameters_read(Path(os.path.abspath(os.path.expanduser(template))))


def _is_used(path: str, used: Iterable[tuple[str, ...]]) -> bool:
    own = path.removeprefix(f"{_ROOT}.").split(".")
    return any(all(a == b for a, b in zip(own, other, strict=False)) for other in used)


def _problem(setting: Setting, names: Iterable[str]) -> Problem:
    name = setting.path.removeprefix(f"{_ROOT}.")
    where = f" (in {setting.file}.yaml)" if setting.file else ""
    hint = closest(name, names) or "Remove it, or write {{ model." + name + " }} in a template"
    return Problem(setting.path, setting.value, _REASON + where, hint)
