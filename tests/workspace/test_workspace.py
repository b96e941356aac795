from __future__ import annotations

import os
import socket
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from rompy_hydra.core.spec import check_run_id
from rompy_hydra.errors import ConfigError, GenerateError
from rompy_hydra.workspace import Workspace
from rompy_hydra.workspace.atomic import copy_atomic, link_atomic, write_atomic, write_new
from tests.conftest import wait_until


@pytest.mark.parametrize(
    "run_id", ["a", "shoal 2", "größe=1,5", "-x", ".hidden", "it's", '"quoted"', "x" * 200]
)
def test_run_ids_that_name_one_directory_are_accepted(run_id):
    assert check_run_id(run_id) == run_id


@pytest.mark.parametrize(
    "run_id",
    [
        "",
        ".",
        "..",
        "a/b",
        "../a",
        "/a",
        "a\\b",
        "a\nb",
        "a\0b",
        " a",
        "a ",
        "\t",
        "x" * 201,
        "é" * 101,
        "a\udcff",
    ],
)
def test_run_ids_that_cannot_be_the_name_of_one_directory_are_rejected(run_id):
    with pytest.raises(ValueError, match="must be the name of one directory"):
        check_run_id(run_id)


def test_creating_the_object_does_not_touch_the_disk(tmp_path):
    workspace = Workspace(tmp_path / "run")
    assert not workspace.is_taken()
    assert workspace.exit_code() is None
    assert workspace.last_log_lines() == []
    assert list(workspace.files()) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("claim", ["claims/1.json", "attempts/1.claim"])
def test_a_directory_with_only_claims_is_not_taken(tmp_path, claim):
    (tmp_path / claim).parent.mkdir()
    (tmp_path / claim).touch()
    assert not Workspace(tmp_path).is_taken()
    (tmp_path / "out.nc").touch()
    assert Workspace(tmp_path).is_taken()


def test_a_file_in_place_of_the_directory_is_reported(tmp_path):
    (tmp_path / "run").write_text("a file")
    workspace = Workspace(tmp_path / "run")
    with pytest.raises(ConfigError, match="is a file, but the run needs a directory"):
        workspace.is_taken()
    with pytest.raises(GenerateError, match="cannot create the run directory"):
        workspace.create()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc/passwd", "a/../../x", "a/.."])
def test_paths_outside_the_run_directory_are_rejected(tmp_path, name):
    with pytest.raises(ValueError, match="lies outside"):
        Workspace(tmp_path).inside(name)


@pytest.mark.parametrize(
    ("content", "code"),
    [("0\n", 0), ("137\n", 137), ("0", None), ("", None), ("zero\n", None), ("-1\n", None)],
)
def test_an_exit_code_counts_only_with_its_line_end(tmp_path, content, code):
    (tmp_path / "exit_code").write_text(content)
    assert Workspace(tmp_path).exit_code() == code


def test_an_exit_code_is_written_and_deleted(tmp_path):
    workspace = Workspace(tmp_path)
    workspace.forget_exit_code()
    workspace.leave_exit_code(3)
    assert workspace.exit_code() == 3
    workspace.forget_exit_code()
    assert workspace.exit_code() is None


def _create_special_files(directory: Path) -> None:
    """Create what models leave besides files: links to directories, pipes, sockets and dangling links."""
    (directory / "results").mkdir()
    (directory / "results" / "out.nc").write_text("data")
    (directory / "latest").symlink_to("results")
    (directory / "alias.nc").symlink_to("results/out.nc")
    (directory / "dangling").symlink_to("nowhere")
    os.mkfifo(directory / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(directory, os.O_RDONLY)
        try:  # through the descriptor, because the path of a socket must be short
            server.bind(f"/proc/self/fd/{here}/socket")
        finally:
            os.close(here)


def test_the_files_of_a_run_are_regular_files_and_links_to_them(tmp_path):
    _create_special_files(tmp_path)
    assert [name for name, _ in Workspace(tmp_path).files()] == ["alias.nc", "results/out.nc"]


def test_internal_and_temporary_files_are_not_files_of_the_model(tmp_path):
    for name in (
        "run.json",
        "run.sh",
        "run.log",
        "exit_code",
        "build.log",
        ".a.12-34.part",
    ):
        (tmp_path / name).write_text("x")
    for name in (
        "attempts/1/out.nc",
        "attempts/1.claim",
        "claims/1.json",
        ".hydra/config.yaml",
        "results/.b.12-34.part",
        "results/run.log",
        ".mine.part",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert [name for name, _ in Workspace(tmp_path).files()] == [".mine.part", "results/run.log"]


def test_archiving_an_attempt_moves_everything_but_the_files_to_keep(tmp_path):
    workspace = Workspace(tmp_path)
    _create_special_files(tmp_path)
    (tmp_path / "claims").mkdir()
    for name in ("input.txt", "run.log", "exit_code", "run.json", "run.sh", "claims/2.json"):
        (tmp_path / name).write_text(name)
    workspace.archive_attempt(2, keep={"input.txt"})
    assert (tmp_path / "claims" / "2.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "attempts",
        "claims",
        "input.txt",
        "results",
        "run.json",
        "run.sh",
    ]
    assert sorted(path.name for path in (tmp_path / "attempts/2").iterdir()) == [
        *("alias.nc", "dangling", "exit_code", "latest", "pipe", "results", "run.log", "socket")
    ]
    assert (tmp_path / "attempts/2/results/out.nc").read_text() == "data"
    assert list((tmp_path / "results").iterdir()) == []


def test_a_directory_is_set_aside_under_the_first_free_name(tmp_path):
    (tmp_path / "run.old-1").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "out.nc").write_text("data")
    aside = Workspace(tmp_path / "run").set_aside()
    assert aside == tmp_path / "run.old-2"
    assert (aside / "out.nc").read_text() == "data"
    assert not (tmp_path / "run").exists()


def test_removing_files_removes_the_directories_that_become_empty(tmp_path):
    for name in ("a/b/one", "a/two", "three"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    Workspace(tmp_path).remove_files(["a/b/one", "three", "was gone"])
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == ["a", "a/two"]


def test_the_last_lines_of_a_log_are_always_printable(tmp_path):
    log = b"first\n\xff\xfe\x00binary\x1b[2J\n" + "Wellenhöhe\ttotal\r\n".encode() + b"x" * 5000
    (tmp_path / "run.log").write_bytes(log)
    lines = Workspace(tmp_path).last_log_lines(3)
    assert lines[1] == "Wellenhöhe\ttotal"
    assert lines[2] == "x" * 500
    assert all(char.isprintable() or char == "\t" for line in lines for char in line)
    assert "binary" in lines[0]


def test_reading_the_end_of_a_huge_log_requires_little_memory(tmp_path):
    with (tmp_path / "run.log").open("wb") as log:
        log.truncate(2**32)
        log.seek(0, os.SEEK_END)
        log.write(b"\nthe end\n")
    tracemalloc.start()
    try:
        lines = Workspace(tmp_path).last_log_lines()
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert lines[-1] == "the end"
    assert peak < 2**20


def test_an_atomic_write_replaces_the_file_and_leaves_no_temporary_file(tmp_path):
    target = tmp_path / ("n" * 250)
    write_atomic(target, "a long first content")
    write_atomic(target, "größe\n", mode=0o755)
    assert target.read_bytes() == "größe\n".encode()
    assert target.stat().st_mode & 0o777 == 0o755
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_atomic_write_leaves_the_old_content_and_no_temporary_file(small_disk):
    target = small_disk / "file"
    write_atomic(target, "old")
    with pytest.raises(OSError, match="No space left"):
        write_atomic(target, b"x" * 2**21)
    assert target.read_text() == "old"
    assert list(small_disk.iterdir()) == [target]


def test_a_new_file_is_written_only_if_none_of_its_name_exists(tmp_path):
    target = tmp_path / "run.sh"
    assert write_new(str(target), "größe\n", mode=0o755)
    assert target.stat().st_mode & 0o777 == 0o755
    assert not write_new(str(target), "other")
    target.unlink()
    target.symlink_to(tmp_path / "elsewhere")
    assert not write_new(str(target), "other")
    assert list(tmp_path.iterdir()) == [target]


def test_a_new_file_that_cannot_be_written_is_deleted(small_disk):
    with pytest.raises(OSError, match="No space left"):
        write_new(str(small_disk / "file"), b"x" * 2**21)
    assert list(small_disk.iterdir()) == []


def test_a_killed_writer_leaves_the_old_or_the_new_file(tmp_path):
    target = tmp_path / "data.bin"
    target.write_text("old")
    code = "import sys; from pathlib import Path; from rompy_hydra.workspace.atomic import write_atomic\n"
    code += "while True: write_atomic(Path(sys.argv[1]), b'n' * 2**26)"
    writer = subprocess.Popen([sys.executable, "-c", code, target])
    wait_until(lambda: any(part.stat().st_size for part in tmp_path.glob(".*.part")))
    writer.kill()
    writer.wait()
    content = target.read_bytes()
    assert content == b"old" or (len(content) == 2**26 and not content.strip(b"n"))
    assert [name for name, _ in Workspace(tmp_path).files()] == ["data.bin"]


def test_a_copy_keeps_the_permissions_and_a_link_replaces_an_existing_file(tmp_path):
    source = tmp_path / "tool.sh"
    source.write_text("#!/bin/sh\n")
    source.chmod(0o750)
    copy_atomic(source, tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o750
    link_atomic(source, tmp_path / "copy")
    assert (tmp_path / "copy").readlink() == source
    link_atomic(tmp_path / "other", tmp_path / "copy")
    assert (tmp_path / "copy").readlink() == tmp_path / "other"
