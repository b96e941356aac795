"""The run directory: its path, its files and their names."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Protocol

from pydantic import AfterValidator

from rompy_hydra.errors import ConfigError, GenerateError
from rompy_hydra.jsonable import PathText
from rompy_hydra.regular_files import first_link, make_directories, open_regular, read_regular
from rompy_hydra.workspace.atomic import is_partial, remove_partials, write_atomic, write_new
from rompy_hydra.workspace.script import BESIDE_THEIRS, EXIT_CODE, SCRIPT, SECRETS, STEP, is_engine_script

RECORD = "run.json"  # the run record: what happened, written at every change of state
LOG = "run.log"  # the output of the model
METRICS = "metrics.json"  # the metrics of the postprocessors
COMPOSED = ".hydra"  # the composed configuration and the overrides, as in any Hydra program
ATTEMPTS = "attempts"  # N/: what an earlier, unsuccessful attempt left: its log and its files
CLAIMS = "claims"  # N.json: which driver works, or worked, on the run
BUILD_LOG = "build.log"  # the output of building a container image

# The outputs of a model that does not declare any, as a glob.
EVERYTHING = "**/*"

# Files of the engine itself: neither inputs nor outputs of the model.
_ENGINE = {
    RECORD,
    SCRIPT,
    BESIDE_THEIRS,
    LOG,
    EXIT_CODE,
    STEP,
    COMPOSED,
    ATTEMPTS,
    CLAIMS,
    BUILD_LOG,
    SECRETS,
}


def _check_inside(pattern: str) -> str:
    inside = pattern and not pattern.startswith("/") and ".." not in pattern.split("/")
    if not inside or os.path.normpath(pattern) == ".":
        raise ValueError(f"'{pattern}' must be a path or glob inside the run directory")
    return pattern


# A path or glob inside the run directory, as configurations give them.
Glob = Annotated[PathText, AfterValidator(_check_inside)]


class Placed(Protocol):
    """What says where a run is; rompy's `ModelRun` has it as well."""

    run_id: str
    output_dir: Path


def _path_of(name: str) -> functools.cached_property[Path]:
    return functools.cached_property(lambda workspace: Path(workspace.root, name))


def place_problem(directory: Path) -> str:
    """Why a directory cannot be created or written, and what to do; '' if it can."""
    nearest = next(path for path in (directory, *directory.absolute().parents) if os.path.lexists(path))
    if not nearest.is_dir():
        return f"{nearest} is not a directory. Choose another place"
    if not os.access(nearest, os.W_OK | os.X_OK):
        return f"{nearest} is not writable. Fix its permissions, or choose another place"
    return ""


def directory_of(model_run: Placed) -> str:
    """The directory of a run; that of one of rompy's may be its output directory itself."""
    if getattr(model_run, "run_id_subdir", True):
        return os.path.join(model_run.output_dir, model_run.run_id)
    return os.fspath(model_run.output_dir)


class Workspace:
    """A run directory. Creating the object does not touch the disk."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # A string besides `path`: `Path` objects are too slow for what every run does.
        self.root = os.path.abspath(path)
        # The name of the engine's script, once it is known.
        self._script_name = ""

    def at(self, relative: str) -> str:
        """The path of a file in the run directory, as a string."""
        return f"{self.root}/{relative}"

    def exists(self) -> bool:
        return os.path.isdir(self.root)

    path = _path_of("")
    record = _path_of(RECORD)
    log = _path_of(LOG)
    metrics = _path_of(METRICS)
    attempts = _path_of(ATTEMPTS)

    @property
    def script_name(self) -> str:
        """The name of the engine's script: `run.sh`, unless the model wrote a `run.sh` of its own."""
        if not self._script_name:
            self._script_name = BESIDE_THEIRS if os.path.lexists(self.at(BESIDE_THEIRS)) else SCRIPT
        return self._script_name

    @property
    def script(self) -> Path:
        """The path of the engine's script."""
        return Path(self.at(self.script_name))

    def write_script(self, text: str, secrets: str = "", mode: int = 0o755) -> None:
        """Write the engine's script, unless it exists with this text, and the commands with secrets.

        Its name is `run.sh`, or another one if there is a `run.sh` of somebody else, which is kept.
        """
        if secrets:
            write_atomic(self.at(SECRETS), secrets, mode=0o600)
        if self.script_name != SCRIPT:
            os.unlink(self.script)
        self._script_name = SCRIPT
        if write_new(self.at(SCRIPT), text, mode=mode):
            return
        if not secrets:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.at(SECRETS))
        # If it cannot be read, it is replaced.
        with contextlib.suppress(OSError):
            content = read_regular(self.at(SCRIPT))
            if content == text.encode(errors="surrogateescape"):
                return
            if not is_engine_script(content, text):
                self._script_name = BESIDE_THEIRS
        write_atomic(self.at(self.script_name), text, mode=mode)

    def create(self) -> bool:
        """Create the directory; whether this call created it. GenerateError if that fails."""
        try:
            try:
                os.mkdir(self.root)
                return True
            except (FileExistsError, FileNotFoundError):
                os.makedirs(self.root, exist_ok=True)
                return False
        except OSError as error:
            raise GenerateError(
                f"cannot create the run directory {self.path}: {error.strerror}. "
                "Choose another one with output_dir=DIR"
            ) from error

    def is_taken(self) -> bool:
        """Whether the directory holds anything besides the claims of drivers that want to fill it."""
        try:
            with os.scandir(self.root) as entries:
                # Version 0.1.0 kept its claims in `attempts/`.
                return any(entry.name not in (CLAIMS, ATTEMPTS) for entry in entries)
        except (FileNotFoundError, NotADirectoryError):
            if self.path.is_file():
                raise ConfigError(f"{self.path} is a file, but the run needs a directory there") from None
            return False  # also if a parent is a file, which `create` reports

    def inside(self, relative: str) -> str:
        """The path of a file in the run directory; ValueError if it is outside of it."""
        target = os.path.normpath(os.path.join(self.root, relative))
        if not target.startswith(f"{self.root.rstrip('/')}/"):
            raise ValueError(f"'{relative}' lies outside the run directory")
        return target

    def make_directories(self, relative: str) -> str:
        """Create a directory in the run directory with its parents; its path. GenerateError at a link."""
        try:
            return make_directories(self.root, relative)
        except NotADirectoryError as error:
            raise GenerateError(
                f"{error.filename} should be a directory, but {error.strerror}, perhaps left by a model. "
                "Remove it, or set overwrite=true, which moves the run directory aside"
            ) from error

    def leads_outside(self, relative: str) -> bool:
        """Whether a path is a link, or below one, that leads out of the run directory."""
        if first_link(self.root, relative) is None:
            return False
        root = os.path.realpath(self.root)
        return not os.path.realpath(os.path.join(root, relative)).startswith(f"{root}/")

    def exit_code(self) -> int | None:
        """The exit code of `run.sh`; None if it has not ended, or if the file is incomplete."""
        with contextlib.suppress(OSError):
            text = read_regular(self.at(EXIT_CODE), most=16)
            return int(text) if re.fullmatch(rb"[0-9]{1,3}\n", text) else None
        return None

    def ended_at(self) -> float | None:
        """When `run.sh` ended, in seconds since 1970 by the file system's clock; None if it has not."""
        with contextlib.suppress(OSError):
            return os.lstat(self.at(EXIT_CODE)).st_mtime
        return None

    def leave_exit_code(self, code: int) -> None:
        """Write what `run.sh` writes when it ends, for a model that runs without it."""
        write_atomic(self.path / EXIT_CODE, f"{code}\n")

    def forget_exit_code(self) -> None:
        """Delete the exit code of an earlier start."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.at(EXIT_CODE))

    def leftover_files(self) -> list[str]:
        """Names of the files that exist and that a run would write itself."""
        names = (SCRIPT, BESIDE_THEIRS, LOG, EXIT_CODE, METRICS)
        return [name for name in names if os.path.lexists(self.at(name))]

    def names(self) -> Iterator[str]:
        """The relative paths of all files but the engine's own, sorted.

        Links to files are included, wherever they lead (see `leads_outside`). Links to directories, pipes
        and sockets are not: they have no content.
        """
        for name, entry in _walk(self.root, ""):
            with contextlib.suppress(OSError):  # a link that leads to itself
                if entry.is_file():
                    yield name

    def files(self) -> Iterator[tuple[str, os.stat_result]]:
        """The same files, each with its status as from `os.stat`."""
        for name, entry in _walk(self.root, ""):
            with contextlib.suppress(OSError):  # it was deleted just now
                if entry.is_file():
                    yield name, entry.stat()

    def meant_by(self, globs: Sequence[str]) -> Callable[[str], bool]:
        """A function: whether a path matches one of the globs, or is below a directory that does."""
        if EVERYTHING in globs:
            return lambda _name: True
        found = {path.relative_to(self.path) for glob in globs for path in self.path.glob(glob)} - {Path()}
        return lambda name: not found.isdisjoint([Path(name), *Path(name).parents])

    def matching(self, glob: str) -> list[tuple[str, int]]:
        """The matches of a path or glob, each with its size in bytes, or entries for a directory.

        A glob never matches the engine's own files; a path may name one.
        """
        names = [glob]
        if any(char in glob for char in "*?["):
            found = (str(path.relative_to(self.path)) for path in sorted(self.path.glob(glob)))
            names = [name for name in found if not self.is_own(name)]
        sizes = ((name, _size(self.at(name))) for name in names)
        return [(name, size) for name, size in sizes if size is not None]

    def conflicting_paths(self, globs: Sequence[str]) -> Iterator[str]:
        """The existing paths that a model would replace whose outputs match the globs.

        Links are among them, wherever they lead, because a model would write through them.
        """
        meant = self.meant_by(globs)
        return (name for name, _ in _walk(self.root, "") if name in globs or meant(name))

    def is_own(self, relative: str) -> bool:
        """Whether a path in the directory is one of the engine's own files, or below one."""
        return relative.split("/", 1)[0] in _ENGINE or is_partial(relative)

    def last_log_lines(self, count: int = 15) -> list[str]:
        """The last lines of `run.log`; only its end is read, so that a huge log takes no time."""
        try:
            with open(open_regular(self.at(LOG)), "rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(0, log.tell() - 65536))
                text = log.read().decode(errors="replace")
        except OSError:
            return []
        # Without escape sequences and binary data, which a terminal cannot show.
        lines = (line.rstrip()[:500] for line in text.splitlines()[-count:])
        return ["".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in line) for line in lines]

    def archive_attempt(self, number: int, keep: set[str]) -> None:
        """Move the files of attempt `number` to `attempts/`, except for the inputs in `keep`.

        So an old output can neither pass nor fail the checks of the next attempt, and nothing is lost.
        """
        own = [name for name in (LOG, EXIT_CODE, STEP, BUILD_LOG) if os.path.lexists(self.at(name))]
        for name in own + [name for name, _ in _walk(self.root, "") if name not in keep]:
            target = f"{ATTEMPTS}/{number}/{name}"
            self.make_directories(os.path.dirname(target))
            os.replace(self.at(name), self.at(target))

    def remove_partials(self) -> None:
        """Delete the temporary files of dead writers; only the holder of the lease may call it."""
        for folder, folders, _ in os.walk(self.root):
            # Other drivers may try to claim the run at any time.
            remove_partials(folder, exclusive=folder != self.at(CLAIMS))
            if folder == self.root and ATTEMPTS in folders:
                folders.remove(ATTEMPTS)

    def set_aside(self) -> Path:
        """Rename the directory to the first `NAME.old-N` that does not exist, and return that."""
        names = (f"{self.path.name}.old-{number}" for number in itertools.count(1))
        aside = next(path for name in names if not (path := self.path.with_name(name)).exists())
        return self.path.rename(aside)

    def remove_files(self, names: Sequence[str]) -> None:
        """Delete files of the run, and the directories that become empty; none through a link."""
        for name in names:
            path = Path(self.inside(name))
            if "/" in name and first_link(self.root, os.path.dirname(name)):
                continue
            path.unlink(missing_ok=True)
            for parent in path.parents:
                if parent == self.path or any(parent.iterdir()):
                    break
                parent.rmdir()


def _size(path: str) -> int | None:
    try:
        return len(os.listdir(path)) if os.path.isdir(path) else os.stat(path).st_size
    except OSError:
        return None


def _walk(directory: str, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """All entries below a run directory but directories and the engine's own files, sorted by path."""
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
