"""A model defined by a directory of the user's files."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue, field_validator

from rompy_hydra.models.base import BaseConfig


class TemplateModel(BaseConfig):
    """Any model, without Python code: the files below `template` are rendered into the workspace.

    In a template, `model` has the `parameters`, and `run` has `run_id`, `period` and `workspace`.
    Without `uses_period`, templates have no `run.period`, and another period does not make another run.
    """

    kind: ClassVar[str] = "template"
    added: ClassVar[frozenset[str]] = frozenset({"uses_period"})

    template: str
    parameters: dict[str, JsonValue] = {}
    uses_period: bool = True

    @property
    def depends_on_period(self) -> bool:
        return self.uses_period

    @field_validator("template")
    @classmethod
    def _check_not_empty(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("requires the directory of the template files")
        return value

    @property
    def template_dir(self) -> Path:
        return _path(os.path.abspath(os.path.expanduser(self.template)))

    def context(self) -> Mapping[str, JsonValue]:
        return self.parameters


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
