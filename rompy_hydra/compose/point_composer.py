"""Composing the points of a sweep, the short way where that is exact.

Points that choose the same groups share a template, composed once by Hydra itself, together with
all values that they have in common. What is left of a point is put into a copy of the resolved
template, without Hydra. Where interpolations may depend on a point's values, or a value is no plain
one, Hydra's own code does it on a copy of the composition.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Sequence, Set
from typing import Any, NoReturn

from rompy_hydra.compose.build import Built, Parts
from rompy_hydra.compose.composer import Composer
from rompy_hydra.compose.fast_path import fast_path
from rompy_hydra.compose.shared_composition import Refusal, SharedComposition
from rompy_hydra.errors import ConfigError, InvalidConfig, Problem
from rompy_hydra.sweep.config import SweepConfig
from rompy_hydra.sweep.points import Assignment, Point

_TEMPLATES = 32


class PointComposer:
    """Composes and builds points of a sweep. Used by one thread: Hydra's configuration is global.

    `settings` are the overrides that all points have and that are no part of them: Hydra's and the
    sweep's own.
    """

    def __init__(self, composer: Composer, sweep: SweepConfig, settings: Sequence[str]) -> None:
        self._composer = composer
        self._directory = str(sweep.path)
        self._settings = list(settings)
        self._templates: OrderedDict[tuple[str, ...], SharedComposition | ConfigError] = OrderedDict()
        self._goes_first = functools.cache(self._belongs_to_the_template)

    def plain(self, point: Point) -> dict[str, Any]:
        """The resolved configuration of a point as plain data, without Hydra's part."""
        return self._plain(point)[1]

    def build(self, point: Point) -> Built:
        """A point's run, checked and built; ConfigError tells what is wrong with it."""
        template, plain, changed, alike = self._plain(point)
        parts = Parts(plain, template.parts, changed, self._composer.trusted, alike)
        return parts.built(
            overrides=tuple(point.overrides),
            parameters=point.parameters,
            config_dir=template.origin,
        )

    def _plain(
        self, point: Point
    ) -> tuple[SharedComposition, dict[str, Any], Set[str], tuple[str, ...] | None]:
        """The template of a point, its configuration, the parts in which it differs, and see `Parts`."""
        shared, values = self._split(point.assignments)
        template = self._template(tuple(a.text for a in shared))
        given = {"run_id": point.label, "output_dir": self._directory}
        keys = tuple(a.key for a in values)
        plain = None if template.interpolates else fast_path(template.plain, values)
        if plain is not None:
            return template, plain | given, *_changed(keys)
        refused = functools.partial(self._refuse, template)
        plain = template.filled(point.assignments, values, given, refused)
        return template, plain | given, template.differences(plain), None

    def _refuse(self, template: SharedComposition, wrong: Sequence[Refusal]) -> NoReturn:
        """Tell all overrides of a point that are wrong."""
        problems = []
        for assignment, error in wrong:
            reason, _, hint = self._reason(template, assignment, error).partition(". ")
            problems.append(Problem(_path(assignment.key), assignment.value, reason, hint))
        raise InvalidConfig(problems)

    def _reason(self, template: SharedComposition, assignment: Assignment, error: Exception) -> str:
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

        So a value that all points have goes before the others only where its place does not matter:
        apart from them, and, if it is a new key, not before new ones whose order would change.
        """
        group = [self._is_group(key) and not is_dict for key, _, is_dict in kinds]
        paths = [_path(key) for (key, _, _), is_group in zip(kinds, group, strict=True) if not is_group]
        first: list[bool] = []
        has_new = False
        for (key, fixed, _), is_group in zip(kinds, group, strict=True):
            is_new = key.startswith("+")
            first.append(is_group or (fixed and not (is_new and has_new) and _is_apart(_path(key), paths)))
            has_new = has_new or (is_new and not first[-1])
        return first

    def _is_group(self, key: str) -> bool:
        # An override of a package, or one that looks like a group and is none, is for Hydra to judge.
        loader: Any = self._composer.hydra.config_loader
        return "@" in key or "/" in key or bool(loader.repository.group_exists(_path(key)))

    def _template(self, overrides: tuple[str, ...]) -> SharedComposition:
        if overrides not in self._templates:
            self._templates[overrides] = self._composed(overrides)
            if len(self._templates) > _TEMPLATES:
                self._templates.popitem(last=False)
        self._templates.move_to_end(overrides)
        template = self._templates[overrides]
        if isinstance(template, ConfigError):
            raise template.with_traceback(None)
        return template

    def _composed(self, overrides: tuple[str, ...]) -> SharedComposition | ConfigError:
        try:
            return SharedComposition(self._composer.compose([*self._settings, *overrides]))
        except ConfigError as error:
            return error


def _is_apart(path: str, others: Sequence[str]) -> bool:
    """Whether no other key is this one, nor a part of it, nor the other way round."""
    near = [o for o in others if f"{o}.".startswith(f"{path}.") or f"{path}.".startswith(f"{o}.")]
    return len(near) == 1  # itself


@functools.lru_cache
def _changed(keys: tuple[str, ...]) -> tuple[Set[str], tuple[str, ...] | None]:
    """The parts that hold these keys; the keys, if none of them says what a part is."""
    paths = [_path(key).split(".") for key in keys]
    return {path[0] for path in paths}, None if any(p[-1].startswith("_") for p in paths) else keys


def _path(key: str) -> str:
    return key.lstrip("+~")
