"""Pure facts about where a run comes from: code, versions, machine, files, configuration."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import platform
import re
import socket
import subprocess
import threading
from pathlib import Path

from rompy_hydra.jsonable import Json

# What decides about the numbers of a run, beside the model itself; each only if it is installed.
_PACKAGES: tuple[str, ...] = (
    "rompy-hydra",
    "hydra-core",
    "omegaconf",
    "pydantic",
    "jinja2",
    "docker",
    "numpy",
)
_PACKAGES += ("xarray", "netCDF4", "matplotlib", "anuga", "rompy")


_looking_up = threading.Lock()


def git_facts(directory: Path) -> dict[str, Json]:
    """Commit of the repository that `directory` lies in, and whether its tree was dirty.

    Empty where there is no repository, no commit or no git.
    """
    try:
        answer = subprocess.run(
            ["git", "-C", str(directory), "status", "--porcelain=v2", "--branch"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=30,
            check=False,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    commit, dirty = None, False
    for line in answer.stdout.splitlines():
        if line.startswith("# branch.oid "):
            commit = line.removeprefix("# branch.oid ")
        elif not line.startswith("#"):
            dirty = True
    if answer.returncode or commit is None or commit == "(initial)":
        return {}
    return {"git_commit": commit, "git_dirty": dirty}


@functools.cache
def versions() -> dict[str, str]:
    """Versions of the installed packages that a result can depend on."""
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            # By the line itself: the whole of the metadata is parsed as an e-mail otherwise.
            text = importlib.metadata.distribution(name).read_text("METADATA") or ""
            line = re.search(r"^Version: *(.+)$", text, re.MULTILINE)
            found[name] = line[1].strip() if line else importlib.metadata.version(name)
    return found


def provenance(config_dir: Path) -> dict[str, Json]:
    """Everything about the origin of a run of this process; `config_dir`: where its configs lie.

    Looked up once. Another thread that asks meanwhile waits for the answer.
    """
    with _looking_up:
        return _provenance(config_dir)


@functools.cache
def look_up(config_dir: Path) -> None:
    """Have it looked up by another thread, once: git may take its time."""
    threading.Thread(target=provenance, args=(config_dir,), daemon=True).start()


@functools.cache
def _provenance(config_dir: Path) -> dict[str, Json]:
    return {
        **git_facts(config_dir),
        "config_dir": str(config_dir),
        "packages": dict(versions()),
        "python": platform.python_version(),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "user": os.environ.get("USER") or str(os.getuid()),
    }
