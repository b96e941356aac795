"""Pure facts about where a run comes from: code, versions, machine, files, configuration."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import socket
import subprocess
from pathlib import Path
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

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


def hash_json(value: Json) -> str:
    """SHA-256 of a value's canonical JSON: the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, read once for each (path, size, modification time)."""
    stat = path.stat()
    return _hash_content(str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)


@functools.lru_cache(maxsize=4096)
def _hash_content(path: str, size: int, mtime_ns: int, inode: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def provenance(config_dir: Path) -> dict[str, Json]:
    """Everything about the origin of a run of this process; `config_dir`: where its configs lie."""
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
