"""A run directory as one zip file beside it."""

from __future__ import annotations

import itertools
import os
import stat
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path

from rompy_hydra.errors import GenerateError
from rompy_hydra.regular_files import open_regular
from rompy_hydra.workspace.atomic import is_partial, replacing
from rompy_hydra.workspace.script import SECRETS
from rompy_hydra.workspace.workspace import CLAIMS, Workspace

# Who works on a run, and what only its owner may read, are nothing to pass on.
_LEFT_OUT = {CLAIMS, SECRETS}


def zip_directory(workspace: Workspace, linked: Collection[str] = ()) -> Path:
    """Write `NAME.zip` beside the run directory `NAME`, and return its path; an earlier one is renamed.

    `linked` are the names of links that stand for files: these are in the archive. Any other link is in it
    as a link, because a model may have made it. Pipes and sockets have no content. Where only the owner
    may read one of the files, the archive is of that kind, too.
    """
    target = workspace.path.with_name(f"{workspace.path.name}.zip")
    try:
        with replacing(target) as part:
            with zipfile.ZipFile(part, "x", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
                modes = [_add(archive, workspace, name, linked) for name in _names(workspace.root)]
            if any(not mode & 0o044 for mode in modes):
                os.chmod(part, 0o600)
            if os.path.lexists(target):
                target.rename(next(path for path in _earlier(target) if not os.path.lexists(path)))
    except OSError as error:
        raise GenerateError(
            f"cannot write {target}: {error.strerror or error}. Free space or fix the permissions"
        ) from error
    return target


def _earlier(target: Path) -> Iterator[Path]:
    return (target.with_name(f"{target.name}.old-{number}") for number in itertools.count(1))


def _names(root: str) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        inside = os.path.relpath(folder, root)
        folders[:] = sorted(name for name in folders if inside != "." or name not in _LEFT_OUT)
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted([*files, *links]):
            if not is_partial(name) and (inside != "." or name not in _LEFT_OUT):
                yield os.path.normpath(os.path.join(inside, name))


def _add(archive: zipfile.ZipFile, workspace: Workspace, name: str, linked: Collection[str]) -> int:
    """Add a file to an archive; its permissions."""
    path = workspace.at(name)
    facts = os.lstat(path)
    if stat.S_ISLNK(facts.st_mode) and name not in linked:
        entry = zipfile.ZipInfo(name)
        entry.create_system = 3  # Unix, so that the next field says that it is a link
        entry.external_attr = facts.st_mode << 16
        archive.writestr(entry, os.readlink(path))
        return 0o777
    if stat.S_ISLNK(facts.st_mode):
        path = os.path.realpath(path)
        facts = os.stat(path)
    if not stat.S_ISREG(facts.st_mode):
        return 0o777
    entry = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
    entry.compress_type = zipfile.ZIP_DEFLATED
    with open(open_regular(path), "rb") as source, archive.open(entry, "w") as target:
        while block := source.read(2**20):
            target.write(block)
    return facts.st_mode
