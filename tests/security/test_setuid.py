"""Set-user-ID programs that a container leaves lose their bits, or are reported as a failed run."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from rompy_hydra.regular_files import strip_setuid
from rompy_hydra.run.docker.backend import _strip_setuid
from rompy_hydra.workspace import Workspace


def program(path: Path, mode: int = 0o4755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy("/bin/true", path)
    path.chmod(mode)
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def as_nobody(directory: Path) -> str:
    """What the driver of an ordinary user says about a directory."""
    read, write = os.pipe()
    if not (pid := os.fork()):
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os.write(write, _strip_setuid(Workspace(directory)).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    with os.fdopen(read) as file:
        return file.read()


@pytest.fixture
def run_directory(tmp_path_factory):
    """A run directory of an ordinary user, in a place that this user can reach."""
    if os.getuid() != 0:
        pytest.skip("changing the user needs root")
    directory = Path("/tmp") / f"rompy_hydra_setuid_{os.getpid()}"
    directory.mkdir()
    os.chown(directory, 65534, 65534)
    yield directory
    shutil.rmtree(directory)


def test_the_bits_are_taken_from_all_files(tmp_path):
    programs = [program(tmp_path / name, bits) for name, bits in (("a", 0o4755), ("b/c", 0o6711))]
    (tmp_path / "link").symlink_to("/bin/true")
    (tmp_path / "linked").symlink_to(tmp_path / "b")
    found = strip_setuid(str(tmp_path))
    assert sorted(found.stripped) == sorted(map(str, programs))
    assert found.left == []
    assert [mode(each) for each in programs] == [0o755, 0o711]


def test_neither_a_deep_tree_nor_what_lies_beside_it_escapes(tmp_path):
    program(tmp_path / "0" / "sh")
    program(tmp_path / "z" / "sh")
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(tmp_path)
        for _ in range(3000):
            os.mkdir("d")
            os.chdir("d")
        program(Path("sh"))
        found = strip_setuid(str(tmp_path))
        assert mode(Path("sh")) == 0o755
    finally:
        os.fchdir(here)
        os.close(here)
        os.system(f"rm -rf '{tmp_path}/d'")
    assert len(found.stripped) == 3
    assert mode(tmp_path / "0" / "sh") == mode(tmp_path / "z" / "sh") == 0o755


def test_files_that_the_driver_may_not_change_are_reported_and_do_not_hide_others(run_directory):
    program(run_directory / "a" / "root")
    own = program(run_directory / "b" / "own")
    os.chown(own, 65534, 65534)
    own.chmod(0o4755)
    message = as_nobody(run_directory)
    assert f"the container left {run_directory}/a/root, which only the container's user" in message
    assert "chmod -R u-s,g-s" in message
    assert mode(own) == 0o755


def test_a_directory_that_others_can_enter_but_not_list_is_reported(run_directory):
    program(run_directory / "hidden" / "sh")
    (run_directory / "hidden").chmod(0o711)
    assert f"the container left {run_directory}/hidden, which" in as_nobody(run_directory)


def test_a_directory_that_nobody_else_can_enter_is_harmless(run_directory):
    program(run_directory / "private" / "sh")
    (run_directory / "private").chmod(0o700)
    assert as_nobody(run_directory) == ""
