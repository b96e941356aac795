"""The run's directory: the only module that knows file names inside it.

=====================  ==========================================================================
file                   what it is
=====================  ==========================================================================
`run.json`             the run record: what happened, written at every change of state
`run.sh`               the script that every backend starts, and that a user can start by hand
`run.log`              what the model printed
`exit_code`            the exit code, left by `run.sh`; complete only with its line end
`.hydra/`              the composed configuration and the overrides, as in any Hydra program
`metrics.json`         the numbers that the postprocessors found
`claims/N.json`        which driver works, or worked, on the run
`attempts/N/`          what an earlier, unsuccessful attempt left: its log and its files
=====================  ==========================================================================
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rompy_hydra.errors import ConfigError, GenerateError
from rompy_hydra.workspace.atomic import is_partial, write_atomic, write_new
from rompy_hydra.workspace.script import EXIT_CODE, SCRIPT

RECORD = "run.json"
LOG = "run.log"
METRICS = "metrics.json"
COMPOSED = ".hydra"
ATTEMPTS = "attempts"
CLAIMS = "claims"
BUILD_LOG = "build.log"

# The glob of a model that does not say which files are its outputs.
EVERYTHING = "**/*"

# Files of the engine itself: neither inputs nor outputs of the model.
_ENGINE = {RECORD, SCRIPT, LOG, EXIT_CODE, COMPOSED, ATTEMPTS, CLAIMS, BUILD_LOG}


class Workspace:
    """One run directory. Creating the object touches nothing on disk."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # As a text, beside `path`: what is done in every run takes no `Path`.
        self.root = os.path.abspath(path)

    def __repr__(self) -> str:
        return f"Workspace({self.root!r})"

    def at(self, relative: str) -> str:
        """The path of a file of this run as a text."""
        return f"{self.root}/{relative}"

    def exists(self) -> bool:
        """Whether the directory is there."""
        return os.path.isdir(self.root)

    @functools.cached_property
    def path(self) -> Path:
        return Path(self.root)

    @functools.cached_property
    def record(self) -> Path:
        return self.path / RECORD

    @functools.cached_property
    def script(self) -> Path:
        return self.path / SCRIPT

    @functools.cached_property
    def log(self) -> Path:
        return self.path / LOG

    @functools.cached_property
    def metrics(self) -> Path:
        return self.path / METRICS

    @functools.cached_property
    def attempts(self) -> Path:
        return self.path / ATTEMPTS

    def write_script(self, text: str) -> None:
        """Leave `run.sh`, unless it is there as it should be."""
        if write_new(self.at(SCRIPT), text, mode=0o755):
            return
        # Whatever is there and cannot be read is written anew.
        with contextlib.suppress(OSError), open(self.at(SCRIPT), "rb", buffering=0) as file:
            if file.readall() == text.encode(errors="surrogateescape"):
                return
        write_atomic(self.at(SCRIPT), text, mode=0o755)

    def create(self) -> bool:
        """Make the directory; whether it is a new one. GenerateError says why it cannot be made."""
        try:
            try:
                os.mkdir(self.root)
                return True
            except (FileExistsError, FileNotFoundError):
                os.makedirs(self.root, exist_ok=True)
                return False
        except OSError as error:
            raise GenerateError(
                f"cannot make the run directory {self.path}: {error.strerror}. "
                "Choose another one with output_dir=DIR"
            ) from error

    def is_taken(self) -> bool:
        """Whether the directory holds anything besides the claims of drivers that want to fill it."""
        try:
            with os.scandir(self.root) as entries:
                # Version 0.1.0 kept its claims in `attempts/`.
                return any(entry.name not in (CLAIMS, ATTEMPTS) for entry in entries)
        except FileNotFoundError:
            return False
        except NotADirectoryError:
            if not self.path.exists():  # something above it is a file: told where it is made
                return False
            raise ConfigError(f"{self.path} is a file, and a run needs a directory there") from None

    def inside(self, relative: str) -> str:
        """The path of a file of this run; ValueError if it would lie outside the directory."""
        target = os.path.normpath(os.path.join(self.root, relative))
        if not target.startswith(f"{self.root.rstrip('/')}/"):
            raise ValueError(f"'{relative}' lies outside the run directory")
        return target

    def exit_code(self) -> int | None:
        """What `run.sh` left behind, or None if it has not ended (a torn file counts as absent)."""
        try:
            text = (self.path / EXIT_CODE).read_text()
        except (OSError, UnicodeDecodeError):
            return None
        return int(text) if re.fullmatch(r"[0-9]{1,3}\n", text) else None

    def ended_at(self) -> float | None:
        """When `run.sh` ended, in seconds since 1970 by the file system's clock; None if it has not."""
        try:
            return os.stat(self.at(EXIT_CODE)).st_mtime
        except OSError:
            return None

    def leave_exit_code(self, code: int) -> None:
        """Do as `run.sh` does at its end, for a model that is started without it."""
        write_atomic(self.path / EXIT_CODE, f"{code}\n")

    def forget_exit_code(self) -> None:
        """Take away what an earlier start left, before a new one."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.at(EXIT_CODE))

    def leftover_files(self) -> list[str]:
        """Names of the files that exist and that a run would write itself."""
        return [name for name in (SCRIPT, LOG, EXIT_CODE, METRICS) if (self.path / name).exists()]

    def names(self) -> Iterator[str]:
        """The relative path of every file that is not the engine's own, sorted.

        A link to a file is one; links to directories, pipes and sockets are none: they have no content.
        """
        return (name for name, entry in _walk(self.root, "") if _is_file(entry))

    def files(self) -> Iterator[tuple[str, os.stat_result]]:
        """The same with what the system says of each."""
        for name, entry in _walk(self.root, ""):
            with contextlib.suppress(OSError):  # deleted meanwhile
                if _is_file(entry):
                    yield name, entry.stat()

    def meant_by(self, globs: Sequence[str]) -> Callable[[str], bool]:
        """Whether a file is meant by one of the globs; a directory means all that is below it."""
        if EVERYTHING in globs:
            return lambda _name: True
        found = {path.relative_to(self.path) for glob in globs for path in self.path.glob(glob)} - {Path()}
        return lambda name: not found.isdisjoint([Path(name), *Path(name).parents])

    def conflicting_paths(self, globs: Sequence[str]) -> Iterator[str]:
        """The existing paths that a model would replace whose outputs match the globs.

        Links are among them, wherever they lead, because a model would write through them.
        """
        meant = self.meant_by(globs)
        return (name for name, _ in _walk(self.root, "") if name in globs or meant(name))

    def is_own(self, relative: str) -> bool:
        """Whether a path inside the directory is the engine's own, or lies below such."""
        top = relative.split("/", 1)[0]
        return top in _ENGINE or is_partial(relative)

    def last_log_lines(self, count: int = 15) -> list[str]:
        """The end of `run.log`, read from the back so that a huge log costs nothing."""
        try:
            with self.log.open("rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(0, log.tell() - 65536))
                text = log.read().decode(errors="replace")
        except OSError:
            return []
        # Readable on any terminal: no escape sequences, no bytes of a binary format.
        lines = (line.rstrip()[:500] for line in text.splitlines()[-count:])
        return ["".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in line) for line in lines]

    def archive_attempt(self, number: int, keep: set[str]) -> None:
        """Move what attempt `number` left, but the inputs in `keep`, below `attempts/`.

        So a stale output can neither pass nor fail the checks of the next attempt, and nothing is lost.
        """
        left = [name for name, _ in _walk(self.root, "") if name not in keep]
        left += [name for name in (LOG, EXIT_CODE, BUILD_LOG) if (self.path / name).exists()]
        for name in left:
            target = self.attempts / str(number) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.path / name, target)

    def set_aside(self) -> Path:
        """Rename the whole directory to the first free `NAME.old-N` beside it, and return that."""
        number = 1
        while True:
            aside = self.path.with_name(f"{self.path.name}.old-{number}")
            if not aside.exists():
                self.path.rename(aside)
                return aside
            number += 1

    def remove_files(self, names: Sequence[str]) -> None:
        """Delete these files of the run and the directories that they leave empty."""
        for name in names:
            path = Path(self.inside(name))
            path.unlink(missing_ok=True)
            for parent in path.parents:
                if parent == self.path or any(parent.iterdir()):
                    break
                parent.rmdir()


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads nowhere
        return False


def _walk(directory: str, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything below a run directory but directories and the engine's own, sorted by path."""
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        name = prefix + entry.name
        if is_partial(entry.name) or (not prefix and entry.name in _ENGINE):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{name}/")
        else:
            yield name, entry
