"""`make demo` installs the program, and says how to use it afterwards."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_command_that_make_demo_prints_makes_the_program_available(tmp_path: Path) -> None:
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "bin").symlink_to(Path(sys.prefix) / "bin")
    # Neither installs nor runs anything.
    make = ["make", "demo", f"VENV={tmp_path}/venv", "PY=true", "PYTHON=true"]
    printed = subprocess.run(make, cwd=HOME, capture_output=True, text=True, check=True).stdout
    found = re.search(r"^next .*:  (\. .*/bin/activate)$", printed, re.MULTILINE)
    assert found is not None, printed
    environment = os.environ | {"PATH": os.defpath}
    script = f"{found[1]} && rompy-hydra --version"
    version = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True)
    assert version.stdout.startswith("rompy-hydra "), version.stderr


def test_the_readme_says_how_to_activate_the_environment_before_its_next_command() -> None:
    text = (HOME / "README.md").read_text()
    after = text[text.index("$ make demo") :]
    assert after.index(". .venv/bin/activate") < after.index("$ rompy-hydra")
