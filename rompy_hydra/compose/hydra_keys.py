"""Keys below `hydra` that this program reads, and those that have no effect wherever they are set."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hydra.conf import HydraConf, JobConf
from omegaconf import DictConfig, Node, OmegaConf

from rompy_hydra.compose.override_parser import json_value, parse, path_of
from rompy_hydra.compose.stored_config import HYDRA_OVERRIDES
from rompy_hydra.errors import NO_VALUE, ConfigError, Problem, closest

HONOURED = (
    *("hydra.mode", "hydra.searchpath", "hydra.launcher", "hydra.sweeper", "hydra.callbacks"),
    *("hydra.help", "hydra.hydra_help", "hydra.job.name", "hydra.job.config"),
)
_OF_SWEEPS = ("hydra.launcher", "hydra.sweeper")


def without_effect(
    config: DictConfig, files: Iterable[tuple[str, Node]], refused: Iterable[str], *, is_sweep: bool
) -> Iterator[Problem]:
    """The settings in overrides and files that nothing reads; `refused` are checked by their values.

    `files` are those that set something below `hydra`, with that node.
    """
    known = [*HONOURED, *refused]
    lines: Any = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)
    for override in parse([line for line in lines if line not in HYDRA_OVERRIDES]):
        path = path_of(override)
        key = path.replace("/", ".")
        has_value = not override.is_delete() and not override.is_sweep_override()
        value = json_value(override.value()) if has_value else NO_VALUE
        value = NO_VALUE if isinstance(value, dict | list) else value
        if not is_sweep and _is_below(key, _OF_SWEEPS):
            yield Problem(path, value, "is a setting of a sweep", "Add -m")
        elif "/" not in path and not _is_below(key, known):
            yield _unused(path, value, known)
    for name, node in files:
        plain = OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else {}
        for path, value in _leaves(plain, "hydra"):
            if not _is_below(path, known):
                problem = _unused(path, value, known)
                yield dataclasses.replace(problem, reason=f"{problem.reason} ({name}.yaml)")


def check_hydra_file(node: Any, file: str) -> None:
    """ConfigError if a file removes a part of Hydra's configuration, or has a key unknown to Hydra."""
    for key, each in (("hydra", node), *((key, _child(node, key)) for key in _OF_SWEEPS)):
        if isinstance(each, Node) and each._is_none():
            raise ConfigError(f"{key}: must not be null ({file}). Leave it out")
    plain = OmegaConf.to_container(node, resolve=False) if isinstance(node, DictConfig) else {}
    for path, _ in _leaves(plain, "hydra"):
        names = path.split(".")[1:]
        for number, name in enumerate(names):
            known = _keys_below(names[:number])
            if known and name not in known:
                where = ".".join(["hydra", *names[: number + 1]])
                raise ConfigError(f"{where}: there is no such key ({file}). {closest(name, known)}")


def _child(node: Any, key: str) -> Any:
    if not isinstance(node, DictConfig) or node._is_none():
        return None
    return node._get_node(key.removeprefix("hydra."), validate_access=False)


def _keys_below(names: Sequence[str]) -> Sequence[str]:
    """The keys that Hydra knows below a node; none if it takes any."""
    kind: Any = HydraConf
    for name in names:
        if not dataclasses.is_dataclass(kind):
            return ()
        kind = typing.get_type_hints(kind, localns={**vars(JobConf), **vars(JobConf.JobConfig)})[name]
    return [each.name for each in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else ()


def _unused(path: str, value: object, known: Iterable[str]) -> Problem:
    *above, name = path.split(".")[1:]
    near = [] if name in _keys_below(above) else difflib.get_close_matches(path, known, n=1, cutoff=0.8)
    hint = f"Did you mean '{near[0]}'?" if near else "Leave it out"
    return Problem(path, value, "has no effect here", hint)


def _is_below(path: str, keys: Iterable[str]) -> bool:
    return any(f"{path}.".startswith(f"{key}.") for key in keys)


def _leaves(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}")
    else:
        yield path, NO_VALUE if isinstance(node, dict | list) else node
