"""Why a run failed: what its error files and its log say, and whether the disk is full."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator, Sequence

from rompy_hydra.regular_files import open_inside
from rompy_hydra.workspace import LOG, Workspace

# A file system with less space than this, in bytes, is called full: a model's last write did not fit.
_FULL = 65536
_NO_SPACE = re.compile(rb"(?i)no space left on device|disk quota exceeded|disk full|disk is full")
# What is read of a file at each of its ends, bytes.
_PART = 2**22
_QUOTED_FILES = 3
_QUOTED_LINES = 5
_ERROR_LINE = re.compile(
    r"(?i)(?<!\bno )(?<!\b0 )\berrors?\b(?!\s*[:=]\s*0\b)|\bfatal\b|\babort|\bsevere\b|\w*exception\b"
    r"|\btraceback\b|segmentation|\bkilled\b|no space|out of memory|\bfailed\b|\bcannot\b|\bnan\b"
)


def disk_is_full(workspace: Workspace) -> bool:
    """Whether no space is left on the file system of a run."""
    try:
        found = os.statvfs(workspace.root)
    except OSError:
        return False
    # A part of the blocks is for root only.
    free = found.f_bfree if os.getuid() == 0 else found.f_bavail
    return found.f_blocks > 0 and free * found.f_frsize < _FULL


def disk_was_full(workspace: Workspace) -> bool:
    """Whether the end of a run's log says so: a model may have deleted what it wrote."""
    try:
        with open_inside(workspace.root, LOG) as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - 65536))
            return bool(_NO_SPACE.search(log.read()))
    except OSError:
        return False


def quoted_files(workspace: Workspace, globs: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The first and last lines of the files that match, without empty ones."""
    found = (
        str(path.relative_to(workspace.path)) for g in globs for path in sorted(workspace.path.glob(g))
    )
    shown = 0
    for name in dict.fromkeys(found):
        lines = [line for line in _ends(workspace, name) if line.strip()]
        if lines and shown < _QUOTED_FILES:
            shown += 1
            more = len(lines) > 2 * _QUOTED_LINES
            yield name, [*lines[:_QUOTED_LINES], "...", *lines[-_QUOTED_LINES:]] if more else lines


def lines_like_errors(workspace: Workspace, shown: int) -> list[str]:
    """The first and last lines of `run.log` that look like errors, before its `shown` last lines.

    The cause is often at the beginning, and messages of MPI or a traceback at the end. Of a very large
    log, both ends are read.
    """
    first: list[str] = []
    last: deque[str] = deque(maxlen=2)
    recent: deque[str] = deque()
    for line in _ends(workspace, LOG):
        recent.append(line)
        if len(recent) > shown:
            old = recent.popleft()
            if _ERROR_LINE.search(old):
                if len(first) < 3:
                    first.append(old)
                else:
                    last.append(old)
    return [*first, *last]


def _ends(workspace: Workspace, name: str) -> Iterator[str]:
    """The lines at both ends of a regular file, cut to 500 characters that a terminal can show."""
    try:
        with open_inside(workspace.root, name) as file:
            size = os.fstat(file.fileno()).st_size
            text = file.read(_PART)
            if size > _PART:
                file.seek(max(_PART, size - _PART))
                text += b"\n" + file.read(_PART)
    except OSError:
        return
    for line in text.decode(errors="replace").splitlines():
        short = line.rstrip()[:500]
        yield "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in short)
