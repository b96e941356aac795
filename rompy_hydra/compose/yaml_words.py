"""Unquoted values of parameters that YAML reads as something else than they look like.

`1:30` is the number 90 and `010` is 8 (YAML 1.1, as Hydra reads it): nobody means that, so it is refused.
`NO` and `off` are booleans, which some mean, so that is a warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from rompy_hydra.errors import ConfigError

# Whether a file may contain such a value: cheaper than parsing it once more.
_CANDIDATE = re.compile(
    r"(?i)[:\[,{-]\s*(?:yes|no|on|off)\s*(?:[,}\]#\n]|$)|\d:[0-5]?\d|[\s:\[,{+-]0[\d_]*\d"
)
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_BASE_8 = re.compile(r"[-+]?0[0-7_]+")
_WORDS = {"yes", "no", "on", "off"}


def misread_parameters(text: str, in_model: bool, file: str) -> tuple[str, ...]:
    """Warnings about words that become booleans; ConfigError for a number that is meant as a text.

    `in_model`: the text is the configuration of a model, and not one that has a model.
    """
    if "parameters" not in text or not _CANDIDATE.search(text):
        return ()
    try:
        root = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return ()  # reported by what loads it
    node = _below(root if in_model else _below(root, "model"), "parameters")
    found = []
    for path, each in _scalars(node, "model.parameters") if node is not None else ():
        where = f"{file}, line {each.start_mark.line + 1}"
        kind, written = each.tag.rpartition(":")[2], each.value
        if kind in ("int", "float") and (_BASE_60.fullmatch(written) or _BASE_8.fullmatch(written)):
            number = yaml.safe_load(written)
            raise ConfigError(
                f"{path}: YAML reads {written} as the number {number}. Put it in quotes: '{written}', or "
                f"write {number} ({where})"
            )
        if kind == "bool" and written.lower() in _WORDS:
            becomes = str(written.lower() in ("yes", "on")).lower()
            found.append(
                f"{path}: YAML reads {written} as {becomes}. Put it in quotes: '{written}', or write "
                f"{becomes} ({where})"
            )
    return tuple(found)


def _below(node: yaml.Node | None, name: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if key.value == name), None)


def _scalars(node: yaml.Node, path: str) -> Iterator[tuple[str, yaml.ScalarNode]]:
    if isinstance(node, yaml.ScalarNode):
        # Quoted texts are texts.
        if not node.style:
            yield path, node
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _scalars(value, f"{path}.{key.value}")
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _scalars(value, f"{path}[{number}]")
