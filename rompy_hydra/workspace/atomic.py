"""Atomic file writes: into a temporary file beside the target, which is then renamed."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from rompy_hydra.process.identity import host, start_time
from rompy_hydra.regular_files import create_new

# The temporary files of this module, which a killed process leaves.
_PARTIAL = re.compile(r"\..*[0-9]+-[0-9]+\.part")
# Those that name their writer's host and process; version 0.1.0 did not name the host.
_WRITER = re.compile(r"\..*\.([0-9a-f]{8})\.([0-9]+)-[0-9]+\.part")
# A writer on another host is dead if it has not finished in this time.
_ABANDONED_SECONDS = 3600.0


def is_partial(path: str) -> bool:
    """Whether a file is by its name a temporary one of this module."""
    return path.endswith(".part") and bool(_PARTIAL.fullmatch(path.rsplit("/", 1)[-1]))


def partial_name(name: str) -> str:
    """The name of a temporary file for a file, which no other thread on any host uses."""
    # The name is cut: with what is added to it, it must not exceed 255 bytes.
    return f".{name[:50]}.{_host_tag()}.{os.getpid()}-{threading.get_ident()}.part"


def remove_partials(directory: str, exclusive: bool) -> None:
    """Delete the temporary files that dead writers left in a directory.

    `exclusive` says that nobody on another host may write there now; else theirs are kept for an hour.
    """
    with contextlib.suppress(FileNotFoundError):
        for entry in list(os.scandir(directory)):
            writer = _WRITER.fullmatch(entry.name) if entry.name.endswith(".part") else None
            if writer is None:
                continue
            with contextlib.suppress(OSError):
                if writer[1] == _host_tag():
                    is_dead = start_time(int(writer[2])) is None
                else:
                    age = time.time() - entry.stat(follow_symlinks=False).st_mtime
                    is_dead = exclusive or age > _ABANDONED_SECONDS
                if is_dead:
                    os.unlink(entry.path)


@functools.cache
def _host_tag() -> str:
    return hashlib.sha256(host().encode()).hexdigest()[:8]


def write_atomic(path: str | Path, content: str | bytes, mode: int | None = None) -> None:
    """Write a file so that readers see either the old or the new content, even after a kill."""
    with replacing(path) as part:
        # From the start: what only the owner may read must not be readable while it is written.
        _write(create_new(part, mode=0o666 if mode is None else mode), part, content, mode)


def write_new(path: str, content: str | bytes, mode: int | None = None) -> bool:
    """Write a file if none of this name exists; whether it was written.

    After a kill it may be incomplete, so nobody may trust it until the record lists it. That saves
    renaming a temporary file, which matters where files are written by the thousand.
    """
    try:
        # Descriptors take half the time of file objects, and every run writes several files.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode)
    except FileExistsError:
        return False
    _write(descriptor, path, content, mode)
    return True


def copy_atomic(source: Path, target: str | Path) -> None:
    """Copy a file of any size with its permissions, so that `target` is never incomplete."""
    with replacing(target) as part:
        os.close(create_new(part))
        shutil.copyfile(source, part, follow_symlinks=True)
        shutil.copymode(source, part)


def link_atomic(source: Path, target: str | Path) -> None:
    """Create a symbolic link to `source` at `target`, in place of an existing file."""
    with replacing(target) as part:
        os.symlink(source, part)


def stream_atomic(path: str | Path, write: Callable[[IO[str]], object]) -> None:
    """Replace a text file of any size with what `write` writes, without holding it in memory."""
    with (
        replacing(path) as part,
        open(create_new(part), "w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        write(file)


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[str]:
    """The name of a temporary file that becomes `path`, or is deleted if the block fails."""
    folder, name = os.path.split(path)
    part = os.path.join(folder, partial_name(name))
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
