"""This package alongside rompy: the checks in `inside/` run in an environment with both.

If the package index cannot be reached, the tests fail in CI and are skipped elsewhere.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.plugins.packaging import pip_install
from tests.rompy.environment import Unreachable, python_with_rompy

ROOT = Path(__file__).parents[2]
INSIDE = Path(__file__).with_name("inside")
# These start many programs; all others share one process, as importing rompy takes seconds.
ALONE = ["check_models.py", "check_beside.py"]
TOGETHER = sorted({path.name for path in INSIDE.glob("check_*.py")}.difference(ALONE))


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python of the environment with rompy."""
    try:
        return python_with_rompy()
    except Unreachable as error:
        if os.environ.get("CI") == "true" or os.environ.get("ROMPY_HYDRA_REQUIRE_ROMPY") == "1":
            pytest.fail(f"rompy cannot be installed: {error}")
        pytest.skip(f"rompy cannot be installed: {error}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This package, installed from a wheel as users install it."""
    directory = tmp_path_factory.mktemp("beside rompy") / "site"
    pip_install(directory, str(ROOT))
    return directory


@pytest.mark.rompy
@pytest.mark.parametrize("checks", [*([name] for name in ALONE), TOGETHER], ids=[*ALONE, "the others"])
def test_checks_pass_alongside_rompy(checks: list[str], python: Path, site: Path, tmp_path: Path) -> None:
    # Keep the compiled modules: rompy and its dependencies take 10 s to compile in each process.
    left_out = ("PYTEST", "ROMPY_", "PYTHONDONTWRITEBYTECODE")
    variables = {k: v for k, v in os.environ.items() if not k.startswith(left_out)}
    options = ["-c", str(INSIDE / "pytest.ini"), f"--basetemp={tmp_path / 'runs'}"]
    paths = [str(INSIDE / name) for name in checks]
    answer = subprocess.run(
        [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, *paths],
        cwd=tmp_path,
        env={**variables, "PYTHONPATH": f"{site}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
