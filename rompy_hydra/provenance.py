"""Pure facts about where a run comes from: code, versions, machine, files, configuration."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic_core import PydanticSerializationError, from_json, to_json

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


_looking_up = threading.Lock()
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str)
# Bytes that are read at once.
_SMALL = 65536


def json_text(value: object, indent: int | None = None, *, strict: bool = False) -> str:
    """A value as JSON, many times as quickly as by the standard library.

    `strict` makes texts of NaN and the infinities, which are no JSON for other programs.
    """
    mode: Literal["strings", "constants"] = "strings" if strict else "constants"
    try:
        return to_json(value, indent=indent, inf_nan_mode=mode).decode()
    except (PydanticSerializationError, UnicodeError):  # a name of a file that is no text
        return json.dumps(value, indent=indent)


def read_json(text: bytes) -> Any:
    """What `json_text` wrote, as quickly; ValueError for what is no JSON."""
    try:
        return from_json(text)
    except ValueError:
        # It knows no half of a surrogate pair, by which a name that is no text is written.
        return json.loads(text)


def canonical_json(value: Json) -> str:
    """A value as JSON in which the order of keys does not matter."""
    return _CANONICAL.encode(value)


def hash_json(value: Json) -> str:
    """SHA-256 of a value's canonical JSON."""
    return hash_text(canonical_json(value))


def hash_list(*parts: Json) -> str:
    """SHA-256 of values in their order; a dict among them counts with the order of its keys."""
    return hash_text(json_text(parts))


def hash_text(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: str | Path, facts: os.stat_result | None = None) -> str:
    """SHA-256 of a file's content, read once for each (path, size, modification time)."""
    facts = facts or os.stat(path)
    return _hash_content(str(path), facts.st_size, facts.st_mtime_ns, facts.st_ino)


@functools.lru_cache(maxsize=4096)
def _hash_content(path: str, size: int, mtime_ns: int, inode: int) -> str:
    if size > _SMALL:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    # Without the buffer of 256 kB that file_digest makes for each file.
    with open(path, "rb", buffering=0) as file:
        return hashlib.sha256(file.readall()).hexdigest()


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
