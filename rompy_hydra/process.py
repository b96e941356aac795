"""One command in a session of its own: log to a file, time limit, whole-tree end, resource use."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from rompy_hydra.workspace import RUN_MARK


class StopSignal:
    """Asks running commands of other threads to end; wakes them at once, without polling."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._event = threading.Event()

    def set(self) -> None:
        """Ask; a second time does nothing more."""
        if not self._event.is_set():
            self._event.set()
            os.write(self._writer, b"!")

    def is_set(self) -> bool:
        return self._event.is_set()

    def fileno(self) -> int:
        """Readable from the moment of `set()`, for select and poll."""
        return self._reader

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


@dataclass(frozen=True)
class Finished:
    """How a command ended. `cpu_seconds` and `peak_memory_bytes` (largest process) cover its children."""

    exit_code: int | None
    timed_out: bool
    seconds: float
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None
    left_processes: int = 0


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    log: Path,
    mark: str,
    timeout: float | None = None,
    grace: float = 5.0,
    stream: bool = False,
    stop: StopSignal | None = None,
    started: Callable[[int], None] | None = None,
) -> Finished:
    """Run a command to its end, with standard output and error in `log` as they come.

    On a timeout, on KeyboardInterrupt and on any other error the whole process tree is ended:
    SIGTERM, then SIGKILL after `grace` seconds. `mark` is put into the environment of all its
    processes, so that also those that left the session are found. `stop` from another thread is
    answered like Ctrl-C, with KeyboardInterrupt. OSError says that the command cannot start.
    """
    begin = time.monotonic()
    memory = _PeakMemory()
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env={**env, RUN_MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    with _following(log, stream):
        try:
            if started is not None:
                started(process.pid)
            deadline = None if timeout is None else begin + timeout
            ended = _wait(process.pid, deadline, stop, memory)
        except BaseException:
            end_tree(process.pid, mark, grace, reap=process)
            raise
        if not ended:
            end_tree(process.pid, mark, grace, reap=process)
            return Finished(None, True, time.monotonic() - begin)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        left = 0
        if process.returncode != 0 or _session_lives(process.pid):
            left = end_tree(process.pid, mark, grace)
        return Finished(
            exit_code=_shell_code(process.returncode),
            timed_out=False,
            seconds=time.monotonic() - begin,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            peak_memory_bytes=memory.peak(usage.ru_maxrss),
            left_processes=left,
        )


def wait_for(pid: int, mark: str, *, timeout: float | None, grace: float, stop: StopSignal | None) -> bool:
    """Wait for a process that another driver started; False if its time was up and it was ended."""
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        if _wait(pid, deadline, stop):
            end_tree(pid, mark, grace)
            return True
    except BaseException:
        end_tree(pid, mark, grace)
        raise
    end_tree(pid, mark, grace)
    return False


def find_leader(mark: str) -> int | None:
    """The process that leads a run's session, or None if nothing of it lives on this machine."""
    members = _marked(mark)
    for process in members:
        if os.getsid(process.pid) == process.pid:
            return process.pid
    return members[0].pid if members else None


def end_tree(pid: int, mark: str, grace: float, reap: subprocess.Popen[bytes] | None = None) -> int:
    """End a run's processes: descendants, session and everything that carries its mark.

    SIGTERM, then SIGKILL after `grace` seconds, until none is left. Returns how many there were.
    """
    found = {process.pid: process for process in _tree(pid, mark)}
    for process in found.values():
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _gone, alive = psutil.wait_procs(list(found.values()), timeout=grace)
    while alive := [p for p in alive if p.is_running()] + _tree(pid, mark):
        for process in alive:
            found[process.pid] = process
            with contextlib.suppress(psutil.Error):
                process.kill()
        _gone, alive = psutil.wait_procs(alive, timeout=10)
    if reap is not None:
        reap.wait()
    return len(found)


class _PeakMemory:
    """The largest process of a run, in bytes.

    The kernel's own figure (`ru_maxrss`) counts from before exec, so it is never below the size of
    this driver. Larger models are told exactly by it; smaller ones by looking at their high-water
    marks from time to time, and ones that are too quick for a look are not told at all.
    """

    def __init__(self) -> None:
        self._floor = psutil.Process().memory_info().rss
        self._sampled = 0

    def look(self, pid: int) -> None:
        for process in [pid, *_children(pid)]:
            with contextlib.suppress(OSError, ValueError, IndexError):
                status = Path(f"/proc/{process}/status").read_text()
                kib = int(status.split("VmHWM:", 1)[1].split()[0])
                self._sampled = max(self._sampled, kib * 1024)

    def peak(self, ru_maxrss: int) -> int | None:
        kernel = ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return kernel if kernel > self._floor * 1.05 else self._sampled or None


def _children(pid: int) -> list[int]:
    """Descendants by the kernel's own list: quicker than a walk over all processes."""
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *_children(int(child))]
    return found


def _wait(
    pid: int,
    deadline: float | None,
    stop: StopSignal | None,
    memory: _PeakMemory | None = None,
) -> bool:
    """True when the process ended, False when the deadline came first; KeyboardInterrupt on `stop`."""
    look_after = 0.05
    poll = select.poll()
    ended = _open_pidfd(pid)
    if stop is not None:
        poll.register(stop.fileno(), select.POLLIN)
    if ended is not None:
        poll.register(ended, select.POLLIN)
    try:
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return _has_ended(pid)
            # Rounded up, lest the last millisecond be a busy loop.
            wait_ms = None if left is None else min(left * 1000 + 1, 2**30)
            if memory is not None:
                wait_ms = min(wait_ms or 2**30, look_after * 1000)
                look_after = min(look_after * 1.5, 2.0)
            if ended is None:  # no pidfd on this system: look from time to time
                wait_ms = 20 if wait_ms is None else min(wait_ms, 20)
            ready = poll.poll(wait_ms)
            if stop is not None and stop.is_set():
                raise KeyboardInterrupt
            if memory is not None and not ready:
                memory.look(pid)
            if any(fd == ended for fd, _ in ready) or (ended is None and _has_ended(pid)):
                return True
    finally:
        if ended is not None:
            os.close(ended)


def _open_pidfd(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _session_lives(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _tree(pid: int, mark: str) -> list[psutil.Process]:
    """The living processes of a run: the session of `pid`, its descendants and all that carry `mark`."""
    found = {process.pid: process for process in _marked(mark, session=pid)}
    with contextlib.suppress(psutil.Error):
        leader = psutil.Process(pid)
        for process in [leader, *leader.children(recursive=True)]:
            found[process.pid] = process
    return [p for p in found.values() if p.pid != os.getpid() and _alive(p)]


def _marked(mark: str, session: int | None = None) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == session or process.environ().get(RUN_MARK) == mark:
                found.append(process)
    return [p for p in found if p.pid != os.getpid() and _alive(p)]


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _shell_code(returncode: int) -> int:
    """An exit code as a shell tells it: 128 + the signal's number for a process that was killed."""
    return returncode if returncode >= 0 else 128 - returncode


def signal_name(exit_code: int) -> str:
    """The name of the signal behind an exit code above 128, or ''."""
    with contextlib.suppress(ValueError):
        if exit_code > 128:
            return signal.Signals(exit_code - 128).name
    return ""


@contextlib.contextmanager
def _following(log: Path, stream: bool) -> Iterator[None]:
    """Copy what is appended to `log` to this process's standard output while the block runs."""
    if not stream:
        yield
        return
    done = threading.Event()
    follower = threading.Thread(target=_follow, args=(log, done), daemon=True)
    follower.start()
    try:
        yield
    finally:
        done.set()
        follower.join()


def _follow(log: Path, done: threading.Event) -> None:
    with log.open("rb") as file:
        while True:
            last_round = done.is_set()
            while chunk := file.read(65536):
                sys.stdout.write(chunk.decode(errors="replace"))
            sys.stdout.flush()
            if last_round:
                return
            done.wait(0.1)
