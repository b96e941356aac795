"""Postprocessors of other packages, or bound to arguments of `process`, as a `BasePostprocessor`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, PrivateAttr

from rompy_hydra.errors import PluginError
from rompy_hydra.jsonable import Json, plain, to_plain
from rompy_hydra.plugins.configured import name_of
from rompy_hydra.plugins.signatures import check_arguments, construct, instantiate
from rompy_hydra.postprocess.base import BasePostprocessor, HasOutputs

# Fields of rompy's postprocessor configurations that are not settings of the postprocessor.
_NOT_SETTINGS = {"timeout", "env_vars", "working_dir", "type"}


class ForeignPostprocessor(BasePostprocessor):
    """A postprocessor with `process(model_run, **settings)`, and the settings it is called with."""

    name: ClassVar[str] = "foreign"
    model_config = ConfigDict(frozen=True, extra="forbid")

    _instance: Any = PrivateAttr()
    _arguments: dict[str, Any] = PrivateAttr()
    _settings: dict[str, Json] = PrivateAttr()
    _name: str = PrivateAttr()

    @classmethod
    def bound(cls, processor: Any, settings: Mapping[str, object], name: str = "") -> BasePostprocessor:
        """A postprocessor of any shape with its settings; one of this package is returned as it is."""
        arguments = dict(settings)
        if isinstance(processor, type) and hasattr(processor, "get_postprocessor_class"):
            processor, arguments = construct(processor, settings), {}
        if hasattr(processor, "get_postprocessor_class"):
            arguments = {**_settings_of(processor), **arguments}
            processor = processor.get_postprocessor_class()
        data = to_plain(arguments)
        assert isinstance(data, dict)
        instance, arguments = instantiate(processor, arguments, "postprocess")
        if isinstance(instance, BasePostprocessor):
            if not arguments:
                return instance
            data = plain(instance.plugin_settings) | data
        process = getattr(instance, "process", None)
        if not callable(process):
            raise PluginError(f"{instance!r} is not a postprocessor: it has no process()")
        bound = cls()
        bound._instance, bound._arguments = instance, check_arguments(process, arguments)
        bound._settings, bound._name = data, name_of("postprocess", type(instance), name)
        return bound

    @property
    def plugin_name(self) -> str:
        return self._name

    @property
    def plugin_settings(self) -> Mapping[str, Json]:
        return self._settings

    @property
    def instant(self) -> bool:  # type: ignore[override]
        return isinstance(self._instance, BasePostprocessor) and self._instance.instant

    def process(self, model_run: HasOutputs, **settings: object) -> Any:
        return self._instance.process(model_run, **{**self._arguments, **settings})


def _settings_of(config: Any) -> dict[str, object]:
    data = config.model_dump() if isinstance(config, BaseModel) else dict(vars(config))
    return {key: value for key, value in data.items() if key not in _NOT_SETTINGS}
