"""SHA-256 of values and files."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

from rompy_hydra.jsonable import Json, canonical_json, json_text


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
    """SHA-256 of a file's content, read once for each (path, size, modification time)."""
    facts = facts or os.stat(path)
    return _hash_content(str(path), facts.st_size, facts.st_mtime_ns, facts.st_ino)


@functools.lru_cache(maxsize=4096)
def _hash_content(path: str, size: int, mtime_ns: int, inode: int) -> str:
    with open(path, "rb", buffering=0) as file:
        if size > 65536:
            return hashlib.file_digest(file, "sha256").hexdigest()
        # Avoids the 256 kB buffer that file_digest allocates for each file.
        return hashlib.sha256(file.readall()).hexdigest()
