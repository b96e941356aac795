"""From a checked configuration to the objects that run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from rompy_hydra.adapters.model import resolve_model
from rompy_hydra.adapters.pipeline import resolve_pipeline
from rompy_hydra.adapters.resolve import resolve_backend, resolve_processor
from rompy_hydra.compose.allowed_targets import allowed_prefixes, load_target
from rompy_hydra.compose.composer import Composed, config_dir
from rompy_hydra.compose.override_parser import assignments
from rompy_hydra.compose.validate import SPECIAL, has_missing, problems
from rompy_hydra.core.pipeline import BasePipeline
from rompy_hydra.core.plan import Origin, RunPlan
from rompy_hydra.errors import ConfigError, InvalidConfig, Problem, RompyHydraError, closest
from rompy_hydra.jsonable import Json
from rompy_hydra.model_run import ModelRun
from rompy_hydra.plugins.signatures import construct
from rompy_hydra.run.base import BaseRunBackend

_HYDRA_ONLY = SPECIAL - {"_target_"}
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True)
class Built:
    """A run that is ready to start."""

    plan: RunPlan
    pipeline: BasePipeline
    config: Mapping[str, Any]


def build(node: Any, allowed: Sequence[str] = ()) -> Any:
    """The object of a node with `_target_`; nested ones first. Only allowed targets are imported."""
    if isinstance(node, list):
        return [build(item, allowed) if isinstance(item, dict | list) else item for item in node]
    if not isinstance(node, dict):
        return node
    if "_target_" not in node:
        return {k: build(v, allowed) if isinstance(v, dict | list) else v for k, v in node.items()}
    target = load_target(node["_target_"], allowed)
    # Not by Hydra's own `instantiate`: it resolves values once more, and allows what they then name.
    recursive = node.get("_recursive_", True) is True
    fields = {str(k): v for k, v in node.items() if k not in SPECIAL}
    positional = node.get("_args_", [])
    if recursive:
        fields, positional = build(fields, allowed), build(positional, allowed)
    if node.get("_partial_", False) is True:
        return functools.partial(target, *positional, **fields)
    return construct(functools.partial(target, *positional) if positional else target, fields)


def _nested_targets(node: Any) -> list[tuple[str, Any]]:
    if isinstance(node, dict):
        own = [("", node["_target_"])] if "_target_" in node else []
        return own + [found for value in node.values() for found in _nested_targets(value)]
    if isinstance(node, list):
        return [found for value in node for found in _nested_targets(value)]
    return []


def build_run(composed: Composed, trusted: Sequence[str] = ()) -> Built:
    """Everything of one run, checked and built; InvalidConfig tells all problems at once.

    `trusted` are the prefixes of targets that the user allows.
    """
    parameters = {a.key: a.value for a in assignments(composed.overrides)}
    parts = Parts(composed.plain(), trusted=trusted)
    return parts.built(composed.overrides, parameters, origin_of(composed))


class Parts:
    """The parts of a run, built from plain configuration; unchanged ones are shared through `cache`.

    `changed` are the top-level keys in which this configuration differs from the others that use
    the same cache. `alike` is equal for those that differ in the plain values of the same keys: what
    was found sound in one of them is so in all.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        cache: dict[str, Any] | None = None,
        changed: Set[str] = frozenset(),
        trusted: Sequence[str] = (),
        alike: tuple[str, ...] | None = None,
    ) -> None:
        self._alike = alike
        self._config = config
        self._cache = {} if cache is None else cache
        self._changed = changed
        self._allowed = allowed_prefixes(config, trusted)

    def built(self, overrides: tuple[str, ...], parameters: Mapping[str, Json], config_dir: Path) -> Built:
        """The run; InvalidConfig lists everything that is wrong with the configuration."""
        try:
            return self._built(overrides, parameters, config_dir)
        except (ValidationError, TypeError, ValueError) as error:
            found = problems(self._config, self._allowed) or _own_problems(error)
            if found:
                raise InvalidConfig(found) from error
            if isinstance(error, RompyHydraError):
                raise
            raise ConfigError(f"cannot build the run: {error}") from error

    def _built(self, overrides: tuple[str, ...], parameters: Mapping[str, Json], config_dir: Path) -> Built:
        config = self._config
        period = self._part("period", self._object)
        model = self._part("model", self._object)
        backend = self._part("run_backend", lambda node: self._resolved(resolve_backend, node))
        processors = self._part(
            "processor",
            lambda node: tuple(self._resolved(resolve_processor, each) for each in _several(node)),
        )
        pipeline = self._part("pipeline", lambda node: self._resolved(resolve_pipeline, node))
        model_run = ModelRun(
            run_id=str(config["run_id"]),
            output_dir=Path(str(config["output_dir"])),
            period=period,
            config=model,
        )
        if not isinstance(config["overwrite"], bool):
            raise InvalidConfig([Problem("overwrite", config["overwrite"], "must be true or false")])
        if config["log_level"] not in _LOG_LEVELS:
            hint = closest(str(config["log_level"]), _LOG_LEVELS)
            raise InvalidConfig([Problem("log_level", config["log_level"], "is not a valid level", hint)])
        plan = RunPlan(
            model_run,
            resolve_model(model),
            stages=pipeline.stages_of(),
            backend=backend,
            processors=processors,
            origin=Origin(overrides, config_dir, parameters=parameters),
            overwrite=config["overwrite"],
        )
        return Built(plan, pipeline, config)

    def _part(self, key: str, make: Callable[[Any], Any]) -> Any:
        if key not in self._config:
            raise InvalidConfig([Problem(key, None, f"is missing: choose an option with {key}=OPTION")])
        changed = key in self._changed
        if changed or key not in self._cache:
            node = self._config[key]
            flat = self._check(key, node)
            part = self._flat(node) if flat and make == self._object else make(node)
            if changed:
                return part
            self._cache[key] = part
        return self._cache[key]

    def _check(self, key: str, node: Any) -> bool:
        """InvalidConfig tells what is wrong with a part that building it would not tell.

        Whether it is one object made of its fields, with no other one inside.
        """
        sound: dict[tuple[str, tuple[str, ...] | None], bool] = self._cache.setdefault("sound", {})
        kind = key, self._alike
        if self._alike is not None and kind in sound:
            return sound[kind]
        if not has_missing(node) and _checks_itself(node, self._allowed):
            sound[kind] = not _HYDRA_ONLY & node.keys()
            return sound[kind]
        found = problems({key: node}, self._allowed)
        if found:
            raise InvalidConfig(found)
        return False

    def _flat(self, node: Mapping[str, Any]) -> Any:
        fields = {str(key): value for key, value in node.items() if key != "_target_"}
        return construct(load_target(node["_target_"], self._allowed), fields)

    def _object(self, node: Any) -> Any:
        return build(node, self._allowed)

    def _resolved(self, resolve: Callable[[Any, dict[str, Any]], Any], node: Any) -> Any:
        """A plugin of any shape: its class and its settings, which may go to its method only."""
        if not isinstance(node, Mapping) or "_target_" not in node or _HYDRA_ONLY & node.keys():
            return resolve(self._object(node), {})
        fields = {key: self._object(value) for key, value in node.items() if key != "_target_"}
        return resolve(load_target(node["_target_"], self._allowed), fields)


def _checks_itself(node: Any, allowed: Sequence[str]) -> bool:
    """Whether building a node finds all that is wrong with it: pydantic models without nested targets."""
    if not isinstance(node, Mapping) or "_target_" not in node or len(_nested_targets(node)) > 1:
        return False
    target = load_target(node["_target_"], allowed)
    return isinstance(target, type) and issubclass(target, BaseModel | BaseRunBackend)


def _own_problems(error: Exception) -> list[Problem]:
    """What is wrong with the run itself, such as its name."""
    if not isinstance(error, ValidationError):
        return []
    return [
        Problem(".".join(map(str, e["loc"])), e["input"], e["msg"].removeprefix("Value error, "))
        for e in error.errors()
    ]


def _several(node: Any) -> list[Any]:
    """Nodes of postprocessors from one node, a list of nodes, or named nodes, in their order."""
    if isinstance(node, Mapping) and "_target_" not in node:
        node = list(node.values())
    return [each for each in (node if isinstance(node, list) else [node]) if each]


def origin_of(composed: Composed) -> Path:
    """The directory of the user's own configurations, or else of the package's: for its git state."""
    sources = composed.config.hydra.runtime.config_sources
    files = [source for source in sources if source.schema == "file"]
    own = [source for source in files if source.provider != "main"]
    return Path((own or files)[0].path) if files else config_dir()
