"""An environment with good, slow, broken and conflicting plugins, created once per session."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plugins.packages import ALL
from tests.plugins.packaging import Program, install


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory in which pip has installed all plugins."""
    found = install(tmp_path_factory.mktemp("plugins"), *ALL)
    shutil.rmtree(found / "bin", ignore_errors=True)
    return found


@pytest.fixture
def program(site: Path, tmp_path: Path) -> Program:
    """The program with these plugins, in an empty directory."""
    cwd = tmp_path / "here"
    cwd.mkdir()
    return Program(site, cwd)


@pytest.fixture
def traced(tmp_path: Path) -> Callable[[], set[str]]:
    """Returns which plugin modules were imported by programs started with TRACES=tmp_path/traces."""
    directory = tmp_path / "traces"
    directory.mkdir()
    return lambda: {path.name for path in directory.iterdir()}
