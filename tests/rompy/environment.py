"""A virtual environment with the real rompy packages, created once and cached outside the checkout."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = [
    "rompy==0.6.4",
    "rompy-swan==0.11.1",
    "rompy-xbeach==0.1.0",
    "rompy-schism==0.6.0",
    "hydra-core>=1.3.8,<1.4",
    "omegaconf>=2.3,<2.4",
    "docker>=7",
    "loguru>=0.7",
    "jinja2>=3.1",
    "rich>=13",
    "psutil>=5.9",
    "pytest>=8",
]
# A stalled download is reported instead of waiting for it.
_LIMIT = 900.0


class Unreachable(Exception):
    """The packages cannot be installed."""


def python_with_rompy() -> Path:
    """The Python of the environment; raises Unreachable with the reason if it cannot be created."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rompy-hydra-tests"
    wanted = "\n".join([sys.version, *REQUIREMENTS])
    directory = cache / hashlib.sha256(wanted.encode()).hexdigest()[:16]
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{directory.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        python = directory / "bin" / "python"
        if not (directory / "complete").exists():
            _create(directory, python)
            (directory / "complete").touch()
    return python


def _create(directory: Path, python: Path) -> None:
    _run([sys.executable, "-m", "venv", "--clear", str(directory)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "uv"])
    try:
        # Six times as fast for 150 packages.
        _run(
            [
                str(python.with_name("uv")),
                "pip",
                "install",
                "--quiet",
                "--python",
                str(python),
                *REQUIREMENTS,
            ]
        )
    except Unreachable:
        _run([*pip, *REQUIREMENTS])


def _run(command: list[str]) -> None:
    # Variables of the tests' environment must not affect this one.
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, env=variables)
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"{' '.join(command[:4])} took longer than {_LIMIT:.0f} s") from error
    if answer.returncode:
        last = answer.stderr.strip().splitlines()[-3:]
        raise Unreachable(f"{' '.join(command[:5])} ...: {' '.join(last)}")
