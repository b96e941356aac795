"""Who works on a run: a lock that needs no server and survives the death of its owner.

A driver claims a run by creating `claims/N.json` with link(2), which is atomic on local disks and on
NFS. Nobody ever deletes or rewrites a claim: to take over from a dead owner, a driver claims number
N+1, and only one driver succeeds. An owner on this machine is dead when its process is gone; an owner
elsewhere when its claim was not touched for `STALE_SECONDS`, measured by the file system's own clock.

Version 0.1.0 kept claims in `attempts/N.claim`: they still count, and the next claim continues their
numbers.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rompy_hydra.workspace import ATTEMPTS, CLAIMS, Workspace

STALE_SECONDS = 300.0
_HEARTBEAT_SECONDS = 30.0
# Work that takes less than this ends before anyone could consider its driver dead.
_SHORT_SECONDS = 2.0
# The directory of the claims and the suffix of their names, now and in version 0.1.0.
_PLACES = ((CLAIMS, ".json"), (ATTEMPTS, ".claim"))


@dataclass(frozen=True)
class Owner:
    """A driver process, distinct from any later one with the same process id.

    `started` is in seconds after the boot that `host` names, because the wall clock may be set while a
    driver works; on systems other than Linux it is in seconds since 1970.
    """

    host: str
    pid: int
    started: float


def me() -> Owner:
    """This process."""
    return _owner(os.getpid())


@functools.cache
def _owner(pid: int) -> Owner:
    started = _start_time(pid)
    assert started is not None
    return Owner(_host(), pid, round(started, 2))


def _start_time(pid: int) -> float | None:
    """The start time of a process as in `Owner.started`; None if it has ended, even as a zombie."""
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


def process_start_time() -> float:
    """The start time of this process by the wall clock: seconds since 1970."""
    if sys.platform == "linux":
        return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - me().started)
    return me().started


@functools.cache
def _host() -> str:
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


def is_alive(owner: Owner, claim: str) -> bool:
    """Whether the owner still works under its claim, given by its path."""
    if owner == me():
        return claim in _heartbeat.since
    if owner.host == _host():
        return lives_here(owner)
    return _age(Path(claim)) < STALE_SECONDS


def lives_here(owner: Owner) -> bool:
    """Whether a process of this machine is alive; a zombie is not."""
    started = _start_time(owner.pid)
    return started is not None and abs(started - owner.started) < 0.1


def latest(workspace: Workspace) -> int:
    """The number of the newest claim; 0 if there is none."""
    numbers = [0]
    for folder, suffix in _PLACES:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            names = map(os.path.splitext, os.listdir(workspace.at(folder)))
            # A longer number is that of no claim.
            numbers += [int(s) for s, end in names if end == suffix and s.isdecimal() and len(s) < 19]
    return max(numbers)


def owner_of(workspace: Workspace, number: int) -> Owner | None:
    """Whose claim it is; None if nobody knows, or if its owner did nothing under it."""
    path = claim_path(workspace, number)
    try:
        if os.path.exists(f"{os.path.splitext(path)[0]}.unused"):
            return None
        facts = json.loads(Path(path).read_text())
        return Owner(str(facts["host"]), int(facts["pid"]), float(facts["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def holder(workspace: Workspace, number: int) -> Owner | None:
    """The owner of a claim if it still works on the run; None otherwise."""
    owner = owner_of(workspace, number)
    return owner if owner and is_alive(owner, claim_path(workspace, number)) else None


def claim_path(workspace: Workspace, number: int) -> str:
    """The file of a claim, also if version 0.1.0 created it."""
    new, old = (workspace.at(f"{folder}/{number}{suffix}") for folder, suffix in _PLACES)
    return old if not os.path.exists(new) and os.path.exists(old) else new


class Snapshot(NamedTuple):
    """The inode of a run directory, which a later one of its name does not have, and its newest claim.

    Both are 0 if there is none.
    """

    directory: int = 0
    number: int = 0

    def is_outdated(self, now: Snapshot) -> bool:
        """Whether another driver has claimed the run since, or has set the directory aside."""
        moved = self.directory != 0 and now.directory != self.directory
        return moved or now.number > self.number


EMPTY = Snapshot()


def snapshot(workspace: Workspace) -> Snapshot:
    """The current snapshot of a run directory."""
    try:
        return Snapshot(os.stat(workspace.at("")).st_ino, latest(workspace))
    except (FileNotFoundError, NotADirectoryError):
        return EMPTY


def claim(workspace: Workspace, number: int, directory: int = 0) -> bool:
    """Try to claim the run with this number; False if another driver was first.

    Also False if the run directory is gone, or is no longer `directory`: a number that was read in a
    directory that has been set aside since says nothing about its successor.
    """
    folder, owner = workspace.at(CLAIMS), me()
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)
        # A descriptor stays with the directory, wherever that is moved.
        claims = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    # Written under another name and then linked, so that no reader sees half a claim.
    draft, name = f".{owner.pid}-{threading.get_ident()}.part", f"{number}.json"
    try:
        above = os.stat("..", dir_fd=claims)
        if directory not in (0, above.st_ino):
            return False
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666, dir_fd=claims)
        try:
            os.write(file, json.dumps(vars(owner)).encode())
        finally:
            os.close(file)
        os.link(draft, name, src_dir_fd=claims, dst_dir_fd=claims)
        # The directory may have been set aside just now, and the claim with it.
        if not os.path.samestat(above, os.stat(workspace.at(""))):
            return False
    except (FileExistsError, FileNotFoundError):
        return False
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=claims)
        os.close(claims)
    _heartbeat.watch(f"{folder}/{number}.json")
    return True


def release(workspace: Workspace, number: int, unused: bool = False) -> None:
    """Stop working under a claim of this process; its file stays as a fact.

    `unused` says that nothing was done under it, so that nobody waits for its owner.
    """
    path = workspace.at(f"{CLAIMS}/{number}")
    _heartbeat.since.pop(f"{path}.json", None)
    if unused:
        with contextlib.suppress(OSError):
            Path(f"{path}.unused").touch()


def _age(path: Path) -> float:
    """Seconds since a file was touched, by the clock of its file system instead of this machine's."""
    probe = path.with_name(f".clock-{os.getpid()}-{threading.get_ident()}.part")
    now = time.time()
    with contextlib.suppress(OSError):
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
    with contextlib.suppress(OSError):
        return now - path.stat().st_mtime
    return float("inf")


class _Heartbeat:
    """One daemon thread that touches all claims of this process, so that other hosts see it alive.

    Once a claim is held for seconds, it starts the lease keeper, which continues if this process dies
    and leaves models running. The end of the keeper's standard input is the end of this process.
    """

    def __init__(self) -> None:
        # The claims, each with the time since when this process holds it.
        self.since: dict[str, float] = {}
        self._has_keeper = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(self, claim: str) -> None:
        """Touch a claim from now on."""
        with self._lock:
            self.since[claim] = time.monotonic()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, daemon=True, name="heartbeat")
                self._thread.start()

    def _run(self) -> None:
        beat = time.monotonic()
        while True:
            time.sleep(_HEARTBEAT_SECONDS if self._has_keeper else _SHORT_SECONDS)
            now = time.monotonic()
            since = dict(self.since)
            if not self._has_keeper and any(now - begin >= _SHORT_SECONDS for begin in since.values()):
                self._has_keeper = True
                # As long as this process lives, the keeper is not needed.
                with contextlib.suppress(OSError, NotImplementedError):
                    _start_keeper()
            if now - beat >= _HEARTBEAT_SECONDS:
                beat = now
                for claim in since:
                    try:
                        os.utime(claim)
                    except FileNotFoundError:
                        self.since.pop(claim, None)
                    except OSError:
                        continue  # a network share may be unavailable until the next beat


def _start_keeper() -> None:
    """Start the keeper in its own session; only the end of this process closes its standard input."""
    reader, _writer = os.pipe()
    try:
        os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "rompy_hydra.workspace.lease_keeper", json.dumps(vars(me()))],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, reader, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
    finally:
        os.close(reader)


_heartbeat = _Heartbeat()
