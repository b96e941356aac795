"""Composing the points of a sweep, the short way where that is exact.

Points that choose the same groups share a template, composed once by Hydra itself. What is left of
a point is then plain values: each is put into a copy of the resolved template, without Hydra.
Where the user's own interpolations may depend on a point's values, or a value is no plain one,
OmegaConf does it on a copy of the composition.
"""

from __future__ import annotations

import functools
import pickle
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from rompy_hydra.compose.build import Built, Parts, origin_of
from rompy_hydra.compose.composer import Composed, Composer
from rompy_hydra.sweep.config import SweepConfig
from rompy_hydra.sweep.points import Assignment, Point

_TEMPLATES = 32
# Nodes whose value a sweep gives by itself, so that their interpolations do not matter.
_GIVEN = {"run_id", "output_dir", "sweep", "hydra"}


@dataclass
class Template:
    """A composition that many points share: Hydra's object, its plain form, and the parts built of it."""

    composed: Composed
    plain: dict[str, Any]
    has_interpolations: bool
    pickled: bytes
    parts: dict[str, Any] = field(default_factory=dict)


class PointComposer:
    """Composes and builds points of a sweep. Used by one thread: Hydra's configuration is global."""

    def __init__(self, composer: Composer, sweep: SweepConfig, hydra_overrides: Sequence[str]) -> None:
        self._composer = composer
        self._sweep = sweep
        self._hydra_overrides = list(hydra_overrides)
        self._templates: OrderedDict[tuple[str, ...], Template] = OrderedDict()
        self._is_group = functools.cache(self._looks_like_group)

    def plain(self, point: Point) -> dict[str, Any]:
        """The resolved configuration of a point as plain data, without Hydra's part."""
        return {**self._plain(point)[1], "run_id": point.label, "output_dir": str(self._sweep.path)}

    def build(self, point: Point) -> Built:
        """A point's run, checked and built; ConfigError tells what is wrong with it."""
        template, plain, changed = self._plain(point)
        plain = {**plain, "run_id": point.label, "output_dir": str(self._sweep.path)}
        parts = Parts(plain, template.parts, changed)
        return parts.built(
            overrides=tuple(point.overrides),
            parameters=point.parameters,
            config_dir=template.parts.setdefault("origin", origin_of(template.composed)),
        )

    def _plain(self, point: Point) -> tuple[Template, dict[str, Any], set[str]]:
        shared, values = self._split(point.assignments)
        template = self._template(tuple(a.text for a in shared))
        if template.has_interpolations:
            return template, self._by_omegaconf(template, point, values), set(template.plain)
        plain, changed = template.plain, set()
        for assignment in values:
            replaced = None
            sign, keys = _sign_and_path(assignment.key)
            if _is_simple(assignment):
                replaced = _replaced(plain, keys, assignment.value, sign)
            if replaced is None:
                return template, self._by_omegaconf(template, point, values), set(template.plain)
            plain = replaced
            changed.add(keys[0])
        return template, plain, changed

    def _by_omegaconf(
        self, template: Template, point: Point, values: Sequence[Assignment]
    ) -> dict[str, Any]:
        """The values put into a copy of the template as Hydra does it, then resolved."""
        config = pickle.loads(template.pickled)
        try:
            for each in values:
                sign, keys = _sign_and_path(each.key)
                if sign == "+" and OmegaConf.select(config, ".".join(keys)) is not None:
                    raise ConfigKeyError(f"{each.key} is there already")
                OmegaConf.update(config, ".".join(keys), each.value, merge=True, force_add=bool(sign))
        except OmegaConfBaseException:
            # Hydra says what is wrong with such an override.
            config = self._composer.compose([*self._hydra_overrides, *point.overrides]).config
        OmegaConf.set_readonly(config.hydra, False)
        config.hydra.overrides.task = point.overrides
        # Known only to the sweep, and a node of the user's may point to them.
        config.run_id, config.output_dir = point.label, str(self._sweep.path)
        # As set_config does it, less the deep copy that takes most of a point's time.
        HydraConfig.instance().cfg = config
        return Composed(config, tuple(point.overrides)).plain()

    def _split(self, assignments: Sequence[Assignment]) -> tuple[list[Assignment], list[Assignment]]:
        """What a template is composed of, and the values that are put in afterwards.

        Hydra applies values in their order and groups before them all, so only the values after the
        last deletion may wait.
        """
        groups = [a for a in assignments if "@" in a.key or self._is_group(a.key.lstrip("+~"))]
        rest = [a for a in assignments if a not in groups]
        shared: list[Assignment] = groups
        values: list[Assignment] = []
        for assignment in rest:
            if assignment.key[0] == "~":
                shared += [*values, assignment]
                values = []
            elif assignment.fixed and not _is_simple(assignment) and _is_apart(assignment, rest):
                shared.append(assignment)
            else:
                values.append(assignment)
        return shared, values

    def _looks_like_group(self, key: str) -> bool:
        return "/" in key or bool(self._composer.hydra.config_loader.get_group_options(key))

    def _template(self, overrides: tuple[str, ...]) -> Template:
        if overrides in self._templates:
            self._templates.move_to_end(overrides)
            return self._templates[overrides]
        composed = self._composer.compose([*self._hydra_overrides, *overrides])
        config = composed.config
        template = Template(composed, composed.plain(), _has_interpolations(config), pickle.dumps(config))
        self._templates[overrides] = template
        if len(self._templates) > _TEMPLATES:
            self._templates.popitem(last=False)
        return template


def _is_simple(assignment: Assignment) -> bool:
    """Whether a value is put into a plain configuration just as OmegaConf would put it."""
    value = assignment.value
    if isinstance(value, str):
        return "${" not in value and value != "???"
    return value is None or isinstance(value, bool | int | float)


def _is_apart(assignment: Assignment, others: Sequence[Assignment]) -> bool:
    """Whether the order of an assignment among the others does not matter: no key is part of another."""
    key = assignment.key.lstrip("+~") + "."
    keys = [other.key.lstrip("+~") + "." for other in others if other is not assignment]
    return not any(key.startswith(other) or other.startswith(key) for other in keys)


def _sign_and_path(key: str) -> tuple[str, list[str]]:
    """`+`, `++` or nothing, and the path: `++a.b` is `("++", ["a", "b"])`."""
    path = key.lstrip("+")
    return key[: len(key) - len(path)], path.split(".")


def _replaced(plain: dict[str, Any], keys: Sequence[str], value: Any, sign: str) -> dict[str, Any] | None:
    """A copy of `plain` with one value replaced, or added if `sign` says so; None if it is not that simple.

    Only the dictionaries on the way are copied, so points share all the rest.
    """
    there = keys[0] in plain
    old = plain.get(keys[0])
    if not there and not sign:
        return None
    if len(keys) == 1:
        if isinstance(old, dict | list) or (sign == "+" and old is not None):
            return None
        return {**plain, keys[0]: value}
    if there and not isinstance(old, dict):
        return None
    inner = _replaced(old or {}, keys[1:], value, sign)
    return None if inner is None else {**plain, keys[0]: inner}


def _has_interpolations(config: DictConfig) -> bool:
    """Whether a node outside of those that a sweep gives by itself is an interpolation."""
    return any(_interpolates(config._get_node(key)) for key in config if key not in _GIVEN)


def _interpolates(node: Any) -> bool:
    if node is None:
        return False
    if node._is_interpolation():
        return True
    if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
        return any(_interpolates(node._get_node(key)) for key in node)
    if isinstance(node, ListConfig) and not node._is_none() and not node._is_missing():
        return any(_interpolates(node._get_node(index)) for index in range(len(node)))
    return False
