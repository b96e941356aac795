"""Atomic file writes: into a temporary file beside the target, which is then renamed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from rompy_hydra.regular_files import create_new

# The temporary files of this module, which a killed process leaves.
_PARTIAL = re.compile(r"\..*[0-9]+-[0-9]+\.part")


def is_partial(path: str) -> bool:
    """Whether a file is by its name a temporary one of this module."""
    return path.endswith(".part") and bool(_PARTIAL.fullmatch(path.rsplit("/", 1)[-1]))


def write_atomic(path: str | Path, content: str | bytes, mode: int | None = None) -> None:
    """Write a file so that readers see either the old or the new content, even after a kill."""
    with _replacing(path) as part:
        _write(create_new(part), part, content, mode)


def write_new(path: str, content: str | bytes, mode: int | None = None) -> bool:
    """Write a file if none of this name exists; whether it was written.

    After a kill it may be incomplete, so nobody may trust it until the record lists it. That saves
    renaming a temporary file, which matters where files are written by the thousand.
    """
    try:
        # Descriptors take half the time of file objects, and every run writes several files.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    _write(descriptor, path, content, mode)
    return True


def copy_atomic(source: Path, target: str | Path) -> None:
    """Copy a file of any size with its permissions, so that `target` is never incomplete."""
    with _replacing(target) as part:
        os.close(create_new(part))
        shutil.copyfile(source, part, follow_symlinks=True)
        shutil.copymode(source, part)


def link_atomic(source: Path, target: str | Path) -> None:
    """Create a symbolic link to `source` at `target`, in place of an existing file."""
    with _replacing(target) as part:
        os.symlink(source, part)


def stream_atomic(path: str | Path, write: Callable[[IO[str]], object]) -> None:
    """Replace a text file of any size with what `write` writes, without holding it in memory."""
    with (
        _replacing(path) as part,
        open(create_new(part), "w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        write(file)


@contextlib.contextmanager
def _replacing(path: str | Path) -> Iterator[str]:
    """The name of a temporary file that becomes `path`, or is deleted if the block fails."""
    folder, name = os.path.split(path)
    # The name is cut: with what is added to it, it must not exceed 255 bytes.
    part = os.path.join(folder, f".{name[:50]}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        raise


def _write(descriptor: int, path: str, content: str | bytes, mode: int | None) -> None:
    """Write a new file and close it; it is deleted if that fails."""
    rest = memoryview(content.encode(errors="surrogateescape") if isinstance(content, str) else content)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if mode is not None:
            os.fchmod(descriptor, mode)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        raise
    finally:
        os.close(descriptor)
