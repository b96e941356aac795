"""Fixtures for the checks with rompy: a SWAN configuration, and the program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

SWAN = {
    "cgrid": {
        "model_type": "regular",
        "grid": {"xp": 110.0, "yp": -30.0, "alp": 0.0, "xlen": 20.0, "ylen": 10.0, "mx": 20, "my": 10},
        "spectrum": {"mdc": 36, "flow": 0.04, "fhigh": 1.0},
    },
    "physics": {"friction": {"model_type": "madsen", "kn": 0.05}},
    "output": {
        "points": {"model_type": "points", "sname": "pts", "xp": [114.0, 115.0], "yp": [-25.0, -26.0]},
        "table": {
            "model_type": "table", "sname": "pts", "fname": "table.txt", "output": ["hsign", "dir"],
            "times": {"dfmt": "min"},
        },
    },
    "lockup": {"compute": {"model_type": "nonstat", "times": {"tfmt": 1, "dfmt": "min"}}},
}  # fmt: skip


def without_time(text: str) -> list[str]:
    """The lines of an input file, except the one with the time and place of its generation."""
    return [line for line in text.splitlines() if "Generated" not in line]


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A user's configuration directory with SWAN as a model."""
    (tmp_path / "conf" / "model").mkdir(parents=True)
    for name, kind in (("my_swan", "SwanConfig"), ("my_old_swan", "SwanConfigComponents")):
        node = {"_target_": f"rompy_swan.config.{kind}", **SWAN}
        (tmp_path / "conf" / "model" / f"{name}.yaml").write_text(yaml.safe_dump(node))
    return tmp_path / "conf"


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`rompy-hydra` in an empty directory."""
    here = tmp_path / "here"
    here.mkdir()

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rompy_hydra", *arguments],
            cwd=here,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run
