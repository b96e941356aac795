"""Model configurations by their `model_type`, as rompy's files name them."""

from __future__ import annotations

import typing

from rompy_hydra.errors import PluginError, UnknownPlugin, closest
from rompy_hydra.plugins import registry
from rompy_hydra.plugins.registry import Plugin


def find_model_type(model_type: str) -> Plugin:
    """The model configuration whose field `model_type` has this value.

    rompy tells them apart by that field: `swanconfig` is the type of the entry point `swan`. The one with
    this name is tried first; others are imported only if it is not that. UnknownPlugin if there is none.
    """
    known: set[str] = set()
    broken: list[PluginError] = []
    every = [each[0] for each in registry.plugins("config").values() if not each[0].own]
    for plugin in sorted(every, key=lambda each: each.name != model_type):
        try:
            types = model_types(plugin.load())
        except PluginError as error:
            broken.append(error)
            continue
        if model_type in types:
            return registry.find("config", plugin.name)
        known.update(types)
    if broken and not known:
        raise broken[0]
    failed = "".join(f" {error}" for error in broken)
    hint = closest(model_type, sorted(known)) if known else "No such package is installed."
    raise UnknownPlugin(
        f"no installed package has the model_type '{model_type}'. {hint} Install the package that provides "
        f"it, such as rompy-swan{failed}"
    )


def model_types(found: object) -> tuple[str, ...]:
    """The values that the field `model_type` of a class may have; empty if it has no such field."""
    fields = getattr(found, "model_fields", {})
    annotation = getattr(fields.get("model_type"), "annotation", None) if isinstance(fields, dict) else None
    return tuple(value for value in typing.get_args(annotation) if isinstance(value, str))
