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
from collections.abc import Sequence
from pathlib import Path

from rompy_hydra.jsonable import Json

# Those that are not installed are left out.
_PACKAGES = ["rompy-hydra", "hydra-core", "omegaconf", "pydantic", "jinja2", "docker", "numpy", "xarray"]
_PACKAGES += ["netCDF4", "matplotlib", "anuga", "rompy"]

_LOCK = threading.Lock()


# A repository may come from a stranger, and its settings may name commands. These settings of ours win.
_GIT = ["git"]
for _setting in (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.sshCommand=false",
    "diff.external=",
    "protocol.allow=never",  # missing objects are not fetched
    "safe.bareRepository=explicit",
):
    _GIT += ["-c", _setting]


def git_facts(directory: Path) -> dict[str, Json]:
    """The commit of the git repository that contains `directory`, and whether its tree is dirty.

    Empty without a repository, a commit or git. It runs nothing that the repository names: no hooks, no
    file system monitor, no filters. A file that only a filter such as Git LFS finds unchanged is dirty.
    """
    # Filters have names of their own, and can only be switched off by them.
    names = _git(directory, [], "config", "--includes", "--name-only", "--null", "--list")
    if names is None:
        return {}
    filters = {name.rpartition(".")[0] for name in names.split("\0") if name.startswith("filter.")}
    if any("=" in name for name in filters):
        return {}  # it cannot be given on the command line
    off = [f"{name}.{key}" for name in sorted(filters) for key in ("clean=", "process=", "required=false")]
    status = ("status", "--porcelain=v2", "--branch", "--ignore-submodules=dirty")
    found = _git(directory, off, *status)
    # Without a commit, it is "(initial)".
    commit = re.search(r"^# branch\.oid ([0-9a-f]+)$", found or "", re.MULTILINE)
    if found is None or commit is None:
        return {}
    return {
        "git_commit": commit[1],
        "git_dirty": any(not line.startswith("#") for line in found.splitlines()),
    }


def _git(directory: Path, settings: Sequence[str], *arguments: str) -> str | None:
    """The output of git in a directory; None if it fails."""
    options = [part for setting in settings for part in ("-c", setting)]
    quiet = {"GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        result = subprocess.run(
            [*_GIT, *options, "-C", str(directory), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=30,
            env=os.environ | quiet,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if result.returncode else result.stdout


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
