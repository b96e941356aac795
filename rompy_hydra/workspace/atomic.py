"""Files that are whole at any moment: written beside their place, then renamed into it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

# What this module leaves when it is killed.
_PARTIAL = re.compile(r"\..*[0-9]+-[0-9]+\.part")


def is_partial(path: str) -> bool:
    """Whether a file of this name is what a killed writer left."""
    return path.endswith(".part") and bool(_PARTIAL.fullmatch(path.rsplit("/", 1)[-1]))


def write_atomic(path: str | Path, content: str | bytes, mode: int | None = None) -> None:
    """Write a file so that a reader, or a kill at any moment, sees the old or the new content whole."""
    data = _bytes(content)
    _put(path, lambda part: _fill(_opened(part, os.O_TRUNC), data, mode))


def write_new(path: str, content: str | bytes, mode: int | None = None) -> bool:
    """Write a file that nobody trusts before this process has said, elsewhere, that it is whole.

    False if there is one already. Without a second name and its change, which take their time where
    files are made by the thousand.
    """
    data = _bytes(content)
    try:
        descriptor = _opened(path, os.O_EXCL)
    except FileExistsError:
        return False
    try:
        _fill(descriptor, data, mode)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        raise
    return True


def _bytes(content: str | bytes) -> bytes:
    return content.encode(errors="surrogateescape") if isinstance(content, str) else content


# By descriptors: this is done several times in every run, and half as quick by way of files.
def _opened(path: str, how: int) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o666)


def _fill(descriptor: int, data: bytes, mode: int | None) -> None:
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if mode is not None:
            os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def copy_atomic(source: Path, target: str | Path) -> None:
    """Copy a file of any size, with its permissions, so that `target` is never half a file."""

    def copy(part: str) -> None:
        shutil.copyfile(source, part)
        shutil.copymode(source, part)

    _put(target, copy)


def link_atomic(source: Path, target: str | Path) -> None:
    """Put a symbolic link to `source` at `target`, in place of what is there."""
    _put(target, lambda part: os.symlink(source, part))


def stream_atomic(path: str | Path, write: Callable[[IO[str]], object]) -> None:
    """Replace a text file of any size with what `write` writes, without holding it in memory."""

    def fill(part: str) -> None:
        with open(part, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            write(file)

    _put(path, fill)


def _put(path: str | Path, make: Callable[[str], None]) -> None:
    """Let `make` make a file beside `path` that becomes `path`, or is taken away if that fails."""
    folder, name = os.path.split(path)
    # Cut short: together with what is added a name must not exceed 255 bytes.
    part = os.path.join(folder, f".{name[:50]}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        make(part)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        raise
