"""The settings of postprocessors: `processor.dpi` for the only one, `processor.map.dpi` for one of several.

The long form is accepted for the only one as well: in an override by rewriting it, in a file by
merging the node with the processor's name into the processor.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from rompy_hydra.sweep.points import Assignment

GROUP = "processor"


def long_prefix(config: DictConfig) -> str:
    """The start of the long form, such as `processor.map.`, if there is one processor; else ''."""
    node = config._get_node(GROUP, validate_access=False)
    name = config.hydra.runtime.choices.get(GROUP)
    # As an override of several names it: a key has no colon.
    is_one = name and isinstance(node, DictConfig) and "_target_" in node
    return f"{GROUP}.{str(name).replace(':', '_')}." if is_one else ""


def may_be_long(overrides: Sequence[str]) -> bool:
    """Whether an override may have the long form."""
    return any(line.startswith(f"{GROUP}.") for line in overrides)


def shortened(text: str, prefix: str) -> str:
    """A key or an override in the short form, if it has the long form.

    >>> shortened("processor.map.dpi=100", "processor.map.")
    'processor.dpi=100'
    """
    if not prefix or not text.startswith(prefix):
        return text
    return f"{GROUP}.{text.removeprefix(prefix)}"


def shortened_values(values: list[Assignment], prefix: str) -> list[Assignment]:
    """The values of a point with their keys in the short form."""
    return [
        replace(each, key=shortened(each.key, prefix), text=shortened(each.text, prefix)) for each in values
    ]


def merge_long_form(config: DictConfig, typed: Collection[str]) -> None:
    """Merge the long form of a file into the only processor; `typed` are the paths that the user set."""
    name = long_prefix(config).removeprefix(f"{GROUP}.").removesuffix(".")
    inner = config[GROUP]._get_node(name, validate_access=False) if name else None
    if not isinstance(inner, DictConfig) or "_target_" in inner:
        return
    node = config[GROUP]
    OmegaConf.set_struct(node, False)
    del node[name]
    for key in inner:
        if f"{GROUP}.{key!s}" not in typed:  # the command wins over a file
            node[key] = inner._get_node(key)
    OmegaConf.set_struct(node, None)


def wrong_form(key: str, config: DictConfig, options: Collection[str]) -> str:
    """Why a setting is in the wrong place; '' if it is not. `options` are those of the group."""
    node = config._get_node(GROUP, validate_access=False)
    group, _, rest = key.partition(".")
    if group != GROUP or not rest or not isinstance(node, DictConfig):
        return ""
    name, _, setting = rest.partition(".")
    if "_target_" in node:
        chosen = str(config.hydra.runtime.choices.get(GROUP))
        if not setting or chosen == name or name not in options:
            return ""
        return (
            f"{key}: the processor is '{chosen}', not '{name}'. Add {GROUP}={name}, or "
            f"{GROUP}=[{chosen},{name}]"
        )
    owners = [str(each) for each in node if isinstance(node[each], DictConfig) and name in node[each]]
    if setting or not owners:
        return ""
    written = " or ".join(f"{GROUP}.{each}.{rest}" for each in owners)
    return f"{key}: there are several processors. Write {written}=..."
