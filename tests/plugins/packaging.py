"""Small distributions that are built here and installed by pip, and the program alongside them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

from tests.conftest import LIMIT


@dataclass(frozen=True)
class Package:
    """A distribution: its modules as text, and its entry points by group."""

    name: str
    files: Mapping[str, str] = field(default_factory=dict)
    entry_points: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    version: str = "1.0"

    def wheel(self, directory: Path) -> Path:
        """Write the wheel of the distribution: a zip archive with metadata."""
        stem = f"{self.name.replace('-', '_')}-{self.version}"
        metadata = f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {self.version}\n"
        groups = [
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
            for group, points in self.entry_points.items()
        ]
        path = directory / f"{stem}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in self.files.items():
                archive.writestr(name, dedent(text))
            archive.writestr(f"{stem}.dist-info/METADATA", metadata)
            tag = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            archive.writestr(f"{stem}.dist-info/WHEEL", tag)
            archive.writestr(f"{stem}.dist-info/entry_points.txt", "\n".join(groups))
            archive.writestr(f"{stem}.dist-info/RECORD", "")
        return path


def install(directory: Path, *packages: Package) -> Path:
    """Install packages with pip into a separate directory, and return it for use as PYTHONPATH."""
    wheels = directory / "wheels"
    wheels.mkdir(parents=True)
    site = directory / "site"
    pip_install(site, *(str(package.wheel(wheels)) for package in packages))
    return site


def pip_install(site: Path, *what: str, cwd: Path | None = None) -> None:
    """Run `pip install --target` without a package index."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--disable-pip-version-check", "--target", str(site), *what]
    answer = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=LIMIT)
    assert answer.returncode == 0, answer.stderr


class CommandResult(NamedTuple):
    """The exit code and output of a command."""

    returncode: int
    stdout: str
    stderr: str


_SEVERAL = """
import contextlib, io, json, sys
from rompy_hydra.cli import main
answers = []
for command in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(command)
        except SystemExit as exit:
            code = exit.code
    answers.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(answers))
"""


@dataclass(frozen=True)
class Program:
    """`rompy-hydra` in an environment where some packages are installed."""

    site: Path
    cwd: Path

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.python("-m", "rompy_hydra", *arguments, **environment)

    def run_all(self, *commands: Sequence[str], **environment: str) -> list[CommandResult]:
        """Run commands one after another in one process, which imports the package once."""
        answer = self.python("-c", _SEVERAL, json.dumps(commands), **environment)
        assert answer.returncode == 0, answer.stderr
        return [CommandResult(*each) for each in json.loads(answer.stdout)]

    def python(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", *arguments],
            cwd=self.cwd,
            env={**os.environ, "PYTHONPATH": str(self.site), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
