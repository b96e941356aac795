"""A run backend and postprocessors as somebody chose them: with their names and settings."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rompy_hydra.hashing import hash_json
from rompy_hydra.jsonable import Json
from rompy_hydra.redaction import redacted_mapping, without_secrets
from rompy_hydra.run.base import BaseRunBackend

if TYPE_CHECKING:
    from rompy_hydra.model_run import ModelRun


class _Chosen:
    """What a chosen backend and a chosen postprocessor share: a name, and settings as plain data."""

    name: str
    settings: Mapping[str, Json]

    @functools.cached_property
    def whole(self) -> str:
        """A hash of all settings."""
        return hash_json(with_name(self.name, self.settings))

    @functools.cached_property
    def stored(self) -> dict[str, Json]:
        """What a record keeps of it."""
        return redacted_mapping(with_name(self.name, self.settings))


@dataclass(frozen=True)
class ChosenBackend(_Chosen):
    """A run backend and its settings as plain data.

    `backend` is one of this package's kind; for a plugin in the reference's shape it is None, and
    `call` calls it with a model run and a workspace.
    """

    name: str
    settings: Mapping[str, Json] = field(default_factory=dict)
    backend: BaseRunBackend | None = None
    call: Callable[[ModelRun, Path], object] | None = None
    # What tells such a plugin's ConfigError, for a model configuration, before anything starts.
    check: Callable[[object], None] | None = None

    @functools.cached_property
    def identity(self) -> str:
        """A hash of the settings that decide about the result."""
        transient: frozenset[str] = frozenset()
        if self.backend is not None:
            transient = type(self.backend.config).transient
        kept = {k: without_secrets(v, k) for k, v in self.settings.items() if k not in transient}
        return hash_json(with_name(self.name, kept))


@dataclass(frozen=True)
class ChosenProcessor(_Chosen):
    """A postprocessor, bound to its arguments, and its settings as plain data."""

    name: str
    process: Callable[[ModelRun], object]
    settings: Mapping[str, Json] = field(default_factory=dict)
    # Whether it takes no longer than to write down that it begins.
    instant: bool = False


def with_name(name: str, settings: Mapping[str, Json]) -> dict[str, Json]:
    """A plugin's name beside its settings, of which one may be called `name` as well."""
    return {"name": name} | {"settings.name" if k == "name" else k: v for k, v in settings.items()}
