"""Where does each setting of a plugin go?

`signatures` answers which settings there are. Here a plugin is constructed from them, and its method gets
the others. A plugin class names a pydantic `config_class`, or is a pydantic model or dataclass, or
its method or constructor takes a `config` of an annotated class, or it is a plain class with settings
in its constructor and in its method (`run`, `process` or `execute`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Set
from typing import Any

from pydantic import BaseModel, ValidationError

from rompy_hydra.errors import ConfigError, closest
from rompy_hydra.plugins.signatures import (
    GIVEN,
    check_settings,
    config_type,
    method_of,
    method_settings,
    named_parameters,
    settings_model,
    takes_anything,
    wrong_settings,
)

__all__ = ["OpenSettings", "check_arguments", "construct", "instantiate", "takes", "takes_anything"]


class OpenSettings(dict[str, Any]):
    """Settings as keys and attributes, for a plugin that does not say of which class its `config` is."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def instantiate(
    found: Any, settings: Mapping[str, object], category: str | None = None
) -> tuple[Any, dict[str, object]]:
    """A plugin object, and the arguments that its method gets besides the model run."""
    if not isinstance(found, type):
        return found, dict(settings)
    if issubclass(found, BaseModel):
        return construct(found, settings), {}
    method = method_of(found, category)
    own, others = named_parameters(found), method_settings(method)
    if "config" in own or "config" in others:
        config = _config(found, settings, category)
        both = [{"config": config} if _wants_config(names, settings) else {} for names in (own, others)]
        return construct(found, both[0]), both[1]
    settings = check_settings(settings_model(found, category), settings)
    # A setting goes to the constructor or the method that names it, or else to the one that takes any.
    unnamed = settings.keys() - own.keys() - others.keys()
    to_method = takes_anything(method) or not takes_anything(found)
    for_instance = own.keys() if to_method else own.keys() | unnamed
    for_method = others.keys() | unnamed if to_method else others.keys()
    return construct(found, _only(settings, for_instance)), _only(settings, for_method)


def _only(settings: Mapping[str, object], names: Set[str]) -> dict[str, object]:
    return {name: value for name, value in settings.items() if name in names}


def _config(found: type, settings: Mapping[str, object], category: str | None) -> object:
    kind = config_type(found, category)
    if kind is None:
        return OpenSettings(settings)
    if not issubclass(kind, BaseModel):
        settings = check_settings(settings_model(found, category), settings)
    return construct(kind, settings)


def _wants_config(names: Mapping[str, inspect.Parameter], settings: Mapping[str, object]) -> bool:
    """Whether to pass a `config`: not an empty one where the default is None."""
    return "config" in names and (bool(settings) or names["config"].default is not None)


def takes(method: object, name: str) -> bool:
    """Whether a bound method names this argument."""
    return name in method_settings(method)


def construct(kind: Any, fields: Mapping[str, object]) -> Any:
    """An object of a plugin's class; ConfigError if it cannot be constructed from these fields."""
    name = getattr(kind, "__qualname__", repr(kind))
    try:
        return kind(**fields)
    except ValidationError as error:
        raise wrong_settings(error, name, getattr(kind, "model_fields", fields)) from error
    except ValueError:
        raise
    except Exception as error:
        raise ConfigError(f"{name} cannot be constructed: {type(error).__name__}: {error}") from error


def check_arguments(method: Callable[..., object], given: Mapping[str, object]) -> dict[str, object]:
    """The arguments that a method takes; ConfigError if one is unknown to it or missing.

    What the engine passes by itself (`workspace_dir`) is left out if the method does not name it, unless
    the method takes anything besides its `config`, as rompy calls it.
    """
    owner = getattr(method, "__qualname__", str(method))
    names = method_settings(method)
    anything = takes_anything(method)
    unknown = [key for key in given if key not in names and key not in GIVEN]
    if unknown and not anything:
        hint = closest(unknown[0], names.keys() - GIVEN)
        raise ConfigError(f"{owner} does not take '{unknown[0]}'. {hint}")
    missing = [n for n, p in names.items() if p.default is p.empty and n not in {*given, *GIVEN}]
    if missing:
        raise ConfigError(f"{owner} needs a value for {', '.join(missing)}")
    as_rompy = anything and "config" in given
    return {k: v for k, v in given.items() if k in names or (anything and (k not in GIVEN or as_rompy))}
