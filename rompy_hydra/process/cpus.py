"""How many runs this process may have going at once."""

from __future__ import annotations

import math
import os
from pathlib import Path


def available_cores() -> int:
    """Cores that this process may use: its affinity, and its cgroup's quota, at least one."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cores, math.ceil(quota)) if quota else cores)


def _cgroup_quota() -> float | None:
    """CPUs that the control group allows (version 2, then 1), or None where nothing limits them."""
    group = ""
    try:
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                group = line[3:].strip("/")
    except OSError:
        return None
    quotas = []
    directory = Path("/sys/fs/cgroup") / group
    while True:  # a parent's limit holds for its children as well
        quotas.append(_quota_v2(directory / "cpu.max"))
        if directory == Path("/sys/fs/cgroup") or directory == directory.parent:
            break
        directory = directory.parent
    quotas.append(_quota_v1(Path("/sys/fs/cgroup/cpu")))
    return min((quota for quota in quotas if quota), default=None)


def _quota_v2(path: Path) -> float | None:
    try:
        quota, period = path.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _quota_v1(directory: Path) -> float | None:
    try:
        quota = int((directory / "cpu.cfs_quota_us").read_text())
        period = int((directory / "cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 else None
    except (OSError, ValueError):
        return None
