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

from rompy_hydra.process.tree import RUN_MARK
from rompy_hydra.workspace import Workspace, lease
from tests.conftest import wait_until

OLD_RUNS = Path(__file__).parents[1] / "data" / "version_0_1_0"

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

KEEPER = """
import sys
from rompy_hydra.workspace import lease_keeper
lease_keeper.main(sys.argv[1])
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


def test_exactly_one_of_many_simultaneous_claims_succeeds(workspace, tmp_path):
    answer = subprocess.run(
        [sys.executable, "-c", RIVALS, workspace.path, tmp_path / "start"], capture_output=True, timeout=60
    )
    assert answer.stdout == b"1\n", answer.stderr
    assert [path.name for path in workspace.path.rglob("*")] == ["claims", "1.json"]


def test_an_unclaimed_run_has_no_owner(workspace):
    assert lease.latest(workspace) == 0
    missing = Workspace(workspace.path / "missing")
    assert lease.latest(missing) == 0
    assert not lease.claim(missing, 1)
    assert not missing.path.exists()


def test_a_claim_names_its_owner_and_the_newest_one_counts(workspace):
    for number in (1, 2, 10):
        assert lease.claim(workspace, number)
        lease.release(workspace, number)
    number = lease.latest(workspace)
    owner = lease.owner_of(workspace, number)
    assert (number, owner) == (10, lease.me())
    assert owner.pid == os.getpid()


def test_a_number_can_be_claimed_only_once_even_by_its_owner(workspace):
    assert lease.claim(workspace, 1)
    assert not lease.claim(workspace, 1)
    lease.release(workspace, 1)
    assert not lease.claim(workspace, 1)


def test_this_process_holds_its_claim_until_it_releases_it(workspace):
    lease.claim(workspace, 1)
    path = lease.claim_path(workspace, 1)
    assert lease.is_alive(lease.me(), path)
    lease.release(workspace, 1)
    assert not lease.is_alive(lease.me(), path)


def test_a_running_owner_is_alive_and_a_killed_owner_is_not(workspace, holder):
    number = lease.latest(workspace)
    owner = lease.owner_of(workspace, number)
    path = lease.claim_path(workspace, number)
    assert owner.pid == holder.pid
    assert lease.is_alive(owner, path)
    holder.kill()
    # Its parent has not waited for it, so it is still in the process table.
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


def test_an_owner_on_another_host_is_alive_as_long_as_it_touches_its_claim(workspace):
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


def test_an_owner_from_an_earlier_boot_is_treated_like_one_on_another_host(workspace, holder):
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
def test_a_damaged_claim_counts_but_has_no_owner(workspace, content):
    (workspace.path / "claims").mkdir()
    Path(lease.claim_path(workspace, 3)).write_text(content)
    for name in ("x.json", "²", "².json", "4", "4.txt", "4.unused", ".4.json"):
        (workspace.path / "claims" / name).touch()
    assert lease.latest(workspace) == 3
    assert lease.owner_of(workspace, 3) is None


def test_a_claim_on_a_full_disk_fails_and_leaves_no_file(small_disk):
    workspace = Workspace(small_disk / "run")
    workspace.create()
    (workspace.path / "claims").mkdir()
    with open(small_disk / "filler", "wb", 0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(b"x" * 4096)
    with pytest.raises(OSError, match="No space left"):
        lease.claim(workspace, 1)
    assert lease.latest(workspace) == 0
    assert list((workspace.path / "claims").iterdir()) == []


def test_a_claim_is_plain_json(workspace):
    lease.claim(workspace, 1)
    lease.release(workspace, 1)
    assert json.loads(Path(lease.claim_path(workspace, 1)).read_text())["pid"] == os.getpid()


def test_a_number_from_a_directory_set_aside_does_not_count_in_its_successor(workspace):
    lease.claim(workspace, 1)
    before = lease.snapshot(workspace).directory
    aside = Workspace(workspace.set_aside())
    assert lease.snapshot(workspace).directory == 0
    assert lease.snapshot(aside).directory == before
    assert not lease.claim(workspace, 2, before)
    workspace.create()
    assert not lease.claim(workspace, 2, before)
    assert lease.latest(workspace) == 0
    assert lease.claim(workspace, 1, lease.snapshot(workspace).directory)
    lease.release(workspace, 1)


def test_an_unused_claim_has_no_owner_to_wait_for(workspace, holder):
    assert lease.owner_of(workspace, 1).pid == holder.pid
    lease.release(workspace, 1, unused=True)
    assert lease.latest(workspace) == 1
    assert lease.owner_of(workspace, 1) is None
    assert not lease.claim(workspace, 1)
    assert lease.claim(workspace, 2)
    assert lease.latest(workspace) == 2
    assert lease.owner_of(workspace, 2) == lease.me()
    lease.release(workspace, 2)


def old_claim(workspace, number, owner):
    """A claim as version 0.1.0 wrote it."""
    workspace.attempts.mkdir(exist_ok=True)
    path = workspace.attempts / f"{number}.claim"
    path.write_text(json.dumps(vars(owner)))
    return path


def test_claims_of_version_0_1_0_count_and_new_claims_continue_their_numbers(workspace):
    owner = lease.Owner("another.host/1234", 42, 7.5)
    for number in (1, 2):
        old_claim(workspace, number, owner)
    (workspace.attempts / "1").mkdir()
    assert lease.snapshot(workspace) == (os.stat(workspace.root).st_ino, 2)
    assert lease.owner_of(workspace, 2) == lease.holder(workspace, 2) == owner
    assert lease.claim(workspace, 3)
    assert lease.latest(workspace) == 3
    assert lease.owner_of(workspace, 3) == lease.holder(workspace, 3) == lease.me()
    lease.release(workspace, 3)
    assert (workspace.path / "claims" / "3.json").is_file()
    assert sorted(path.name for path in workspace.attempts.iterdir()) == ["1", "1.claim", "2.claim"]


def test_a_claim_of_version_0_1_0_with_a_higher_number_than_new_claims_counts(workspace):
    assert lease.claim(workspace, 1)
    lease.release(workspace, 1)
    old_claim(workspace, 2, lease.me())
    assert lease.latest(workspace) == 2


def test_an_owner_on_another_host_is_alive_as_long_as_it_touches_a_claim_of_version_0_1_0(workspace):
    path = old_claim(workspace, 1, lease.Owner("another.host/1234", 42, 7.5))
    assert lease.holder(workspace, 1)
    old = time.time() - lease.STALE_SECONDS - 10
    os.utime(path, (old, old))
    assert not lease.holder(workspace, 1)


def test_a_running_driver_of_version_0_1_0_on_this_machine_is_recognised(workspace, holder):
    driver = lease.owner_of(workspace, 1)
    old_claim(workspace, 2, driver)
    assert lease.holder(workspace, 2) == driver
    (workspace.attempts / "2.unused").touch()
    assert lease.owner_of(workspace, 2) is None


def test_every_run_directory_of_version_0_1_0_has_a_claim_whose_owner_is_dead():
    directories = [path.parent for path in OLD_RUNS.rglob("run.json")]
    assert len(directories) >= 7
    for directory in directories:
        workspace = Workspace(directory)
        assert lease.latest(workspace) == len(list(workspace.attempts.glob("*.claim")))
        assert lease.owner_of(workspace, lease.latest(workspace)).host == "ada/00000000"


def test_the_lease_keeper_touches_the_claims_of_both_layouts_while_a_model_runs(workspace, tmp_path):
    old, new = workspace, Workspace(tmp_path / "another run")
    new.create()
    owner = lease.Owner("another.host/1234", 42, 7.5)
    paths = [old_claim(old, 1, owner), new.path / "claims" / "1.json"]
    paths[1].parent.mkdir()
    paths[1].write_text(json.dumps(vars(owner)))
    models = [
        subprocess.Popen(["sleep", "60"], env=os.environ | {RUN_MARK: each.root}) for each in (old, new)
    ]
    for path in paths:
        os.utime(path, (1, 1))
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, json.dumps(vars(owner))],
    )
    try:
        wait_until(lambda: all(path.stat().st_mtime > 1 for path in paths))
    finally:
        for model in models:
            model.kill()
            model.wait()
    assert keeper.wait(60) == 0
    assert all(path.stat().st_mtime == 0 for path in paths)
