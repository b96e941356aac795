"""rompy's files as configuration files of this program: text with comments.

The lines of the user's own file are kept, with their comments, as far as they mean the same here; each
result is read again before it is written, and must have the values that `--rompy` would use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rompy_hydra.compose.rompy_files import BACKEND, MODEL, PIPELINE, PROCESSOR, Node, RompyFile
from rompy_hydra.compose.rompy_yaml import compose_section
from rompy_hydra.errors import ConfigError

_COMMENTS = {
    "run_id": "the name of the run directory; run_id=NAME chooses another one",
    "output_dir": "parent of the run directories",
    "overwrite": "rompy's delete_existing; an earlier run is moved aside, not deleted",
    "start": "UTC",
    "end": "two of start, end and duration are given",
    "interval": "time between outputs",
}
# Where a file has the lines of an option: the keys that lead to it.
_SECTIONS = {
    (PIPELINE, "model"): ("config", "config"),
    ("run", "model"): ("config",),
    (MODEL, "model"): (),
    (PIPELINE, "run_backend"): ("backend",),
    (BACKEND, "run_backend"): (),
    (PIPELINE, "processor"): ("postprocessor",),
    (PROCESSOR, "processor"): (),
}
_WORD = re.compile(r"[A-Za-z_./](?:[\w./ -]*[\w./-])?")


def converted(file: RompyFile, allowed: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """The path below a configuration directory, and the text, of each option of a file."""
    for option, node in file.options.items():
        group = option.partition("/")[0]
        title = f"# From rompy's {file.path.name}: {group}={file.name}\n"
        if group == "experiment":
            title = "# @package _global_\n" + title
        keys = _SECTIONS.get((file.kind, group))
        text = None if keys is None else _preserved(file.path, allowed, keys, node)
        if text is None:
            text = _dumped(node)
        if group in ("run_backend", "processor"):
            text += "".join(f"# {note}\n" for note in file.notes if "left out" in note)
        if _read(title + text) != node:
            raise ConfigError(
                f"{file.path}: {option} cannot be written as a configuration file; use --rompy"
            )
        yield f"{option}.yaml", title + text


def _read(text: str) -> Any:
    try:
        return OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except (yaml.YAMLError, OmegaConfBaseException, ValueError):
        return None


def _dumped(node: Node) -> str:
    """A node as text, with comments of its own."""
    lines = []
    for key, value in node.items():
        text = yaml.dump({key: value}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
        comment = _COMMENTS.get(key) if text.count("\n") == 1 else None
        lines.append(f"{text.rstrip()}   # {comment}\n" if comment else text)
    return "".join(lines)


class _Dumper(yaml.SafeDumper):
    """Writes texts in quotes unless they are words: Hydra reads some that YAML does not as numbers."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    is_word = _WORD.fullmatch(text) and yaml.safe_load(text) == text and _is_same(text, text)
    style = None if is_word else "'" if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _preserved(path: Path, allowed: Sequence[str], keys: Sequence[str], node: Node) -> str | None:
    """The user's own lines with the values of a node; None if they cannot be kept."""
    found = compose_section(path, allowed, keys)
    if found is None or not isinstance(found[1], yaml.MappingNode) or found[1].flow_style:
        return None
    text, mapping = found
    expected = {key: value for key, value in node.items() if key != "_target_"}
    column, lines = mapping.start_mark.column, text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    first, last = mapping.start_mark.line, _last_line(mapping)
    while first and re.match(rf" {{{column},}}#", lines[first - 1]):  # a comment before the first key
        first -= 1
    edits = list(_edits(mapping, expected, text))
    dropped: set[int] = set()
    for key, value in mapping.value:
        if all(str(name) != key.value for name in expected):
            dropped.update(range(key.start_mark.line, _last_line(value) + 1))
    changed = _applied(
        text, edits, starts[first], starts[last + 1] if last + 1 < len(starts) else len(text)
    )
    if dropped:
        if edits:
            return None  # the lines may have moved
        kept = [
            line for number, line in enumerate(lines) if first <= number <= last and number not in dropped
        ]
        changed = "".join(kept)
    body = _dedented(changed, column)
    result = None if body is None else f"_target_: {node['_target_']}\n{body.rstrip()}\n"
    return result if result is not None and _read(result) == node else None


def _last_line(node: yaml.Node) -> int:
    """The last line of a node; a block ends where the next token starts."""
    end = node.end_mark
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        item = node.value[-1]
        return _last_line(item[1] if isinstance(item, tuple) else item)
    is_block_text = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
    return end.line - 1 if is_block_text and end.column == 0 else end.line


def _edits(node: yaml.Node, expected: Any, text: str) -> Iterator[tuple[int, int, str]]:
    """Start, end and replacement of each value that Hydra would read in another way."""
    start, end = node.start_mark.index, node.end_mark.index
    if isinstance(node, yaml.MappingNode) and isinstance(expected, Mapping):
        for key, value in node.value:
            names = [each for each in expected if str(each) == key.value]
            if names:
                yield from _edits(value, expected[names[0]], text)
    elif isinstance(node, yaml.SequenceNode) and isinstance(expected, list):
        for value, each in zip(node.value, expected, strict=False):
            yield from _edits(value, each, text)
    elif node.tag == "!include":
        flow = yaml.dump(expected, Dumper=_Dumper, default_flow_style=True, sort_keys=False, width=10**6)
        yield start, end, flow.strip().removesuffix("...").strip()
    elif isinstance(node, yaml.ScalarNode) and not _is_same(text[start:end], expected):
        quoted = yaml.dump(expected, Dumper=_Dumper, default_style="'", width=10**6, allow_unicode=True)
        yield start, end, quoted.strip() + ("\n" if text[start:end].endswith("\n") else "")


def _is_same(source: str, expected: Any) -> bool:
    """Whether Hydra reads a scalar as this value."""
    try:
        return bool(
            OmegaConf.to_container(OmegaConf.create(f"k: {source}"), resolve=False) == {"k": expected}
        )
    except (yaml.YAMLError, OmegaConfBaseException, ValueError):
        return False


def _applied(text: str, edits: Sequence[tuple[int, int, str]], start: int, end: int) -> str:
    for first, last, new in sorted(edits, reverse=True):
        text = text[:first] + new + text[last:]
        end += len(new) - (last - first)
    return text[start:end]


def _dedented(text: str, column: int) -> str | None:
    """Lines without their common indentation; None if one has less."""
    found = []
    for line in text.splitlines(keepends=True):
        head = line[:column]
        if head.strip() and not line.lstrip().startswith("#"):
            return None
        found.append(line.lstrip(" ") if head.strip() or not line.strip() else line[column:])
    return "".join(found)
