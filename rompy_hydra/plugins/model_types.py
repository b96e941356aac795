"""Model configurations by their `model_type`, as rompy's files and dumps name them."""

from __future__ import annotations

import typing

from rompy_hydra.errors import PluginError, UnknownPlugin, closest
from rompy_hydra.plugins import registry
from rompy_hydra.plugins.registry import Plugin


def find_model_type(model_type: str) -> Plugin:
    """The model configuration of this name, or the one whose field `model_type` has this value.

    rompy tells them apart by that field: `swanconfig` is the type of the entry point `swan`. Others are
    imported only if there is none of this name. UnknownPlugin if there is none at all.
    """
    if registry.candidates("config", model_type):
        return registry.find("config", model_type)
    known, failed = set(registry.names("config")), ""
    for name in registry.names("config"):
        try:
            plugin = registry.find("config", name)
            types = model_types(plugin.load())
        except PluginError as error:  # a broken one, which may be the one that is meant
            failed += f". Not looked at: {error}"
            continue
        if model_type in types:
            return plugin
        known.update(types)
    raise UnknownPlugin(
        f"there is no model configuration '{model_type}'. {closest(model_type, sorted(known))} Install the "
        f"package that provides it{failed}"
    )


def model_types(found: object) -> tuple[str, ...]:
    """The values that the field `model_type` of a class may have; empty if it has no such field."""
    fields = getattr(found, "model_fields", {})
    annotation = getattr(fields.get("model_type"), "annotation", None) if isinstance(fields, dict) else None
    return tuple(value for value in typing.get_args(annotation) if isinstance(value, str))
