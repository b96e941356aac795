"""Reading the values that plausibility checks need from netCDF files and tables."""

from __future__ import annotations

import contextlib
import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from rompy_hydra.errors import PostprocessError, closest
from rompy_hydra.models.checks import EXTRA, Unreadable
from rompy_hydra.models.plausibility import Mask, OfFiles, OfVariable, Values
from rompy_hydra.reading.tables import column_of, is_too_large, number_of, open_table
from rompy_hydra.reading.text import open_text
from rompy_hydra.regular_files import open_inside, path_inside
from rompy_hydra.workspace import Workspace

if TYPE_CHECKING:
    import xarray as xr

    from rompy_hydra.reading.netcdf import Floats

# Cells, valid ones, their range, and those that are too large: what `Values.add` takes.
Part = tuple[int, int, float, float, int]

_NETCDF = {".nc", ".nc3", ".nc4", ".cdf", ".netcdf", ".sww"}
_CSV = {".csv", ".tsv"}


def is_netcdf(name: str) -> bool:
    """Whether a file or glob is netCDF by its suffix."""
    return PurePosixPath(name).suffix.lower() in _NETCDF


def is_table(name: str) -> bool:
    """Whether a file is delimited text by its suffix."""
    return PurePosixPath(name).suffix.lower() in _CSV


def values_of(workspace: Workspace, names: Sequence[str], check: OfVariable) -> Values:
    """The statistics of one variable over files; Unreadable if one of them lacks it."""
    found = Values()
    for name in names:
        with explained(name):
            read = _netcdf_values if is_netcdf(name) else _table_values
            for part in read(workspace, name, check):
                found.add(*part)
    return found


@contextlib.contextmanager
def explained(name: str) -> Iterator[None]:
    """A context in which each error becomes Unreadable with the name of the file."""
    try:
        yield
    except Unreadable as error:
        raise Unreadable(f"{name} {error}".rstrip()) from error
    except OSError as error:
        raise Unreadable(f"{name} {error.strerror or error}") from error
    except csv.Error as error:
        raise Unreadable(f"{name} is not a table: {error}") from error
    except PostprocessError as error:
        raise Unreadable(str(error)) from error
    except ImportError as error:
        raise Unreadable(f"{name} needs xarray and netCDF4 ({error}): {EXTRA}") from error


@contextlib.contextmanager
def open_datasets(workspace: Workspace, name: str) -> Iterator[Mapping[str, xr.Dataset]]:
    """The groups of a netCDF file of the run directory; see `reading.netcdf.open_groups`."""
    from rompy_hydra.reading.netcdf import open_groups

    with open_groups(Path(path_inside(workspace.root, name))) as groups:
        yield groups


def variables_of(groups: Mapping[str, xr.Dataset]) -> dict[str, xr.Variable]:
    """The variables of all groups; those of a group have its path before their name: `group.variable`."""
    return {
        f"{group.replace('/', '.')}.{name}" if group else str(name): variable
        for group, dataset in groups.items()
        for name, variable in dataset.variables.items()
    }


def _netcdf_values(workspace: Workspace, name: str, check: OfVariable) -> Iterator[Part]:
    from rompy_hydra.reading.netcdf import blocks, is_numeric, read

    with open_datasets(workspace, name) as groups:
        known = variables_of(groups)
        variable = named(known, check.variable)
        if 0 in variable.shape:
            return
        if not is_numeric(variable):
            raise Unreadable(f"has no numbers in '{check.variable}'")
        for at in blocks(variable):
            values = read(variable[at], keep_infinite=True)
            for missing in check.missing:
                values[values == missing] = math.nan
            if check.mask is not None:
                slices = dict(zip(map(str, variable.dims), at, strict=True))
                values = values[_applies(named(known, check.mask.variable), check.mask, variable, slices)]
            yield _summary(values)


def _applies(variable: xr.Variable, mask: Mask, of: xr.Variable, slices: Mapping[str, slice]) -> Floats:
    """Where a mask applies to a block of the variable `of`, as booleans of the block's shape."""
    import numpy as np

    from rompy_hydra.reading.netcdf import read

    if foreign := [str(dim) for dim in variable.dims if dim not in of.dims]:
        raise Unreadable(
            f"has the dimension '{foreign[0]}' in the mask '{mask.variable}', which the variable lacks"
        )
    part = variable.isel({dim: slices[str(dim)] for dim in variable.dims})
    order = [dim for dim in of.dims if dim in variable.dims]
    values = read(part).transpose(part.get_axis_num(order))
    inside = np.isfinite(values)
    if mask.min is not None:
        inside &= values >= mask.min
    if mask.max is not None:
        inside &= values <= mask.max
    shape = [len(range(*slices[str(d)].indices(n))) for d, n in of.sizes.items()]
    narrow = [size if dim in order else 1 for dim, size in zip(of.dims, shape, strict=True)]
    return np.broadcast_to(inside.reshape(narrow), shape)


def _summary(values: Floats) -> Part:
    import numpy as np

    valid = values[np.isfinite(values)]
    low, high = float(valid.min(initial=np.inf)), float(valid.max(initial=-np.inf))
    return values.size, valid.size, low, high, int(np.isinf(values).sum())


def named(variables: Mapping[str, xr.Variable], name: str | int) -> xr.Variable:
    """A variable by its name; Unreadable if there is none."""
    if str(name) not in variables:
        raise Unreadable(f"has no variable '{name}'. {closest(str(name), variables)}")
    return variables[str(name)]


@contextlib.contextmanager
def read_table(
    workspace: Workspace, name: str, check: OfFiles
) -> Iterator[tuple[list[str], Iterator[list[str]]]]:
    """The column names and rows of a table of the run directory."""
    with open_text(open_inside(workspace.root, name), newline="") as file:
        yield open_table(file, is_table(name) and not check.widths, check.widths)


def _table_values(workspace: Workspace, name: str, check: OfVariable) -> Iterator[Part]:
    with read_table(workspace, name, check) as (names, rows):
        every = check.variable == "*"
        column = 0 if every else column_index(names, check.variable)
        mask = check.mask
        masked = None if mask is None else column_index(names, mask.variable)
        for row in rows:
            if mask is not None and masked is not None:
                inside = _cell(row, masked)
                if math.isnan(inside) or mask.excess(inside, inside):
                    continue
            for cell in row if every else row[column : column + 1] or ("",):
                number = number_of(cell)
                if math.isfinite(number) and number not in check.missing:
                    yield 1, 1, number, number, 0
                else:
                    yield 1, 0, math.inf, -math.inf, int(math.isinf(number) or is_too_large(cell))


def column_index(names: Sequence[str], variable: str | int) -> int:
    """The index of a column by its name or its number from 1; Unreadable if there is none."""
    index = column_of(names, variable)
    if index is None:
        raise Unreadable(f"has no column '{variable}'. {closest(str(variable), names)}")
    return index


def _cell(row: Sequence[str], column: int) -> float:
    return number_of(row[column]) if column < len(row) else math.nan
