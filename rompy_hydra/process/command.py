"""Run one command in its own session, with a log file, a time limit and a record of its resource use."""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rompy_hydra.errors import LeaseLost
from rompy_hydra.process.memory import PeakMemory
from rompy_hydra.process.tree import RUN_MARK, end_tree
from rompy_hydra.process.wait import StopSignal, wait_for_exit
from rompy_hydra.redaction import escaped
from rompy_hydra.regular_files import open_regular


@dataclass(frozen=True)
class Finished:
    """How a command ended.

    `cpu_seconds` includes all child processes, `peak_memory_bytes` is that of the largest process.
    `left_processes` counts the processes that the command left running; they were terminated.
    """

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
    on_poll: Callable[[], None] | None = None,
) -> Finished:
    """Run a command until it ends, and append its standard output and error to `log`.

    A timeout, KeyboardInterrupt or any other exception terminates the whole process tree: SIGTERM, then
    SIGKILL after `grace` seconds. Every process gets `mark` in its environment, so that processes that
    leave the session are found as well. Setting `stop` in another thread has the effect of Ctrl-C:
    KeyboardInterrupt. Raises OSError if the command cannot start. Without `cwd`, the command starts in
    the current directory. `stream` also copies the output to standard output.
    `on_started` gets the process id once the command has run for a twentieth of a second; shorter
    commands end before anyone could use it. `on_poll` is called at intervals of up to 2 seconds from then
    on. What either raises terminates the command; after LeaseLost, other processes with the same mark are
    another driver's, and are left alone.
    """
    begin = time.monotonic()
    if cwd is not None:
        argv = _in_directory(argv, cwd)
    memory = PeakMemory()
    pending = [] if on_started is None else [on_started]

    def observe(process: int) -> None:
        memory.sample(process)
        while pending:
            pending.pop()(process)
        if on_poll is not None:
            on_poll()

    pid: int | None = None
    # Opened once: the model may put something else under this name.
    output = open_regular(log, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        with _streaming(output) if stream else contextlib.nullcontext():
            try:
                pid = _spawn(argv, {**env, RUN_MARK: mark}, output)
                deadline = None if timeout is None else begin + timeout
                ended = wait_for_exit(pid, deadline, stop, observe)
                # Before reaping the process: until then, its id cannot be reused.
                left = end_tree(pid, mark, grace, reap=not ended, quick=ended)
            except BaseException as error:
                # An interrupt can arrive after the process has started, but before `pid` is set.
                if pid is not None or not isinstance(error, OSError):
                    own = None if isinstance(error, LeaseLost) else mark
                    end_tree(pid, own, grace, reap=pid is not None)
                raise
            if not ended:
                return Finished(None, True, time.monotonic() - begin)
            _, status, usage = os.wait4(pid, 0)
    finally:
        os.close(output)
    code = os.waitstatus_to_exitcode(status)
    return Finished(
        exit_code=code if code >= 0 else 128 - code,  # as shells report signals
        timed_out=False,
        seconds=time.monotonic() - begin,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_memory_bytes=memory.peak(usage.ru_maxrss),
        left_processes=left,
    )


def wait_for(
    pid: int,
    mark: str,
    *,
    timeout: float | None,
    grace: float,
    stop: StopSignal | None,
    on_poll: Callable[[], None] = lambda: None,
) -> bool:
    """Wait for a process that another driver started; False if it was terminated after `timeout` seconds.

    Processes that it leaves running are terminated as well. For `on_poll`, see `run`.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    own: str | None = mark
    try:
        return wait_for_exit(pid, deadline, stop, lambda _pid: on_poll())
    except LeaseLost:
        own = None
        raise
    finally:
        end_tree(pid, own, grace)


def signal_name(exit_code: int) -> str:
    """The name of the signal behind an exit code above 128, or ''."""
    return next((each.name for each in signal.Signals if each == exit_code - 128), "")


def _in_directory(argv: Sequence[str], cwd: str | Path) -> Sequence[str]:
    # OSError if the directory or the program is missing.
    os.stat(os.path.join(cwd, ""))
    program = os.path.join(cwd, argv[0]) if "/" in argv[0] else argv[0]
    if shutil.which(program) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), argv[0])
    return ["/bin/sh", "-c", 'CDPATH= cd -- "$0" && exec "$@"', os.fspath(cwd), *argv]


def _spawn(argv: Sequence[str], env: Mapping[str, str], output: int) -> int:
    # subprocess takes twice as long, for each of the thousands of runs of a sweep.
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
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],  # ignored by Python
    )


@contextlib.contextmanager
def _streaming(output: int) -> Iterator[None]:
    """Copy what is appended to a file to standard output while the block runs."""
    done = threading.Event()
    start = os.fstat(output).st_size
    copier = threading.Thread(target=_copy_to_stdout, args=(output, start, done), daemon=True)
    copier.start()
    try:
        yield
    finally:
        done.set()
        copier.join()


def _copy_to_stdout(output: int, position: int, done: threading.Event) -> None:
    # A read may end within a character, and a terminal may not support all characters.
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    # If the reader of standard output disappears, the model continues, and its log is complete.
    with contextlib.suppress(OSError, ValueError):
        while True:
            last_round = done.is_set()
            while chunk := os.pread(output, 65536, position):
                position += len(chunk)
                # A display of progress may return to the beginning of its line, and nothing else.
                text = "\r".join(map(escaped, decoder.decode(chunk).split("\r")))
                sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
            sys.stdout.flush()
            if last_round:
                return
            done.wait(0.1)
