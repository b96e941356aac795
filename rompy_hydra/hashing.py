"""SHA-256 of values and files."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
import stat
import threading
import time
from pathlib import Path
from typing import TypeAlias

from rompy_hydra.jsonable import Json, canonical_json, json_text, read_json

# Reading a smaller file, in bytes, takes no longer than looking up its hash is worth.
LARGE = 2**24
# How long a file must have been unchanged, so that a later change cannot leave its times as they are.
SETTLED_SECONDS = 60.0

# Device, inode, size, modification and status change time (ns).
Stamp: TypeAlias = tuple[int, int, int, int, int]
# What this process has read and not yet stored.
_computed: dict[str, tuple[Stamp, str]] = {}


def hash_json(value: Json) -> str:
    """SHA-256 of a value's canonical JSON."""
    return hash_text(canonical_json(value))


def hash_list(*parts: Json) -> str:
    """SHA-256 of values in order; dicts among them are hashed in their own key order."""
    return hash_text(json_text(parts))


def hash_text(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def hash_file(path: str | Path, facts: os.stat_result | None = None) -> str:
    """SHA-256 of a file's content, read once as long as it is the same file and unchanged.

    That of a large file may be known from an earlier process: see `remember_hashes`.
    """
    facts = facts or os.stat(path)
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    stamp = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
    # One name for a large file and the links to it, so that it is read once.
    return _hash_content(os.path.realpath(path) if facts.st_size >= LARGE else str(path), stamp)


@functools.lru_cache(maxsize=4096)
def _hash_content(path: str, stamp: Stamp) -> str:
    size = stamp[2]
    if size >= LARGE:
        return _remembered(path, stamp) or _hash_large(path, stamp)
    with open(path, "rb", buffering=0) as file:
        if size > 65536:
            return hashlib.file_digest(file, "sha256").hexdigest()
        # Avoids the 256 kB buffer that file_digest allocates for each file.
        return hashlib.sha256(file.readall()).hexdigest()


def _hash_large(path: str, stamp: Stamp) -> str:
    begin = time.time()
    with open(path, "rb", buffering=0) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    same = stamp == (after.st_dev, after.st_ino, after.st_size, after.st_mtime_ns, after.st_ctime_ns)
    if same and max(stamp[3:]) < (begin - SETTLED_SECONDS) * 1e9:
        _computed[path] = stamp, digest
    return digest


def remember_hashes() -> None:
    """Store the hashes of the large files that this process has read, for later processes.

    In the user's cache directory, one small file each. A hash holds for one host, path, device, inode,
    size, modification and status change time: any program that writes to a file, or puts another one in
    its place, changes one of them. The times have a granularity, and pages mapped into memory are written
    later; so files that changed in the last minute before they were read are not stored.
    """
    while _computed:
        path, (stamp, digest) = _computed.popitem()
        entry = _entry(path)
        part = f"{entry}.{os.getpid()}-{threading.get_ident()}"
        # A cache that cannot be written costs time, and nothing else.
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(entry), mode=0o700, exist_ok=True)
            with open(part, "w") as file:
                file.write(json_text({"path": path, "stamp": list(stamp), "sha256": digest}))
            os.replace(part, entry)


def _remembered(path: str, stamp: Stamp) -> str | None:
    """The stored hash of this very file; None if there is none."""
    try:
        with open(_entry(path), "rb") as file:
            known = read_json(file.read())
    except (OSError, ValueError):
        return None
    if not isinstance(known, dict) or (known.get("path"), known.get("stamp")) != (path, list(stamp)):
        return None
    digest = str(known.get("sha256"))
    return digest if re.fullmatch("[0-9a-f]{64}", digest) else None


def _entry(path: str) -> str:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    name = hash_text(f"{os.uname().nodename}\0{path}")[:32]
    return os.path.join(cache, "rompy-hydra", "hashes", name)
