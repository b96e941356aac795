"""Open files that a model may have replaced: only if they are regular, and never through a link.

Whatever has run in a directory can leave a link, a pipe or a device under any name there. A link would
lead a driver to files that the model itself may not reach, a pipe would make it wait forever.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_KINDS: dict[str, Callable[[int], bool]] = {
    "a symbolic link": stat.S_ISLNK,
    "a directory": stat.S_ISDIR,
    "a pipe": stat.S_ISFIFO,
    "a socket": stat.S_ISSOCK,
}


# No file that is read as a whole is larger, except for what a user copies.
_LARGEST = 1 << 26


class NotRegular(OSError):
    """Something else than a regular file is where one is expected; it was not opened."""


def open_regular(path: str | Path, flags: int = os.O_RDONLY, dir_fd: int | None = None) -> int:
    """A descriptor of a regular file, which is created if `flags` say so. NotRegular otherwise."""
    try:
        # Before opening it, because opening a device can have effects.
        _check(path, os.stat(path, dir_fd=dir_fd, follow_symlinks=False))
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666, dir_fd=dir_fd)
    try:
        _check(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_chosen(path: str | Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a file that the user has chosen, which may be a link to a regular file."""
    descriptor = os.open(path, flags | os.O_NONBLOCK, 0o666)
    facts = os.fstat(descriptor)
    if stat.S_ISREG(facts.st_mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(facts.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    raise NotRegular(errno.EINVAL, f"it is {kind_of(facts)} instead of a file", os.fspath(path))


def read_regular(path: str | Path, most: int = _LARGEST) -> bytes:
    """The content of a regular file of up to `most` bytes.

    OSError as for any file that cannot be read or is too large, or NotRegular.
    """
    return _read(path, open_regular(path), most)


def read_chosen(path: str | Path, most: int = _LARGEST) -> bytes:
    """The content of a file that the user has chosen, as `read_regular` otherwise."""
    return _read(path, open_chosen(path), most)


def _read(path: str | Path, descriptor: int, most: int) -> bytes:
    try:
        blocks = []
        size = 0
        while block := os.read(descriptor, 1 << 16):
            blocks.append(block)
            size += len(block)
            if size > most:
                raise OSError(errno.EFBIG, f"it is larger than {most} bytes", os.fspath(path))
        return b"".join(blocks)
    finally:
        os.close(descriptor)


def path_inside(root: str, name: str) -> str:
    """The path of a regular file below `root`, which links inside of it may lead to; OSError otherwise."""
    path = os.path.realpath(f"{root}/{name}")
    if not path.startswith(f"{os.path.realpath(root)}/"):
        raise OSError(errno.ELOOP, "is a link out of the run directory, which is not followed", name)
    _check(path, os.lstat(path))
    return path


def open_inside(root: str, name: str) -> IO[bytes]:
    """Open a file of `path_inside` for reading."""
    # Nothing leads out of the directory on the way to an entry of it, which saves resolving its path.
    if "/" not in name:
        with contextlib.suppress(NotRegular):
            return os.fdopen(open_regular(f"{root}/{name}"), "rb")
    return os.fdopen(open_regular(path_inside(root, name)), "rb")


def create_new(path: str | Path, dir_fd: int | None = None, mode: int = 0o666) -> int:
    """A descriptor of a new file for writing, in place of whatever has this name."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL  # which follow no link
    with contextlib.suppress(FileExistsError):
        return os.open(path, flags, mode, dir_fd=dir_fd)
    os.unlink(path, dir_fd=dir_fd)
    return os.open(path, flags, mode, dir_fd=dir_fd)


def touch_regular(path: str | Path) -> None:
    """Create an empty file, unless there is one."""
    os.close(open_regular(path, os.O_WRONLY | os.O_CREAT))


def make_directories(root: str, relative: str) -> str:
    """Create a directory below `root` with its parents, and return its path.

    NotADirectoryError if one of them is a link or a file.
    """
    path = root
    for name in relative.split("/"):
        path = f"{path}/{name}"
        try:
            os.mkdir(path)
        except FileExistsError:
            facts = os.lstat(path)
            if not stat.S_ISDIR(facts.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, f"it is {kind_of(facts)}", path) from None
    return path


def first_link(root: str, relative: str) -> str | None:
    """The first part of a path below `root` that is a symbolic link; None if none is."""
    path = root
    for name in relative.split("/"):
        path = f"{path}/{name}"
        if os.path.islink(path):
            return path
    return None


@dataclass
class SetuidFiles:
    """What `strip_setuid` found, as paths."""

    stripped: list[str] = field(default_factory=list)
    # Those that this user may not change, and directories that only others than this user can search.
    left: list[str] = field(default_factory=list)


def strip_setuid(root: str) -> SetuidFiles:
    """Take the set-user-ID and set-group-ID bits from all files below a directory, which may be deep.

    What is not permitted does not end it.
    """
    found = SetuidFiles()
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    # The directories to come back to, with what is still to do in each; only one of them is open.
    above: list[tuple[tuple[int, int], list[str]]] = []
    path: list[str] = [root]
    descriptor = os.open(root, flags)
    try:
        folders = _strip_files(descriptor, path, found)
        while True:
            if folders:
                name = folders.pop()
                facts = os.fstat(descriptor)
                try:
                    inner = os.open(name, flags, dir_fd=descriptor)
                except OSError:
                    mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
                    # What nobody else may enter is of no use to them.
                    found.left += [os.path.join(*path, name)] if mode & 0o011 else []
                    continue
                above.append(((facts.st_dev, facts.st_ino), folders))
            elif above:
                inner = os.open("..", flags, dir_fd=descriptor)
            else:
                return found
            os.close(descriptor)
            descriptor = inner
            if folders is above[-1][1]:
                path.append(name)
                folders = _strip_files(descriptor, path, found)
            else:
                same, folders = above.pop()
                path.pop()
                facts = os.fstat(descriptor)
                if (facts.st_dev, facts.st_ino) != same:
                    raise OSError(errno.ESTALE, "the directory was moved meanwhile", os.path.join(*path))
    finally:
        os.close(descriptor)


def _strip_files(descriptor: int, path: list[str], found: SetuidFiles) -> list[str]:
    """Strip the files of an open directory, and return the names of its directories."""
    folders = []
    with os.scandir(descriptor) as entries:
        for entry in entries:
            facts = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(facts.st_mode):
                folders.append(entry.name)
            elif stat.S_ISREG(facts.st_mode) and facts.st_mode & (stat.S_ISUID | stat.S_ISGID):
                try:
                    os.chmod(entry.name, stat.S_IMODE(facts.st_mode) & 0o777, dir_fd=descriptor)
                    found.stripped.append(os.path.join(*path, entry.name))
                except PermissionError:
                    found.left.append(os.path.join(*path, entry.name))
    return folders


def kind_of(facts: os.stat_result) -> str:
    """What a file is, for messages."""
    kinds = (name for name, matches in _KINDS.items() if matches(facts.st_mode))
    return "a regular file" if stat.S_ISREG(facts.st_mode) else next(kinds, "a device")


def _check(path: str | Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        reason = f"it is {kind_of(facts)} instead of a file, perhaps left by a model"
        raise NotRegular(errno.EINVAL, reason, os.fspath(path))
