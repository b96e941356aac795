"""Packages created by `rompy-hydra new` can be installed, and pass their own tests."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rompy_hydra.cli.new import KINDS
from tests.conftest import LIMIT
from tests.plugins.packaging import Program, pip_install

NAMES = {
    "run-backend": "my-cluster",
    "postprocessor": "my-numbers",
    "pipeline": "patience",
    "model": "decay2",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The program with one new package of each kind, installed by pip."""
    directory = tmp_path_factory.mktemp("new")
    program = Program(directory / "site", directory)
    answers = program.run_all(*(["new", kind, name] for kind, name in NAMES.items()))
    assert [answer.returncode for answer in answers] == [0] * len(NAMES), answers
    assert "wrote  my-cluster/src/my_cluster/__init__.py" in answers[0].stdout
    pip_install(directory / "site", *(f"./{name}" for name in NAMES.values()), cwd=directory)
    return program


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_package_passes_its_own_tests(written, kind):
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=written.cwd / NAMES[kind],
        env={**os.environ, "PYTHONPATH": str(written.site)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert answer.returncode == 0, answer.stdout
    assert "skipped" not in answer.stdout


def test_new_packages_can_be_combined_and_their_settings_are_keys(written):
    answer = written(
        "model=decay2", "model.rate=0.5", "run_backend=my_cluster", "run_backend.starter=[env]",
        "processor=my_numbers", "pipeline=patience", "run_id=all",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "lines 26" in answer.stdout
    wrong = written("model=decay2", "model.rate=fast", "run_backend=my_cluster", "+run_backend.startr=x")
    assert wrong.returncode == 2
    assert "model.rate = 'fast': input should be a valid number" in wrong.stderr
    assert "run_backend.startr = 'x': no such key. Did you mean 'starter'?" in wrong.stderr
    missing = written("run_backend=my_cluster", "run_backend.starter=[no-such-program]")
    assert missing.returncode == 2
    assert "there is no program 'no-such-program'" in missing.stderr


def test_the_code_of_new_packages_passes_a_linter(written):
    paths = [str(path) for path in written.cwd.glob("*/src/*/__init__.py")]
    rules = ["--select", "E,F,W,B,UP,SIM,RET", "--line-length", "108", "--isolated"]
    answer = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *rules, *paths],
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert answer.returncode == 0, answer.stdout
    assert len(paths) == len(NAMES)


INVALID_NAMES = {
    "My-Model": "is not a valid package name",
    "1model": "is not a valid package name",
    "my model": "is not a valid package name",
    "my/model": "is not a valid package name",
    "..": "is not a valid package name",
    "-x": "",
    "modèle": "is not a valid package name",
    "my--model": "is not a valid package name",
    "class": "is not a valid package name",
    "x" * 41: "is not a valid package name",
    "json": "the Python module 'json' already exists",
    "pydantic": "the Python module 'pydantic' already exists",
    "rompy-hydra": "the Python module 'rompy_hydra' already exists",
    "beach": "the model configuration 'beach' of rompy-hydra already exists",
    "rompy": "'rompy' is the name of another distribution",
    "pyyaml": "the distribution PyYAML is installed; choose another name",
    "pytest-xdist": "the distribution pytest-xdist is installed; choose another name",
}


def test_invalid_package_names_are_rejected_and_nothing_is_written(tmp_path):
    program = Program(tmp_path / "site", tmp_path)
    for name, answer in zip(
        INVALID_NAMES, program.run_all(*(["new", "model", name] for name in INVALID_NAMES)), strict=True
    ):
        assert answer.returncode == 2, name
        assert INVALID_NAMES[name] in answer.stderr, name
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_never_overwritten(tmp_path):
    program = Program(tmp_path / "site", tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    commands = [["new", "model", "mine"]]
    commands += [
        ["new", "model", "other", "--directory", name] for name in ("mine", "file", "dangling", "file/x")
    ]
    for command, answer in zip(commands, program.run_all(*commands), strict=True):
        assert answer.returncode == 2, command
        assert "already exists" in answer.stderr or "cannot write" in answer.stderr, command
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["dangling", "file", "mine"]
    assert (tmp_path / "file").read_text() == "mine"
    answer = program("new", "model", "other", "--directory", "deep/er")
    assert answer.returncode == 0
    assert (tmp_path / "deep" / "er" / "pyproject.toml").exists()


def test_an_unknown_kind_is_reported(tmp_path):
    answer = Program(tmp_path, tmp_path)("new", "plugin", "mine")
    assert answer.returncode == 2
    assert "run-backend" in answer.stderr
