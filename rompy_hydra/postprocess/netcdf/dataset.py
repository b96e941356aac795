"""Reading netCDF outputs of any size: opened by xarray, read in blocks, as numbers with NaN for missing."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rompy_hydra.errors import PostprocessError

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Values that are in memory at once, 8 bytes each; one chunk of a compressed file may be more.
BLOCK_VALUES = 4_000_000

# The netCDF and HDF5 libraries must not be called from two threads at once.
_LOCK = threading.Lock()


@contextlib.contextmanager
def opened(path: Path) -> Iterator[dict[str, xr.Dataset]]:
    """The groups of a netCDF file by path, the root under `""`. Nothing is read but the header.

    Values are as they are stored: `read` decodes them. PostprocessError names the file if it cannot be
    read, then or later, or if the libraries are not installed.
    """
    try:
        import netCDF4
        import xarray as xr
    except ImportError as error:
        raise PostprocessError(
            f"reading {path} needs xarray and netCDF4 ({error}): pip install 'rompy-hydra[analysis]'"
        ) from error
    groups: dict[str, xr.Dataset] = {}
    try:
        with _LOCK, _readable(path):
            with netCDF4.Dataset(path) as file:
                names = list(_group_names(file))
            for name in names:
                # Units such as `s` or `seconds since` stay what they are, and so do packed numbers.
                groups[name] = xr.open_dataset(
                    path,
                    group=name or None,
                    engine="netcdf4",
                    cache=False,
                    decode_times=False,
                    decode_timedelta=False,
                    mask_and_scale=False,
                )
        yield groups
    finally:
        with _LOCK:
            for dataset in groups.values():
                dataset.close()


@contextlib.contextmanager
def _readable(path: object) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PostprocessError(
            f"cannot read {path} as netCDF: {error}. It may be incomplete, or of another format; mend "
            "it, or name the outputs to read with the processor's setting of files"
        ) from error


def _group_names(group: object, prefix: str = "") -> Iterator[str]:
    yield prefix
    for name, below in sorted(getattr(group, "groups", {}).items()):
        yield from _group_names(below, f"{prefix}/{name}" if prefix else name)


def is_numeric(variable: xr.Variable) -> bool:
    """Whether the values are integers, floating-point numbers or logical."""
    return variable.dtype.kind in "iufb" and all(variable.shape)


def blocks(variable: xr.Variable) -> Iterator[tuple[slice, ...]]:
    """Cut a variable into parts that fit in memory, along the chunks that it is stored in."""
    shape = variable.shape
    stored = variable.encoding.get("chunksizes") or [1] * len(shape)
    block = [min(chunk, size) for chunk, size in zip(stored, shape, strict=True)]
    for axis in reversed(range(len(shape))):
        room = max(1, BLOCK_VALUES // math.prod(block))
        block[axis] = min(shape[axis], block[axis] * room)
    ranges = [range(0, size, step) for size, step in zip(shape, block, strict=True)]
    for starts in itertools.product(*ranges):
        yield tuple(slice(start, start + step) for start, step in zip(starts, block, strict=True))


def read(variable: xr.Variable, index: tuple[slice | int, ...] = ()) -> Floats:
    """A part of a variable, or all of it, as float64 with NaN where it is missing.

    Missing is what is not finite, equals `_FillValue` or `missing_value`, or was never written.
    Packed numbers are unpacked.
    """
    import numpy as np

    with _LOCK, _readable(variable.encoding.get("source", "the output")):
        raw = np.asarray(variable[index].values)
    return decoded(raw, variable.attrs)


def decoded(raw: NDArray[np.generic], attrs: Mapping[str, object]) -> Floats:
    """Stored numbers as float64, with NaN where they are missing."""
    import netCDF4
    import numpy as np

    kind = raw.dtype.kind
    fills = [fill for key in ("_FillValue", "missing_value") for fill in _numbers(attrs.get(key))]
    if "_FillValue" not in attrs and raw.dtype.itemsize > 1:
        fills += _numbers(netCDF4.default_fillvals.get(raw.dtype.str[1:]))
    missing = ~np.isfinite(raw) if kind == "f" else np.zeros(raw.shape, dtype=bool)
    for fill in fills:
        if kind == "f":
            with np.errstate(over="ignore"):
                missing |= raw == raw.dtype.type(fill)
        else:
            missing |= raw == fill
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
    import numpy as np

    if attribute is None:
        return []
    try:
        return [float(value) for value in np.atleast_1d(np.asarray(attribute))]
    except (TypeError, ValueError):
        return []
