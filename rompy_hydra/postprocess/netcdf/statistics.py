"""Minimum, mean and maximum of the variables of a netCDF file of any size."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rompy_hydra.postprocess.netcdf import conventions as cv
from rompy_hydra.postprocess.netcdf import variables
from rompy_hydra.postprocess.netcdf.dataset import blocks, is_numeric, opened, read
from rompy_hydra.postprocess.netcdf.reading import wet_parts
from rompy_hydra.postprocess.statistics import Tally

if TYPE_CHECKING:
    import xarray as xr

    from rompy_hydra.postprocess.netcdf.dataset import Floats


def netcdf_tallies(
    path: Path, wanted: Collection[str], dry_depth: float | None
) -> Iterator[tuple[str, Tally | None]]:
    """Every numeric variable by name, with its tally if it is one of `wanted`.

    If none is wanted by name, all are that tell more than where and when the others are. With a
    `dry_depth` (m), the level of shallower water is missing, and what ANUGA computed in its triangles
    (`stage_c`) stands for what it smoothed from that (`stage`). PostprocessError as of `opened`.
    """
    with opened(path) as groups:
        for group, dataset in groups.items():
            prefix = f"{group.replace('/', '.')}." if group else ""
            for name in [str(name) for name, each in dataset.variables.items() if is_numeric(each)]:
                told = not cv.is_auxiliary(dataset, name)
                told &= dry_depth is None or not cv.is_as_computed(dataset, name)
                chosen = f"{prefix}{name}" in wanted if wanted else told
                yield f"{prefix}{name}", _tally(dataset, name, dry_depth) if chosen else None


def _tally(dataset: xr.Dataset, name: str, dry_depth: float | None) -> Tally:
    import numpy as np

    tally = Tally()
    for values in _parts(dataset, name, dry_depth):
        valid = values[np.isfinite(values)]
        if not valid.size:
            tally.add_numbers(values.size, [])
            continue
        with np.errstate(over="ignore"):
            mean = float(valid.mean())
        if not np.isfinite(mean):
            mean = float((valid / valid.size).sum())
        tally.add(values.size, valid.size, float(valid.min()), mean, float(valid.max()))
    return tally


def _parts(dataset: xr.Dataset, name: str, dry_depth: float | None) -> Iterator[Floats]:
    if dry_depth is not None:
        name = cv.as_computed(dataset, name)
        if variables.is_level(dataset, name):
            dims = cv.space(dataset, dataset.variables[name])
            yield from (values for _, values in wet_parts(dataset, name, dims, dry_depth))
            return
    variable = dataset.variables[name]
    yield from (read(variable, block) for block in blocks(variable))
