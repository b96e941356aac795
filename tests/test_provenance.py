from __future__ import annotations

import subprocess

import pytest

from rompy_hydra.hashing import hash_file, hash_json
from rompy_hydra.provenance import git_facts, provenance


@pytest.fixture
def repository(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        result = subprocess.run(
            ["git", "-C", tmp_path, *identity, *arguments], capture_output=True, text=True, check=True
        )
        return result.stdout.strip()

    git("init", "-q")
    return tmp_path, git


def test_commit_and_clean_tree_are_reported_from_any_subdirectory(repository):
    directory, git = repository
    (directory / "conf").mkdir()
    (directory / "conf" / "a.yaml").write_text("a: 1\n")
    git("add", ".")
    git("commit", "-qm", "one")
    facts = {"git_commit": git("rev-parse", "HEAD"), "git_dirty": False}
    assert git_facts(directory) == git_facts(directory / "conf") == facts


@pytest.mark.parametrize("change", ["changed", "new", "new with an odd name", "staged"])
def test_a_tree_with_any_change_is_dirty(repository, change):
    directory, git = repository
    (directory / "a.yaml").write_text("a: 1\n")
    git("add", ".")
    git("commit", "-qm", "one")
    if change == "new with an odd name":
        git("config", "core.quotePath", "false")
        (directory / "gr\udcf6\udce4 \n\t.yaml").write_text("x")
    else:
        (directory / ("new.yaml" if change == "new" else "a.yaml")).write_text("a: 2\n")
    if change == "staged":
        git("add", ".")
    assert git_facts(directory)["git_dirty"] is True


def test_nothing_is_reported_without_a_repository_a_commit_or_a_directory(repository, tmp_path_factory):
    directory, _git = repository
    assert git_facts(directory) == {}
    assert git_facts(tmp_path_factory.mktemp("plain")) == {}
    assert git_facts(directory / "missing") == {}


def test_collecting_provenance_leaves_the_repository_unchanged(repository):
    directory, git = repository
    (directory / "a.yaml").write_text("a: 1\n")
    git("add", ".")
    index = (directory / ".git" / "index").stat().st_mtime_ns
    git_facts(directory)
    assert (directory / ".git" / "index").stat().st_mtime_ns == index
    assert not (directory / ".git" / "index.lock").exists()


def test_provenance_includes_machine_python_and_packages(tmp_path):
    found = provenance(tmp_path)
    assert {"config_dir", "packages", "python", "host", "platform", "cpus", "user"} <= set(found)
    assert {"rompy-hydra", "hydra-core", "pydantic"} <= set(found["packages"])


def test_the_hash_of_json_ignores_only_the_order_of_keys():
    assert hash_json({"a": 1, "b": [1, 2]}) == hash_json({"b": [1, 2], "a": 1})
    others = [{"a": 1, "b": [2, 1]}, {"a": "1", "b": [1, 2]}, {"a": 1}, {"a": 1, "b": [1, 2], "c": None}]
    assert len({hash_json(each) for each in others}) == 4


def test_the_hash_of_a_file_depends_on_its_content(tmp_path):
    path = tmp_path / "a"
    path.write_text("one")
    first = hash_file(path)
    assert first == hash_file(path)
    path.write_text("two!")
    assert hash_file(path) != first
