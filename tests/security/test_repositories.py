"""Recording the commit of a configuration runs nothing that its repository names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rompy_hydra.provenance import git_facts

IDENTITY = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]


def git(directory: Path, *arguments: str) -> str:
    answer = subprocess.run(
        ["git", "-C", directory, *IDENTITY, *arguments], capture_output=True, text=True, check=True
    )
    return answer.stdout.strip()


@pytest.fixture
def trap(tmp_path):
    """A command that leaves a file behind when it runs, and the file."""
    script, caught = tmp_path / "trap.sh", tmp_path / "caught"
    script.write_text(f'#!/bin/sh\necho "$0 $*" >>"{caught}"\ncat\n')
    script.chmod(0o755)
    return str(script), caught


@pytest.fixture
def repository(tmp_path):
    directory = tmp_path / "project"
    (directory / "conf" / "model").mkdir(parents=True)
    (directory / "conf" / "model" / "mine.yaml").write_text("defaults: [beach]\n")
    git(directory, "init", "-q")
    git(directory, "add", ".")
    git(directory, "commit", "-qm", "one")
    return directory


def set_fsmonitor(directory: Path, command: str) -> None:
    git(directory, "config", "core.fsmonitor", command)


def set_clean_filter(directory: Path, command: str) -> None:
    (directory / ".gitattributes").write_text("* filter=evil.name\n")
    git(directory, "config", "filter.evil.name.clean", command)
    git(directory, "config", "filter.evil.name.required", "true")


def set_process_filter(directory: Path, command: str) -> None:
    (directory / ".git" / "info" / "attributes").write_text("* filter=Evil\n")
    git(directory, "config", "filter.Evil.process", command)


def set_included_filter(directory: Path, command: str) -> None:
    (directory / ".gitattributes").write_text("* filter=x\n")
    (directory / ".git" / "more").write_text(f'[filter "x"]\nclean = {command}\n')
    git(directory, "config", "include.path", "more")


def set_filter_with_an_odd_name(directory: Path, command: str) -> None:
    (directory / ".gitattributes").write_text("* filter=a=b\n")
    git(directory, "config", "filter.a=b.clean", command)


def set_hooks(directory: Path, command: str) -> None:
    for name in ("post-index-change", "fsmonitor-watchman", "post-checkout", "reference-transaction"):
        (directory / ".git" / "hooks" / name).write_text(f"#!/bin/sh\n{command}\n")
        (directory / ".git" / "hooks" / name).chmod(0o755)


def set_external_diff(directory: Path, command: str) -> None:
    git(directory, "config", "diff.external", command)
    git(directory, "config", "diff.x.textconv", command)
    (directory / ".gitattributes").write_text("* diff=x\n")


def set_lazy_fetch(directory: Path, command: str) -> None:
    """A partial clone whose objects are missing: git would fetch them from the remote."""
    git(directory, "config", "remote.origin.url", f"ext::{command}")
    git(directory, "config", "remote.origin.promisor", "true")
    git(directory, "config", "core.repositoryFormatVersion", "1")
    git(directory, "config", "extensions.partialClone", "origin")
    git(directory, "config", "protocol.ext.allow", "always")
    tree = git(directory, "rev-parse", "HEAD^{tree}")
    (directory / ".git" / "objects" / tree[:2] / tree[2:]).unlink()


def set_in_submodule(directory: Path, command: str) -> None:
    inner = directory / "inner"
    inner.mkdir()
    (inner / "file").write_text("x")
    git(inner, "init", "-q")
    git(inner, "add", ".")
    git(inner, "commit", "-qm", "inner")
    git(directory, "add", "inner")
    git(directory, "commit", "-qm", "two")
    set_fsmonitor(inner, command)


WAYS = [
    set_fsmonitor,
    set_clean_filter,
    set_process_filter,
    set_included_filter,
    set_filter_with_an_odd_name,
    set_hooks,
    set_external_diff,
    set_lazy_fetch,
    set_in_submodule,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_the_commit_is_recorded_without_running_what_a_repository_names(repository, trap, way):
    command, caught = trap
    way(repository, command)
    # Its content has to be compared: the time of the file has changed.
    os.utime(repository / "conf" / "model" / "mine.yaml", (1, 1))
    git_facts(repository / "conf")
    assert not caught.exists(), caught.read_text()


@pytest.mark.parametrize("way", [set_fsmonitor, set_clean_filter], ids=lambda way: way.__name__)
def test_these_traps_do_catch_an_ordinary_git(repository, trap, way):
    command, caught = trap
    way(repository, command)
    os.utime(repository / "conf" / "model" / "mine.yaml", (1, 1))
    subprocess.run(["git", "-C", repository, "status"], capture_output=True, check=False)
    assert caught.exists()


def test_a_bare_repository_among_the_files_of_a_clone_is_not_used(repository, trap):
    command, caught = trap
    bare = repository / "conf" / "bare"
    subprocess.run(["git", "init", "-q", "--bare", bare], check=True)
    git(bare, "config", "core.bare", "false")
    git(bare, "config", "core.worktree", str(repository))
    git(bare, "config", "core.fsmonitor", command)
    assert git_facts(bare) == {}
    assert not caught.exists()


def test_a_filter_of_the_repository_does_not_hide_its_commit(repository, trap):
    set_clean_filter(repository, trap[0])
    assert git_facts(repository) == {"git_commit": git(repository, "rev-parse", "HEAD"), "git_dirty": True}


def test_a_run_of_a_strangers_configuration_runs_none_of_it(repository, trap, tmp_path):
    command, caught = trap
    set_fsmonitor(repository, command)
    set_clean_filter(repository, command)
    answer = subprocess.run(
        [
            sys.executable,
            "-m",
            "rompy_hydra",
            "--config-dir",
            repository / "conf",
            "model=mine",
            "processor=noop",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert "git_commit" in next((tmp_path / "runs").glob("*/run.json")).read_text()
    assert not caught.exists(), caught.read_text()
