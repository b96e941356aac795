"""Hashes of large files that are remembered between commands, and never of another content."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rompy_hydra import hashing

SIZE = hashing.LARGE + 5
# Runs the command line, and prints how many bytes this process has read.
MEASURED = """
import sys
from rompy_hydra.cli import main
code = main(sys.argv[1:])
print("read", next(l.split()[1] for l in open("/proc/self/io") if l.startswith("rchar")))
sys.exit(code)
"""


def rompy(directory: Path, *arguments: str) -> int:
    """The bytes that the command read."""
    command = [sys.executable, "-c", MEASURED, *arguments]
    environment = os.environ | {"XDG_CACHE_HOME": str(directory / "cache")}
    answer = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return int(answer.stdout.split()[-1])


def test_a_large_linked_file_is_read_by_one_command_only(tmp_path: Path) -> None:
    # A file of the installation: it has not changed for a minute.
    files = (path for path in Path(sys.prefix).rglob("*.so*") if path.is_file() and not path.is_symlink())
    large = next(path for path in files if path.stat().st_size > 20_000_000)
    if time.time() - large.stat().st_ctime < 2 * hashing.SETTLED_SECONDS:
        pytest.skip("the installation is too new")
    size = large.stat().st_size
    (tmp_path / "tpl").mkdir()
    run = ["model=template", "model.template=tpl", "model.commands=['echo done']", "processor=none"]
    run += [f"model.files=[{{source: '{large}', target: big, link: true}}]", "run_id=a"]
    read = rompy(tmp_path, *run)
    assert size < read < 1.9 * size
    assert rompy(tmp_path, *run) < read - 0.9 * size
    shutil.rmtree(tmp_path / "cache")
    assert rompy(tmp_path, "check", *run) > read - 0.5 * size
    assert not (tmp_path / "cache").exists(), "a check writes nothing"


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A large file, where files settle at once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashing, "SETTLED_SECONDS", 0.0)
    path = tmp_path / "large.nc"
    path.write_bytes(b"a" * SIZE)
    return path


def fresh_hash(path: Path) -> str:
    """The hash that another process would find."""
    hashing._hash_content.cache_clear()
    found = hashing.hash_file(path)
    hashing.remember_hashes()
    return found


def truth(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def remembered(path: Path) -> bool:
    facts = os.stat(path)
    stamp = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
    return hashing._remembered(str(path), stamp) is not None


def test_a_file_that_was_changed_in_any_way_is_read_again(large: Path) -> None:
    assert fresh_hash(large) == truth(large)
    assert remembered(large)
    before = large.stat()

    with large.open("r+b") as file:  # in place, same size, and its modification time put back
        file.write(b"b")
    os.utime(large, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert large.stat().st_mtime_ns == before.st_mtime_ns
    assert not remembered(large)
    assert fresh_hash(large) == truth(large)

    other = large.with_name("other")  # another file in its place, with the same size and times
    other.write_bytes(b"c" * SIZE)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, large)
    assert fresh_hash(large) == truth(large)


def test_a_link_shares_the_hash_of_its_file(large: Path) -> None:
    link = large.with_name("link")
    link.symlink_to(large)
    assert fresh_hash(link) == truth(large)
    assert remembered(large)


def test_a_file_that_changed_a_moment_ago_is_not_remembered(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "SETTLED_SECONDS", 60.0)
    assert fresh_hash(large) == truth(large)
    assert not remembered(large)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"sha256": "x"}', b"\xff"])
def test_a_damaged_cache_is_ignored(large: Path, content: bytes) -> None:
    fresh_hash(large)
    (entry,) = (large.parent / "cache" / "rompy-hydra" / "hashes").iterdir()
    entry.write_bytes(content)
    assert fresh_hash(large) == truth(large)


def test_a_cache_that_cannot_be_written_changes_nothing(large: Path) -> None:
    (large.parent / "cache").write_text("in the way")
    assert fresh_hash(large) == truth(large)
