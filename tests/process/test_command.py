"""Real processes, terminated by real signals."""

from __future__ import annotations

import io
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from rompy_hydra import process
from rompy_hydra.process.memory import PeakMemory
from tests.conftest import LIMIT, living, wait_until


@pytest.fixture
def mark():
    """A unique name for the processes of one test, in their environment and on their command lines."""
    return f"mark-{uuid.uuid4().hex}"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "run.log"


@pytest.fixture
def run(tmp_path, log, mark):
    """Run a command with the settings that all tests share."""

    def run(*argv, **options):
        given = {"cwd": tmp_path, "env": os.environ, "log": log, "mark": mark, "grace": LIMIT}
        return process.run([str(arg) for arg in argv], **{**given, **options})

    yield run
    left = living(mark)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def tails(mark: str) -> list[int]:
    """The processes `tail -f /dev/null MARK` themselves, without the shells whose scripts contain it."""
    line = f"tail -f /dev/null {mark} "
    return [
        pid for pid in living(mark) if Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") == line
    ]


WAITING = 'echo first; until [ -e "$0" ]; do :; done; echo last'


def python(code: str, *arguments: object) -> list[object]:
    return [sys.executable, "-S", "-E", "-c", code, *arguments]


@pytest.mark.parametrize(
    ("command", "code"), [("true", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill $$", 143)]
)
def test_the_exit_code_is_the_one_a_shell_reports(run, command, code):
    finished = run("sh", "-c", command)
    assert finished.exit_code == code
    assert not finished.timed_out


def test_output_and_errors_are_appended_to_the_log_in_order(run, log):
    log.write_text("before\n")
    run("sh", "-c", "echo one; echo two >&2; echo three")
    assert log.read_text() == "before\none\ntwo\nthree\n"


def test_output_reaches_the_log_while_the_command_is_running(run, log, tmp_path):
    seen = []

    def watch():
        seen.append(wait_until(lambda: log.exists() and log.read_text()))
        (tmp_path / "continue").touch()

    watcher = threading.Thread(target=watch)
    watcher.start()
    finished = run("sh", "-c", WAITING, tmp_path / "continue", timeout=LIMIT)
    watcher.join()
    assert finished.exit_code == 0
    assert seen == ["first\n"]


def test_a_command_gets_empty_standard_input(run):
    assert run("cat", timeout=LIMIT).exit_code == 0


def test_a_missing_program_raises_file_not_found(run):
    with pytest.raises(FileNotFoundError):
        run("no-such-program-anywhere")


def test_a_missing_directory_raises_file_not_found(run, tmp_path):
    with pytest.raises(FileNotFoundError):
        run("true", cwd=tmp_path / "missing")


@pytest.mark.parametrize("cwd", ["with 'a quote", "-", "größe"])
def test_a_command_starts_in_the_given_or_the_current_directory(run, log, tmp_path, cwd):
    (tmp_path / cwd).mkdir()
    run("pwd", cwd=tmp_path / cwd)
    run("pwd", cwd=None)
    assert log.read_text().splitlines() == [str(tmp_path / cwd), os.getcwd()]


@pytest.mark.parametrize("number", [signal.SIGPIPE, signal.SIGXFSZ])
def test_signals_that_python_ignores_terminate_a_command(run, number):
    assert run("sh", "-c", f"kill -{number:d} $$").exit_code == 128 + number


def test_a_process_that_executes_another_program_during_the_search_is_found(run, mark):
    """`setsid` leaves the session, and its environment is not readable while the next program starts."""
    for _ in range(30):
        assert run("sh", "-c", f"setsid tail -f /dev/null {mark} &").left_processes == 1
        assert living(mark) == []


# Process trees that a model may start: each has processes with the mark on their command lines.
PROCESS_TREES = {
    "child": "tail -f /dev/null {mark} & wait",
    "chain of shells": "sh -c 'sh -c \"tail -f /dev/null {mark}; true\"; true'; true",
    "background process": "tail -f /dev/null {mark} & tail -f /dev/null {mark}; true",
    "own session": "setsid tail -f /dev/null {mark} & wait",
    "daemon": "setsid sh -c 'setsid tail -f /dev/null {mark} & exit' & tail -f /dev/null {mark}",
    "nohup": "nohup tail -f /dev/null {mark} & wait",
    "empty environment": "env -i tail -f /dev/null {mark} & wait",
    "own process group": "set -m; tail -f /dev/null {mark} & wait",
}


@pytest.mark.parametrize("script", PROCESS_TREES.values(), ids=PROCESS_TREES)
def test_a_timeout_terminates_the_whole_process_tree(run, mark, script):
    seen = []
    begin = time.monotonic()

    def watch(_pid):
        seen.extend(wait_until(lambda: len(tails(mark)) == script.count("tail") and tails(mark)))

    finished = run("sh", "-c", script.format(mark=mark), timeout=0.5, on_started=watch)
    assert seen
    assert finished.timed_out
    assert finished.exit_code is None
    assert living(mark) == []
    assert time.monotonic() - begin < LIMIT


IGNORES_SIGNALS = """
import signal, sys, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda *_: print("signalled", flush=True))
print("ready", flush=True)
while True:
    time.sleep(60)
"""


def test_a_process_that_ignores_sigterm_is_killed_after_the_grace_period(run, log, mark):
    watch = lambda _pid: wait_until(lambda: log.read_text().count("ready") == 2)  # noqa: E731
    script = 'setsid "$@" & "$@"; true'
    finished = run(
        "sh", "-c", script, "sh", *python(IGNORES_SIGNALS, mark), timeout=0.1, grace=0.3, on_started=watch
    )
    assert finished.timed_out
    assert living(mark) == []


def test_a_model_can_clean_up_within_the_grace_period(run, log):
    watch = lambda _pid: wait_until(lambda: log.read_text() == "ready\n")  # noqa: E731
    script = "trap 'echo cleaned up; exit 0' TERM; echo ready; while :; do sleep 0.01; done"
    assert run("sh", "-c", script, timeout=0.1, on_started=watch).timed_out
    assert log.read_text().splitlines()[-1] == "cleaned up"


def test_processes_that_fork_while_being_terminated_are_terminated_as_well(run, log, mark):
    code = "import os, signal, sys, time\n"
    code += "signal.signal(signal.SIGTERM, lambda *_: os.fork() or os.setsid())\n"
    code += "print('ready', flush=True)\nwhile True: time.sleep(60)"
    watch = lambda _pid: wait_until(lambda: log.read_text())  # noqa: E731
    assert run(*python(code, mark), timeout=0.1, grace=0.2, on_started=watch).timed_out
    assert living(mark) == []


@pytest.mark.parametrize("code", [0, 3])
def test_processes_that_a_command_leaves_behind_are_terminated_and_counted(run, mark, code):
    script = f"setsid tail -f /dev/null {mark} & tail -f /dev/null {mark} & exit {code}"
    finished = run("sh", "-c", script)
    assert finished.exit_code == code
    assert finished.left_processes == 2
    assert living(mark) == []


def test_a_command_that_ends_in_time_does_not_time_out(run):
    finished = run("true", timeout=LIMIT)
    assert finished.exit_code == 0
    assert not finished.timed_out
    assert finished.left_processes == 0


def test_the_end_of_a_command_is_noticed_without_pidfd(run, monkeypatch):
    monkeypatch.delattr(os, "pidfd_open")  # as on macOS
    assert run("sh", "-c", "sleep 0.1; exit 3").exit_code == 3
    assert run("tail", "-f", "/dev/null", timeout=0.1).timed_out


def test_an_exception_in_the_driver_terminates_the_command(run, mark):
    def fail(_pid):
        wait_until(lambda: living(mark))
        raise RuntimeError("the driver has a bug")

    with pytest.raises(RuntimeError, match="has a bug"):
        run("tail", "-f", "/dev/null", mark, on_started=fail)
    assert living(mark) == []


def test_a_stop_signal_from_another_thread_acts_like_an_interrupt(run, mark):
    stop = process.StopSignal()

    def request():
        wait_until(lambda: living(mark))
        stop.set()
        stop.set()

    other = threading.Thread(target=request)
    other.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run("tail", "-f", "/dev/null", mark, stop=stop)
    finally:
        other.join()
        stop.close()
    assert living(mark) == []


def test_a_stop_signal_stops_the_commands_of_all_threads(tmp_path, mark):
    stop, stopped = process.StopSignal(), []

    def run_command(number):
        try:
            process.run(
                ["tail", "-f", "/dev/null", mark],
                env=os.environ,
                log=tmp_path / f"{number}.log",
                mark=f"{mark}-{number}",
                stop=stop,
            )
        except KeyboardInterrupt:
            stopped.append(number)

    threads = [threading.Thread(target=run_command, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(living(mark)) == 4)
    stop.set()
    for thread in threads:
        thread.join(LIMIT)
    stop.close()
    assert sorted(stopped) == [0, 1, 2, 3]
    assert living(mark) == []


def test_a_second_interrupt_skips_the_grace_period(start_driver, tmp_path, mark):
    driver = start_driver(
        "import os; from rompy_hydra import process\n"
        "try:\n"
        "    process.run(sys.argv[2:], env=os.environ, log=Path('log'),"
        "                mark=sys.argv[1], grace=3600)\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)\n",
        mark,
        *python(IGNORES_SIGNALS, mark),
    )
    log = tmp_path / "log"
    wait_until(lambda: log.exists() and "ready" in log.read_text())
    driver.send(signal.SIGINT)
    wait_until(lambda: "signalled" in log.read_text())
    driver.send(signal.SIGINT)
    assert driver.wait() == 130
    assert living(mark) == []


def test_peak_memory_and_cpu_time_are_measured(run):
    # The kernel's figure is exact for models larger than their driver, which is this test process.
    size = 2 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    code = f"x = bytearray({size})\nfor i in range(4_000_000): pass"
    finished = run("sh", "-c", '"$@"; true', "sh", *python(code))
    assert size < finished.peak_memory_bytes < size + 100_000_000
    assert finished.cpu_seconds > 0.01
    assert finished.seconds >= finished.cpu_seconds / 2


def test_the_memory_of_a_model_smaller_than_its_driver_is_sampled():
    code = "x = bytearray(30_000_000); print('filled', flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen(
        ["sh", "-c", '"$@"; true', "sh", *python(code)], stdin=pipe, stdout=pipe
    ) as model:
        assert model.stdout.readline() == b"filled\n"
        memory = PeakMemory()
        memory.sample(model.pid)
        assert memory.peak(0) is None, "a single sample may be too early"
        memory.sample(model.pid)
        model.communicate(b"\n")
    assert 30_000_000 < memory.peak(0) < 100_000_000


def test_a_small_model_is_not_reported_with_the_size_of_its_driver(run):
    finished = run("sh", "-c", "sleep 0.3")
    assert finished.peak_memory_bytes is None or finished.peak_memory_bytes < 10_000_000


def test_streaming_shows_new_output_immediately_and_omits_older_log_lines(run, log, capsys, tmp_path):
    log.write_text("from an earlier command\n")
    seen = []

    def watch():
        wait_until(lambda: seen.append(capsys.readouterr().out) or "first\n" in "".join(seen))
        (tmp_path / "continue").touch()

    watcher = threading.Thread(target=watch)
    watcher.start()
    run("sh", "-c", WAITING, tmp_path / "continue", stream=True, timeout=LIMIT)
    watcher.join()
    assert "".join(seen) + capsys.readouterr().out == "first\nlast\n"


def test_streaming_shows_a_character_whose_bytes_arrive_separately(run, capsys):
    run("sh", "-c", r"printf 'h\303'; sleep 0.3; printf '\266he\n'", stream=True)
    assert capsys.readouterr().out == "höhe\n"


def test_streaming_replaces_characters_that_the_terminal_cannot_show(run, log, monkeypatch):
    screen = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(screen, encoding="ascii", write_through=True))
    run("sh", "-c", r"printf 'h\303\266he \377\n'", stream=True)
    assert screen.getvalue() == b"h?he ?\n"
    assert log.read_bytes() == "höhe ".encode() + b"\xff\n"


def test_a_closed_standard_output_does_not_stop_the_model(run, log, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        finished = run("sh", "-c", "echo one; echo two", stream=True)
        monkeypatch.undo()
        with pytest.raises(BrokenPipeError):
            closed.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)
    assert finished.exit_code == 0
    assert log.read_text() == "one\ntwo\n"


def test_the_leader_of_a_run_is_found_by_its_mark(run, mark):
    found = []

    def search(pid):
        wait_until(lambda: len(tails(mark)) == 2)
        found.append((pid, process.find_leader(mark), process.find_leader(mark, pid)))

    script = f"setsid tail -f /dev/null {mark} & tail -f /dev/null {mark}; true"
    run("sh", "-c", script, timeout=0.1, on_started=search)
    ((pid, oldest, known),) = found
    assert pid == oldest == known
    assert process.find_leader(mark) is None
    assert process.find_leader(mark, os.getpid()) is None


def test_killing_by_mark_ends_the_wait_for_a_run(run, mark):
    def kill():
        wait_until(lambda: living(mark))
        process.kill_marked(mark)

    other = threading.Thread(target=kill)
    other.start()
    assert run("tail", "-f", "/dev/null", mark).exit_code == 137
    other.join()


def test_marks_with_a_common_prefix_are_distinct(run, mark):
    def search(_pid):
        assert process.find_leader(mark + "2") is None
        assert process.find_leader(mark[:-1]) is None
        process.kill_marked(mark)

    assert run("tail", "-f", "/dev/null", on_started=search).exit_code == 137


@pytest.mark.parametrize(
    ("code", "name"), [(137, "SIGKILL"), (139, "SIGSEGV"), (1, ""), (255, ""), (0, "")]
)
def test_the_signal_behind_an_exit_code_is_named(code, name):
    assert process.signal_name(code) == name
