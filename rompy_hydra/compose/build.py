"""From a checked configuration to the objects that run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from rompy_hydra.adapters.model import resolve_model
from rompy_hydra.adapters.pipeline import resolve_pipeline
from rompy_hydra.adapters.resolve import resolve_backend, resolve_processor
from rompy_hydra.compose.allowed_targets import allowed_prefixes, load_target
from rompy_hydra.compose.composer import Composed, config_dir
from rompy_hydra.compose.config_files import file_selecting, files_setting
from rompy_hydra.compose.override_parser import json_value, parse, path_of
from rompy_hydra.compose.unread_keys import READ, references, unread
from rompy_hydra.compose.unread_parameters import check_parameters, settings_in, settings_of
from rompy_hydra.compose.validate import SPECIAL, is_target, option_as_text, problems, walk
from rompy_hydra.core.pipeline import BasePipeline
from rompy_hydra.core.plan import Origin, RunPlan
from rompy_hydra.errors import NO_VALUE, ConfigError, InvalidConfig, Problem, RompyHydraError, closest
from rompy_hydra.model_run import ModelRun
from rompy_hydra.models.success import SuccessChecks
from rompy_hydra.plugins.signatures import construct
from rompy_hydra.redaction import holds_secret
from rompy_hydra.run.base import BaseRunBackend

# The provider of configurations from rompy's files.
ROMPY = "rompy"
_HYDRA_ONLY = SPECIAL - {"_target_"}
# The parts that are objects, each with an example of a class.
_CLASSES = {
    "model": "rompy_hydra.models.TemplateModel",
    "period": "rompy_hydra.TimeRange",
    "run_backend": "rompy_hydra.run.LocalRunBackend",
    "pipeline": "rompy_hydra.pipeline.LocalPipelineBackend",
}
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True)
class Built:
    """A run that can start, and the configuration it was built from."""

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


def build_run(composed: Composed, trusted: Sequence[str] = ()) -> Built:
    """Everything of one run, checked and built; InvalidConfig lists all problems at once.

    `trusted` are the prefixes of targets that the user allows.
    """
    parameters = {
        each.get_key_element(): json_value(each.value())
        for each in parse(composed.overrides)
        if not each.is_delete() and not each.is_sweep_override()
    }
    plain = composed.plain()
    typed = [(path_of(each), parameters.get(each.get_key_element())) for each in parse(composed.overrides)]
    if not READ.issuperset(plain):
        choices = composed.config.hydra.runtime.choices
        if found := unread(plain, typed, references(composed.config), choices):
            raise InvalidConfig(found)
    given, declared = settings_in(composed.files)
    given += [each for path, value in typed for each in settings_of(path, value)]
    cautions = composed.cautions + check_parameters(
        plain.get("model"), given, declared, lambda: chain(*references(composed.config).values())
    )
    origin = Origin(composed.overrides, origin_of(composed), parameters=parameters, cautions=cautions)
    return Builder(plain, trusted, period_from=period_from(composed)).build_run(origin)


@dataclass
class Builder:
    """Builds a run from plain configuration; unchanged parts are shared through `cache`.

    `changed` are the top-level keys in which this configuration differs from the others that use
    the same cache. `alike` is equal for those that differ in the plain values of the same keys: a
    part that is valid in one of them is valid in all.
    """

    config: Mapping[str, Any]
    trusted: Sequence[str] = ()
    cache: dict[Any, Any] = field(default_factory=dict)
    changed: Set[str] = frozenset()
    alike: tuple[str, ...] | None = None
    # The file that sets the period for this run, and the option that it selects.
    period_from: tuple[str, str] = ("", "")

    def __post_init__(self) -> None:
        self._allowed = allowed_prefixes(self.config, self.trusted)

    def build_run(self, origin: Origin) -> Built:
        """The run; InvalidConfig lists everything that is wrong with the configuration."""
        try:
            return self._build_run(origin)
        except (ValidationError, TypeError, ValueError) as error:
            found = problems(self.config, self._allowed)
            if not found and isinstance(error, ValidationError):  # of the run itself, such as its name
                found = [
                    Problem(
                        ".".join(map(str, e["loc"])), e["input"], e["msg"].removeprefix("Value error, ")
                    )
                    for e in error.errors()
                ]
            if found:
                raise InvalidConfig(found) from error
            if isinstance(error, RompyHydraError):
                raise
            raise ConfigError(f"cannot build the run: {error}") from error

    def _build_run(self, origin: Origin) -> Built:
        config = self.config
        for key in ("run_id", "output_dir"):
            if config[key] in (None, ""):
                raise InvalidConfig(
                    [Problem(key, config[key], "must not be empty", f"Leave out {key}=...")]
                )
        period = self._part("period")
        model = self._part("model")
        backend = self._part("run_backend", lambda node: self._resolve(resolve_backend, node))
        processors = self._part(
            "processor",
            lambda node: tuple(self._resolve(resolve_processor, each) for each in _several(node)),
        )
        success = self._part("success", self._success) if self.config.get("success") else None
        pipeline = self._part("pipeline", lambda node: self._resolve(resolve_pipeline, node))
        model_run = ModelRun(
            run_id=str(config["run_id"]),
            output_dir=_path(str(config["output_dir"])),
            period=period,
            config=model,
            success=success,
        )
        for key in ("run_id", "output_dir"):
            if holds_secret(str(config[key])):
                hint = f"Choose another {key}: it becomes the name of a directory"
                raise InvalidConfig([Problem(key, NO_VALUE, "contains a secret", hint)])
        if not isinstance(config["overwrite"], bool):
            raise InvalidConfig([Problem("overwrite", config["overwrite"], "must be true or false")])
        if config["log_level"] not in _LOG_LEVELS:
            hint = closest(str(config["log_level"]), _LOG_LEVELS)
            raise InvalidConfig([Problem("log_level", config["log_level"], "is not a valid level", hint)])
        resolved = resolve_model(model, success)
        if not resolved.depends_on_period:
            self._refuse_period(origin)
        plan = RunPlan(
            model_run,
            resolved,
            stages=pipeline.stages_of(),
            backend=backend,
            processors=processors,
            origin=origin,
            overwrite=config["overwrite"],
            pipeline_key=pipeline.result_key,
        )
        pipeline.check(plan)
        return Built(plan, pipeline, config)

    def _refuse_period(self, origin: Origin) -> None:
        """InvalidConfig if something refers to the period of a model that does not depend on it."""
        node = self.config["model"]
        what = node.get("_target_", "") if isinstance(node, Mapping) else ""
        reason = f"the model does not use the period ({what.rpartition('.')[2]})"
        for key, value in origin.parameters.items():
            if key.lstrip("+~").split(".")[0].split("@")[0] == "period":
                raise InvalidConfig([Problem(key, value, reason, f"Leave out {key}")])
        file, option = self.period_from
        if file:
            hint = f"Leave period out of {file}.yaml"
            raise InvalidConfig([Problem("period", option or NO_VALUE, reason, hint)])
        for path in ("model.success", "success"):
            owner = self.config if path == "success" or not isinstance(node, Mapping) else node
            checks = owner.get("success")
            listed = checks.get("last_time") if isinstance(checks, Mapping) else None
            for number, each in enumerate(listed if isinstance(listed, list) else ()):
                if isinstance(each, Mapping) and each.get("reaches", "end") == "end":
                    where = f"{path}.last_time[{number}].reaches"
                    raise InvalidConfig([Problem(where, "end", reason, "Give a date or a number")])

    def _part(self, key: str, make: Callable[[Any], Any] | None = None) -> Any:
        if key not in self.config:
            raise InvalidConfig([Problem(key, None, f"is missing: choose an option with {key}=OPTION")])
        if key in self.cache and key not in self.changed:
            return self.cache[key]
        is_flat, node = self._check(key), self.config[key]
        if make is not None:
            part = make(node)
        elif is_flat:
            part = self._construct(key, node)
        else:
            part = self._build(node)
        if key not in self.changed:
            self.cache[key] = part
        return part

    def _construct(self, key: str, node: Mapping[str, Any]) -> Any:
        """A part without nested targets; it shares the checks of the first one where they are the same."""
        fields = {name: value for name, value in node.items() if name != "_target_"}
        first, checks = self.cache.get((key, "checks"), (None, None))
        if first is not None and first is fields.get("success"):
            fields["success"] = checks
        part = construct(load_target(node["_target_"], self._allowed), fields)
        if first is None and isinstance(found := getattr(part, "success", None), SuccessChecks):
            self.cache[key, "checks"] = node.get("success"), found
        return part

    def _check(self, key: str) -> bool:
        """InvalidConfig if something is wrong with a part that building it would not report.

        Whether the part is one target without nested ones.
        """
        kind, node = (key, self.alike), self.config[key]
        if problem := option_as_text(key, node):
            raise InvalidConfig([problem])
        if node is None and key in _CLASSES:
            hint = f"Select an option: {key}=OPTION"
            raise InvalidConfig([Problem(key, NO_VALUE, "has no settings (null)", hint)])
        if self.alike is not None and kind in self.cache:
            return bool(self.cache[kind])
        if key in _CLASSES and isinstance(node, Mapping) and not is_target(node):
            reason = "has no _target_, the class that it configures"
            hint = f"Start its file with a line such as '_target_: {_CLASSES[key]}'"
            raise InvalidConfig([Problem(key, NO_VALUE, reason, hint)])
        # Building a pydantic model without nested targets finds all that is wrong with it.
        inside = [each for _, each in walk(node)]
        # But a pipeline passes what it does not know to its method.
        is_flat = is_target(node) and sum(map(is_target, inside)) == 1 and "???" not in inside
        if is_flat and key != "pipeline":
            target = load_target(node["_target_"], self._allowed)
            if isinstance(target, type) and issubclass(target, BaseModel | BaseRunBackend):
                self.cache[kind] = _HYDRA_ONLY.isdisjoint(node)
                return bool(self.cache[kind])
        if found := problems({key: node}, self._allowed):
            raise InvalidConfig(found)
        return False

    def _build(self, node: Any) -> Any:
        return build(node, self._allowed)

    def _success(self, node: Any) -> SuccessChecks:
        return SuccessChecks.model_validate(node)

    def _resolve(self, resolve: Callable[[Any, dict[str, Any]], Any], node: Any) -> Any:
        """A plugin of any shape: its class and its settings, some of which may go to its method only."""
        if isinstance(node, Mapping) and not is_target(node):
            raise ConfigError(
                f"the option with the keys {', '.join(map(str, node))} has no _target_: add the class that "
                "it configures, as in _target_: rompy_hydra.run.LocalRunBackend"
            )
        if not is_target(node) or _HYDRA_ONLY & node.keys():
            return resolve(self._build(node), {})
        fields = {key: self._build(value) for key, value in node.items() if key != "_target_"}
        return resolve(load_target(node["_target_"], self._allowed), fields)


# The runs of a sweep share their output directory.
_path = functools.lru_cache(maxsize=64)(Path)


def _several(node: Any) -> list[Any]:
    """Nodes of postprocessors from one node, a list of nodes, or named nodes, in their order."""
    if isinstance(node, Mapping) and not is_target(node):
        node = list(node.values())
    return [each for each in (node if isinstance(node, list) else [node]) if each]


def period_from(composed: Composed) -> tuple[str, str]:
    """The file that sets the period for this run, and the option that it selects; '' for none."""
    file = file_selecting(composed.files, "period")
    if not file or file in dict(files_setting(composed.files, "period")):
        return file, ""
    return file, str(composed.config.hydra.runtime.choices.get("period", ""))


def origin_of(composed: Composed) -> Path:
    """The directory of the user's own configurations, or else of the package's: for its git state."""
    sources = composed.config.hydra.runtime.config_sources
    if directory := next((Path(each.path).parent for each in sources if each.provider == ROMPY), None):
        return directory
    files = [source for source in sources if source.schema == "file"]
    own = [source for source in files if source.provider not in ("main", "rompy_hydra")]
    return Path((own or files)[0].path) if files else config_dir()
