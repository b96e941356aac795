"""The number of CPU cores that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def available_cores() -> int:
    """Cores by CPU affinity and control group quota, at least one."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cores, math.ceil(quota)) if quota else cores)


def _cgroup_quota() -> float | None:
    """The CPU quota of the control group (version 2 or 1), or None if there is no limit."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    group = next((line[3:].strip("/") for line in lines if line.startswith("0::")), "")
    # The limit of a parent group applies to its children as well.
    directories = [_CGROUPS / group, *(_CGROUPS / group).parents]
    quotas = [_quota(each / "cpu.max") for each in directories if each.is_relative_to(_CGROUPS)]
    quotas.append(_quota(_CGROUPS / "cpu/cpu.cfs_quota_us", _CGROUPS / "cpu/cpu.cfs_period_us"))
    return min((quota for quota in quotas if quota > 0), default=None)


def _quota(*paths: Path) -> float:
    """CPUs per period; 0 or less if there is no limit ("max" in version 2, -1 in version 1)."""
    try:
        quota, period = " ".join(path.read_text() for path in paths).split()
        return int(quota) / int(period)
    except (OSError, ValueError):
        return 0.0
