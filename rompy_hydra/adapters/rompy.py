"""This package's parts in rompy's shapes, and rompy's runs as this package's, where rompy is installed.

Importing this module imports nothing of rompy.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rompy_hydra.adapters.resolve import WRAPPED, resolve_backend, resolve_processor
from rompy_hydra.errors import PluginError
from rompy_hydra.postprocess.base import BasePostprocessor, normalise_answer
from rompy_hydra.run.base import BaseRunBackend
from rompy_hydra.run.job import RunLike
from rompy_hydra.time_range import TimeRange
from rompy_hydra.workspace import directory_of


def as_rompy(part: object) -> Any:
    """A run backend, its configuration or a postprocessor of this package as rompy's `ModelRun` takes it.

    ::

        rompy_run.run(as_rompy(LocalConfig(command="swan.exe")))
        rompy_run.postprocess(as_rompy(SummaryPostprocessor()))
    """
    if isinstance(part, BasePostprocessor):
        processor = resolve_processor(part, {})
        base = _rompy("rompy.postprocess.config", "BasePostprocessorConfig")
        call: Callable[[], Any] = functools.partial(_Processor, processor)
        return _wrapped(base, processor.plugin_name, processor, "get_postprocessor_class", call)
    backend = resolve_backend(part, {})
    base = _rompy("rompy.backends.config", "BaseBackendConfig")
    call = functools.partial(_Backend, backend)
    return _wrapped(base, backend.plugin_name, backend, "get_backend_class", call)


def run_fields(model_run: RunLike) -> dict[str, object]:
    """The fields of a run specification for one of rompy's runs: the same run, in the same directory."""
    directory = Path(directory_of(model_run))
    given: dict[str, object] = {"delete_existing": bool(getattr(model_run, "delete_existing", False))}
    period: object = getattr(model_run, "period", None)
    if period is not None:
        given["period"] = TimeRange.model_validate(period)
    return {"run_id": directory.name, "output_dir": directory.parent, "config": model_run.config, **given}


def _rompy(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise PluginError(f"rompy 0.6 or later is needed for this: {error}") from error


def _wrapped(base: Any, name: str, part: object, method: str, call: Callable[[], Any]) -> Any:
    names: dict[str, Any] = {
        WRAPPED: property(lambda _self: part),
        method: lambda _self: call,
        "type": property(lambda _self: name),
        "__module__": __name__,
    }
    # rompy takes a backend's name from that of its configuration's class.
    return type(f"{name.title()}Config", (base,), names)()


class _Backend:
    def __init__(self, backend: BaseRunBackend) -> None:
        self._backend = backend

    def run(self, model_run: Any, config: object = None, workspace_dir: str | Path | None = None) -> bool:
        return self._backend.run(model_run, None, workspace_dir or str(model_run.generate()))


class _Processor:
    def __init__(self, processor: BasePostprocessor) -> None:
        self._processor = processor

    def process(self, model_run: Any, **settings: object) -> Mapping[str, object]:
        return normalise_answer(self._processor.plugin_name, self._processor.process(model_run))
