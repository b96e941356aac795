"""Case files: each row or list item is a point, and the columns are configuration keys."""

from __future__ import annotations

import csv
import datetime
import re
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import yaml

from rompy_hydra.errors import ConfigError
from rompy_hydra.jsonable import MOST_NODES, Json, expands_too_much
from rompy_hydra.regular_files import open_chosen, read_chosen
from rompy_hydra.sweep.points import Assignment

# The place of a row, for messages, and its values by key.
Row = tuple[str, dict[str, Json]]

_KEY = re.compile(r"\+{0,2}[\w$-]+([./@:][\w$-]+)*", re.ASCII)


def read_cases(
    path: Path, assign: Callable[[str, Json], Assignment], typed: Callable[[str, Any], Assignment]
) -> list[tuple[Assignment, ...]]:
    """Read a `.csv`, `.yaml` or `.yml` file of cases: one axis of a sweep.

    `assign` makes an override of a key and a value; `typed` of a key and a text of a CSV file, which
    may stand for a number. ConfigError if the file is missing, empty or invalid: a column is not a
    key, or a row (named by its line) is too short or too long or repeats another one.
    """
    kind = path.suffix.lower()
    if kind not in {".csv", ".yaml", ".yml"}:
        raise ConfigError(f"sweep.cases: {path} must end in .csv, .yaml or .yml")
    try:
        rows = _csv_rows(path) if kind == ".csv" else _yaml_rows(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"sweep.cases: cannot read {path}: {reason}") from error
    if not rows:
        raise ConfigError(f"sweep.cases: {path} has no cases")
    assign = typed if kind == ".csv" else assign
    cases = []
    places: dict[tuple[str, ...], str] = {}
    for place, row in rows:
        cases.append(tuple(assign(key, value) for key, value in row.items()))
        first = places.setdefault(tuple(sorted(each.text for each in cases[-1])), place)
        if first != place:
            raise ConfigError(f"sweep.cases: {path}, {place} repeats {first}")
    return cases


def _csv_rows(path: Path) -> list[Row]:
    rows: list[Row] = []
    with open(open_chosen(path), newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            _check_keys(path, header)
            for row in reader:
                values, line = [cell.strip() for cell in row], f"line {reader.line_num}"
                if any(values) and len(values) != len(header):
                    raise ConfigError(
                        f"sweep.cases: {path}, {line} has {len(values)} values, but the header has "
                        f"{len(header)} columns"
                    )
                if any(values):
                    rows.append((line, dict(zip(header, values, strict=True))))
        except csv.Error as error:
            raise ConfigError(f"sweep.cases: {path}, line {reader.line_num}: {error}") from error
    return rows


def _check_keys(path: Path, keys: Sequence[object]) -> None:
    if not keys or "" in keys:
        raise ConfigError(f"sweep.cases: {path}: each column needs a configuration key as its header")
    for key in keys:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise ConfigError(
                f"sweep.cases: {path}: the column '{key}' is not a configuration key such as "
                "model.friction (columns are separated by commas)"
            )
        if keys.count(key) > 1:
            raise ConfigError(f"sweep.cases: {path} has the column '{key}' twice")


class _Loader(yaml.SafeLoader):
    """Refuses duplicate keys, of which the loader of PyYAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        keys = [key.value for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1} has the key '{twice}' twice")
        return super().construct_mapping(node, deep)


def _yaml_rows(path: Path) -> list[Row]:
    text = read_chosen(path).decode("utf-8-sig")
    if expands_too_much(text):
        raise ConfigError(f"sweep.cases: {path}: its aliases stand for more than {MOST_NODES} values")
    try:
        data = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"sweep.cases: {path} is not valid YAML: {error}") from error
    data = [] if data is None else data
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise ConfigError(f"sweep.cases: {path} must be a list of mappings from keys to values")
    if data:
        _check_keys(path, list(data[0]))
    rows = []
    for number, item in enumerate(data, 1):
        if item.keys() != data[0].keys():
            keys, first = (", ".join(sorted(map(str, each))) or "none" for each in (item, data[0]))
            raise ConfigError(
                f"sweep.cases: {path}, item {number} has the keys {keys}, but the first has {first}"
            )
        rows.append((f"item {number}", {key: _plain(path, key, value) for key, value in item.items()}))
    return rows


def _plain(path: Path, key: str, value: object) -> Json:
    """A YAML value as JSON; dates and times become text."""
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    if isinstance(value, list):
        return [_plain(path, key, each) for each in value]
    if isinstance(value, dict):
        return {str(name): _plain(path, key, each) for name, each in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ConfigError(f"sweep.cases: {path}: {key} has a value of the type {type(value).__name__}")
