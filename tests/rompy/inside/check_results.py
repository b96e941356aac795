"""The same calls with rompy and with this package, in one process each: results compared key by key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rompy.inside.calls import CALLS

PAGE = Path(__file__).parents[3] / "docs" / "rompy.md"
# Keys that only this package has: those of the reference, and what else it knows about a failure.
MORE = {"run_backend", "error", "error_type"}
# Calls that end in another way on purpose: what they return here, None for an error, and the row of the page that says why.
DIFFERENCES = {
    "run nothing": (False, "the model has no command and no `run()`"),
    "postprocess with an error": ({"success": False}, "a postprocessor raises an exception"),
    "pipeline with a failed processor": (
        {"success": False, "stage": "postprocess", "stages_completed": ["generate", "run"]},
        "a postprocessor fails",
    ),
    "pipeline with a name and settings": ({"success": True, "run_backend": "local"}, "`run_backend=\"local\"`"),
    "pipeline with a wrong setting": (None, "unknown `run_kwargs`"),
    "pipeline without a backend": ({"success": False, "stage": "run"}, "`run_backend=\"local\"`"),
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What the calls return or raise: with rompy, and with this package."""
    directory = tmp_path_factory.mktemp("calls")
    script = Path(__file__).with_name("calls.py")
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), package],
            cwd=directory,
            env={**os.environ, "TMPDIR": str(directory)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for package in ("rompy", "rompy_hydra")
    ]
    found = []
    for process in processes:
        out, error = process.communicate(timeout=240)
        assert process.returncode == 0, error
        found.append(json.loads(out.splitlines()[-1]))
    return found


@pytest.mark.parametrize("name", CALLS)
def test_a_call_ends_as_in_rompy_or_the_difference_is_documented(name, outcomes):
    theirs, ours = (each[name] for each in outcomes)
    if name in DIFFERENCES:
        expected, row = DIFFERENCES[name]
        returned = ours.get("returns")
        if isinstance(expected, dict):
            expected, returned = {**expected}, {key: returned.get(key) for key in expected}
        assert returned == expected
        assert not _is_alike(theirs, ours)
        assert f"| {row}" in PAGE.read_text()
    else:
        assert _is_alike(theirs, ours), f"rompy: {theirs}\nhere:  {ours}"


def _is_alike(theirs, ours):
    if "raises" in theirs:
        return set(theirs["raises"]) <= set(ours.get("raises", ()))
    theirs, ours = theirs["returns"], ours.get("returns")
    if not isinstance(theirs, dict) or not isinstance(ours, dict):
        return theirs == ours
    if not theirs.keys() <= ours.keys() <= theirs.keys() | MORE:
        return False
    # A reason that follows the words of rompy may be a longer one.
    begins = str(theirs.get("message")).partition(":")[0]
    same = all(ours[key] == value for key, value in theirs.items() if key not in ("message", "error"))
    return same and str(ours.get("message")).partition(":")[0] == begins
