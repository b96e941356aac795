"""From a checked configuration to the objects that run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from pydantic import ValidationError

from rompy_hydra.choose import chosen_backend, chosen_processors
from rompy_hydra.compose.composer import Composed, config_dir
from rompy_hydra.compose.validate import Problem, located, problems
from rompy_hydra.errors import ConfigError, RompyHydraError
from rompy_hydra.model_run import ModelRun
from rompy_hydra.task import Origin, Task

_HYDRA_ONLY = {"_convert_", "_recursive_", "_partial_", "_args_"}


class InvalidConfig(ConfigError):
    """A configuration with problems; `problems` holds them all."""

    def __init__(self, found: Sequence[Problem]) -> None:
        self.problems = list(found)
        count = len(self.problems)
        head = "the configuration is wrong" if count == 1 else f"{count} problems in the configuration"
        super().__init__("\n".join([f"{head}:", *(f"  {problem}" for problem in self.problems)]))


@dataclass(frozen=True)
class Built:
    """A run that is ready to start."""

    task: Task
    pipeline: Any
    config: Mapping[str, Any]


def build(node: Any, allowed: Sequence[str] = ()) -> Any:
    """The object of a node with `_target_`; nested ones first. Only allowed targets are imported."""
    if isinstance(node, list):
        return [build(item, allowed) for item in node]
    if not isinstance(node, Mapping):
        return node
    if "_target_" not in node:
        return {key: build(value, allowed) for key, value in node.items()}
    target = located(node["_target_"], allowed)
    if _HYDRA_ONLY & set(node):
        for _path, nested in _nested_targets(node):
            located(nested, allowed)
        return instantiate(dict(node), _convert_="all")
    fields = {key: build(value, allowed) for key, value in node.items() if key != "_target_"}
    return target(**fields)


def _nested_targets(node: Any) -> list[tuple[str, Any]]:
    if isinstance(node, Mapping):
        own = [("", node["_target_"])] if "_target_" in node else []
        return own + [found for value in node.values() for found in _nested_targets(value)]
    if isinstance(node, list):
        return [found for value in node for found in _nested_targets(value)]
    return []


def build_run(composed: Composed) -> Built:
    """Everything of one run, checked and built; InvalidConfig tells all problems at once."""
    config = composed.plain()
    allowed = _allowed(config)
    found = problems(config, allowed)
    if found:
        raise InvalidConfig(found)
    try:
        model_run = ModelRun(
            run_id=str(config["run_id"]),
            output_dir=Path(str(config["output_dir"])),
            period=build(config["period"], allowed),
            config=build(config["model"], allowed),
        )
    except ValidationError as error:
        raise InvalidConfig(
            [
                Problem(".".join(map(str, e["loc"])), e["input"], e["msg"].removeprefix("Value error, "))
                for e in error.errors()
            ]
        ) from error
    if not isinstance(config["overwrite"], bool):
        raise InvalidConfig([Problem("overwrite", config["overwrite"], "must be true or false")])
    try:
        backend = chosen_backend(build(config["run_backend"], allowed), {})
        processors = chosen_processors(_several(config["processor"], allowed), {})
        pipeline = build(config["pipeline"], allowed)
    except (TypeError, ValueError) as error:
        if isinstance(error, RompyHydraError):
            raise
        raise ConfigError(f"cannot build the run: {error}") from error
    task = Task(
        model_run,
        stages=tuple(getattr(pipeline, "stages", ("generate", "run", "postprocess"))),
        backend=backend,
        processors=processors,
        origin=Origin(composed.overrides, _origin_of(composed)),
        overwrite=config["overwrite"],
    )
    return Built(task, pipeline, config)


def _allowed(config: Mapping[str, Any]) -> list[str]:
    allowed = config.get("allowed_targets") or []
    if not isinstance(allowed, list) or not all(isinstance(item, str) for item in allowed):
        raise InvalidConfig([Problem("allowed_targets", allowed, "must be a list of name prefixes")])
    return allowed


def _several(node: Any, allowed: Sequence[str]) -> list[Any]:
    """Postprocessors from one node, a list of nodes, or named nodes, in their order."""
    if isinstance(node, Mapping) and "_target_" not in node:
        node = list(node.values())
    nodes = node if isinstance(node, list) else [node]
    return [build(each, allowed) for each in nodes if each]


def _origin_of(composed: Composed) -> Path:
    """The directory of the user's own configurations, or else of the package's: for its git state."""
    for source in composed.config.hydra.runtime.config_sources:
        if source.schema == "file" and source.provider != "main":
            return Path(source.path)
    for source in composed.config.hydra.runtime.config_sources:
        if source.schema == "file":
            return Path(source.path)
    return config_dir()
