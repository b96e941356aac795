"""What a driver leaves that was killed at a file operation, and what the next start makes of it."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime

import pytest

from rompy_hydra.workspace.atomic import partial_name, remove_partials, write_atomic
from tests.conftest import wait_until

# Dies at a certain call of a function that changes the directory, as by kill -9.
DRIVER = """
import os, signal
def dying(function, count):
    calls = [0]
    def call(*arguments, **options):
        calls[0] += 1
        if calls[0] == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call
name, count = sys.argv[1:]
setattr(os, name, dying(getattr(os, name), int(count)))
config = BaseConfig(commands=["echo deep > out.txt"])
run = ModelRun(run_id="killed", output_dir="runs", config=config)
assert run.run("local"), "the run failed"
"""


def partials(directory):
    return sorted(str(path) for path in directory.rglob(".*.part"))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("replace", 1),
        ("replace", 2),
        ("replace", 3),
        ("link", 1),
        ("unlink", 1),
        ("write", 2),
        ("write", 3),
    ],
)
def test_a_killed_driver_leaves_no_temporary_file_for_ever(start_driver, tmp_path, name, count):
    killed = start_driver(DRIVER, name, count)
    assert killed.wait() == -9, "it was not killed"
    run = tmp_path / "runs" / "killed"
    left = partials(run)
    assert start_driver(DRIVER, name, 0).wait() == 0
    assert partials(run) == []
    if (name, count) in {("replace", 1), ("replace", 2), ("link", 1), ("unlink", 1)}:
        assert left, "the kill came at another moment than this test is about"


@pytest.mark.parametrize("behind", [None, 0.003])
def test_the_seconds_of_a_model_that_ended_without_its_driver_are_known(start_driver, tmp_path, behind):
    """Also if the time of its exit code is that of a tick just before its start."""
    assert start_driver(DRIVER, "replace", 3).wait() == -9
    run = tmp_path / "runs" / "killed"
    before = json.loads((run / "run.json").read_bytes())
    assert before["state"] == "running"
    assert (run / "exit_code").read_text() == "0\n"
    if behind is not None:
        moment = datetime.fromisoformat(before["stages"]["run"]["started"]).timestamp() - behind
        os.utime(run / "exit_code", (moment, moment))
    assert start_driver(DRIVER, "replace", 0).wait() == 0
    record = json.loads((run / "run.json").read_bytes())
    assert record["attempt"] == 1
    assert record["resources"]["seconds"] is not None
    assert record["stages"]["run"]["seconds"] is not None


def test_temporary_files_of_living_and_unknown_writers_are_kept(tmp_path):
    ours = tmp_path / partial_name("run.json")
    theirs = tmp_path / ".run.json.0123abcd.1-1.part"
    users = tmp_path / ".notes.1-1.part"
    for path in (ours, theirs, users):
        path.touch()
    remove_partials(str(tmp_path), exclusive=False)
    assert sorted(tmp_path.iterdir()) == sorted([ours, theirs, users])
    old = time.time() - 7200
    for path in (ours, theirs, users):
        os.utime(path, (old, old))
    remove_partials(str(tmp_path), exclusive=False)
    assert sorted(tmp_path.iterdir()) == sorted([ours, users])
    theirs.touch()
    remove_partials(str(tmp_path), exclusive=True)
    assert sorted(tmp_path.iterdir()) == sorted([ours, users])


def test_the_temporary_file_of_a_dead_process_of_this_host_is_removed(tmp_path):
    pid = os.fork()
    if not pid:
        (tmp_path / partial_name("run.json")).touch()
        os._exit(0)
    os.waitpid(pid, 0)
    wait_until(lambda: len(partials(tmp_path)) == 1)
    remove_partials(str(tmp_path), exclusive=False)
    assert partials(tmp_path) == []


def test_a_file_with_the_name_of_a_temporary_file_is_not_written_through(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / partial_name("run.json")).symlink_to(victim)
    write_atomic(tmp_path / "run.json", "{}")
    assert victim.read_text() == "kept"
    assert (tmp_path / "run.json").read_text() == "{}"
    assert not (tmp_path / "run.json").is_symlink()
