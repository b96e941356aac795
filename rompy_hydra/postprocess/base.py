"""The base class of all postprocessors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Protocol, Self, runtime_checkable

from pydantic import BaseModel, ConfigDict, ValidationError

from rompy_hydra.errors import ConfigError, PostprocessError, closest
from rompy_hydra.jsonable import Json, plain
from rompy_hydra.plugins.answers import as_results, describe
from rompy_hydra.plugins.configured import Configured
from rompy_hydra.plugins.requirements import Requiring
from rompy_hydra.workspace import Workspace, directory_of

Results = dict[str, object]


@runtime_checkable
class HasOutputs(Protocol):
    """What a postprocessor requires of a model run."""

    run_id: str
    output_dir: Path


class BasePostprocessor(Configured, Requiring, BaseModel, ABC):
    """Computes something from the outputs. The fields are its settings: plain, validated, frozen.

    `process` returns a dict with at least `success` and `message`; numbers for the run record and the
    results table go under `metrics`. Settings passed to `process` override the fields.
    """

    # Building validators on first use saves time: most programs use few postprocessors.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    # Whether it takes no longer than recording its start, and is cheap to repeat.
    instant: ClassVar[bool] = False

    category: ClassVar[str] = "postprocess"

    @property
    def plugin_settings(self) -> Mapping[str, Json]:
        return plain(self.model_dump(mode="json"))

    @abstractmethod
    def process(self, model_run: HasOutputs, **settings: object) -> Results:
        """Process the outputs of `model_run`. Raises ValueError if it is not a model run."""

    def check_names(self, settings: Iterable[str]) -> None:
        """ConfigError if a setting is unknown."""
        unknown = sorted(set(settings) - set(type(self).model_fields))
        if unknown:
            raise ConfigError(
                f"the {self.name} postprocessor has no setting '{unknown[0]}'. "
                f"{closest(unknown[0], type(self).model_fields)}"
            )

    def with_settings(self, settings: Mapping[str, object]) -> Self:
        """This postprocessor with some fields replaced; ConfigError for unknown or invalid settings."""
        if not settings:
            return self
        self.check_names(settings)
        try:
            return type(self).model_validate({**dict(self), **settings})
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(
                f"the {self.name} postprocessor: {'.'.join(map(str, first['loc']))}: {first['msg']}"
            ) from error


def outputs_of(model_run: HasOutputs) -> Workspace:
    """The directory of the run's outputs; ValueError if `model_run` is not a model run."""
    if model_run is None:
        raise ValueError("model_run cannot be None")
    if not hasattr(model_run, "run_id"):
        raise ValueError("model_run must have a run_id attribute")
    return Workspace(directory_of(model_run))


def normalise_answer(name: str, results: object) -> Results:
    """The result of a postprocessor as a dict whose `success` is True or False.

    An object with a `success` attribute is accepted as well. Raises PostprocessError if the result does
    not state whether the postprocessor succeeded.
    """
    found = as_results(results)
    if "success" not in found:
        raise PostprocessError(
            f"the postprocessor {name} returned {describe(results)}: whether it succeeded cannot be "
            "determined. It must return a dict with 'success' (True or False) and 'message'"
        )
    return {**found, "message": str(found.get("message") or found.get("error") or "")}


def merge_results(answers: list[Results]) -> Results:
    """Merge the results of several postprocessors: the last value of each key, and all metrics."""
    merged: Results = {}
    metrics: dict[str, object] = {}
    for each in answers:
        merged |= each
        found = each.get("metrics")
        metrics |= found if isinstance(found, dict) else {}
    return {**merged, "metrics": metrics} if metrics else merged
