"""The size that the header of a classic netCDF file requires, to find files that were cut off.

The netCDF library reads what is missing at the end of a classic file as zeros, without an error.
Source: "The NetCDF Classic Format Specification", in the NetCDF User's Guide of Unidata: versions 1
(CLASSIC), 2 (64BIT_OFFSET) and 5 (64BIT_DATA).
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import IO

# Bytes of a value, by the number of its type: byte, char, short, int, float, double; more in version 5.
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}
_DIMENSIONS, _VARIABLES, _ATTRIBUTES = 10, 11, 12
# The number of records while a file is written as a stream.
_STREAMING = (2**32 - 1, 2**64 - 1)


class Truncated(ValueError):
    """A file ends before the data that its header describes; the message has both sizes."""


def check_size(path: Path) -> None:
    """Raise Truncated if a classic netCDF file is too short; other files pass. Only the header is read."""
    with path.open("rb") as file:
        magic = file.read(4)
        if magic[:3] != b"CDF" or magic[3:] not in (b"\x01", b"\x02", b"\x05"):
            return
        size = file.seek(0, 2)
        file.seek(4)
        try:
            required = _Header(file, magic[3], size).required_size()
        except (struct.error, KeyError, IndexError) as error:
            raise Truncated(f"is truncated or damaged: its {size} bytes end within the header") from error
    if size < required:
        raise Truncated(f"is truncated: it has {size} of the {required} bytes that its header requires")


class _Header:
    """Reads a header from its second word. struct.error, KeyError or IndexError if it is incomplete."""

    def __init__(self, file: IO[bytes], version: int, size: int) -> None:
        self._file, self._size = file, size
        self._count = ">Q" if version == 5 else ">I"
        self._offset = ">I" if version == 1 else ">Q"

    def required_size(self) -> int:
        """The end of the last value, without the padding that some programs leave out."""
        records = self._number(self._count)
        lengths = []
        for _ in range(self._elements(_DIMENSIONS)):
            self._skip_name()
            lengths.append(self._number(self._count))
        self._skip_attributes()
        required = self._file.tell()
        of_records: list[tuple[int, int]] = []
        for _ in range(self._elements(_VARIABLES)):
            self._skip_name()
            dimensions = [self._number(self._count) for _ in range(self._number(self._count))]
            self._skip_attributes()
            width = _BYTES[self._number(">I")]
            self._number(self._count)  # the size, which does not fit if it is large
            begin = self._number(self._offset)
            shape = [lengths[number] for number in dimensions]
            if shape and shape[0] == 0:  # the unlimited dimension
                of_records.append((begin, width * math.prod(shape[1:])))
            elif size := width * math.prod(shape):
                required = max(required, begin + size)
        required = max(required, self._file.tell())
        if records in _STREAMING or not records or not of_records:
            return required
        # A single variable is not padded.
        step = of_records[0][1] if len(of_records) == 1 else sum(_padded(size) for _, size in of_records)
        return max(required, *(begin + (records - 1) * step + size for begin, size in of_records))

    def _number(self, form: str) -> int:
        number: int = struct.unpack(form, self._file.read(struct.calcsize(form)))[0]
        return number

    def _elements(self, tag: int) -> int:
        found, count = self._number(">I"), self._number(self._count)
        if found not in (0, tag) or count > self._size:
            raise KeyError(found)
        return count

    def _skip_name(self) -> None:
        self._skip(self._number(self._count))

    def _skip_attributes(self) -> None:
        for _ in range(self._elements(_ATTRIBUTES)):
            self._skip_name()
            width = _BYTES[self._number(">I")]
            self._skip(width * self._number(self._count))

    def _skip(self, size: int) -> None:
        if self._file.seek(_padded(size), 1) > self._size:
            raise IndexError(size)


def _padded(size: int) -> int:
    return (size + 3) // 4 * 4
