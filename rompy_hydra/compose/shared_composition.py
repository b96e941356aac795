"""A composition that many points of a sweep share, and how a point's values are put into it."""

from __future__ import annotations

import functools
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from rompy_hydra.compose.build import origin_of, period_from
from rompy_hydra.compose.composer import Composed
from rompy_hydra.compose.hydra_errors import raise_interrupt
from rompy_hydra.compose.override_parser import parse
from rompy_hydra.compose.processor_settings import long_prefix
from rompy_hydra.compose.unread_keys import references
from rompy_hydra.compose.unread_parameters import Setting, settings_in
from rompy_hydra.compose.validate import walk
from rompy_hydra.errors import ConfigError
from rompy_hydra.sweep.points import Assignment

# An override that Hydra rejects, and why.
Refusal: TypeAlias = tuple[Assignment, Exception]

# Nodes whose value a sweep sets itself, so that their interpolations do not matter.
_GIVEN = {"run_id", "output_dir", "sweep", "hydra"}
_SIGNS = {"": OverrideType.CHANGE, "+": OverrideType.ADD, "++": OverrideType.FORCE_ADD}
# Part of every interpolation that depends on Hydra's part of the configuration.
_ASKS_HYDRA = re.compile("hydra|run_label|point_label|sweep")


class SharedComposition:
    """Hydra's object and its plain form.

    ConfigError if it has no plain form, whatever the values of a point are.
    """

    def __init__(self, composed: Composed) -> None:
        self.composed = composed
        self.origin = origin_of(composed)
        self.period_from = period_from(composed)
        # Of the only processor's settings.
        self.long_prefix = long_prefix(composed.config)
        # Why an override of a key is wrong, by the key and the kind of its error.
        self.wrong: dict[tuple[str, str], str] = {}
        # What is to be said of the parameters of points, by the parameters that they set.
        self.cautions: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._dependent: set[str] = set()
        self._asks = False
        for key in composed.config:
            for _, node in walk(composed.config._get_node(key), item=lambda node, key: node._get_node(key)):
                if key not in _GIVEN and node is not None and node._is_interpolation():
                    self._dependent.add(str(key))
                    self._asks = self._asks or bool(_ASKS_HYDRA.search(str(node._value())))
        try:
            self.plain = composed.plain()
        except ConfigError:
            if not self._dependent:
                raise
            self.plain = {}  # a point may set what an interpolation refers to
        # Texts distinguish 1, 1.0 and true.
        self._shown = {key: repr(node) for key, node in self.plain.items()}

    def replaced(self, values: Sequence[Assignment]) -> dict[str, Any] | None:
        """The plain form with the values put in; None where only Hydra knows what that means."""
        found: dict[str, Any] | None = None if self._dependent else self.plain
        for each in values:
            value = each.value
            is_plain = value is None or isinstance(value, bool | int | float | str)
            is_special = isinstance(value, str) and ("${" in value or value == "???")
            if found is None or each.key.startswith("~") or not is_plain or is_special:
                return None
            path = each.key.lstrip("+")
            found = _replaced(found, path.split("."), value, each.key.removesuffix(path))
        return found

    def differences(self, plain: Mapping[str, Any]) -> set[str]:
        """The top-level keys in which a point differs from this composition."""
        own, shown = self.plain, self._shown
        return {k for k, node in plain.items() if node is not own.get(k) and repr(node) != shown.get(k)}

    @functools.cached_property
    def references(self) -> Mapping[str, set[str]]:
        """The paths that interpolations refer to, by the top-level key that contains them."""
        return references(self.composed.config)

    @functools.cached_property
    def parameters(self) -> tuple[list[Setting], list[Setting]]:
        """The parameters that files set, see `settings_in`."""
        return settings_in(self.composed.files)

    @property
    def choices(self) -> Mapping[str, Any]:
        """The options of the groups."""
        choices: Mapping[str, Any] = self.composed.config.hydra.runtime.choices
        return choices

    @functools.cached_property
    def _whole(self) -> bytes:
        return pickle.dumps(self.composed.config)

    @functools.cached_property
    def _without_hydra(self) -> bytes:
        return pickle.dumps(self.composed.without_hydra())

    def filled(
        self,
        assignments: Sequence[Assignment],
        values: Sequence[Assignment],
        given: Mapping[str, str],
        refuse: Callable[[Sequence[Refusal]], NoReturn],
    ) -> dict[str, Any]:
        """A point's configuration: `values` put in as Hydra does it, then resolved.

        `refuse` raises what is wrong with overrides.
        """
        # Hydra's part is larger than all the rest, and seldom asked for.
        asks = self._asks or any("${" in a.text and _ASKS_HYDRA.search(a.text) for a in values)
        config: DictConfig = pickle.loads(self._whole if asks else self._without_hydra)
        paths = [each.key.lstrip("+~") for each in values]
        anywhere = False
        wrong: list[Refusal] = []
        for each, path in zip(values, paths, strict=True):
            anywhere = anywhere or _passes_interpolation(config, path)
            try:
                ConfigLoaderImpl._apply_overrides_to_config([_override(each)], config)
            except (HydraException, TypeError, ValueError, AssertionError) as error:
                raise_interrupt(error)
                wrong.append((each, error))
        if wrong:
            refuse(wrong)
        for key, value in given.items():
            OmegaConf.update(config, key, value, force_add=True)
        if asks:
            _update_hydra(config, [a.text for a in assignments])
        # As set_config does it, less a deep copy that takes most of a point's time.
        HydraConfig.instance().cfg = config if asks else self.composed.config  # type: ignore[assignment]
        composed = Composed(config, ())
        changed = self._dependent | {path.split(".")[0] for path in paths}
        return {
            str(key): composed.resolved(str(key))
            if anywhere or key in changed or key not in self.plain
            else self.plain[str(key)]
            for key in config
            if key != "hydra"
        }


def _replaced(plain: dict[str, Any], keys: Sequence[str], value: Any, sign: str) -> dict[str, Any] | None:
    """A copy of `plain` with one value replaced, or added if `sign` says so; None if it is not that simple.

    Only the dictionaries on the way are copied, so points share all the rest.
    """
    exists, old = keys[0] in plain, plain.get(keys[0])
    if not exists and not sign:
        return None
    if len(keys) == 1:
        if isinstance(old, dict | list) or (sign == "+" and old is not None):
            return None
        return {**plain, keys[0]: value}
    if exists and not isinstance(old, dict):
        return None
    inner = _replaced(old or {}, keys[1:], value, sign)
    return None if inner is None else {**plain, keys[0]: inner}


def _passes_interpolation(config: DictConfig, path: str) -> bool:
    """Whether a node on the way to a key is an interpolation, so that the key is somewhere else."""
    node: Any = config
    for key in path.split("."):
        if not isinstance(node, DictConfig) or node._is_none() or node._is_missing():
            return False
        node = node._get_node(key, validate_access=False)
        if node is not None and node._is_interpolation():
            return True
    return False


def _override(assignment: Assignment) -> Override:
    """An assignment as Hydra's parser makes it, which is asked only where it may know better."""
    if assignment.key.startswith("~") or isinstance(assignment.value, dict | list):
        return parse([assignment.text])[0]
    path, value = assignment.key.lstrip("+"), assignment.value
    kind = _SIGNS[assignment.key.removesuffix(path)]
    return Override(kind, path, ValueType.ELEMENT, value, input_line=assignment.text)


def _update_hydra(config: DictConfig, overrides: list[str]) -> None:
    """Update Hydra's part of a shared composition to a point's overrides, as Hydra would have made it."""
    OmegaConf.set_readonly(config.hydra, False)
    config.hydra.overrides.task = overrides
    how = config.hydra.job.config.override_dirname
    kept = [o for o in overrides if re.split("[@=]", o.lstrip("+~"))[0] not in how.exclude_keys]
    config.hydra.job.override_dirname = how.item_sep.join(sorted(kept)).replace("=", how.kv_sep)
