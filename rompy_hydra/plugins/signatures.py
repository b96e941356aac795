"""What settings a plugin takes, and of what kind, told by its class, its methods and their annotations."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
import warnings
from collections.abc import Iterable, Iterator, Mapping, Set
from enum import Enum
from types import FunctionType
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretBytes,
    SecretStr,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic_core import PydanticSerializationError, to_jsonable_python

from rompy_hydra.errors import ConfigError, closest
from rompy_hydra.plugins.annotations import UNKNOWN, parameters

# The method of each category of plugins.
_METHODS = {"run": "run", "postprocess": "process", "pipeline": "execute"}
# What the engine gives to a method by itself.
GIVEN = {"self", "model_run", "workspace_dir", "config"}
# What a pipeline is told of the other choices.
CHOICES = {"run_backend", "backend_config", "run_kwargs", "processor", "process_kwargs"}
_REST = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
_SAYS_NOTHING = (dict, object, type(None), UNKNOWN)
_JSON = (bool, int, float, str, list, dict)


def settings_model(found: Any, category: str | None = None) -> type[BaseModel] | None:
    """The pydantic model of a plugin's settings; None if nothing can be said about them.

    `category` tells which method is called, and so takes settings as well.
    """
    return _settings_model(found, category) if isinstance(found, type | FunctionType) else None


@functools.cache
def _settings_model(found: Any, category: str | None) -> type[BaseModel] | None:
    named = getattr(found, "config_class", None)
    if isinstance(named, type) and issubclass(named, BaseModel):
        return named
    if isinstance(found, type) and issubclass(found, BaseModel):
        return found
    config = config_type(found, category)
    if config is not None:
        return config if issubclass(config, BaseModel) else _model_of(config, None, GIVEN)
    given = GIVEN | CHOICES if category == "pipeline" else GIVEN
    return _model_of(found, method_of(found, category), given)


def check_settings(model: type[BaseModel] | None, settings: Mapping[str, object]) -> dict[str, object]:
    """The settings in the types of a plugin's annotations; ConfigError if they are wrong."""
    if model is None:
        return dict(settings)
    try:
        made = model.model_validate(dict(settings))
    except ValidationError as error:
        raise wrong_settings(error, model.__name__, names_of(model)) from error
    names = {key_of(model, name): name for name in made.model_fields_set if name in model.model_fields}
    known = {key: getattr(made, name) for key, name in names.items()}
    return {**settings, **known}


def wrong_settings(error: ValidationError, owner: str, names: Iterable[str]) -> ConfigError:
    """What pydantic finds wrong with settings, with the closest valid name."""
    told = []
    for each in error.errors(include_url=False):
        key = ".".join(map(str, each["loc"])) or "settings"
        unknown = each["type"] == "extra_forbidden"
        what = f"no such setting. {closest(key, names)}" if unknown else str(each["msg"])
        told.append(f"{key}: {what}")
    return ConfigError(f"{owner}: {'; '.join(told)}")


def defaults(model: type[BaseModel], required: object) -> Iterator[tuple[str, object]]:
    """The settings with their defaults as plain data, `required` where there is none.

    A default that plain data cannot express is left out, so the plugin's own holds.
    """
    for name, info in model.model_fields.items():
        if info.is_required():
            yield key_of(model, name), required
            continue
        value = info.get_default(call_default_factory=True) if not _needs_data(info) else None
        if isinstance(value, SecretStr | SecretBytes):
            continue
        try:
            yield key_of(model, name), to_jsonable_python(value)
        except PydanticSerializationError:
            continue


def names_of(model: type[BaseModel]) -> list[str]:
    """The names under which a model takes its fields."""
    return [key_of(model, name) for name in model.model_fields]


def key_of(model: type[BaseModel], name: str) -> str:
    info = model.model_fields[name]
    alias = info.validation_alias if isinstance(info.validation_alias, str) else info.alias
    config = model.model_config
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    return name if by_name or alias is None else alias


def _needs_data(info: Any) -> bool:
    return bool(getattr(info, "default_factory_takes_validated_data", False))


def config_type(found: Any, category: str | None = None) -> type | None:
    """The class of the `config` that a plugin takes, as rompy's backends have it."""
    for names in (settings_of_method(method_of(found, category)), settings_of(found)):
        if "config" in names:
            named = getattr(found, "config_class", None)
            kinds = [named, names["config"].annotation, *typing.get_args(names["config"].annotation)]
            # A mapping or anything at all says nothing about what is in it.
            said = (kind for kind in kinds if isinstance(kind, type) and kind not in _SAYS_NOTHING)
            return next(said, None)
    return None


def method_of(found: Any, category: str | None) -> Any:
    method = getattr(found, _METHODS.get(category or "", ""), None)
    return method if callable(method) else None


def settings_of(function: Any) -> dict[str, inspect.Parameter]:
    """The named parameters of a class or a function."""
    return {each.name: each for each in parameters(function) if each.kind not in _REST}


def settings_of_method(method: Any) -> dict[str, inspect.Parameter]:
    """The named parameters of a method without `self` and what comes first, the model run."""
    found = list(settings_of(method).items())
    before = 2 if found and found[0][0] == "self" else 1
    return dict(found[before:])


def takes_anything(function: object) -> bool:
    """Whether a callable has `**settings`, or says nothing about itself."""
    return any(each.kind is each.VAR_KEYWORD for each in parameters(function))


def _model_of(found: Any, method: Any, given: Set[str]) -> type[BaseModel] | None:
    """A pydantic model made of a dataclass's fields, or of what is said about parameters."""
    fields: dict[str, Any] = {}
    if dataclasses.is_dataclass(found) and isinstance(found, type):
        fields |= _fields_of_dataclass(found)
    named = settings_of_method(method) | settings_of(found)
    for name, each in named.items():
        if name not in given and not name.startswith("_") and name != "model_config":
            default = ... if each.default is each.empty else each.default
            fields.setdefault(name, (_kind(each.annotation, default), default))
    anything = takes_anything(found) or takes_anything(method) or "config" in named
    extra = ConfigDict(
        extra="allow" if anything else "forbid", arbitrary_types_allowed=True, protected_namespaces=()
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names such as `copy` are pydantic's own, too
            return create_model(getattr(found, "__name__", "Settings"), __config__=extra, **fields)
    except Exception:  # noqa: BLE001 - a name that pydantic cannot have checks nothing
        return None


def _fields_of_dataclass(found: Any) -> dict[str, Any]:
    kinds = {each.name: each.annotation for each in parameters(found)}
    fields: dict[str, Any] = {}
    for each in dataclasses.fields(found):
        default: Any = ... if each.default is dataclasses.MISSING else each.default
        if each.default_factory is not dataclasses.MISSING:
            default = Field(default_factory=each.default_factory)
        if each.init:
            fields[each.name] = (_kind(kinds.get(each.name, UNKNOWN), default), default)
    return fields


def _kind(annotation: Any, default: Any) -> Any:
    """The type that checks a setting: its annotation, if its own default agrees with that."""
    if annotation is UNKNOWN:
        # A path or a set would otherwise become the plain data that a configuration holds.
        special = default is not ... and not isinstance(default, _JSON) and default is not None
        return type(default) if special and _is_plain(type(default), default) else Any
    try:
        adapter = TypeAdapter(annotation, config=None)
    except Exception:  # noqa: BLE001 - nothing that pydantic could check
        return Any
    if default is ... or isinstance(default, type(Field())):
        return annotation
    try:
        adapter.validate_python(to_jsonable_python(default, fallback=str))
    except ValidationError:
        return annotation | None if default is None else Any
    return annotation


def _is_plain(kind: Any, default: Any) -> bool:
    """Whether plain data can express a default, and a type gets it back from that."""
    if isinstance(default, Enum):
        return True
    try:
        return bool(TypeAdapter(kind).validate_python(to_jsonable_python(default)) == default)
    except Exception:  # noqa: BLE001 - whatever it is, it is no plain data
        return False
