"""Facts about the origin of a run: git commit, package versions, machine."""

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

# Those that are not installed are left out.
_PACKAGES = ["rompy-hydra", "hydra-core", "omegaconf", "pydantic", "jinja2", "docker", "numpy", "xarray"]
_PACKAGES += ["netCDF4", "matplotlib", "anuga", "rompy"]

_LOCK = threading.Lock()


def git_facts(directory: Path) -> dict[str, Json]:
    """The commit of the git repository that contains `directory`, and whether its tree is dirty.

    Empty without a repository, a commit or git.
    """
    try:
        result = subprocess.run(
            ["git", "-C", str(directory), "status", "--porcelain=v2", "--branch"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=30,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    # Without a commit, it is "(initial)".
    commit = re.search(r"^# branch\.oid ([0-9a-f]+)$", result.stdout, re.MULTILINE)
    if result.returncode or commit is None:
        return {}
    is_dirty = any(not line.startswith("#") for line in result.stdout.splitlines())
    return {"git_commit": commit[1], "git_dirty": is_dirty}


@functools.cache
def versions() -> dict[str, str]:
    """Versions of the installed packages that can influence a result."""
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            # Only the line: `importlib.metadata.version` parses the entire metadata as an e-mail.
            text = importlib.metadata.distribution(name).read_text("METADATA") or ""
            line = re.search(r"^Version: *(.+)$", text, re.MULTILINE)
            found[name] = line[1].strip() if line else importlib.metadata.version(name)
    return found


def provenance(config_dir: Path) -> dict[str, Json]:
    """The origin of the runs of this process, with the git state of `config_dir`.

    Collected once. A thread that calls it meanwhile waits for the result.
    """
    with _LOCK:
        return _provenance(config_dir)


@functools.cache
def collect_in_background(config_dir: Path) -> None:
    """Collect the provenance in another thread, because git may be slow."""
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
