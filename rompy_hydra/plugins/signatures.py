"""Which settings does a plugin take, of which types, with which defaults, and where does each go?

The answer to the first question is a pydantic model (`settings_model`), read from the plugin's class, its
method and their annotations; nothing is called. `instantiate` constructs a plugin from its settings, and
its method gets the others. A plugin class names a pydantic `config_class`, or is a pydantic model or
dataclass, or its method or constructor takes a `config` of an annotated class, or it is a plain class with
settings in its constructor and in its method (`run`, `process` or `execute`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import inspect
import typing
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from enum import Enum
from types import EllipsisType, FunctionType, SimpleNamespace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError, to_jsonable_python

from rompy_hydra.errors import ConfigError, closest

# The type of a parameter without an annotation, or with one that cannot be evaluated.
UNKNOWN = inspect.Parameter.empty
# The method of each category of plugins.
METHODS = {"run": "run", "postprocess": "process", "pipeline": "execute"}
# Arguments that the engine passes by itself.
GIVEN = {"self", "model_run", "workspace_dir", "config"}
# Arguments with which a pipeline gets the other choices.
CHOICES = {"run_backend", "backend_config", "run_kwargs", "processor", "process_kwargs"}


def settings_model(found: Any, category: str | None = None) -> type[BaseModel] | None:
    """The pydantic model of a plugin's settings; None if nothing is known about them.

    `category` determines which method is called, whose parameters are settings as well.
    """
    return _settings_model(found, category) if isinstance(found, type | FunctionType) else None


@functools.cache
def _settings_model(found: Any, category: str | None) -> type[BaseModel] | None:
    for named in (getattr(found, "config_class", None), found):
        if isinstance(named, type) and issubclass(named, BaseModel):
            return named
    config, method = config_type(found, category), method_of(found, category)
    given = GIVEN | CHOICES if category == "pipeline" else GIVEN
    if config is None:
        return _build_model(found, method, given)
    model = config if issubclass(config, BaseModel) else _build_model(config, None, GIVEN)
    if not method_settings(method).keys() - given or "config" in method_settings(method):
        return model
    # A plugin that can do without a configuration is not made to have one.
    is_optional = named_parameters(found)["config"].default is not inspect.Parameter.empty
    return _build_model(found, method, given, None if is_optional else model)


def check_settings(model: type[BaseModel] | None, settings: Mapping[str, object]) -> dict[str, object]:
    """The settings converted to the types of a model; ConfigError if they are not valid."""
    if model is None:
        return dict(settings)
    try:
        valid = model.model_validate(dict(settings))
    except ValidationError as error:
        raise wrong_settings(error, model.__name__, names_of(model)) from error
    known = valid.model_fields_set & model.model_fields.keys()
    return {**settings, **{key_of(model, name): getattr(valid, name) for name in known}}


def wrong_settings(error: ValidationError, owner: str, names: Iterable[str]) -> ConfigError:
    """What pydantic finds wrong with settings, with the closest valid name."""
    problems = []
    for each in error.errors(include_url=False):
        key = ".".join(map(str, each["loc"])) or "settings"
        unknown = each["type"] == "extra_forbidden"
        problem = f"no such setting. {closest(key, names)}" if unknown else each["msg"]
        problems.append(f"{key}: {problem}")
    return ConfigError(f"{owner}: {'; '.join(problems)}")


def defaults(model: type[BaseModel], required: object) -> Iterator[tuple[str, object]]:
    """The settings with their defaults as plain data, `required` for those without one.

    A default that plain data cannot express is left out, so that the plugin's own applies.
    """
    for name, info in model.model_fields.items():
        needs_data = getattr(info, "default_factory_takes_validated_data", False)
        value = None if needs_data else info.get_default(call_default_factory=True)
        if info.is_required():
            value = required
        if not hasattr(value, "get_secret_value"):
            with contextlib.suppress(PydanticSerializationError):
                yield key_of(model, name), to_jsonable_python(value)


def names_of(model: type[BaseModel]) -> list[str]:
    """The names under which a model takes its fields."""
    return [key_of(model, name) for name in model.model_fields]


def key_of(model: type[BaseModel], name: str) -> str:
    """The name under which a model takes one of its fields."""
    info, config = model.model_fields[name], model.model_config
    alias = info.validation_alias if isinstance(info.validation_alias, str) else info.alias
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    return name if by_name or alias is None else alias


def config_type(found: Any, category: str | None = None) -> type | None:
    """The class of the `config` that a plugin's method or constructor takes; None if unknown."""
    for parameters in (method_settings(method_of(found, category)), named_parameters(found)):
        if "config" in parameters:
            annotation = parameters["config"].annotation
            kinds = (getattr(found, "config_class", None), annotation, *typing.get_args(annotation))
            vague = (dict, object, type(None), UNKNOWN)  # they do not say which settings are in it
            return next((kind for kind in kinds if isinstance(kind, type) and kind not in vague), None)
    return None


def method_of(found: Any, category: str | None) -> Any:
    """The method that a plugin of this category must have; None if it has none."""
    method = getattr(found, METHODS.get(category or "", ""), None)
    return method if callable(method) else None


def method_settings(method: Any) -> dict[str, inspect.Parameter]:
    """The named parameters of a method without `self` and its first one, the model run."""
    found = list(named_parameters(method).items())
    before = 2 if found and found[0][0] == "self" else 1
    return dict(found[before:])


def named_parameters(function: Any) -> dict[str, inspect.Parameter]:
    """The parameters of a class or a function but `*args` and `**kwargs`."""
    rest = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return {each.name: each for each in _parameters(function) if each.kind not in rest}


def takes_anything(function: object) -> bool:
    """Whether a callable takes `**kwargs`, or has no readable signature."""
    return any(each.kind is each.VAR_KEYWORD for each in _parameters(function))


def _parameters(function: object) -> list[inspect.Parameter]:
    """The parameters of a callable, their annotations evaluated or UNKNOWN."""
    if not callable(function):
        return []
    try:
        found = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return [inspect.Parameter("settings", inspect.Parameter.VAR_KEYWORD)]
    home = function.__init__ if isinstance(function, type) else function  # type: ignore[misc]
    return [each.replace(annotation=_evaluate(each.annotation, home)) for each in found]


def _evaluate(annotation: Any, function: Any) -> Any:
    """What an annotation means, also where it is a string; UNKNOWN if it cannot be evaluated.

    So a name that a module imports only for type checkers is UNKNOWN.
    """
    names = getattr(inspect.unwrap(function), "__globals__", {})
    holder = SimpleNamespace(__annotations__={"it": annotation})
    try:
        if names.get("__name__", "").partition(".")[0] == "rompy":
            # Its backends import the class of their `config` only for type checkers.
            names = vars(importlib.import_module("rompy.backends")) | names
        return typing.get_type_hints(holder, names, include_extras=True)["it"]
    except Exception:  # noqa: BLE001 - an annotation may be anything
        return UNKNOWN


def _build_model(
    found: Any, method: Any, given: Set[str], config: type[BaseModel] | None = None
) -> type[BaseModel] | None:
    """A pydantic model of the fields of a dataclass, and of the parameters of `found` and its method.

    The fields of `config` come first, if it is given.
    """
    own: dict[str, Any] = {}
    if dataclasses.is_dataclass(found):
        own = {each.name: each.default_factory for each in dataclasses.fields(found)}
    parameters = method_settings(method) | named_parameters(found)
    fields: dict[str, Any] = (
        {n: (f.annotation, f) for n, f in config.model_fields.items()} if config else {}
    )
    for name in dict.fromkeys([*own, *parameters]):
        each = parameters.get(name)
        is_reserved = name in given or name.startswith("_") or name == "model_config"
        if each is None or (is_reserved and name not in own):
            continue
        default: Any = ... if each.default is each.empty else each.default
        if own.get(name, dataclasses.MISSING) is not dataclasses.MISSING:
            default = Field(default_factory=own[name])
        fields[name] = (_type_to_check(each.annotation, default), default)
    anything = takes_anything(found) or takes_anything(method) or ("config" in parameters and not config)
    extra = ConfigDict(
        extra="allow" if anything else "forbid", arbitrary_types_allowed=True, protected_namespaces=()
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydantic has names such as `copy` as well
            return create_model(getattr(found, "__name__", "Settings"), __config__=extra, **fields)
    except Exception:  # noqa: BLE001 - with a name that pydantic does not accept, nothing is checked
        return None


def _type_to_check(annotation: Any, default: Any) -> Any:
    """The type that a setting must have: its annotation, unless its own default contradicts that."""
    unknown = annotation is UNKNOWN
    if unknown:
        # Otherwise a path or a set would become the plain data that a configuration holds.
        if isinstance(default, EllipsisType | None | int | float | str | list | dict | FieldInfo):
            return Any
        annotation = type(default)
    try:
        adapter = TypeAdapter(annotation)
        if default is ... or isinstance(default, FieldInfo) or (unknown and isinstance(default, Enum)):
            return annotation
        read_back = adapter.validate_python(to_jsonable_python(default, fallback=str))
        return annotation if not unknown or read_back == default else Any
    except ValidationError:
        return annotation | None if default is None else Any
    except Exception:  # noqa: BLE001 - pydantic cannot check this type
        return Any


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
    if "config" in own and (others.keys() - GIVEN or takes_anything(method)) and "config" not in others:
        return _instantiate_beside_config(found, settings, category)
    if "config" in own or "config" in others:
        kind = config_type(found, category) or OpenSettings
        if not issubclass(kind, BaseModel | OpenSettings):
            settings = check_settings(settings_model(found, category), settings)
        # Not an empty one where the default is None.
        wanted = [
            {n for n, p in names.items() if settings or p.default is not None} for names in (own, others)
        ]
        settings = {"config": construct(kind, settings)}
    else:
        settings = check_settings(settings_model(found, category), settings)
        # A setting goes to the constructor or the method that names it, or else to the one that takes any.
        wanted = [set(own), set(others)]
        to_method = takes_anything(method) or not takes_anything(found)
        wanted[to_method] |= settings.keys() - own.keys() - others.keys()
    given = [{key: settings[key] for key in settings if key in names} for names in wanted]
    return construct(found, given[0]), given[1]


def _instantiate_beside_config(
    found: Any, settings: Mapping[str, object], category: str | None
) -> tuple[Any, dict[str, object]]:
    """A plugin with a `config` in its constructor, whose method has settings of its own.

    An optional `config` is made of settings that the method does not name, and only if all that it
    requires are given; otherwise they go to the method, as rompy calls it.
    """
    method, kind = method_of(found, category), config_type(found, category)
    own, others = named_parameters(found), method_settings(method)
    settings = check_settings(settings_model(found, category), settings)
    unnamed = settings.keys() - own.keys() - others.keys()
    model = settings_model(kind)
    if model is not None:
        fields, needed = set(names_of(model)), {key_of(model, n) for n in _required(model)}
    else:  # nobody knows its fields
        fields, needed = (set() if takes_anything(method) else unnamed), set()
    is_required = own["config"].default is inspect.Parameter.empty
    given = {key: value for key, value in settings.items() if key in own}
    if is_required or (unnamed & fields and needed <= settings.keys()):
        config = {key: value for key, value in settings.items() if key in fields}
        given["config"] = construct(kind or OpenSettings, config)
        unnamed -= fields
    if unnamed and not takes_anything(method):
        hint = closest(min(unnamed), {*own, *others, *fields} - GIVEN)
        raise ConfigError(f"{found.__qualname__}: {min(unnamed)}: no such setting. {hint}")
    return construct(found, given), {k: v for k, v in settings.items() if k in others or k in unnamed}


def _required(model: type[BaseModel]) -> list[str]:
    return [name for name, info in model.model_fields.items() if info.is_required()]


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
