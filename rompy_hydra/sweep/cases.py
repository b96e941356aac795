"""Files of cases: one row or item a point, its columns configuration keys."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

from rompy_hydra.errors import ConfigError
from rompy_hydra.provenance import Json
from rompy_hydra.sweep.points import Assignment, Axis

# Makes an assignment of a key and a value from a file; a string may still be a number.
Assign = Callable[[str, Json], Assignment]


def read_cases(path: Path, assign: Assign) -> Axis:
    """The cases of a `.csv`, `.yaml` or `.yml` file as one axis of a sweep.

    ConfigError names the line of a ragged row, a duplicate, an empty file, a file that is not there.
    """
    try:
        if path.suffix.lower() == ".csv":
            rows = _csv_rows(path)
        elif path.suffix.lower() in {".yaml", ".yml"}:
            rows = _yaml_rows(path)
        else:
            raise ConfigError(f"sweep.cases: {path} must end in .csv, .yaml or .yml")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"sweep.cases: cannot read {path}: {reason}") from error
    if not rows:
        raise ConfigError(f"sweep.cases: {path} has no cases")
    seen: dict[tuple[tuple[str, str], ...], str] = {}
    axis: list[tuple[Assignment, ...]] = []
    for place, row in rows:
        assignments = tuple(assign(key, value) for key, value in row.items())
        case = tuple(sorted((a.key, a.text) for a in assignments))
        if case in seen:
            raise ConfigError(f"sweep.cases: {path}, {place} repeats {seen[case]}")
        seen[case] = place
        axis.append(assignments)
    return axis


def _csv_rows(path: Path) -> list[tuple[str, Mapping[str, Json]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header)
        rows: list[tuple[str, Mapping[str, Json]]] = []
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                raise ConfigError(
                    f"sweep.cases: {path}, line {reader.line_num} has {len(row)} values, and the "
                    f"header has {len(header)} columns"
                )
            values = (cell.strip() for cell in row)
            rows.append((f"line {reader.line_num}", dict(zip(header, values, strict=True))))
    return rows


def _check_header(path: Path, header: list[str]) -> None:
    if not header or not all(header):
        raise ConfigError(f"sweep.cases: {path} needs a first line with a configuration key a column")
    doubled = {name for name in header if header.count(name) > 1}
    if doubled:
        raise ConfigError(f"sweep.cases: {path} has the column '{min(doubled)}' twice")


def _yaml_rows(path: Path) -> list[tuple[str, Mapping[str, Json]]]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"sweep.cases: {path} is no YAML: {error}") from error
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise ConfigError(f"sweep.cases: {path} must be a list of mappings from keys to values")
    keys = list(data[0]) if data else []
    for number, item in enumerate(data, 1):
        if set(item) != set(keys):
            raise ConfigError(
                f"sweep.cases: {path}, item {number} has the keys {sorted(item)}, and the first has "
                f"{sorted(keys)}"
            )
    return [(f"item {number}", item) for number, item in enumerate(data, 1)]
