"""Which host and which process this is: names that distinguish it from any other and any later one."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import sys
from pathlib import Path


@functools.cache
def host() -> str:
    """The name of this host: of the machine, its boot, and the namespace of its process ids."""
    # Cloned machines share a host name, and containers may; machines differ in the id of their boot.
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8])
    # Containers on one machine share its boot, but do not see each other's processes.
    with contextlib.suppress(OSError):
        namespace = os.stat("/proc/self/ns/pid").st_ino
        if namespace != 0xEFFFFFFC:  # PROC_PID_INIT_INO in the kernel's include/linux/proc_ns.h
            parts.append(str(namespace))
    return "/".join(parts)


def start_time(pid: int) -> float | None:
    """When a process started, in seconds; None if it has ended, even as a zombie.

    On Linux they count from the boot, because the wall clock may be set; elsewhere from 1970.
    """
    if sys.platform == "linux":  # every start of this program needs it, and importing psutil takes long
        try:
            facts = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if facts[0] in "ZX" else int(facts[19]) / os.sysconf("SC_CLK_TCK")
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    return None
