"""The shapes that plugins have in the wild: where each of their settings goes.

A plugin class names a pydantic `config_class`, or is a pydantic model or dataclass, or its method
or constructor takes a `config` of an annotated class, or it is a plain class with settings in its
constructor and in its method (`run`, `process` or `execute`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from rompy_hydra.errors import ConfigError, closest
from rompy_hydra.plugins.signatures import (
    GIVEN,
    check_settings,
    config_type,
    method_of,
    settings_model,
    settings_of,
    settings_of_method,
    takes_anything,
    wrong_settings,
)

__all__ = ["OpenSettings", "check_arguments", "construct", "instantiate", "takes", "takes_anything"]


class OpenSettings(dict[str, Any]):
    """The settings of a plugin that takes a `config` and does not say of what kind: keys and attributes."""

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
    own, theirs = settings_of(found), settings_of_method(method)
    if "config" in own or "config" in theirs:
        config = _config(found, settings, category)
        both = [{"config": config} if _wants(names, settings) else {} for names in (own, theirs)]
        return construct(found, both[0]), both[1]
    settings = check_settings(settings_model(found, category), settings)
    # Each setting goes to whoever names it, the rest to whoever takes anything.
    rest = settings.keys() - own.keys() - theirs.keys()
    rest_to_method = takes_anything(method) or not takes_anything(found)
    for_instance = own.keys() if rest_to_method else own.keys() | rest
    for_method = theirs.keys() | rest if rest_to_method else theirs.keys()
    instance = construct(found, {key: value for key, value in settings.items() if key in for_instance})
    return instance, {key: value for key, value in settings.items() if key in for_method}


def _config(found: type, settings: Mapping[str, object], category: str | None) -> object:
    kind = config_type(found, category)
    if kind is None:
        return OpenSettings(settings)
    if issubclass(kind, BaseModel):
        return construct(kind, settings)
    return construct(kind, check_settings(settings_model(found, category), settings))


def _wants(names: Mapping[str, inspect.Parameter], settings: Mapping[str, object]) -> bool:
    """Whether a `config` is given: not where there is nothing in it, and none is as good."""
    return "config" in names and (bool(settings) or names["config"].default is not None)


def takes(method: object, name: str) -> bool:
    """Whether a bound method names this argument."""
    return name in settings_of_method(method)


def construct(kind: Any, fields: Mapping[str, object]) -> Any:
    """An object of somebody else's class; ConfigError if that is not possible with these fields."""
    name = getattr(kind, "__qualname__", repr(kind))
    try:
        return kind(**fields)
    except ValidationError as error:
        raise wrong_settings(error, name, getattr(kind, "model_fields", fields)) from error
    except ValueError:
        raise
    except Exception as error:
        raise ConfigError(f"{name} cannot be made: {type(error).__name__}: {error}") from error


def check_arguments(method: Callable[..., object], given: Mapping[str, object]) -> dict[str, object]:
    """The settings if a method takes them all and needs no others; ConfigError names what is wrong.

    What the engine gives by itself (`workspace_dir`) is left out where a method does not name it, but
    for one that takes anything together with its `config`, as rompy calls it.
    """
    owner = getattr(method, "__qualname__", str(method))
    names = settings_of_method(method)
    anything = takes_anything(method)
    unknown = [key for key in given if key not in names and key not in GIVEN]
    if unknown and not anything:
        raise ConfigError(f"{owner} takes no '{unknown[0]}'. {closest(unknown[0], names.keys() - GIVEN)}")
    needed = [
        name
        for name, each in names.items()
        if each.default is each.empty and name not in given and name not in GIVEN
    ]
    if needed:
        raise ConfigError(f"{owner} needs a value for {', '.join(needed)}")
    as_rompy = anything and "config" in given
    return {k: v for k, v in given.items() if k in names or (anything and (k not in GIVEN or as_rompy))}
