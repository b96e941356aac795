"""Where does each setting of a plugin go?

`signatures` answers which settings there are. Here a plugin is constructed from them, and its method gets
the others. A plugin class names a pydantic `config_class`, or is a pydantic model or dataclass, or
its method or constructor takes a `config` of an annotated class, or it is a plain class with settings
in its constructor and in its method (`run`, `process` or `execute`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
        kind = config_type(found, category) or OpenSettings
        if not issubclass(kind, BaseModel | OpenSettings):
            settings = check_settings(settings_model(found, category), settings)
        config = construct(kind, settings)
        given = [
            # Not an empty one where the default is None.
            {"config": config}
            if "config" in names and (settings or names["config"].default is not None)
            else {}
            for names in (own, others)
        ]
    else:
        settings = check_settings(settings_model(found, category), settings)
        # A setting goes to the constructor or the method that names it, or else to the one that takes any.
        wanted = [set(own), set(others)]
        to_method = takes_anything(method) or not takes_anything(found)
        wanted[to_method] |= settings.keys() - own.keys() - others.keys()
        given = [{key: settings[key] for key in settings if key in names} for names in wanted]
    return construct(found, given[0]), given[1]


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
