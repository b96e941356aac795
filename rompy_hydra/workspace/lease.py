"""Who works on a run: a lock that needs no server and survives the death of its owner.

A driver claims a run by creating `claims/N.json` with link(2), which is atomic on local disks and on
NFS. Nobody ever deletes or rewrites a claim: to take over from a dead owner, a driver claims number
N+1, and only one driver succeeds. An owner on this machine is dead when its process is gone; an owner
elsewhere when its claim was not touched for `STALE_SECONDS`, measured by the file system's own clock.

The driver's heartbeat touches its claims. If the driver dies, its lease keeper does so until the models
that it left have ended. A driver that was stopped for too long finds its claim lost (`is_lost`) before it
writes anything.

Version 0.1.0 kept claims in `attempts/N.claim`: they still count, and the next claim continues their
numbers.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import json
import os
import stat
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rompy_hydra.errors import ConfigError, GenerateError
from rompy_hydra.process.identity import host, start_time
from rompy_hydra.process.tree import RUN_MARK
from rompy_hydra.regular_files import create_new, read_regular, touch_regular
from rompy_hydra.workspace import ATTEMPTS, CLAIMS, Workspace
from rompy_hydra.workspace.atomic import partial_name

# The variable is for tests only: all drivers that share a directory must agree on it.
STALE_SECONDS = float(os.environ.get("ROMPY_HYDRA_STALE_SECONDS", "300"))
_HEARTBEAT_SECONDS = STALE_SECONDS / 10
# Blocks in a few hundred kilobytes of memory until the driver ends, and becomes the keeper if need be.
_SENTRY = 'cd /; while read -r line; do [ "$line" = end ] && exit; done; exec "$@"'
_KEEPER = """import sys
sys.path.append({root!r})
from rompy_hydra.workspace.lease_keeper import main
main(sys.argv[1])
"""
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
    started = start_time(pid)
    assert started is not None
    return Owner(host(), pid, round(started, 2))


def process_start_time() -> float:
    """The start time of this process by the wall clock: seconds since 1970."""
    if sys.platform == "linux":
        return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - me().started)
    return me().started


def is_alive(owner: Owner, claim: str) -> bool:
    """Whether the owner still works under its claim, given by its path."""
    if owner == me():
        return claim in _heartbeat.claims
    if owner.host == host():
        return lives_here(owner)
    return _age(Path(claim)) < STALE_SECONDS


def lives_here(owner: Owner) -> bool:
    """Whether a process of this machine is alive; a zombie is not."""
    started = start_time(owner.pid)
    return started is not None and abs(started - owner.started) < 0.1


def latest(workspace: Workspace) -> int:
    """The number of the newest claim; 0 if there is none."""
    number = 0
    for folder, suffix in _PLACES:
        try:
            names = os.listdir(workspace.at(folder))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for name in names:
            stem = name.removesuffix(suffix) if name.endswith(suffix) else ""
            if stem.isdecimal() and len(stem) < 19:  # a longer number is that of no claim
                number = max(number, int(stem))
    return number


def owner_of(workspace: Workspace, number: int) -> Owner | None:
    """Whose claim it is; None if nobody knows, or if its owner did nothing under it."""
    path = claim_path(workspace, number)
    try:
        if os.path.exists(f"{os.path.splitext(path)[0]}.unused"):
            return None
        facts = json.loads(read_regular(path))
        return Owner(str(facts["host"]), int(facts["pid"]), float(facts["started"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
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
    """The current snapshot of a run directory; ConfigError if it is a link."""
    try:
        facts = os.lstat(workspace.root)
    except (FileNotFoundError, NotADirectoryError):
        return EMPTY
    if stat.S_ISLNK(facts.st_mode):
        # A model that can reach the directory above could let a driver work anywhere.
        raise ConfigError(
            f"{workspace.root} is a symbolic link, and a run directory may not be one. Remove the link, or "
            "set output_dir to where the directory is"
        )
    return Snapshot(facts.st_ino, latest(workspace)) if stat.S_ISDIR(facts.st_mode) else EMPTY


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
        claims = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError as error:
        if not os.path.lexists(folder) or error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        raise GenerateError(
            f"cannot claim the run: {folder} is not a directory ({error.strerror}), perhaps because of a "
            "model. Remove it, or set overwrite=true, which moves the run directory aside"
        ) from error
    # Written under another name and then linked, so that no reader sees half a claim.
    name = f"{number}.json"
    draft = partial_name(name)
    try:
        above = os.stat("..", dir_fd=claims)
        if directory not in (0, above.st_ino):
            return False
        file = create_new(draft, dir_fd=claims)
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
    _heartbeat.watch(f"{folder}/{number}.json", above.st_ino)
    return True


def is_lost(workspace: Workspace, number: int) -> bool:
    """Whether another driver has taken over a claim of this process, which it took for dead.

    That is cheap enough to ask before everything that is written.
    """
    inode = _heartbeat.claims.get(workspace.at(f"{CLAIMS}/{number}.json"))
    try:
        # Another driver may have set the directory aside, and has then claimed a new one.
        facts = os.lstat(workspace.root)
        if facts.st_ino != inode and (stat.S_ISLNK(facts.st_mode) or owner_of(workspace, number) != me()):
            return True
    except FileNotFoundError:
        return False
    return os.path.lexists(workspace.at(f"{CLAIMS}/{number + 1}.json"))


def release(workspace: Workspace, number: int, unused: bool = False) -> None:
    """Stop working under a claim of this process; its file stays as a fact.

    `unused` says that nothing was done under it, so that nobody waits for its owner.
    """
    path = workspace.at(f"{CLAIMS}/{number}")
    _heartbeat.claims.pop(f"{path}.json", None)
    if unused:
        with contextlib.suppress(OSError):
            touch_regular(f"{path}.unused")


def _age(path: Path) -> float:
    """Seconds since a file was touched, by the clock of its file system instead of this machine's."""
    probe = path.with_name(partial_name("clock"))
    now = time.time()
    with contextlib.suppress(OSError):
        os.close(create_new(probe))
        now = probe.lstat().st_mtime
        probe.unlink()
    with contextlib.suppress(OSError):
        return now - path.lstat().st_mtime
    return float("inf")


class _Heartbeat:
    """One daemon thread that touches all claims of this process, so that other hosts see it alive."""

    def __init__(self) -> None:
        # The path of each claim, with the inode of its run directory.
        self.claims: dict[str, int] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        # The process that has a lease keeper: a fork of it has none.
        self._kept = 0

    def watch(self, claim: str, directory: int) -> None:
        """Touch a claim from now on; the lease keeper lives before anything is done under it."""
        with self._lock:
            if self._kept != os.getpid():
                self._kept = os.getpid()
                # As long as this process lives, the keeper is not needed.
                with contextlib.suppress(OSError, NotImplementedError):
                    _start_keeper()
            self.claims[claim] = directory
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, daemon=True, name="heartbeat")
                self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(_HEARTBEAT_SECONDS)
            for claim in list(self.claims):
                # A network share may be unavailable until the next beat.
                with contextlib.suppress(OSError):
                    os.utime(claim, follow_symlinks=False)


def _start_keeper() -> None:
    """Start the keeper in its own session; the end of its standard input is the end of this process.

    It is a shell until then: starting Python would take longer than many a run.
    """
    reader, writer = os.pipe()
    keeper = _KEEPER.format(root=str(Path(__file__).parents[2]))
    # Not `-m`: that looks for modules in the working directory first.
    python = [sys.executable, "-P", "-c", keeper, json.dumps(vars(me()))]
    # A model that starts this program must not have to end the keeper.
    environment = {name: value for name, value in os.environ.items() if name != RUN_MARK}
    try:
        os.posix_spawn(
            "/bin/sh",
            ["/bin/sh", "-c", _SENTRY, "lease_keeper", *python],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, reader, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
    finally:
        os.close(reader)
    atexit.register(_end_keeper, os.getpid(), writer)


def _end_keeper(pid: int, writer: int) -> None:
    """Tell the keeper that this process ends and leaves no model."""
    if pid == os.getpid() and not _heartbeat.claims:
        with contextlib.suppress(OSError):
            os.write(writer, b"end\n")


_heartbeat = _Heartbeat()
