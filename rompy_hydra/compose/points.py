"""Composing the points of a sweep, the short way where that is exact.

Points that choose the same groups share a template, composed once by Hydra itself, together with
all values that they have in common. What is left of a point is put into a copy of the resolved
template, without Hydra. Where interpolations may depend on a point's values, or a value is no plain
one, Hydra's own code does it on a copy of the composition.
"""

from __future__ import annotations

import functools
import pickle
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from rompy_hydra.compose.build import Built, Parts, origin_of
from rompy_hydra.compose.composer import Composed, Composer, parse
from rompy_hydra.compose.short_way import has_interpolations, short_way, sign_and_path
from rompy_hydra.errors import ConfigError, InvalidConfig, Problem
from rompy_hydra.sweep.config import SweepConfig
from rompy_hydra.sweep.points import Assignment, Point

_TEMPLATES = 32
# Nodes whose value a sweep gives by itself, so that their interpolations do not matter.
_GIVEN = {"run_id", "output_dir", "sweep", "hydra"}
_SIGNS = {"": OverrideType.CHANGE, "+": OverrideType.ADD, "++": OverrideType.FORCE_ADD}


@dataclass
class Template:
    """A composition that many points share: Hydra's object, its plain form, and the parts built of it."""

    composed: Composed
    plain: dict[str, Any]
    interpolates: bool
    pickled: bytes
    parts: dict[str, Any] = field(default_factory=dict)
    # Why an override of a key is wrong, by the key and the kind of its error.
    wrong: dict[tuple[str, str], str] = field(default_factory=dict)

    @functools.cached_property
    def shown(self) -> dict[str, str]:
        """Each top-level node as a text that tells 1 from 1.0 and from true."""
        return {key: repr(node) for key, node in self.plain.items()}


class PointComposer:
    """Composes and builds points of a sweep. Used by one thread: Hydra's configuration is global.

    `settings` are the overrides that all points have and that are no part of them: Hydra's and the
    sweep's own.
    """

    def __init__(self, composer: Composer, sweep: SweepConfig, settings: Sequence[str]) -> None:
        self._composer = composer
        self._sweep = sweep
        self._settings = list(settings)
        self._templates: OrderedDict[tuple[str, ...], Template | ConfigError] = OrderedDict()
        self._goes_first = functools.cache(self._belongs_to_the_template)

    def plain(self, point: Point) -> dict[str, Any]:
        """The resolved configuration of a point as plain data, without Hydra's part."""
        return self._plain(point)[1]

    def build(self, point: Point) -> Built:
        """A point's run, checked and built; ConfigError tells what is wrong with it."""
        template, plain, changed = self._plain(point)
        parts = Parts(plain, template.parts, changed, self._composer.trusted)
        return parts.built(
            overrides=tuple(point.overrides),
            parameters=point.parameters,
            config_dir=template.parts.setdefault("origin", origin_of(template.composed)),
        )

    def _plain(self, point: Point) -> tuple[Template, dict[str, Any], set[str]]:
        """The template of a point, its configuration, and the keys in which it differs from it."""
        shared, values = self._split(point.assignments)
        template = self._template(tuple(a.text for a in shared))
        plain = None if template.interpolates else short_way(template.plain, values)
        if plain is None:
            plain = self._by_hydra(template, point, values)
            changed = {key for key, node in plain.items() if repr(node) != template.shown.get(key)}
        else:
            changed = {_path(assignment.key).split(".")[0] for assignment in values}
        return template, {**plain, **self._given(point)}, changed

    def _given(self, point: Point) -> dict[str, str]:
        return {"run_id": point.label, "output_dir": str(self._sweep.path)}

    def _by_hydra(self, template: Template, point: Point, values: Sequence[Assignment]) -> dict[str, Any]:
        """The values put into a copy of the template as Hydra does it, then resolved.

        InvalidConfig tells all overrides that are wrong.
        """
        config = pickle.loads(template.pickled)
        wrong: list[Problem] = []
        for each in values:
            try:
                ConfigLoaderImpl._apply_overrides_to_config([_override(each)], config)
            except (HydraException, TypeError, ValueError, AssertionError) as error:
                reason, _, hint = self._reason(template, each, error).partition(". ")
                wrong.append(Problem(_path(each.key), each.value, reason, hint))
        if wrong:
            raise InvalidConfig(wrong)
        OmegaConf.set_readonly(config.hydra, False)
        config.hydra.overrides.task = point.overrides
        config.hydra.job.override_dirname = _dirname(config, point)
        # Known only to the sweep, and a node of the user's may point to them.
        for key, value in self._given(point).items():
            OmegaConf.update(config, key, value, force_add=True)
        # As set_config does it, less the deep copy that takes most of a point's time.
        HydraConfig.instance().cfg = config
        return Composed(config, tuple(point.overrides)).plain()

    def _reason(self, template: Template, assignment: Assignment, error: Exception) -> str:
        """What is wrong with an override, in this package's words; looked up once for a key."""
        kind = assignment.key, type(error.__cause__).__name__
        if kind not in template.wrong:
            shared = template.composed.overrides
            try:
                self._composer.compose([*self._settings, *shared, assignment.text])
                template.wrong[kind] = str(error)  # wrong only together with others
            except ConfigError as explained:
                template.wrong[kind] = str(explained).removeprefix(f"{_path(assignment.key)}: ")
        return template.wrong[kind]

    def _split(self, assignments: Sequence[Assignment]) -> tuple[list[Assignment], list[Assignment]]:
        """What a template is composed of, and what is put in afterwards."""
        kinds = tuple((a.key, a.fixed, isinstance(a.value, dict)) for a in assignments)
        first = self._goes_first(kinds)
        shared = [a for a, is_first in zip(assignments, first, strict=True) if is_first]
        return shared, [a for a, is_first in zip(assignments, first, strict=True) if not is_first]

    def _belongs_to_the_template(self, kinds: tuple[tuple[str, bool, bool], ...]) -> list[bool]:
        """Hydra applies groups first and the others in their order.

        So a value that all points have goes before the others only where its place does not matter.
        """
        group = [self._is_group(key) and not is_dict for key, _, is_dict in kinds]
        paths = [_path(key) for (key, _, _), is_group in zip(kinds, group, strict=True) if not is_group]
        return [
            is_group or (fixed and _is_apart(_path(key), paths))
            for (key, fixed, _), is_group in zip(kinds, group, strict=True)
        ]

    def _is_group(self, key: str) -> bool:
        # An override of a package, or one that looks like a group and is none, is for Hydra to judge.
        loader: Any = self._composer.hydra.config_loader
        return "@" in key or "/" in key or bool(loader.repository.group_exists(_path(key)))

    def _template(self, overrides: tuple[str, ...]) -> Template:
        if overrides not in self._templates:
            self._templates[overrides] = self._composed(overrides)
            if len(self._templates) > _TEMPLATES:
                self._templates.popitem(last=False)
        self._templates.move_to_end(overrides)
        template = self._templates[overrides]
        if isinstance(template, ConfigError):
            raise template.with_traceback(None)
        return template

    def _composed(self, overrides: tuple[str, ...]) -> Template | ConfigError:
        try:
            composed = self._composer.compose([*self._settings, *overrides])
        except ConfigError as error:
            return error
        config = composed.config
        interpolates = has_interpolations(config, _GIVEN)
        try:
            plain = composed.plain()
        except ConfigError as error:
            if not interpolates:
                return error
            plain = {}  # a point may have what an interpolation looks for
        return Template(composed, plain, interpolates, pickle.dumps(config))


def _override(assignment: Assignment) -> Override:
    """An assignment as Hydra's parser makes it, which is asked only where it may know better."""
    if assignment.key.startswith("~") or isinstance(assignment.value, dict | list):
        return parse([assignment.text])[0]
    sign, path = sign_and_path(assignment.key)
    value = assignment.value
    return Override(_SIGNS[sign], path, ValueType.ELEMENT, value, input_line=assignment.text)


def _dirname(config: DictConfig, point: Point) -> str:
    """`hydra.job.override_dirname` as Hydra makes it."""
    how = config.hydra.job.config.override_dirname
    lines = [a.text for a in point.assignments if _path(a.key) not in how.exclude_keys]
    return str(how.item_sep.join(sorted(lines)).replace("=", how.kv_sep))


def _is_apart(path: str, others: Sequence[str]) -> bool:
    """Whether no other key is this one, nor a part of it, nor the other way round."""
    near = [o for o in others if f"{o}.".startswith(f"{path}.") or f"{path}.".startswith(f"{o}.")]
    return len(near) == 1  # itself


def _path(key: str) -> str:
    return key.lstrip("+~")
