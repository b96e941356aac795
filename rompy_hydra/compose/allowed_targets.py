"""Which classes and functions a configuration may name as `_target_`.

Configuration files may come from strangers, so they cannot call arbitrary code. Allowed are the classes
of this package, registered plugins, and whatever the *user* allows on the command line or in the
environment. A file cannot allow anything by itself.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from hydra.core.override_parser.types import Override
from pydantic import BaseModel

from rompy_hydra.errors import ConfigError, InvalidConfig, Problem, closest
from rompy_hydra.plugins import registry
from rompy_hydra.run.base import BaseRunBackend

ENVIRONMENT = "ROMPY_HYDRA_ALLOWED_TARGETS"
KEY = "allowed_targets"
_OWN = ("rompy_hydra.",)


def user_prefixes(overrides: Sequence[Override]) -> tuple[str, ...]:
    """The prefixes of names that the user allows, on the command line and in the environment."""
    found = os.environ.get(ENVIRONMENT, "").replace(",", " ").split()
    for each in overrides:
        if each.get_key_element().lstrip("+") == KEY and not each.is_delete():
            values = each.sweep_iterator() if each.is_sweep_override() else [each.value()]
            found += [item for value in values if isinstance(value, list) for item in value]
    return tuple(item for item in found if isinstance(item, str))


def allowed_prefixes(config: Mapping[str, Any], by_user: Sequence[str]) -> list[str]:
    """The prefixes that apply to a configuration; InvalidConfig if a file asks for more than the user."""
    asked = config.get(KEY) or []
    if not isinstance(asked, list) or not all(isinstance(item, str) for item in asked):
        raise InvalidConfig([Problem(KEY, asked, "must be a list of name prefixes")])
    if more := [item for item in asked if item not in by_user]:
        reason = (
            "is requested by a configuration file, which cannot allow it by itself. If you trust what it "
            f"calls, add {KEY}=[{','.join(asked)}] to the command, or set {ENVIRONMENT}={','.join(asked)}"
        )
        raise InvalidConfig([Problem(KEY, more, reason)])
    return list(dict.fromkeys([*asked, *(item for item in by_user if item)]))


def check_allowed(target: object, prefixes: Sequence[str]) -> str:
    """The target itself; ConfigError, without importing it, if a configuration may not name it."""
    parts = target.split(".") if isinstance(target, str) else []
    if len(parts) < 2 or not all(part.isidentifier() and not part.startswith("__") for part in parts):
        raise ConfigError("must be the dotted path of a class")
    path = ".".join(parts)
    is_known = path in registry.registered_targets()
    if not is_known and not has_prefix(path, [*_OWN, *_tree_prefixes(), *prefixes]):
        raise ConfigError(
            "is not allowed: a configuration could call anything. If you trust it, add "
            f"{KEY}=[{parts[0]}.] to the command"
        )
    return path


@functools.cache
def _tree_prefixes() -> tuple[str, ...]:
    """Installed packages with configurations, which may name the packages' own classes."""
    return tuple(f"{tree.target.split('.')[0]}." for tree in registry.configuration_trees())


def has_prefix(path: str, prefixes: Sequence[str]) -> bool:
    """Whether a dotted path starts with one of some dotted prefixes, as whole names."""
    names = [prefix.rstrip(".") for prefix in prefixes]
    return any(name and (path == name or path.startswith(f"{name}.")) for name in names)


def load_target(target: object, prefixes: Sequence[str]) -> Any:
    """The class or function that a `_target_` names.

    ConfigError if it is not allowed or cannot be imported; PluginError for a broken plugin.
    """
    return _load(check_allowed(target, prefixes), tuple(prefixes))


@functools.cache
def _load(name: str, prefixes: tuple[str, ...]) -> Any:
    if (plugin := registry.find_by_target(name)) is not None:
        return plugin.load()
    try:
        found = import_object(name)
    except ImportError as error:
        hint = ""
        with contextlib.suppress(Exception):  # only a hint: the error of the import is reported anyway
            module, _, last = name.rpartition(".")
            classes = inspect.getmembers(import_object(module), inspect.isclass)
            hint = closest(last, [each for each, _ in classes if not each.startswith("_")])
        raise ConfigError(f"cannot be imported: {error}. {hint}") from error
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {error}"
        raise ConfigError(f"cannot be imported: {what}. Fix or reinstall its package") from error
    # The place of definition counts: what a module imports (`package.os.system`) is not its own.
    home = defined_at(found)
    if has_prefix(home, _OWN):
        if isinstance(found, type) and issubclass(found, BaseModel | BaseRunBackend):
            return found
        raise ConfigError("is not a model, run backend, postprocessor or pipeline of this package")
    is_known = not registry.registered_targets().isdisjoint((name, home))
    if not is_known and not has_prefix(home, [*prefixes, *_tree_prefixes()]):
        raise ConfigError(
            f"is really {home.strip('.') or type(found).__name__}, which is not allowed. If you trust it, "
            f"add it to {KEY} on the command line"
        )
    if not callable(found):
        raise ConfigError("is neither a class nor a function")
    return found


def defined_at(found: object) -> str:
    """The dotted path at which a class or function is defined."""
    return f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"


def import_object(name: str) -> Any:
    """The object with a dotted path; ImportError names the part that does not exist."""
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
