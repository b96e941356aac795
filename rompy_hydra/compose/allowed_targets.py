"""What a configuration may name as `_target_`: it must not be able to call just anything.

This package's own classes, registered plugins, and what a *person* allows, on the command line or in
the environment. A file cannot allow anything: files come from strangers, too.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from hydra.core.override_parser.types import Override
from pydantic import BaseModel

from rompy_hydra.errors import ConfigError, InvalidConfig, PluginError, Problem, closest
from rompy_hydra.plugins import registry
from rompy_hydra.run.base import BaseRunBackend

ENVIRONMENT = "ROMPY_HYDRA_ALLOWED_TARGETS"
KEY = "allowed_targets"
_OWN = ("rompy_hydra.",)


def trusted(overrides: Sequence[Override]) -> tuple[str, ...]:
    """The prefixes that the user allows: those of the command line and of the environment."""
    found = os.environ.get(ENVIRONMENT, "").replace(",", " ").split()
    for each in overrides:
        if each.get_key_element().lstrip("+") == KEY and not each.is_delete():
            values = each.sweep_iterator() if each.is_sweep_override() else [each.value()]
            found += [item for value in values if isinstance(value, list) for item in value]
    return tuple(item for item in found if isinstance(item, str))


def allowed(config: Mapping[str, Any], by_user: Sequence[str]) -> list[str]:
    """The prefixes that hold for a configuration; InvalidConfig if a file asks for more."""
    asked = config.get(KEY) or []
    if not isinstance(asked, list) or not all(isinstance(item, str) for item in asked):
        raise InvalidConfig([Problem(KEY, asked, "must be a list of name prefixes")])
    if more := [item for item in asked if item not in by_user]:
        reason = (
            "is asked for by a configuration file, which cannot allow it by itself. If you trust what it "
            f"calls, add {KEY}=[{','.join(asked)}] to the command, or set {ENVIRONMENT}={','.join(asked)}"
        )
        raise InvalidConfig([Problem(KEY, more, reason)])
    return list(dict.fromkeys([*asked, *(item for item in by_user if item)]))


def check_allowed(target: object, prefixes: Sequence[str]) -> str:
    """The target itself if a configuration may name it; ConfigError, before any import, if not."""
    if not isinstance(target, str) or not target:
        raise ConfigError("must be the dotted path of a class")
    parts = target.split(".")
    if not all(part.isidentifier() and not part.startswith("__") for part in parts) or len(parts) < 2:
        raise ConfigError("must be the dotted path of a class")
    if (
        not _within(target, [*_OWN, *_of_trees(), *prefixes])
        and target not in registry.registered_targets()
    ):
        raise ConfigError(
            "is not allowed: a configuration could call anything. If you trust it, add "
            f"{KEY}=[{parts[0]}.] to the command"
        )
    return target


@functools.cache
def _of_trees() -> tuple[str, ...]:
    """Installed packages that bring configurations may name their own classes in them."""
    return tuple(f"{tree.target.split('.')[0]}." for tree in registry.configuration_trees())


def _within(target: str, prefixes: Sequence[str]) -> bool:
    names = [prefix.rstrip(".") for prefix in prefixes]
    return any(name and (target == name or target.startswith(f"{name}.")) for name in names)


def located(target: object, prefixes: Sequence[str]) -> Any:
    """The class or function that a `_target_` names; ConfigError if it may not, PluginError if broken."""
    return _located(check_allowed(target, prefixes), tuple(prefixes))


@functools.cache
def _located(name: str, prefixes: tuple[str, ...]) -> Any:
    if (plugin := registry.find_by_target(name)) is not None:
        return plugin.load()
    try:
        found = resolved(name)
    except ImportError as error:
        raise ConfigError(f"cannot be imported: {error}. {_classes_near(name)}") from error
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {error}"
        raise ConfigError(f"cannot be imported: {what}. Mend or reinstall its package") from error
    # Where it is defined counts: a module's imports (`package.os.system`) are not the package's own.
    home = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
    if _within(home, _OWN):
        if isinstance(found, type) and issubclass(found, BaseModel | BaseRunBackend):
            return found
        raise ConfigError("is no model, backend, postprocessor or pipeline of this package")
    if not _within(home, [*prefixes, *_of_trees()]) and not {name, home} & registry.registered_targets():
        raise ConfigError(
            f"is really {home.strip('.') or type(found).__name__}, which is not allowed. If you trust it, "
            f"add it to {KEY} on the command line"
        )
    if not callable(found):
        raise ConfigError("is neither a class nor a function")
    return found


def resolved(name: str) -> Any:
    """The object of a dotted path; ImportError says what is not there."""
    first, *rest = name.split(".")
    found: Any = registry.import_module(first)
    path = first
    for part in rest:
        path = f"{path}.{part}"
        try:
            found = getattr(found, part)
        except AttributeError:
            if not isinstance(found, ModuleType):
                raise ImportError(f"{path.rpartition('.')[0]} has no '{part}'") from None
            try:
                found = registry.import_module(path)
            except ModuleNotFoundError as error:
                if error.name != path:
                    raise
                raise ImportError(f"{path.rpartition('.')[0]} has no '{part}'") from error
    return found


def _classes_near(name: str) -> str:
    """The closest class of the module that a target names, as a hint."""
    module, _, last = name.rpartition(".")
    try:
        home = resolved(module)
    except Exception:  # noqa: BLE001 - only a hint: the import error itself is told
        return ""
    names = [n for n in dir(home) if not n.startswith("_") and inspect.isclass(getattr(home, n, None))]
    return closest(last, names)


__all__ = [
    "ENVIRONMENT",
    "KEY",
    "PluginError",
    "allowed",
    "check_allowed",
    "located",
    "resolved",
    "trusted",
]
