"""Composing the points of a sweep, by a fast path where that is exact.

Points that choose the same groups share one composition, made once by Hydra itself, together with
all values that they have in common. What is left of a point is put into a copy of the resolved
configuration, without Hydra. Where interpolations may depend on a point's values, or a value is not
plain, Hydra's own code does it on a copy of the composition.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Mapping, Sequence, Set
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from rompy_hydra.compose.build import Builder, Built
from rompy_hydra.compose.composer import Composer
from rompy_hydra.compose.processor_settings import may_be_long, shortened_values
from rompy_hydra.compose.shared_composition import Refusal, SharedComposition
from rompy_hydra.compose.unread_keys import READ, references_in, unread
from rompy_hydra.compose.unread_parameters import check_parameters, settings_of, template_of
from rompy_hydra.core.plan import Origin
from rompy_hydra.errors import ConfigError, InvalidConfig, Problem
from rompy_hydra.sweep.config import SweepConfig
from rompy_hydra.sweep.points import Point

_PARAMETERS = "model.parameters"
# Compositions that are kept, for the points that share them.
_KEPT = 32


class PointComposer:
    """Composes and builds points of a sweep. Used by one thread: Hydra's configuration is global.

    `settings` are the overrides that all points have and that are not part of them: Hydra's and the
    sweep's own.
    """

    def __init__(self, composer: Composer, sweep: SweepConfig, settings: Sequence[str]) -> None:
        self._composer = composer
        self._directory = str(sweep.path)
        self._settings = list(settings)
        self._shared: OrderedDict[tuple[str, ...], SharedComposition | ConfigError] = OrderedDict()
        # The first compositions, which points are built with; a point of a later one is kept whole.
        # Each is a plain configuration, a cache of the parts that are built from it, and where it comes
        # from: the directory of its files, and what sets its period.
        self._bases: list[tuple[dict[str, Any], dict[Any, Any], tuple[Path, tuple[str, str]]]] = []
        self._base_of: dict[tuple[str, ...], int] = {}
        self._goes_first = functools.cache(self._belongs_to_the_shared)

    def plain(self, point: Point) -> dict[str, Any]:
        """The resolved configuration of a point as plain data, without Hydra's part."""
        return self._plain(point)[2]

    def compose(self, point: Point) -> object:
        """A point's configuration, for `build`; ConfigError says what is wrong with its overrides."""
        number, shared, plain, changed, alike = self._plain(point)
        if not READ.issuperset(plain):
            _check_keys(point, shared, plain)
        cautions = shared.composed.cautions + _check_parameters(point, shared, plain)
        if number is None or plain.keys() != shared.plain.keys():
            number, nodes = None, plain
        else:
            nodes = {key: plain[key] for key in {*changed, "run_id", "output_dir"}}
        origin = (shared.origin, shared.period_from) if number is None else None
        return tuple(point.overrides), point.parameters, number, nodes, alike, origin, cautions

    def build(self, composed: Any) -> Built:
        """A composed point's run, checked and built; InvalidConfig lists what is wrong with it."""
        overrides, parameters, number, nodes, alike, origin, cautions = composed
        plain, parts, origin = ({}, {}, origin) if number is None else self._bases[number]
        config_dir, set_by = origin
        changed = nodes.keys() - {"run_id", "output_dir"}
        builder = Builder({**plain, **nodes}, self._composer.trusted, parts, changed, alike, set_by)
        return builder.build_run(Origin(overrides, config_dir, parameters=parameters, cautions=cautions))

    def _plain(
        self, point: Point
    ) -> tuple[int | None, SharedComposition, dict[str, Any], Set[str], tuple[str, ...] | None]:
        """A point's base and composition, its configuration, the nodes that differ, and see `Builder`."""
        kinds = tuple((a.key, a.fixed, isinstance(a.value, dict)) for a in point.assignments)
        first = self._goes_first(kinds)
        key = tuple(a.text for a, is_first in zip(point.assignments, first, strict=True) if is_first)
        values = [a for a, is_first in zip(point.assignments, first, strict=True) if not is_first]
        shared = self._composition(key)
        if shared.long_prefix and _sets_processor(kinds):
            values = shortened_values(values, shared.long_prefix)
        number = self._base_of.get(key)
        given = {"run_id": point.label, "output_dir": self._directory}
        plain = shared.replaced(values)
        if plain is not None:
            return number, shared, plain | given, *_changed(tuple(a.key for a in values))
        plain = shared.filled(point.assignments, values, given, functools.partial(self._refuse, shared))
        return number, shared, plain | given, shared.differences(plain), None

    def _refuse(self, shared: SharedComposition, wrong: Sequence[Refusal]) -> NoReturn:
        """Report all overrides of a point that are wrong; the reason is looked up once for a key."""
        problems = []
        for assignment, error in wrong:
            path, kind = _path(assignment.key), (assignment.key, type(error.__cause__).__name__)
            if kind not in shared.wrong:
                try:
                    self._composer.compose([*self._settings, *shared.composed.overrides, assignment.text])
                    shared.wrong[kind] = str(error)  # wrong only together with others
                except ConfigError as explained:
                    shared.wrong[kind] = str(explained).removeprefix(f"{path}: ")
            reason, _, hint = shared.wrong[kind].partition(". ")
            problems.append(Problem(path, assignment.value, reason, hint))
        raise InvalidConfig(problems)

    def _belongs_to_the_shared(self, kinds: tuple[tuple[str, bool, bool], ...]) -> list[bool]:
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
        # An override of a package, or one that looks like a group and is not, is left to Hydra.
        loader: Any = self._composer.hydra.config_loader
        return "@" in key or "/" in key or bool(loader.repository.group_exists(_path(key)))

    def _composition(self, overrides: tuple[str, ...]) -> SharedComposition:
        if overrides not in self._shared:
            found: SharedComposition | ConfigError
            try:
                found = SharedComposition(self._composer.compose([*self._settings, *overrides]))
                if overrides not in self._base_of and len(self._bases) < _KEPT:
                    self._base_of[overrides] = len(self._bases)
                    self._bases.append((found.plain, {}, (found.origin, found.period_from)))
            except ConfigError as error:
                found = error
            self._shared[overrides] = found
            if len(self._shared) > _KEPT:
                self._shared.popitem(last=False)
        self._shared.move_to_end(overrides)
        shared = self._shared[overrides]
        if isinstance(shared, ConfigError):
            raise shared.with_traceback(None)
        return shared


@functools.lru_cache
def _sets_processor(kinds: tuple[tuple[str, bool, bool], ...]) -> bool:
    """Whether one of these keys may be a setting of a postprocessor."""
    return may_be_long([key for key, _, _ in kinds])


def _check_keys(point: Point, shared: SharedComposition, plain: Mapping[str, Any]) -> None:
    """InvalidConfig if a point has a top-level key that nothing reads."""
    typed = [(_path(each.key), each.value) for each in point.assignments]
    if found := unread(plain, typed, _references(point, shared), shared.choices):
        raise InvalidConfig(found)


def _check_parameters(point: Point, shared: SharedComposition, plain: Mapping[str, Any]) -> tuple[str, ...]:
    """See `check_parameters`; points that set the same parameters share the answer."""
    template = template_of(plain.get("model"))
    if template is None:
        return ()
    typed = [(_path(a.key), a.value) for a in point.assignments if _PARAMETERS in a.key or a.key == "model"]
    kind = (template, *(path for path, _ in typed))
    is_simple = not any(isinstance(value, dict) for _, value in typed)
    if is_simple and kind in shared.cautions:
        return shared.cautions[kind]
    given, declared = shared.parameters
    given = [*given, *(each for path, value in typed for each in settings_of(path, value))]
    found = check_parameters(
        plain["model"], given, declared, lambda: chain(*_references(point, shared).values())
    )
    if is_simple and not any("${" in a.text for a in point.assignments):
        shared.cautions[kind] = found
    return found


def _references(point: Point, shared: SharedComposition) -> dict[str, set[str]]:
    """The paths that interpolations refer to, those in the values of a point included."""
    refers = dict(shared.references)
    for each in point.assignments:
        if isinstance(each.value, str) and "${" in each.value:
            path = _path(each.key)
            key = path.split(".")[0]
            refers[key] = {*refers.get(key, ()), *references_in(each.value, path)}
    return refers


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
