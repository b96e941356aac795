"""Read the variables of netCDF files of any size with xarray, in blocks, with NaN for missing values."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import netCDF4
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rompy_hydra.errors import PostprocessError
from rompy_hydra.reading.hdf5 import leads_elsewhere
from rompy_hydra.reading.netcdf3 import Truncated, check_size

Floats = NDArray[np.float64]

# Values read at once, 8 bytes each; one chunk of a compressed file may be larger.
BLOCK_VALUES = 4_000_000

# The netCDF and HDF5 libraries are not thread-safe.
_LOCK = threading.Lock()


@contextlib.contextmanager
def open_groups(path: Path) -> Iterator[dict[str, xr.Dataset]]:
    """Open a netCDF file and return its groups by path, the root group as `""`. Reads only the header.

    Values are as stored; `read` decodes them. Raises PostprocessError if the file cannot be read, now or
    later, if it is truncated, or if other files would be read with it.
    """
    groups: dict[str, xr.Dataset] = {}
    try:
        with _LOCK, _read_errors(path):
            check_size(path)
            if wrong := leads_elsewhere(path):
                raise PostprocessError(
                    f"{path} {wrong}, which is not followed: copy the values into it (h5repack, nccopy), "
                    "or select other outputs"
                )
            # No decoding of times and of packed numbers.
            groups = xr.open_groups(
                path,
                engine="netcdf4",
                cache=False,
                decode_times=False,
                decode_timedelta=False,
                mask_and_scale=False,
            )
        yield {name.strip("/"): groups[name] for name in sorted(groups)}
    finally:
        with _LOCK:
            for dataset in groups.values():
                dataset.close()


@contextlib.contextmanager
def _read_errors(path: object) -> Iterator[None]:
    try:
        yield
    except Truncated as error:
        raise PostprocessError(f"{path} {error}. The model may have ended while it wrote it") from error
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PostprocessError(
            f"cannot read {path} as netCDF: {error}. The file may be incomplete or in another format: fix "
            "it, or select other outputs"
        ) from error


def is_numeric(variable: xr.Variable) -> bool:
    """Whether a variable is not empty and has integers, floating-point numbers or booleans."""
    return variable.dtype.kind in "iufb" and all(variable.shape)


def blocks(variable: xr.Variable) -> Iterator[tuple[slice, ...]]:
    """Divide a variable into blocks that fit in memory, aligned with its chunks on disk."""
    shape = variable.shape
    stored = variable.encoding.get("chunksizes") or []
    if len(stored) != len(shape):  # not on disk in this form
        stored = [1] * len(shape)
    block = [min(chunk, size) for chunk, size in zip(stored, shape, strict=True)]
    for axis in reversed(range(len(shape))):
        room = max(1, BLOCK_VALUES // math.prod(block))
        block[axis] = min(shape[axis], block[axis] * room)
    ranges = [range(0, size, step) for size, step in zip(shape, block, strict=True)]
    for starts in itertools.product(*ranges):
        yield tuple(slice(start, start + step) for start, step in zip(starts, block, strict=True))


def read(variable: xr.Variable, keep_infinite: bool = False) -> Floats:
    """Read a variable as float64, with NaN for missing values.

    Values are missing if they are not finite, equal `_FillValue` or `missing_value`, or were never
    written. Packed numbers are unpacked. `keep_infinite` keeps infinite values.
    """
    with _LOCK, _read_errors(variable.encoding.get("source", "the output")):
        raw = np.asarray(variable.values)
    return decode(raw, variable.attrs, keep_infinite)


def decode(raw: NDArray[np.generic], attrs: Mapping[str, object], keep_infinite: bool = False) -> Floats:
    """Stored numbers as float64, with NaN for missing values; infinite ones are, unless they are kept."""
    kind = raw.dtype.kind
    fills = [fill for key in ("_FillValue", "missing_value") for fill in _numbers(attrs.get(key))]
    if "_FillValue" not in attrs and raw.dtype.itemsize > 1:
        fills += _numbers(netCDF4.default_fillvals.get(raw.dtype.str[1:]))
    missing = np.zeros(raw.shape, dtype=bool)
    if kind == "f":
        missing = np.isnan(raw) if keep_infinite else ~np.isfinite(raw)
    with np.errstate(over="ignore"):
        for fill in fills:
            missing |= raw == (raw.dtype.type(fill) if kind == "f" else fill)
    if kind == "i" and str(attrs.get("_Unsigned", "")).lower() == "true":
        raw = raw.view(raw.dtype.str.replace("i", "u"))
    values = raw.astype(np.float64)
    for scale in _numbers(attrs.get("scale_factor")):
        values *= scale
    for offset in _numbers(attrs.get("add_offset")):
        values += offset
    values[missing] = np.nan
    return values


def _numbers(attribute: object) -> list[float]:
    if attribute is None:
        return []
    try:
        return [float(value) for value in np.atleast_1d(np.asarray(attribute))]
    except (TypeError, ValueError):
        return []
