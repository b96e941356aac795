"""Read text that models write, in whatever encoding."""

from __future__ import annotations

import codecs
import io
from typing import IO

# How an error of decoding is handled: a byte that is not UTF-8 is read as Latin-1.
_FALLBACK = "rompy_hydra.latin-1"


def _as_latin_1(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error(_FALLBACK, _as_latin_1)


def open_text(file: IO[bytes], newline: str | None = None) -> io.TextIOWrapper:
    """The text of a file: UTF-8, UTF-16 if it begins with the mark of it, and else Latin-1.

    `newline` is as for `open`. Closing the text closes the file.
    """
    start = file.read(4)
    # By hand: the codec of Python for this mark is a module, which may not be readable later.
    file.seek(len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0)
    # Two zeros after the mark are no text.
    utf_16 = start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) and start[2:] != b"\0\0"
    return io.TextIOWrapper(
        file, encoding="utf-16" if utf_16 else "utf-8", errors=_FALLBACK, newline=newline
    )
