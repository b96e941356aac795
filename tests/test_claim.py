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

from rompy_hydra import claim
from rompy_hydra.workspace import Workspace
from tests.conftest import wait_until

RIVALS = """
import os, sys
from rompy_hydra import claim
from rompy_hydra.workspace import Workspace
workspace, start = Workspace(sys.argv[1]), sys.argv[2]
rivals = []
for _ in range(12):
    pid = os.fork()
    if not pid:
        while not os.path.exists(start):
            pass
        os._exit(0 if claim.claim(workspace, 1) else 1)
    rivals.append(pid)
open(start, "w").close()
print(sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 for pid in rivals))
"""

HOLDER = """
import sys, time
from rompy_hydra import claim
from rompy_hydra.workspace import Workspace
print(claim.claim(Workspace(sys.argv[1]), 1), flush=True)
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
    assert claim.latest(workspace) == 0
    missing = Workspace(workspace.path / "missing")
    assert claim.latest(missing) == 0
    assert not claim.claim(missing, 1)
    assert not missing.path.exists()


def test_a_claim_names_its_owner_and_the_newest_counts(workspace):
    for number in (1, 2, 10):
        assert claim.claim(workspace, number)
        claim.release(workspace, number)
    number = claim.latest(workspace)
    owner = claim.owner_of(workspace, number)
    assert (number, owner) == (10, claim.me())
    assert owner.is_me()
    assert owner.pid == os.getpid()


def test_a_taken_number_is_not_given_again_not_even_to_its_owner(workspace):
    assert claim.claim(workspace, 1)
    assert not claim.claim(workspace, 1)
    claim.release(workspace, 1)
    assert not claim.claim(workspace, 1)


def test_this_process_works_on_a_claim_until_it_releases_it(workspace):
    claim.claim(workspace, 1)
    path = claim.claim_path(workspace, 1)
    assert claim.is_alive(claim.me(), path)
    claim.release(workspace, 1)
    assert not claim.is_alive(claim.me(), path)


def test_a_living_owner_is_alive_and_a_killed_one_is_not(workspace, holder):
    number = claim.latest(workspace)
    owner = claim.owner_of(workspace, number)
    path = claim.claim_path(workspace, number)
    assert owner.pid == holder.pid
    assert claim.is_alive(owner, path)
    holder.kill()
    # Not yet waited for by its parent, so still in the table of processes.
    wait_until(lambda: psutil.Process(holder.pid).status() == psutil.STATUS_ZOMBIE)
    assert not claim.is_alive(owner, path)
    holder.wait()
    assert not claim.is_alive(owner, path)


def test_a_later_process_with_the_same_id_is_not_the_owner(workspace, holder):
    number = claim.latest(workspace)
    owner = claim.owner_of(workspace, number)
    assert not claim.is_alive(
        replace(owner, started=owner.started - 60), claim.claim_path(workspace, number)
    )


def test_an_owner_elsewhere_is_alive_as_long_as_it_touches_its_claim(workspace):
    claim.claim(workspace, 1)
    claim.release(workspace, 1)
    path = claim.claim_path(workspace, 1)
    elsewhere = claim.Owner("another.host/1234", os.getpid(), 0.0)
    assert claim.is_alive(elsewhere, path)
    old = time.time() - claim.STALE_SECONDS - 10
    os.utime(path, (old, old))
    assert not claim.is_alive(elsewhere, path)
    Path(path).unlink()
    assert not claim.is_alive(elsewhere, path)


def test_another_boot_of_this_host_is_elsewhere(workspace, holder):
    number = claim.latest(workspace)
    owner = claim.owner_of(workspace, number)
    name, _, *namespace = owner.host.split("/")
    rebooted = replace(owner, host="/".join([name, "00000000", *namespace]))
    path = claim.claim_path(workspace, number)
    os.utime(path, (1, 1))
    assert claim.is_alive(owner, path)
    assert not claim.is_alive(rebooted, path)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"host": "a"}', '{"host": 1, "pid": "x", "started": 0}']
)
def test_a_damaged_claim_counts_but_names_nobody(workspace, content):
    workspace.attempts.mkdir()
    Path(claim.claim_path(workspace, 3)).write_text(content)
    (workspace.attempts / "x.claim").touch()
    assert claim.latest(workspace) == 3
    assert claim.owner_of(workspace, 3) is None


def test_a_claim_that_finds_no_room_leaves_none(small_disk):
    workspace = Workspace(small_disk / "run")
    workspace.create()
    workspace.attempts.mkdir()
    with open(small_disk / "filler", "wb", 0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(b"x" * 4096)
    with pytest.raises(OSError, match="No space left"):
        claim.claim(workspace, 1)
    assert claim.latest(workspace) == 0
    assert list(workspace.attempts.iterdir()) == []


def test_a_claim_is_plain_json(workspace):
    claim.claim(workspace, 1)
    claim.release(workspace, 1)
    assert json.loads(Path(claim.claim_path(workspace, 1)).read_text())["pid"] == os.getpid()


def test_a_number_read_in_a_directory_that_was_set_aside_is_worth_nothing_in_its_successor(workspace):
    claim.claim(workspace, 1)
    before = claim.directory_of(workspace)
    aside = Workspace(workspace.set_aside())
    assert claim.directory_of(workspace) == 0
    assert claim.directory_of(aside) == before
    assert not claim.claim(workspace, 2, before)
    workspace.create()
    assert not claim.claim(workspace, 2, before)
    assert claim.latest(workspace) == 0
    assert claim.claim(workspace, 1, claim.directory_of(workspace))
    claim.release(workspace, 1)


def test_nobody_waits_for_the_owner_of_a_claim_under_which_nothing_was_done(workspace, holder):
    assert claim.owner_of(workspace, 1).pid == holder.pid
    claim.release(workspace, 1, unused=True)
    assert claim.latest(workspace) == 1
    assert claim.owner_of(workspace, 1) is None
    assert not claim.claim(workspace, 1)
    assert claim.claim(workspace, 2)
    assert claim.latest(workspace) == 2
    assert claim.owner_of(workspace, 2) == claim.me()
    claim.release(workspace, 2)
