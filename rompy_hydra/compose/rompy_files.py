"""rompy's configuration files as options of this program's groups.

A file describes a run, a pipeline (a run with a backend and a postprocessor), a model, a run backend or a
postprocessor; its keys show which. `--rompy` composes its options as they are, `from-rompy` writes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from rompy_hydra.compose.override_parser import parse, path_of
from rompy_hydra.compose.rompy_variables import as_interpolation, resolved
from rompy_hydra.compose.rompy_yaml import read_yaml
from rompy_hydra.errors import ConfigError, RompyHydraError, closest
from rompy_hydra.plugins import registry
from rompy_hydra.plugins.model_types import find_model_type, model_types
from rompy_hydra.plugins.signatures import settings_model

RUN, PIPELINE, MODEL, BACKEND, PROCESSOR = "run", "pipeline", "model", "backend", "postprocessor"
# The group in which an option stands for the whole file.
GROUP_OF = {
    RUN: "experiment",
    PIPELINE: "experiment",
    MODEL: "model",
    BACKEND: "run_backend",
    PROCESSOR: "processor",
}
_RUN_KEYS = (
    "run_id",
    "period",
    "output_dir",
    "config",
    "delete_existing",
    "run_id_subdir",
    "model_type",
)
_PERIOD_KEYS = ("start", "end", "duration", "interval", "include_end")
# What rompy takes where a file says nothing.
_OUTPUT_DIR = "simulations"
_PERIOD = {"start": "2020-02-21T04:00:00", "end": "2020-02-24T04:00:00", "interval": "15M"}
_EXECUTABLE = "/usr/local/bin/run.sh"
# Forms of times that ISO 8601 does not know.
_DOTTED = re.compile(r"^(\d{8})\.(\d{2}|\d{4}|\d{6})$")
# Settings of rompy's configurations that have no effect there, either.
_WITHOUT_EFFECT = {
    ("run", "local"): ("shell", "capture_output"),
    ("postprocess", "noop"): ("timeout", "env_vars", "working_dir"),
}

Node = dict[str, Any]


@dataclass
class RompyFile:
    """One of rompy's files, translated."""

    path: Path
    name: str
    kind: str
    # Nodes by group and option, such as `model/swan`.
    options: dict[str, Node] = field(default_factory=dict)
    # What a user should know of the translation.
    notes: list[str] = field(default_factory=list)

    @property
    def group(self) -> str:
        return GROUP_OF[self.kind]

    @property
    def selection(self) -> str:
        """The override that selects it."""
        return f"{self.group}={self.name}"


def load(paths: Sequence[str], allowed: Sequence[str] = ()) -> list[RompyFile]:
    """rompy's files, translated; ConfigError names the file that cannot be."""
    found: list[RompyFile] = []
    for path in paths:
        stem = re.sub(r"\W+", "_", Path(path).stem, flags=re.ASCII).strip("_") or "rompy"
        taken = {file.name for file in found}
        names = (stem, *(f"{stem}_{number}" for number in range(2, len(paths) + 2)))
        name = next(each for each in names if each not in taken)
        found.append(translate_file(path, allowed, name))
    return found


def translate_file(path: str, allowed: Sequence[str], name: str) -> RompyFile:
    """One of rompy's files as options called `name`."""
    return translate(read_yaml(Path(path), allowed), Path(path), name)


def overrides(files: Sequence[RompyFile], typed: Sequence[str]) -> list[str]:
    """The overrides that select the options of files; ConfigError if they contradict each other."""
    keys = {path_of(each) for each in parse(typed)}
    chosen: dict[str, RompyFile] = {}
    for file in files:
        # A run has its model, so that a file of a model beside it says another one.
        groups = [file.group, "model"] if file.group == "experiment" else [file.group]
        for group in groups:
            if group in chosen:
                raise ConfigError(
                    f"{file.path} and {chosen[group].path} both choose the {group}; leave out one"
                )
            if group in keys:
                raise ConfigError(
                    f"{file.path} chooses the {group}, and so does {group}=...; leave out one"
                )
            chosen[group] = file
    selected = [file.selection for file in files]
    described = [file for file in files if file.kind in (RUN, PIPELINE, MODEL)]
    executed = any(f"run_backend/{file.name}" in file.options for file in files)
    executed |= any(key.split(".")[0] in ("run_backend", "pipeline") for key in keys)
    if described and not executed:
        # As in `rompy generate`: nothing says how the model is executed.
        selected.append("pipeline.stages=[generate]")
        described[0].notes.append(
            "has no backend, so only the inputs are generated. To run the model, add "
            "run_backend.command='COMMAND' or a file of a backend"
        )
    return selected


def translate(data: Any, path: Path, name: str) -> RompyFile:
    """The content of a file as options called `name`; ConfigError says which key is wrong."""
    try:
        if not isinstance(data, Mapping) or not data:
            what = "a list" if isinstance(data, list) else "empty" if data is None else "plain text"
            raise ConfigError(f"is {what}: write lines such as 'key: value'")
        kind = kind_of(data)
        file = RompyFile(path, name, kind)
        _TRANSLATIONS[kind](file, _plain(data))
        return file
    except RompyHydraError as error:
        raise type(error)(f"{path}: {error}") from error


def kind_of(data: Mapping[str, Any]) -> str:
    """Which of rompy's files it is, by its keys."""
    inner = data.get("config")
    if data.keys() & {"backend", "postprocessor"} or (isinstance(inner, Mapping) and "config" in inner):
        return PIPELINE
    chosen = data.get("type", data.get("backend_type"))
    # rompy's backend configuration for Slurm has both.
    if "model_type" in data and data["model_type"] not in ("modelrun", chosen):
        return MODEL
    if chosen is not None:
        is_backend = "backend_type" in data or bool(registry.candidates("run", str(chosen)))
        is_processor = bool(registry.candidates("postprocess", str(chosen)))
        return PROCESSOR if is_processor and not is_backend else BACKEND
    if data.keys() & set(_RUN_KEYS):
        return RUN
    shown = ", ".join(map(str, list(data)[:5]))
    raise ConfigError(
        f"is none of rompy's configurations: a run has {', '.join(_RUN_KEYS[:4])}, a pipeline has config, "
        f"backend and postprocessor, a model model_type, a backend or postprocessor type. It has {shown}"
    )


def _pipeline(file: RompyFile, data: Node) -> None:
    _check_keys(data, ("config", "backend", "postprocessor"), "")
    run = data.get("config")
    if not isinstance(run, Mapping):
        raise ConfigError("config must be the configuration of a run, with run_id, period and config")
    _run(file, dict(run))
    node = file.options[f"experiment/{file.name}"]
    if data.get("backend"):
        _backend(file, _mapping(data, "backend"))
        node["defaults"].append({"override /run_backend": file.name})
    if data.get("postprocessor"):
        _processor(file, _mapping(data, "postprocessor"))
        node["defaults"] = [each for each in node["defaults"] if "override /processor" not in each]
        node["defaults"].append({"override /processor": file.name})


def _run(file: RompyFile, data: Node) -> None:
    _check_keys(data, _RUN_KEYS, "")
    model = data.get("config", {"model_type": "base"})
    if not isinstance(model, Mapping):
        raise ConfigError("config must be the configuration of a model, with model_type")
    _model(file, dict(model))
    period = data.get("period", _PERIOD)
    if not isinstance(period, Mapping):
        raise ConfigError("period must have two of start, end and duration")
    file.options[f"period/{file.name}"] = _period(dict(period))
    node: Node = {
        "defaults": [
            {"override /model": file.name},
            {"override /period": file.name},
            {"override /processor": "none"},
        ]
    }
    output_dir = data.get("output_dir", _OUTPUT_DIR)
    if "run_id" in data:
        node["run_id"] = data["run_id"]
    if data.get("run_id_subdir", True) is False:
        place = Path(str(output_dir))
        if "${" in str(output_dir):
            raise ConfigError("run_id_subdir: false needs an output_dir without variables")
        node["run_id"], output_dir = place.absolute().name, str(place.parent)
        file.notes.append("run_id_subdir is false: the last part of output_dir is the run_id")
    node["output_dir"] = output_dir
    if data.get("delete_existing", False) is True:
        node["overwrite"] = True
        file.notes.append("delete_existing: an earlier run is moved aside instead of deleted")
    file.options[f"experiment/{file.name}"] = node


def _period(data: Node) -> Node:
    _check_keys(data, _PERIOD_KEYS, "period.")
    found = {key: data.get(key) for key in ("start", "end", "duration", "interval")}
    if sum(found[key] is not None for key in ("start", "end", "duration")) != 2:
        raise ConfigError("period must have two of start, end and duration")
    for key in ("start", "end"):
        if found[key] is not None:
            found[key] = _DOTTED.sub(r"\1T\2", str(found[key]))
    if found["interval"] is None:
        found["interval"] = "1h"
    elif isinstance(found["interval"], int):
        found["interval"] = f"{found['interval']}s"
    if data.get("include_end") is not None:
        found["include_end"] = data["include_end"]
    return {"_target_": "rompy_hydra.TimeRange", **found}


def _model(file: RompyFile, data: Node) -> None:
    kind = data.get("model_type")
    if not isinstance(kind, str):
        raise ConfigError("the model has no model_type, which says what it is, such as swan: add it")
    if "defaults" in data:
        raise ConfigError("the model has a key 'defaults', which has another meaning for Hydra")
    kind = str(_resolved_text(kind))
    plugin = find_model_type(kind)
    if kind not in model_types(plugin.load()):
        del data["model_type"]
    file.options[f"model/{file.name}"] = {"_target_": plugin.target, **data}


def _backend(file: RompyFile, data: Node) -> None:
    data = dict(data)
    chosen = _type_of(data, ("type", "backend_type"), "run backend")
    plugin = registry.find("run", chosen)
    if plugin.own and chosen == "docker":
        if not data.get("mpiexec"):
            data.pop("mpiexec", None)
        elif "cpu" not in data:
            data["cpu"] = 1
        data.setdefault("executable", _EXECUTABLE)
    file.options[f"run_backend/{file.name}"] = _settings(file, plugin, chosen, data)


def _processor(file: RompyFile, data: Node) -> None:
    data = dict(data)
    chosen = _type_of(data, ("type",), "postprocessor")
    plugin = registry.find("postprocess", chosen)
    file.options[f"processor/{file.name}"] = _settings(file, plugin, chosen, data)


def _settings(file: RompyFile, plugin: registry.Plugin, chosen: str, data: Node) -> Node:
    """The node of a plugin; ConfigError for a setting that it does not have."""
    if plugin.own:
        for key in _WITHOUT_EFFECT.get((plugin.category, chosen), ()):
            if key in data:
                file.notes.append(f"{key} is left out: it has no effect in rompy, either")
                del data[key]
        model = settings_model(plugin.load(), plugin.category)
        if model is not None:
            _check_keys(data, tuple(model.model_fields), "")
    return {"_target_": plugin.target, **data}


def _type_of(data: Node, keys: Sequence[str], what: str) -> str:
    for key in keys:
        if key in data:
            return str(_resolved_text(data.pop(key)))
    raise ConfigError(f"the {what} has no type, which says what it is, such as local: add it")


def _mapping(data: Node, key: str) -> Node:
    if not isinstance(data[key], Mapping):
        raise ConfigError(f"{key} must have keys, starting with type")
    return dict(data[key])


def _check_keys(data: Mapping[str, Any], known: Sequence[str], prefix: str) -> None:
    for key in data:
        if key not in known:
            raise ConfigError(f"there is no key '{prefix}{key}'. {closest(str(key), known)}")


def _resolved_text(text: object) -> object:
    """A value that decides what a file is, with its variables."""
    return resolved(text) if isinstance(text, str) else text


_TRANSLATIONS: dict[str, Callable[[RompyFile, Node], None]] = {
    RUN: _run,
    PIPELINE: _pipeline,
    MODEL: _model,
    BACKEND: _backend,
    PROCESSOR: _processor,
}


def _plain(value: Any) -> Any:
    """A value as OmegaConf can hold it: variables as interpolations, times as texts."""
    if isinstance(value, Mapping):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return as_interpolation(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bool | int | float) or value is None:
        return value
    raise ConfigError(
        f"a value of the type {type(value).__name__} cannot be used; write a text or a number"
    )


def _key(key: Any) -> Any:
    if isinstance(key, str):
        return str(resolved(key)) if "${" in key else key
    if isinstance(key, int | float):
        return key
    return str(key)
