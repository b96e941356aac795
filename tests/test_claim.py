from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from rompy_hydra.workspace import Workspace, lease
from tests.conftest import wait_until

RIVALS = """
import os, sys
from rompy_hydra.workspace import lease
from rompy_hydra.workspace import Workspace
workspace, start = Workspace(sys.argv[1]), sys.argv[2]
rivals = []
for _ in range(12):
    pid = os.fork()
    if not pid:
        while not os.path.exists(start):
            pass
        os._exit(0 if lease.claim(workspace, 1) else 1)
    rivals.append(pid)
open(start, "w").close()
print(sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 for pid in rivals))
"""

HOLDER = """
import sys, time
from rompy_hydra.workspace import lease
from rompy_hydra.workspace import Workspace
print(lease.claim(Workspace(sys.argv[1]), 1), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def workspace(tmp_path):
    workspace = Workspace(tmp_path / "run")
    workspace.create()
    return workspace


@pytest.fixture
def holder(workspace):
    """Another process that holds the first claim until its input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, workspace.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"True\n"
    yield process
    process.kill()
    process.stdin.close()
    process.stdout.close()
    process.wait()


def test_of_many_processes_at_once_exactly_one_gets_the_claim(workspace, tmp_path):
    answer = subprocess.run(
        [sys.executable, "-c", RIVALS, workspace.path, tmp_path / "start"], capture_output=True, timeout=60
    )
    assert answer.stdout == b"1\n", answer.stderr
    assert [path.name for path in workspace.attempts.iterdir()] == ["1.claim"]


def test_nobody_owns_what_nobody_claimed(workspace):
    assert lease.latest(workspace) == 0
    missing = Workspace(workspace.path / "missing")
    assert lease.latest(missing) == 0
    assert not lease.claim(missing, 1)
    assert not missing.path.exists()


def test_a_claim_names_its_owner_and_the_newest_counts(workspace):
    for number in (1, 2, 10):
        assert lease.claim(workspace, number)
        lease.release(workspace, number)
    number = lease.latest(workspace)
    owner = lease.owner_of(workspace, number)
    assert (number, owner) == (10, lease.me())
    assert owner.is_me()
    assert owner.pid == os.getpid()


def test_a_taken_number_is_not_given_again_not_even_to_its_owner(workspace):
    assert lease.claim(workspace, 1)
    assert not lease.claim(workspace, 1)
    lease.release(workspace, 1)
    assert not lease.claim(workspace, 1)


def test_this_process_works_on_a_claim_until_it_releases_it(workspace):
    lease.claim(workspace, 1)
    path = lease.claim_path(workspace, 1)
    assert lease.is_alive(lease.me(), path)
    lease.release(workspace, 1)
    assert not lease.is_alive(lease.me(), path)


def test_a_living_owner_is_alive_and_a_killed_one_is_not(workspace, holder):
    number = lease.latest(workspace)
    owner = lease.owner_of(workspace, number)
    path = lease.claim_path(workspace, number)
    assert owner.pid == holder.pid
    assert lease.is_alive(owner, path)
    holder.kill()
    # Not yet waited for by its parent, so still in the table of processes.
    wait_until(lambda: psutil.Process(holder.pid).status() == psutil.STATUS_ZOMBIE)
    assert not lease.is_alive(owner, path)
    holder.wait()
    assert not lease.is_alive(owner, path)


def test_a_later_process_with_the_same_id_is_not_the_owner(workspace, holder):
    number = lease.latest(workspace)
    owner = lease.owner_of(workspace, number)
    assert not lease.is_alive(
        replace(owner, started=owner.started - 60), lease.claim_path(workspace, number)
    )


def test_an_owner_elsewhere_is_alive_as_long_as_it_touches_its_claim(workspace):
    lease.claim(workspace, 1)
    lease.release(workspace, 1)
    path = lease.claim_path(workspace, 1)
    elsewhere = lease.Owner("another.host/1234", os.getpid(), 0.0)
    assert lease.is_alive(elsewhere, path)
    old = time.time() - lease.STALE_SECONDS - 10
    os.utime(path, (old, old))
    assert not lease.is_alive(elsewhere, path)
    Path(path).unlink()
    assert not lease.is_alive(elsewhere, path)


def test_another_boot_of_this_host_is_elsewhere(workspace, holder):
    number = lease.latest(workspace)
    owner = lease.owner_of(workspace, number)
    name, _, *namespace = owner.host.split("/")
    rebooted = replace(owner, host="/".join([name, "00000000", *namespace]))
    path = lease.claim_path(workspace, number)
    os.utime(path, (1, 1))
    assert lease.is_alive(owner, path)
    assert not lease.is_alive(rebooted, path)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"host": "a"}', '{"host": 1, "pid": "x", "started": 0}']
)
def test_a_damaged_claim_counts_but_names_nobody(workspace, content):
    workspace.attempts.mkdir()
    Path(lease.claim_path(workspace, 3)).write_text(content)
    (workspace.attempts / "x.claim").touch()
    assert lease.latest(workspace) == 3
    assert lease.owner_of(workspace, 3) is None


def test_a_claim_that_finds_no_room_leaves_none(small_disk):
    workspace = Workspace(small_disk / "run")
    workspace.create()
    workspace.attempts.mkdir()
    with open(small_disk / "filler", "wb", 0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(b"x" * 4096)
    with pytest.raises(OSError, match="No space left"):
        lease.claim(workspace, 1)
    assert lease.latest(workspace) == 0
    assert list(workspace.attempts.iterdir()) == []


def test_a_claim_is_plain_json(workspace):
    lease.claim(workspace, 1)
    lease.release(workspace, 1)
    assert json.loads(Path(lease.claim_path(workspace, 1)).read_text())["pid"] == os.getpid()


def test_a_number_read_in_a_directory_that_was_set_aside_is_worth_nothing_in_its_successor(workspace):
    lease.claim(workspace, 1)
    before = lease.directory_of(workspace)
    aside = Workspace(workspace.set_aside())
    assert lease.directory_of(workspace) == 0
    assert lease.directory_of(aside) == before
    assert not lease.claim(workspace, 2, before)
    workspace.create()
    assert not lease.claim(workspace, 2, before)
    assert lease.latest(workspace) == 0
    assert lease.claim(workspace, 1, lease.directory_of(workspace))
    lease.release(workspace, 1)


def test_nobody_waits_for_the_owner_of_a_claim_under_which_nothing_was_done(workspace, holder):
    assert lease.owner_of(workspace, 1).pid == holder.pid
    lease.release(workspace, 1, unused=True)
    assert lease.latest(workspace) == 1
    assert lease.owner_of(workspace, 1) is None
    assert not lease.claim(workspace, 1)
    assert lease.claim(workspace, 2)
    assert lease.latest(workspace) == 2
    assert lease.owner_of(workspace, 2) == lease.me()
    lease.release(workspace, 2)
