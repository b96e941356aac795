"""A container cannot reach the host through links, and leaves no programs with its user's rights."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest

from rompy_hydra import BaseConfig, ModelRun
from rompy_hydra.errors import RunError
from rompy_hydra.run.docker.image import _lock

pytestmark = pytest.mark.docker


def test_the_target_of_a_link_that_a_model_left_is_not_mounted_for_the_next_attempt(
    in_container: Any, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    run = in_container("cat link in.txt folder/secret; true")
    for name in ("link", "in.txt", "folder"):
        (run.workspace.path / name).symlink_to(secret if name != "folder" else tmp_path)
    run.execute()
    assert "hunter2" not in run.log
    assert run.log.count("No such file or directory") == 3


def test_a_socket_that_an_input_links_to_is_not_mounted(in_container: Any, tmp_path: Path) -> None:
    run = in_container("[ -e engine ] && echo there; true")
    (run.workspace.path / "engine").symlink_to("/var/run/docker.sock")
    run.execute()
    assert run.log == ""


@pytest.mark.parametrize("name", ["run.log", ".hydra", "attempts", "out"])
def test_a_container_that_replaces_a_file_by_a_link_writes_nowhere_else(
    in_container: Any, docker_engine: Any, tmp_path: Path, name: str
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    attack = f"rm -rf {name}; ln -s {victim} {name}; mkfifo result.csv; exit 3"
    config = BaseConfig(
        commands=[f"[ -e second ] || {{ {attack}; }}"],
        directories=["out"],
        image="rompy-hydra-test/busybox:1",
    )
    run = ModelRun(run_id="hostile", output_dir=tmp_path / "runs", config=config)
    for _ in range(2):
        run.pipeline(run_backend="docker")
    assert list(victim.iterdir()) == []
    assert (run.workspace.path / "run.json").is_file()


@pytest.mark.skipif(os.getuid() != 0, reason="the container's root is the host's root only for root")
def test_set_user_id_bits_that_a_container_left_are_taken_away(in_container: Any) -> None:
    commands = "cp /bin/busybox shell && chmod 6755 shell && mkdir d && cp shell d/shell && chmod 2775 d"
    run = in_container(f"{commands} && chmod u+s d/shell && ln -s shell other")
    run.execute(user="0:0")
    for name in ("shell", "d/shell"):
        mode = (run.workspace.path / name).stat().st_mode
        assert stat.S_IMODE(mode) == 0o755, name
    assert (run.workspace.path / "d").stat().st_mode & stat.S_ISGID  # of a directory: files get its group


@pytest.mark.parametrize("prepared", ["link", "writable", "file"])
def test_a_temporary_directory_that_another_user_prepared_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    directory, victim = tmp_path / f"rompy_hydra-{os.getuid()}", tmp_path / "victim"
    victim.mkdir()
    if prepared == "link":
        directory.symlink_to(victim)
    elif prepared == "writable":
        directory.mkdir()
        directory.chmod(0o777)
    else:
        directory.touch()
    with pytest.raises(RunError, match="rompy_hydra-"), _lock("pull-x", None):
        pass
    assert list(victim.iterdir()) == []


def test_a_link_in_the_temporary_directory_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    directory, victim = tmp_path / f"rompy_hydra-{os.getuid()}", tmp_path / "victim"
    directory.mkdir(mode=0o700)
    victim.write_text("kept")
    (directory / "pull-x.lock").symlink_to(victim)
    with pytest.raises(RunError, match="symbolic link"), _lock("pull-x", None):
        pass
    assert victim.read_text() == "kept"
