"""Minimum, mean and maximum of the variables of a netCDF file of any size."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import xarray as xr

from rompy_hydra.postprocess.netcdf import conventions as cv
from rompy_hydra.postprocess.netcdf import variables
from rompy_hydra.postprocess.netcdf.dataset import blocks, is_numeric, open_groups, read
from rompy_hydra.postprocess.netcdf.field import Floats
from rompy_hydra.postprocess.netcdf.reading import wet_blocks
from rompy_hydra.postprocess.statistics import RunningStatistics


def netcdf_statistics(
    path: Path, selected: Collection[str], dry_depth: float | None
) -> Iterator[tuple[str, RunningStatistics | None]]:
    """Each numeric variable by name, with its statistics if it is one of `selected`.

    If `selected` is empty, all variables are, except coordinates, times and connectivity. With a
    `dry_depth` (m), water levels in shallower water are missing, and ANUGA's centroid values (`stage_c`)
    replace the variable that is smoothed from them (`stage`). Raises PostprocessError as `open_groups`.
    """
    with open_groups(path) as groups:
        for group, dataset in groups.items():
            prefix = f"{group.replace('/', '.')}." if group else ""
            for name in [str(name) for name, each in dataset.variables.items() if is_numeric(each)]:
                wanted = f"{prefix}{name}" in selected
                if not selected and not cv.is_auxiliary(dataset, name):
                    wanted = dry_depth is None or not cv.is_at_centroids(dataset, name)
                yield f"{prefix}{name}", _statistics(dataset, name, dry_depth) if wanted else None


def _statistics(dataset: xr.Dataset, name: str, dry_depth: float | None) -> RunningStatistics:
    found = RunningStatistics()
    for values in _read_blocks(dataset, name, dry_depth):
        valid = values[np.isfinite(values)]
        with np.errstate(over="ignore"):
            mean = valid.sum() / max(valid.size, 1)
        if not np.isfinite(mean):
            mean = (valid / valid.size).sum()
        low, high = valid.min(initial=np.inf), valid.max(initial=-np.inf)
        found.add(values.size, valid.size, float(low), float(mean), float(high))
    return found


def _read_blocks(dataset: xr.Dataset, name: str, dry_depth: float | None) -> Iterator[Floats]:
    if dry_depth is not None:
        name = cv.centroid_name(dataset, name)
        if variables.is_water_level(dataset, name):
            dims = cv.spatial_dims(dataset, dataset.variables[name])
            yield from (values for _, values in wet_blocks(dataset, name, dims, dry_depth))
            return
    variable = dataset.variables[name]
    yield from (read(variable, block) for block in blocks(variable))
