"""This package's parts in rompy's own shapes, where rompy is installed as well.

Importing this module imports nothing of rompy.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rompy_hydra.adapters.resolve import WRAPPED, chosen_backend, chosen_processor
from rompy_hydra.errors import PluginError
from rompy_hydra.plugins.configured import ChosenBackend, ChosenProcessor
from rompy_hydra.postprocess.base import BasePostprocessor, normalise_answer


def as_rompy(part: object) -> Any:
    """A run backend, its configuration or a postprocessor of this package as rompy's `ModelRun` takes it.

    ::

        rompy_run.run(as_rompy(LocalConfig(command="swan.exe")))
        rompy_run.postprocess(as_rompy(SummaryPostprocessor()))
    """
    if isinstance(part, ChosenProcessor | BasePostprocessor):
        processor = chosen_processor(part, {})
        base = _rompy("rompy.postprocess.config", "BasePostprocessorConfig")
        call: Callable[[], Any] = functools.partial(_Processor, processor)
        return _wrapped(base, processor.name, processor, "get_postprocessor_class", call)
    backend = chosen_backend(part, {})
    base = _rompy("rompy.backends.config", "BaseBackendConfig")
    return _wrapped(base, backend.name, backend, "get_backend_class", functools.partial(_Backend, backend))


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
    # rompy tells a backend's name by that of its configuration's class.
    return type(f"{name.title()}Config", (base,), names)()


class _Backend:
    def __init__(self, chosen: ChosenBackend) -> None:
        self._chosen = chosen

    def run(self, model_run: Any, config: object = None, workspace_dir: str | Path | None = None) -> bool:
        if self._chosen.backend is not None:
            return self._chosen.backend.run(model_run, None, workspace_dir)
        assert self._chosen.call is not None
        return self._chosen.call(model_run, Path(workspace_dir or model_run.generate())) is True


class _Processor:
    def __init__(self, chosen: ChosenProcessor) -> None:
        self._chosen = chosen

    def process(self, model_run: Any, **settings: object) -> Mapping[str, object]:
        return normalise_answer(self._chosen.name, self._chosen.process(model_run))
