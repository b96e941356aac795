"""One command in a session of its own: log to a file, time limit, whole-tree end, resource use."""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import select
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rompy_hydra.process.memory import PeakMemory
from rompy_hydra.process.stop_signal import StopSignal
from rompy_hydra.process.tree import RUN_MARK, end_tree


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
    env: Mapping[str, str],
    log: str | Path,
    cwd: str | Path | None = None,
    mark: str,
    timeout: float | None = None,
    grace: float = 5.0,
    stream: bool = False,
    stop: StopSignal | None = None,
    on_started: Callable[[int], None] | None = None,
) -> Finished:
    """Run a command to its end, with standard output and error in `log` as they come.

    On a timeout, on KeyboardInterrupt and on any other error the whole process tree is ended:
    SIGTERM, then SIGKILL after `grace` seconds. `mark` is put into the environment of all its
    processes, so that also those that left the session are found. `stop` from another thread is
    answered like Ctrl-C, with KeyboardInterrupt. OSError says that the command cannot start. Without
    `cwd` it starts in this process's directory.
    `on_started` is told the process id of a command that has lived for a twentieth of a second: shorter
    ones are over before anybody could ask for them.
    """
    begin = time.monotonic()
    if cwd is not None:
        argv = _in_directory(argv, cwd)
    memory = PeakMemory()
    pid: int | None = None
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        with _following(log, output) if stream else contextlib.nullcontext():
            try:
                pid = _spawned(argv, {**env, RUN_MARK: mark}, output)
                deadline = None if timeout is None else begin + timeout
                ended = _wait(pid, deadline, stop, memory, on_started)
                # Before the process is waited for: until then nobody else can get its id.
                left = end_tree(pid, mark, grace, reap=not ended, quick=ended)
            except BaseException as error:
                # An interrupt may come before `pid` is there, but after it was started.
                if pid is not None or not isinstance(error, OSError):
                    end_tree(pid, mark, grace, reap=pid is not None)
                raise
            if not ended:
                return Finished(None, True, time.monotonic() - begin)
            _, status, usage = os.wait4(pid, 0)
    finally:
        os.close(output)
    return Finished(
        exit_code=_shell_code(os.waitstatus_to_exitcode(status)),
        timed_out=False,
        seconds=time.monotonic() - begin,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_memory_bytes=memory.peak(usage.ru_maxrss),
        left_processes=left,
    )


def _in_directory(argv: Sequence[str], cwd: str | Path) -> Sequence[str]:
    """A command that goes to a directory first; OSError if it, or the program, is not there."""
    os.stat(os.path.join(cwd, ""))
    program = os.path.join(cwd, argv[0]) if "/" in argv[0] else argv[0]
    if shutil.which(program) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), argv[0])
    return ["/bin/sh", "-c", 'CDPATH= cd -- "$0" && exec "$@"', os.fspath(cwd), *argv]


def _spawned(argv: Sequence[str], env: Mapping[str, str], output: int) -> int:
    """Start a program in a session of its own, with its output in a file; its process id."""
    # Not by subprocess, which takes twice as long, and that at each of the thousand runs of a sweep.
    return os.posix_spawnp(
        argv[0],
        list(argv),
        env,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ],
        setsid=True,
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # which Python ignores
    )


def wait_for(pid: int, mark: str, *, timeout: float | None, grace: float, stop: StopSignal | None) -> bool:
    """Wait for a process that another driver started; False if its time was up and it was ended.

    What it leaves running is ended as well.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        return _wait(pid, deadline, stop)
    finally:
        end_tree(pid, mark, grace)


def _wait(
    pid: int,
    deadline: float | None,
    stop: StopSignal | None,
    memory: PeakMemory | None = None,
    on_started: Callable[[int], None] | None = None,
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
                if on_started is not None:
                    on_started(pid)
                    on_started = None
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
    import psutil

    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


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
def _following(log: str | Path, output: int) -> Iterator[None]:
    """Copy what is appended to `log` to this process's standard output while the block runs."""
    done = threading.Event()
    start = os.fstat(output).st_size
    follower = threading.Thread(target=_follow, args=(log, start, done), daemon=True)
    follower.start()
    try:
        yield
    finally:
        done.set()
        follower.join()


def _follow(log: str | Path, start: int, done: threading.Event) -> None:
    # Bytes of a character may come apart, and a terminal may not know all characters.
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    # The reader of our output may go away; the model goes on, and the log has everything.
    with open(log, "rb") as file, contextlib.suppress(OSError, ValueError):
        file.seek(start)
        while True:
            last_round = done.is_set()
            while chunk := file.read(65536):
                text = decoder.decode(chunk)
                sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
            sys.stdout.flush()
            if last_round:
                return
            done.wait(0.1)
