"""A composition that many points of a sweep share, and how a point's values are put into it."""

from __future__ import annotations

import functools
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from rompy_hydra.compose.build import origin_of
from rompy_hydra.compose.composer import Composed
from rompy_hydra.compose.fast_path import interpolations, passes_interpolation, sign_and_path
from rompy_hydra.compose.override_parser import parse
from rompy_hydra.errors import ConfigError
from rompy_hydra.sweep.points import Assignment

# An override that Hydra does not take, and why.
Refusal: TypeAlias = tuple[Assignment, Exception]

# Nodes whose value a sweep gives by itself, so that their interpolations do not matter.
_GIVEN = {"run_id", "output_dir", "sweep", "hydra"}
_SIGNS = {"": OverrideType.CHANGE, "+": OverrideType.ADD, "++": OverrideType.FORCE_ADD}
# What an interpolation says that depends on Hydra's part of the configuration.
_ASKS_HYDRA = re.compile("hydra|run_label|point_label|sweep")


class SharedComposition:
    """Hydra's object, its plain form, and the parts built of it.

    ConfigError if it has no plain form, though no point could mend that.
    """

    def __init__(self, composed: Composed) -> None:
        self.composed = composed
        # Why an override of a key is wrong, by the key and the kind of its error.
        self.wrong: dict[tuple[str, str], str] = {}
        found = interpolations(composed.config, _GIVEN)
        self._dependent = set(found)
        self._asks = any(_ASKS_HYDRA.search(text) for texts in found.values() for text in texts)
        try:
            self.plain = composed.plain()
        except ConfigError:
            if not found:
                raise
            self.plain = {}  # a point may have what an interpolation looks for

    @property
    def interpolates(self) -> bool:
        """Whether a value may depend on another one."""
        return bool(self._dependent)

    def differences(self, plain: Mapping[str, Any]) -> set[str]:
        """The top-level keys in which a point differs from its template."""
        own, shown = self.plain, self._shown
        return {k for k, node in plain.items() if node is not own.get(k) and repr(node) != shown.get(k)}

    @functools.cached_property
    def origin(self) -> Path:
        """The directory of the configurations."""
        return origin_of(self.composed)

    @functools.cached_property
    def _shown(self) -> dict[str, str]:
        # Texts tell 1 from 1.0 and from true.
        return {key: repr(node) for key, node in self.plain.items()}

    @functools.cached_property
    def _whole(self) -> bytes:
        return pickle.dumps(self.composed.config)

    @functools.cached_property
    def _without_hydra(self) -> bytes:
        config = self.composed.config.copy()
        OmegaConf.set_struct(config, False)
        config.pop("hydra")
        OmegaConf.set_struct(config, True)
        return pickle.dumps(config)

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
            anywhere = anywhere or passes_interpolation(config, path)
            try:
                ConfigLoaderImpl._apply_overrides_to_config([_override(each)], config)
            except (HydraException, TypeError, ValueError, AssertionError) as error:
                wrong.append((each, error))
        if wrong:
            refuse(wrong)
        for key, value in given.items():
            OmegaConf.update(config, key, value, force_add=True)
        if asks:
            _tell_hydra(config, [a.text for a in assignments])
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


def _override(assignment: Assignment) -> Override:
    """An assignment as Hydra's parser makes it, which is asked only where it may know better."""
    if assignment.key.startswith("~") or isinstance(assignment.value, dict | list):
        return parse([assignment.text])[0]
    sign, path = sign_and_path(assignment.key)
    value = assignment.value
    return Override(_SIGNS[sign], path, ValueType.ELEMENT, value, input_line=assignment.text)


def _tell_hydra(config: DictConfig, overrides: list[str]) -> None:
    """Bring Hydra's part of a template to a point's overrides, as Hydra would have made it."""
    OmegaConf.set_readonly(config.hydra, False)
    config.hydra.overrides.task = overrides
    how = config.hydra.job.config.override_dirname
    kept = [o for o in overrides if re.split("[@=]", o.lstrip("+~"))[0] not in how.exclude_keys]
    config.hydra.job.override_dirname = how.item_sep.join(sorted(kept)).replace("=", how.kv_sep)
