"""The shapes that plugins have in the wild: what settings they take, and where each of them goes.

A plugin class names a pydantic `config_class`, or is a pydantic model or dataclass, or its method
takes a `config` of an annotated class, or it is a plain class with settings in its constructor and
in its method (`run`, `process` or `execute`).
"""

from __future__ import annotations

import functools
import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model
from pydantic_core import PydanticSerializationError, to_jsonable_python

from rompy_hydra.errors import ConfigError, closest

_METHODS = ("run", "process", "execute")
# What the engine gives to a method by itself.
_GIVEN = {"self", "model_run", "workspace_dir", "config"}


@functools.cache
def settings_model(found: Any) -> type[BaseModel] | None:
    """The pydantic model of a plugin's settings; None if nothing can be said about them."""
    named = getattr(found, "config_class", None)
    if isinstance(named, type) and issubclass(named, BaseModel):
        return named
    if isinstance(found, type) and issubclass(found, BaseModel):
        return found
    config = config_type(found)
    if config is not None:
        return config if issubclass(config, BaseModel) else _from_parameters(config, [config])
    return _from_parameters(found, [found, *_methods(found)])


def instantiated(found: Any, settings: Mapping[str, object]) -> tuple[object, dict[str, object]]:
    """A plugin object, and the arguments that its method gets besides the model run."""
    if not isinstance(found, type):
        return found, dict(settings)
    config = config_type(found)
    if config is not None:
        return found(), {"config": config(**settings)}
    parameters = {p.name: p for p in _parameters(found)}
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) and not any(_methods(found)):
        return found(**settings), {}
    own = {key: value for key, value in settings.items() if key in parameters}
    rest = {key: value for key, value in settings.items() if key not in parameters}
    return found(**own), rest


def accepted(method: Callable[..., object], given: Mapping[str, object]) -> dict[str, object]:
    """The settings if a method takes them all; ConfigError names one that it does not know.

    What the engine gives by itself (`workspace_dir`) is left out where a method does not take it.
    """
    parameters = {p.name: p for p in _parameters(method)}
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return dict(given)
    unknown = [key for key in given if key not in parameters and key not in _GIVEN]
    if unknown:
        names = [name for name in parameters if name not in _GIVEN]
        owner = getattr(method, "__qualname__", str(method))
        raise ConfigError(f"{owner} takes no '{unknown[0]}'. {closest(unknown[0], names)}")
    return {key: value for key, value in given.items() if key in parameters}


def defaults(model: type[BaseModel], required: object) -> Iterator[tuple[str, object]]:
    """The settings with their defaults as plain data, `required` where there is none.

    A default that plain data cannot express is left out, so the plugin's own holds.
    """
    for name, info in model.model_fields.items():
        if info.is_required():
            yield name, required
            continue
        value = info.get_default(call_default_factory=True) if not _needs_data(info) else None
        try:
            yield name, to_jsonable_python(value)
        except PydanticSerializationError:
            continue


def _needs_data(info: Any) -> bool:
    return bool(getattr(info, "default_factory_takes_validated_data", False))


def config_type(found: Any) -> type | None:
    """The class of the `config` that a plugin's method takes, as rompy's backends have it."""
    for method in _methods(found):
        if "config" not in {p.name for p in _parameters(method)}:
            continue
        annotation = method.__annotations__.get("config")
        if isinstance(annotation, str):
            annotation = _resolved(annotation, method, found)
        if isinstance(annotation, type):
            return annotation
    return None


def _resolved(name: str, method: Any, found: type) -> Any:
    """The class behind an annotation in quotes, also where it is imported for type checking only."""
    try:
        return typing.get_type_hints(method)["config"]
    except (NameError, KeyError, TypeError):
        top = found.__module__.split(".")[0]
        for module_name, module in list(sys.modules.items()):
            if module_name.split(".")[0] == top:
                candidate = getattr(module, name.strip("'\" "), None)
                if isinstance(candidate, type):
                    return candidate
    return None


def _methods(found: Any) -> list[Any]:
    return [m for name in _METHODS if inspect.isfunction(m := getattr(found, name, None))]


def _parameters(function: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []


def _from_parameters(found: Any, functions: list[Any]) -> type[BaseModel] | None:
    fields: dict[str, Any] = {}
    open_ended = False
    for function in functions:
        for parameter in _parameters(function):
            if parameter.kind is parameter.VAR_KEYWORD:
                open_ended = True
            elif parameter.kind is not parameter.VAR_POSITIONAL and parameter.name not in _GIVEN:
                kind = parameter.annotation
                known = kind is not parameter.empty and not isinstance(kind, str)
                default = ... if parameter.default is parameter.empty else parameter.default
                fields.setdefault(parameter.name, (kind if known else Any, default))
    extra = ConfigDict(extra="allow" if open_ended else "forbid", arbitrary_types_allowed=True)
    try:
        return create_model(getattr(found, "__name__", "Settings"), __config__=extra, **fields)
    except Exception:  # noqa: BLE001 - an annotation that pydantic cannot use checks nothing
        return None
