"""Real processes, ended by real signals."""

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
    """A name for the processes of one test, in their environment and on their command lines."""
    return f"mark-{uuid.uuid4().hex}"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "run.log"


@pytest.fixture
def run(tmp_path, log, mark):
    """Run a command with what all tests have in common."""

    def run(*argv, **options):
        given = {"cwd": tmp_path, "env": os.environ, "log": log, "mark": mark, "grace": LIMIT}
        return process.run([str(arg) for arg in argv], **{**given, **options})

    yield run
    left = living(mark)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def tails(mark: str) -> list[int]:
    """The processes `tail -f /dev/null MARK` themselves, and not the shells whose script names them."""
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
def test_the_exit_code_is_told_as_a_shell_tells_it(run, command, code):
    finished = run("sh", "-c", command)
    assert finished.exit_code == code
    assert not finished.timed_out


def test_output_and_errors_go_to_the_log_in_order_behind_what_is_there(run, log):
    log.write_text("before\n")
    run("sh", "-c", "echo one; echo two >&2; echo three")
    assert log.read_text() == "before\none\ntwo\nthree\n"


def test_output_is_in_the_log_while_the_command_still_runs(run, log, tmp_path):
    seen = []

    def look():
        seen.append(wait_until(lambda: log.exists() and log.read_text()))
        (tmp_path / "go on").touch()

    watcher = threading.Thread(target=look)
    watcher.start()
    finished = run("sh", "-c", WAITING, tmp_path / "go on", timeout=LIMIT)
    watcher.join()
    assert finished.exit_code == 0
    assert seen == ["first\n"]


def test_a_command_has_no_input_to_wait_for(run):
    assert run("cat", timeout=LIMIT).exit_code == 0


def test_a_missing_program_is_an_error_of_the_system(run):
    with pytest.raises(FileNotFoundError):
        run("no-such-program-anywhere")


def test_a_missing_directory_is_an_error_of_the_system(run, tmp_path):
    with pytest.raises(FileNotFoundError):
        run("true", cwd=tmp_path / "missing")


@pytest.mark.parametrize("cwd", ["with 'a quote", "-", "größe"])
def test_a_command_starts_in_the_directory_that_is_given_or_in_this_one(run, log, tmp_path, cwd):
    (tmp_path / cwd).mkdir()
    run("pwd", cwd=tmp_path / cwd)
    run("pwd", cwd=None)
    assert log.read_text().splitlines() == [str(tmp_path / cwd), os.getcwd()]


@pytest.mark.parametrize("number", [signal.SIGPIPE, signal.SIGXFSZ])
def test_a_command_is_ended_by_signals_that_python_ignores(run, number):
    assert run("sh", "-c", f"kill -{number:d} $$").exit_code == 128 + number


def test_a_process_that_changes_its_program_while_it_is_looked_for_is_found(run, mark):
    """`setsid` leaves the session, and has no environment to be read while the next program starts."""
    for _ in range(30):
        assert run("sh", "-c", f"setsid tail -f /dev/null {mark} &").left_processes == 1
        assert living(mark) == []


# What a model may start: each leaves a process that carries the mark on its command line.
FAMILIES = {
    "a child": "tail -f /dev/null {mark} & wait",
    "a chain": "sh -c 'sh -c \"tail -f /dev/null {mark}; true\"; true'; true",
    "in the background": "tail -f /dev/null {mark} & tail -f /dev/null {mark}; true",
    "a session of its own": "setsid tail -f /dev/null {mark} & wait",
    "a daemon": "setsid sh -c 'setsid tail -f /dev/null {mark} & exit' & tail -f /dev/null {mark}",
    "without hangup": "nohup tail -f /dev/null {mark} & wait",
    "an empty environment": "env -i tail -f /dev/null {mark} & wait",
    "a group of its own": "set -m; tail -f /dev/null {mark} & wait",
}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_timeout_ends_the_whole_family(run, mark, family):
    seen = []
    begin = time.monotonic()

    def watch(_pid):
        seen.extend(wait_until(lambda: len(tails(mark)) == family.count("tail") and tails(mark)))

    finished = run("sh", "-c", family.format(mark=mark), timeout=0.5, on_started=watch)
    assert seen
    assert finished.timed_out
    assert finished.exit_code is None
    assert living(mark) == []
    assert time.monotonic() - begin < LIMIT


STUBBORN = """
import signal, sys, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda *_: print("asked", flush=True))
print("ready", flush=True)
while True:
    time.sleep(60)
"""


def test_a_process_that_ignores_sigterm_is_killed_after_the_grace_period(run, log, mark):
    watch = lambda _pid: wait_until(lambda: log.read_text().count("ready") == 2)  # noqa: E731
    script = 'setsid "$@" & "$@"; true'
    finished = run(
        "sh", "-c", script, "sh", *python(STUBBORN, mark), timeout=0.1, grace=0.3, on_started=watch
    )
    assert finished.timed_out
    assert living(mark) == []


def test_a_model_may_tidy_up_within_the_grace_period(run, log):
    watch = lambda _pid: wait_until(lambda: log.read_text() == "ready\n")  # noqa: E731
    script = "trap 'echo tidied; exit 0' TERM; echo ready; while :; do sleep 0.01; done"
    assert run("sh", "-c", script, timeout=0.1, on_started=watch).timed_out
    assert log.read_text().splitlines()[-1] == "tidied"


def test_processes_that_fork_while_they_are_ended_are_ended_as_well(run, log, mark):
    code = "import os, signal, sys, time\n"
    code += "signal.signal(signal.SIGTERM, lambda *_: os.fork() or os.setsid())\n"
    code += "print('ready', flush=True)\nwhile True: time.sleep(60)"
    watch = lambda _pid: wait_until(lambda: log.read_text())  # noqa: E731
    assert run(*python(code, mark), timeout=0.1, grace=0.2, on_started=watch).timed_out
    assert living(mark) == []


@pytest.mark.parametrize("code", [0, 3])
def test_what_a_command_leaves_behind_at_its_end_is_ended_and_counted(run, mark, code):
    script = f"setsid tail -f /dev/null {mark} & tail -f /dev/null {mark} & exit {code}"
    finished = run("sh", "-c", script)
    assert finished.exit_code == code
    assert finished.left_processes == 2
    assert living(mark) == []


def test_a_command_that_ends_in_time_is_not_timed_out(run):
    finished = run("true", timeout=LIMIT)
    assert finished.exit_code == 0
    assert not finished.timed_out
    assert finished.left_processes == 0


def test_an_error_in_the_driver_ends_the_command(run, mark):
    def fail(_pid):
        wait_until(lambda: living(mark))
        raise RuntimeError("the driver has a bug")

    with pytest.raises(RuntimeError, match="has a bug"):
        run("tail", "-f", "/dev/null", mark, on_started=fail)
    assert living(mark) == []


def test_a_stop_signal_of_another_thread_ends_the_command_like_an_interrupt(run, mark):
    stop = process.StopSignal()

    def ask():
        wait_until(lambda: living(mark))
        stop.set()
        stop.set()

    other = threading.Thread(target=ask)
    other.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run("tail", "-f", "/dev/null", mark, stop=stop)
    finally:
        other.join()
        stop.close()
    assert living(mark) == []


def test_a_stop_signal_ends_all_commands_of_all_threads(tmp_path, mark):
    stop, ended = process.StopSignal(), []

    def one(number):
        try:
            process.run(
                ["tail", "-f", "/dev/null", mark],
                env=os.environ,
                log=tmp_path / f"{number}.log",
                mark=f"{mark}-{number}",
                stop=stop,
            )
        except KeyboardInterrupt:
            ended.append(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(living(mark)) == 4)
    stop.set()
    for thread in threads:
        thread.join(LIMIT)
    stop.close()
    assert sorted(ended) == [0, 1, 2, 3]
    assert living(mark) == []


def test_a_second_interrupt_does_not_wait_for_the_grace_period(start_driver, tmp_path, mark):
    driver = start_driver(
        "import os; from rompy_hydra import process\n"
        "try:\n"
        "    process.run(sys.argv[2:], env=os.environ, log=Path('log'),"
        "                mark=sys.argv[1], grace=3600)\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)\n",
        mark,
        *python(STUBBORN, mark),
    )
    log = tmp_path / "log"
    wait_until(lambda: log.exists() and "ready" in log.read_text())
    driver.send(signal.SIGINT)
    wait_until(lambda: "asked" in log.read_text())
    driver.send(signal.SIGINT)
    assert driver.wait() == 130
    assert living(mark) == []


def test_the_peak_memory_and_the_time_of_the_processor_are_told(run):
    # The kernel tells the memory exactly of models that are larger than their driver, these tests.
    size = 2 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    code = f"x = bytearray({size})\nfor i in range(4_000_000): pass"
    finished = run("sh", "-c", '"$@"; true', "sh", *python(code))
    assert size < finished.peak_memory_bytes < size + 100_000_000
    assert finished.cpu_seconds > 0.01
    assert finished.seconds >= finished.cpu_seconds / 2


def test_the_memory_of_a_model_smaller_than_its_driver_is_seen_by_a_look():
    code = "x = bytearray(30_000_000); print('filled', flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen(
        ["sh", "-c", '"$@"; true', "sh", *python(code)], stdin=pipe, stdout=pipe
    ) as model:
        assert model.stdout.readline() == b"filled\n"
        memory = PeakMemory()
        memory.look(model.pid)
        assert memory.peak(0) is None, "one look may have come too early"
        memory.look(model.pid)
        model.communicate(b"\n")
    assert 30_000_000 < memory.peak(0) < 100_000_000


def test_a_small_model_is_not_told_the_size_of_its_driver(run, tmp_path):
    finished = run("sh", "-c", "sleep 0.3")
    assert finished.peak_memory_bytes is None or finished.peak_memory_bytes < 10_000_000


def test_streamed_output_is_shown_as_it_comes_and_only_what_is_new(run, log, capsys, tmp_path):
    log.write_text("of an earlier command\n")
    seen = []

    def look():
        wait_until(lambda: seen.append(capsys.readouterr().out) or "first\n" in "".join(seen))
        (tmp_path / "go on").touch()

    watcher = threading.Thread(target=look)
    watcher.start()
    run("sh", "-c", WAITING, tmp_path / "go on", stream=True, timeout=LIMIT)
    watcher.join()
    assert "".join(seen) + capsys.readouterr().out == "first\nlast\n"


def test_a_character_whose_bytes_come_apart_is_shown_whole(run, capsys):
    run("sh", "-c", r"printf 'h\303'; sleep 0.3; printf '\266he\n'", stream=True)
    assert capsys.readouterr().out == "höhe\n"


def test_output_that_the_terminal_cannot_show_is_replaced_and_the_log_has_it(run, log, monkeypatch):
    screen = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(screen, encoding="ascii", write_through=True))
    run("sh", "-c", r"printf 'h\303\266he \377\n'", stream=True)
    assert screen.getvalue() == b"h?he ?\n"
    assert log.read_bytes() == "höhe ".encode() + b"\xff\n"


def test_a_reader_of_the_output_that_goes_away_does_not_stop_the_model(run, log, monkeypatch):
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

    def look(pid):
        wait_until(lambda: len(tails(mark)) == 2)
        found.append((pid, process.find_leader(mark), process.find_leader(mark, pid)))

    script = f"setsid tail -f /dev/null {mark} & tail -f /dev/null {mark}; true"
    run("sh", "-c", script, timeout=0.1, on_started=look)
    ((pid, oldest, known),) = found
    assert pid == oldest == known
    assert process.find_leader(mark) is None
    assert process.find_leader(mark, os.getpid()) is None


def test_killing_by_mark_ends_a_run_for_whoever_waits_for_it(run, mark):
    def kill():
        wait_until(lambda: living(mark))
        process.kill_marked(mark)

    other = threading.Thread(target=kill)
    other.start()
    assert run("tail", "-f", "/dev/null", mark).exit_code == 137
    other.join()


def test_a_mark_that_begins_like_another_is_another(run, mark):
    def look(_pid):
        assert process.find_leader(mark + "2") is None
        assert process.find_leader(mark[:-1]) is None
        process.kill_marked(mark)

    assert run("tail", "-f", "/dev/null", on_started=look).exit_code == 137


@pytest.mark.parametrize(
    ("code", "name"), [(137, "SIGKILL"), (139, "SIGSEGV"), (1, ""), (255, ""), (0, "")]
)
def test_the_signal_behind_an_exit_code_has_a_name(code, name):
    assert process.signal_name(code) == name
