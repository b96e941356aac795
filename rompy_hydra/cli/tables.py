"""Rows as aligned columns, and the table of what is wrong with a sweep."""

from __future__ import annotations

from collections.abc import Sequence

from rompy_hydra.cli.report import counted
from rompy_hydra.sweep.preflight import SHOWN_VALUES, Preflight

_SHOWN_PROBLEMS = 20
# A longer cell pushes the rest of its own row only.
_WIDEST = 48


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as aligned columns.

    >>> table([["run", "friction=0.01"], ["skip", "friction=0.02"]])
    ['run   friction=0.01', 'skip  friction=0.02']
    """
    widths = [min(max(len(cell) for cell in column), _WIDEST) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def problem_table(preflight: Preflight) -> list[str]:
    """All problems of all points; the same one once, with the number of points that have it."""
    found = list(preflight.problems.values())
    rows = [["points", "example", "key", "value", "reason", "what to do"]]
    for each in found[:_SHOWN_PROBLEMS]:
        problem = each.problem
        values = ", ".join([*each.values[:SHOWN_VALUES], *(["..."] if each.values[SHOWN_VALUES:] else [])])
        cells = [str(each.count), each.label, problem.path, values, problem.reason, problem.hint]
        rows.append([" ".join(cell.split()) for cell in cells])
    shown = [n for n in range(len(rows[0])) if any(row[n] for row in rows[1:])]
    lines = [_headline(len(found), preflight.size)]
    lines += [f"  {line}" for line in table([[row[n] for n in shown] for row in rows])]
    if len(found) > _SHOWN_PROBLEMS:
        lines.append(f"  ... and {len(found) - _SHOWN_PROBLEMS} more")
    return lines


def _headline(problems: int, points: int) -> str:
    told = f"{counted(problems, 'problem')} in {counted(points, 'point')}"
    return f"rompy-hydra: the sweep cannot start: {told}; nothing was changed"
