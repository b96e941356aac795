"""Whether an HDF5 file, such as netCDF-4, leads to other files when it is read.

A variable can be stored in any other file (external storage, virtual datasets), or be a link to one of
another file. The libraries follow all of them, also to pipes and to files that the model itself could not
read. No setting stops them, and netCDF does not show what leads where. So the same library that netCDF4
has loaded is asked first: it parses the file as it will when it is read.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_uint, c_void_p
from pathlib import Path

# In the C API, unchanged since HDF5 1.8.
_BY_NAME = _NATIVE_ORDER = 0
_ALL_ERRORS = _DEFAULT = 0
_GROUP, _DATATYPE = 2, 3
_HARD, _SOFT, _EXTERNAL = 0, 1, 64
_IN_THIS_FILE = {0, 1, 2}  # layouts: compact, contiguous, chunked

# int32 type at the beginning of a structure that depends on the version.
_Visitor = ctypes.CFUNCTYPE(c_int, c_int64, c_char_p, POINTER(c_int), c_void_p)
_FUNCTIONS: dict[str, tuple[type, ...]] = {  # the result, and the arguments
    "H5Eset_auto2": (c_int, c_int64, c_void_p, c_void_p),
    "H5Fopen": (c_int64, c_char_p, c_uint, c_int64),
    "H5Fclose": (c_int, c_int64),
    "H5Iget_type": (c_int, c_int64),
    "H5Lget_val": (c_int, c_int64, c_char_p, c_void_p, c_size_t, c_int64),
    "H5Oopen": (c_int64, c_int64, c_char_p, c_int64),
    "H5Oclose": (c_int, c_int64),
    "H5Dget_create_plist": (c_int64, c_int64),
    "H5Pclose": (c_int, c_int64),
    "H5Pget_layout": (c_int, c_int64),
    "H5Pget_external_count": (c_int, c_int64),
    "H5Pget_external": (c_int, c_int64, c_uint, c_size_t, c_void_p, c_void_p, c_void_p),
}
_VISIT: tuple[type, ...] = (c_int, c_int64, c_int, c_int, _Visitor, c_void_p)
# By version of the library, 1.12 and 1.10: functions, and the place of the number of links in H5O_info_t.
_VERSIONS = (("H5Lvisit2", "H5Oget_info3", 28), ("H5Lvisit", "H5Oget_info", 20))
_BASIC_INFO = 1

# Formats of netCDF that have no means to refer to a file.
_CLASSIC = (b"CDF\x01", b"CDF\x02", b"CDF\x05")
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Deeper ones would exhaust the stack of the libraries.
_MOST_LEVELS = 100
_LONGEST_NAME = 4096
# netCDF would go round such groups without an end.
_SEVERAL_NAMES = "has the group '{}' under several names, perhaps inside of itself"


def leads_elsewhere(path: Path) -> str | None:
    """What is wrong with reading a netCDF file: an object that is kept in another file. None if none is.

    OSError or ValueError if the file cannot be opened, or is in another format. Call it under the lock of
    the libraries, which are not thread-safe.
    """
    with open(path, "rb") as file:
        start = file.read(len(_SIGNATURE))
    if start.startswith(_CLASSIC):
        return None
    if start != _SIGNATURE:
        raise ValueError("it is neither netCDF-3 nor HDF5, or it was not written completely")
    library = _library()
    opened = library.H5Fopen(os.fsencode(path), 0, _DEFAULT)
    if opened < 0:
        raise ValueError("the HDF5 library cannot open it")
    wrong: list[str] = []
    soft_links: list[bytes] = []
    raised: list[BaseException] = []

    def visit(group: int, name: bytes, kind: ctypes.Array[c_int], _data: None) -> int:
        try:
            if kind[0] == _SOFT:
                soft_links.append(name)
                return 0
            found = _wrong_object(library, group, name, kind[0])
        except BaseException as error:  # noqa: BLE001 - ctypes would print it and go on
            raised.append(error)
            return 1
        wrong.extend([found] if found else [])
        return bool(found)

    try:
        if library.visit(opened, _BY_NAME, _NATIVE_ORDER, _Visitor(visit), None) < 0:
            raise ValueError("the HDF5 library cannot list its variables")
        if raised:
            raise raised[0]
        # They lead to other objects of this file; to find out which follows other links as well.
        wrong += [found for name in soft_links if not wrong and (found := _to_group(library, opened, name))]
    finally:
        library.H5Fclose(opened)
    return wrong[0] if wrong else None


def _wrong_object(library: _Library, group: int, path: bytes, link: int) -> str | None:
    name = path.decode(errors="replace")
    if path.count(b"/") >= _MOST_LEVELS:
        return f"has groups nested more than {_MOST_LEVELS} levels deep"
    if link != _HARD:
        target = ctypes.create_string_buffer(_LONGEST_NAME)
        known = link == _EXTERNAL and library.H5Lget_val(group, path, target, _LONGEST_NAME, _DEFAULT) >= 0
        file = target.raw[1:].split(b"\0")[0].decode(errors="replace") if known else "another file"
        return f"has '{name}' as a link to {file}"
    opened = library.H5Oopen(group, path, _DEFAULT)
    if opened < 0:
        raise ValueError(f"the HDF5 library cannot open its object '{name}'")
    try:
        kind = library.H5Iget_type(opened)
        if kind == _GROUP and library.count_links(opened) != 1:
            return _SEVERAL_NAMES.format(name)
        return None if kind in (_GROUP, _DATATYPE) else _storage(library, opened, name)
    finally:
        library.H5Oclose(opened)


def _to_group(library: _Library, file: int, path: bytes) -> str | None:
    opened = library.H5Oopen(file, path, _DEFAULT)
    if opened < 0:
        return None  # it leads nowhere
    is_group = library.H5Iget_type(opened) == _GROUP
    library.H5Oclose(opened)
    return _SEVERAL_NAMES.format(path.decode(errors="replace")) if is_group else None


def _storage(library: _Library, dataset: int, name: str) -> str | None:
    settings = library.H5Dget_create_plist(dataset)
    if settings < 0:
        raise ValueError(f"the HDF5 library does not know how '{name}' is stored")
    try:
        if library.H5Pget_external_count(settings) != 0:
            target = ctypes.create_string_buffer(_LONGEST_NAME)
            library.H5Pget_external(settings, 0, _LONGEST_NAME - 1, target, None, None)
            return f"keeps '{name}' in {target.value.decode(errors='replace') or 'another file'}"
        if library.H5Pget_layout(settings) not in _IN_THIS_FILE:
            return f"keeps '{name}' in other files, as a virtual dataset"
        return None
    finally:
        library.H5Pclose(settings)


class _Library(ctypes.CDLL):
    """The library, with functions whose names depend on the version."""

    visit: Callable[[int, int, int, object, None], int]
    count_links: Callable[[int], int]


@functools.cache
def _library() -> _Library:
    """The HDF5 library that netCDF4 is linked with."""
    from netCDF4 import _netCDF4

    # Names are looked up in what the module depends on as well.
    library = _Library(_netCDF4.__file__)
    try:
        for name, (result, *arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        visit, get_info, offset = next(
            (getattr(library, visit), getattr(library, info), offset)
            for visit, info, offset in _VERSIONS
            if hasattr(library, visit)
        )
    except (AttributeError, StopIteration) as error:
        raise ValueError(
            f"the installed netCDF4 hides its HDF5 library ({error}), so that nobody knows which other "
            "files it would read: install the netCDF4 of PyPI or conda-forge"
        ) from error
    visit.restype, visit.argtypes = _VISIT[0], _VISIT[1:]
    get_info.restype, get_info.argtypes = c_int, (c_int64, c_void_p, c_uint)

    def count_links(identifier: int) -> int:
        info = ctypes.create_string_buffer(1024)  # larger than the structure
        # Before 1.12, the function takes no third argument, and ignores it.
        return -1 if get_info(identifier, info, _BASIC_INFO) < 0 else c_uint.from_buffer(info, offset).value

    library.visit, library.count_links = visit, count_links
    library.H5Eset_auto2(_ALL_ERRORS, None, None)  # else it prints them
    return library
