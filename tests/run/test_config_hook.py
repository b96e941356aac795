"""`config.run()` of classes that no other process can import: those of scripts, functions and notebooks."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading

from rompy_hydra import BaseConfig, ModelRun
from rompy_hydra.workspace.record import RunRecord

SCRIPT = """
from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from rompy_hydra import BaseConfig, ModelRun

with open("executed.txt", "a") as file:
    file.write("once\\n")

OUTPUT = "out.nc"
Scheme = Literal["first", "second"]


class Base(BaseConfig):
    scheme: Scheme = "first"
    friction: float = Field(default=0.02, gt=0)

    @field_validator("friction")
    @classmethod
    def _check(cls, value: float) -> float:
        return value


class Mine(Base):
    def context(self):
        return {**super().context(), "more": 1}

    def run(self, model_run) -> bool:
        same = type(self).model_validate({"scheme": "second"})
        Path(OUTPUT).write_text(f"{same.scheme} {self.friction} {self.context()['more']}")
        return isinstance(self, Base)


print(ModelRun(run_id="main", output_dir="runs", config=Mine(friction=0.04)).run())
"""


def run_script(directory, *arguments, text=SCRIPT):
    (directory / "script.py").write_text(textwrap.dedent(text))
    with (directory / "script.py").open() as script:
        return subprocess.run(
            [sys.executable, *(arguments or ["script.py"])],
            cwd=directory,
            stdin=script,
            capture_output=True,
            text=True,
            timeout=120,
        )


def test_a_script_without_a_main_guard_is_executed_once(tmp_path):
    ended = run_script(tmp_path)
    assert ended.stdout == "True\n", ended.stderr
    assert (tmp_path / "executed.txt").read_text() == "once\n"
    assert (tmp_path / "runs" / "main" / "out.nc").read_text() == "second 0.04 1"


def test_a_class_of_a_script_that_is_read_from_standard_input_is_found(tmp_path):
    ended = run_script(tmp_path, "-")
    assert ended.stdout == "True\n", ended.stderr
    assert (tmp_path / "executed.txt").read_text() == "once\n"


def test_a_class_defined_in_a_function_is_found(tmp_path):
    class Local(BaseConfig):
        friction: float = 0.02

        def run(self, model_run):
            (model_run.workspace.path / "out.nc").write_text(str(self.friction))
            return True

    run = ModelRun(run_id="local class", output_dir=tmp_path, config=Local(friction=0.03))
    assert run.run() is True
    assert (run.workspace.path / "out.nc").read_text() == "0.03"


def test_a_configuration_that_cannot_be_sent_to_another_process_is_reported(tmp_path):
    class Locked:
        def __init__(self):
            self.lock = threading.Lock()

        def run(self, model_run):
            return True

    run = ModelRun(run_id="locked", output_dir=tmp_path, config=Locked())
    assert run.run() is False
    message = RunRecord.load(run.workspace).error["message"]
    assert "cannot be called in a separate process: cannot pickle '_thread.lock' object" in message
    assert "Keep locks, connections and open files out of the configuration" in message
