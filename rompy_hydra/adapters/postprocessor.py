"""Postprocessors of other packages, or bound to arguments of `process`, as a `BasePostprocessor`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel

from rompy_hydra.errors import ConfigError
from rompy_hydra.jsonable import Json, plain, to_plain
from rompy_hydra.plugins.configured import name_of
from rompy_hydra.plugins.signatures import check_arguments, construct, instantiate
from rompy_hydra.postprocess.base import BasePostprocessor, HasOutputs

# Fields of rompy's postprocessor configurations that are not settings of the postprocessor.
_NOT_SETTINGS = {"timeout", "env_vars", "working_dir", "type"}


class ForeignPostprocessor(BasePostprocessor):
    """A postprocessor with `process(model_run, **settings)`, and the settings it is called with."""

    name: ClassVar[str] = "foreign"

    instance: Any
    arguments: dict[str, Any]
    stored: dict[str, Any]
    chosen_name: str

    @property
    def plugin_name(self) -> str:
        return self.chosen_name

    @property
    def plugin_settings(self) -> Mapping[str, Json]:
        return self.stored

    def required_packages(self) -> Mapping[str, str]:
        found = getattr(self.instance, "requires", {})
        return found if isinstance(found, Mapping) else {}

    @property
    def instant(self) -> bool:  # type: ignore[override]
        return isinstance(self.instance, BasePostprocessor) and self.instance.instant

    def process(self, model_run: HasOutputs, **settings: object) -> Any:
        return self.instance.process(model_run, **{**self.arguments, **settings})


def bind_postprocessor(processor: Any, settings: Mapping[str, object], name: str = "") -> BasePostprocessor:
    """A postprocessor of any shape with its settings; one of this package is returned as it is."""
    arguments = dict(settings)
    if isinstance(processor, type) and hasattr(processor, "get_postprocessor_class"):
        processor, arguments = construct(processor, settings), {}
    if hasattr(processor, "get_postprocessor_class"):
        fields = processor.model_dump() if isinstance(processor, BaseModel) else vars(processor)
        arguments = {**{k: v for k, v in fields.items() if k not in _NOT_SETTINGS}, **arguments}
        processor = processor.get_postprocessor_class()
    stored = to_plain(arguments)
    assert isinstance(stored, dict)
    instance, arguments = instantiate(processor, arguments, "postprocess")
    if isinstance(instance, BasePostprocessor):
        if not arguments:
            return instance
        stored = plain(instance.plugin_settings) | stored
    process = getattr(instance, "process", None)
    if not callable(process):
        raise ConfigError(f"{instance!r} is not a postprocessor: it has no process()")
    return ForeignPostprocessor(
        instance=instance,
        arguments=check_arguments(process, arguments),
        stored=stored,
        chosen_name=name_of("postprocess", type(instance), name),
    )
