"""Peak memory of the processes of a run."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes


class PeakMemory:
    """Peak memory of the largest process of a run, in bytes.

    The kernel's figure (`ru_maxrss`) counts from before exec, so it is never smaller than this driver.
    It is exact for larger models. For smaller models, their high-water marks are sampled at intervals;
    for models too short for two samples, the peak is unknown.
    """

    # This process's own high-water mark when it was last read: it only grows.
    _own = 0

    def __init__(self) -> None:
        self._sampled = 0
        self._samples = 0

    def sample(self, pid: int) -> None:
        """Read the high-water marks of a process and its descendants."""
        self._samples += 1
        for process in [pid, *_descendants(pid)]:
            with contextlib.suppress(OSError, ValueError, IndexError):
                status = Path(f"/proc/{process}/status").read_text()
                kib = int(status.split("VmHWM:", 1)[1].split()[0])
                self._sampled = max(self._sampled, kib * 1024)

    def peak(self, ru_maxrss: int) -> int | None:
        """The peak, from the kernel's figure for the ended command and the samples; None if unknown."""
        kernel = ru_maxrss * _UNIT
        # The child started with this process's memory, including its high-water mark.
        if kernel > PeakMemory._own * 1.05:
            PeakMemory._own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
        if kernel > PeakMemory._own * 1.05:
            return kernel
        # The first sample may have been taken while the program was still loading.
        return self._sampled if self._sampled and self._samples > 1 else None


def _descendants(pid: int) -> list[int]:
    """All descendants by the kernel's own list, which is faster than scanning all processes."""
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *_descendants(int(child))]
    return found
