"""A model defined by a directory of the user's files."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

from pydantic import JsonValue, ValidationInfo, field_validator, model_validator

from rompy_hydra.errors import InvalidValues
from rompy_hydra.jsonable import Json, PathText, path_text
from rompy_hydra.models.base import BaseConfig
from rompy_hydra.models.parameters import ParameterLimits, separate


class TemplateModel(BaseConfig):
    """Any model, without Python code: the files below `template` are rendered into the workspace.

    In a template, `model` has the `parameters`, and `run` has `run_id`, `period` and `workspace`.
    Without `uses_period`, templates have no `run.period`, and another period does not make another run.
    A parameter may be declared with limits, as `{value: 2.0, min: 0.05, max: 20, units: m}`: its value is
    then the plain number, and what replaces it is checked. The limits are kept in `parameter_limits`.
    """

    kind: ClassVar[str] = "template"
    added: ClassVar[frozenset[str]] = frozenset({"uses_period"})

    template: PathText
    # Before the parameters, which are checked with them.
    parameter_limits: dict[str, ParameterLimits] = {}
    parameters: dict[str, JsonValue] = {}
    uses_period: bool = True

    @property
    def depends_on_period(self) -> bool:
        return self.uses_period

    @model_validator(mode="before")
    @classmethod
    def _separate_limits(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("parameters"), dict):
            return data
        values, limits = separate(cast("dict[str, JsonValue]", path_text(data["parameters"])))
        if not limits:
            return {**data, "parameters": values}
        return {**data, "parameters": values, "parameter_limits": {**limits, **_given_limits(data)}}

    @field_validator("parameters")
    @classmethod
    def _check_limits(cls, values: dict[str, JsonValue], info: ValidationInfo) -> dict[str, JsonValue]:
        limits: Mapping[str, ParameterLimits] = info.data.get("parameter_limits", {})
        wrong = {
            name: each.wrong(values[name]) if name in values else "has limits, but no value"
            for name, each in limits.items()
        }
        if any(wrong.values()):
            raise InvalidValues({name: reason for name, reason in wrong.items() if reason})
        return values

    @field_validator("template")
    @classmethod
    def _check_not_empty(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("requires the directory of the template files")
        try:
            os.fsencode(value)
        except UnicodeEncodeError:
            raise ValueError("is not a path: half of a pair of Unicode surrogates") from None
        return value

    @property
    def template_dir(self) -> Path:
        return _path(os.path.abspath(os.path.expanduser(self.template)))

    def context(self) -> Mapping[str, JsonValue]:
        return self.parameters

    def plain_data(self) -> dict[str, Json]:
        # Limits do not change a result.
        return {key: each for key, each in super().plain_data().items() if key != "parameter_limits"}


def _given_limits(data: Mapping[str, Any]) -> Mapping[str, Any]:
    found = data.get("parameter_limits")
    return found if isinstance(found, dict) else {}


class ShippedModel(BaseConfig):
    """A model with a template that is part of this package; it does not use the period."""

    @property
    def depends_on_period(self) -> bool:
        return False

    @property
    def template_dir(self) -> Path:
        return Path(__file__).with_name("templates") / self.kind


# The runs of a sweep share their template.
_path = functools.lru_cache(maxsize=64)(Path)
