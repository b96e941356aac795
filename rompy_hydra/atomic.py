"""Files that are whole at any moment: written beside their place, then renamed into it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

# What this module leaves when it is killed, and what `run.sh` does.
_PARTIAL = re.compile(r"\..*[0-9]+-[0-9]+\.part|\.exit_code\.part")


def is_partial(path: str) -> bool:
    """Whether a file of this name is what a killed writer left."""
    return bool(_PARTIAL.fullmatch(path.rsplit("/", 1)[-1]))


def write_atomic(path: Path, content: str | bytes, mode: int | None = None) -> None:
    """Write a file so that a reader, or a kill at any moment, sees the old or the new content whole."""
    data = content.encode(errors="surrogateescape") if isinstance(content, str) else content
    with _part(path) as part:
        # By descriptors: this is done several times in every run, and half as quick by way of files.
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            if mode is not None:
                os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)


def copy_atomic(source: Path, target: Path) -> None:
    """Copy a file of any size, with its permissions, so that `target` is never half a file."""
    with _part(target) as part:
        shutil.copyfile(source, part)
        shutil.copymode(source, part)


def link_atomic(source: Path, target: Path) -> None:
    """Put a symbolic link to `source` at `target`, in place of what is there."""
    with _part(target) as part:
        part.symlink_to(source)


@contextlib.contextmanager
def _part(path: Path) -> Iterator[Path]:
    """A name beside `path` for the block to make; it becomes `path` at the end, or is taken away."""
    # Cut short: together with what is added a name must not exceed 255 bytes.
    part = path.with_name(f".{path.name[:50]}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
