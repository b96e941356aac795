"""How much memory the processes of a run take."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

# ru_maxrss is in KiB on Linux and in bytes on macOS.
_UNIT = 1 if sys.platform == "darwin" else 1024


class PeakMemory:
    """The largest process of a run, in bytes.

    The kernel's own figure (`ru_maxrss`) counts from before exec, so it is never below the size of
    this driver. Larger models are told exactly by it; smaller ones by looking at their high-water
    marks from time to time, and ones that are too quick for two looks are not told at all.
    """

    # This process's own high-water mark, when it was last looked at: it only grows.
    _own = 0

    def __init__(self) -> None:
        self._sampled = 0
        self._looks = 0

    def look(self, pid: int) -> None:
        """Look at a process and its descendants."""
        self._looks += 1
        for process in [pid, *_children(pid)]:
            with contextlib.suppress(OSError, ValueError, IndexError):
                status = Path(f"/proc/{process}/status").read_text()
                kib = int(status.split("VmHWM:", 1)[1].split()[0])
                self._sampled = max(self._sampled, kib * 1024)

    def peak(self, ru_maxrss: int) -> int | None:
        """The peak, from the kernel's figure for the ended command and from what was seen."""
        kernel = ru_maxrss * _UNIT
        # The child began with this process's memory, its highest mark included.
        if kernel > PeakMemory._own * 1.05:
            PeakMemory._own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
        if kernel > PeakMemory._own * 1.05:
            return kernel
        # A single look may have come while the model's program was still being loaded.
        return self._sampled if self._sampled and self._looks > 1 else None


def _children(pid: int) -> list[int]:
    """Descendants by the kernel's own list: quicker than a walk over all processes."""
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *_children(int(child))]
    return found
