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
`attempts/N.claim`     who works, or worked, on the N-th attempt
`attempts/N/`          what an earlier, unsuccessful attempt left: its log and its files
=====================  ==========================================================================
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rompy_hydra.errors import ConfigError, GenerateError

RECORD = "run.json"
SCRIPT = "run.sh"
LOG = "run.log"
EXIT_CODE = "exit_code"
METRICS = "metrics.json"
COMPOSED = ".hydra"
ATTEMPTS = "attempts"
BUILD_LOG = "build.log"

# Files of the engine itself: neither inputs nor outputs of the model.
_ENGINE = {RECORD, SCRIPT, LOG, EXIT_CODE, COMPOSED, ATTEMPTS, BUILD_LOG}
_RUN_ID = re.compile(r"[^/\\\x00-\x1f\x7f]{1,200}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"passw|secret|token|credential|private|api_?key|access_?key|auth", re.I)

# Marks every process of a run, so that what a dead driver left behind can be found again.
RUN_MARK = "ROMPY_HYDRA_RUN"

Command = str | list[str]


def check_run_id(run_id: str) -> str:
    """`run_id` itself if it can name one directory below `output_dir`; ValueError if not."""
    if not _RUN_ID.fullmatch(run_id) or run_id in {".", ".."} or run_id != run_id.strip():
        raise ValueError(
            f"run_id {run_id!r} must be the name of one directory: 1 to 200 characters, no '/', "
            "no '..', no control characters, no blank at its ends"
        )
    return run_id


def is_secret(name: str) -> bool:
    """Whether a variable of this name is never written to disk (passwords, tokens, keys)."""
    return bool(_SECRET.search(name))


def check_env_names(env: Mapping[str, str]) -> Mapping[str, str]:
    """`env` itself if a POSIX shell can export each name; ValueError naming the first that it cannot."""
    for name in env:
        if not _ENV_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of an environment variable (letters, digits, _)")
    return env


class Workspace:
    """One run directory. Creating the object touches nothing on disk."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.abspath(path))

    def __repr__(self) -> str:
        return f"Workspace({str(self.path)!r})"

    @property
    def record(self) -> Path:
        return self.path / RECORD

    @property
    def script(self) -> Path:
        return self.path / SCRIPT

    @property
    def log(self) -> Path:
        return self.path / LOG

    @property
    def metrics(self) -> Path:
        return self.path / METRICS

    @property
    def attempts(self) -> Path:
        return self.path / ATTEMPTS

    def create(self) -> None:
        """Make the directory; GenerateError says why it cannot be made."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GenerateError(
                f"cannot make the run directory {self.path}: {error.strerror}. "
                "Choose another one with output_dir=DIR"
            ) from error

    def is_taken(self) -> bool:
        """Whether the directory holds anything at all."""
        try:
            with os.scandir(self.path) as entries:
                return any(True for _ in entries)
        except FileNotFoundError:
            return False
        except NotADirectoryError:
            raise ConfigError(f"{self.path} is a file, and a run needs a directory there") from None

    def inside(self, relative: str) -> Path:
        """The path of a file of this run; ValueError if it would lie outside the directory."""
        target = Path(os.path.normpath(self.path / relative))
        if self.path not in target.parents:
            raise ValueError(f"'{relative}' lies outside the run directory")
        return target

    def exit_code(self) -> int | None:
        """What `run.sh` left behind, or None if it has not ended (a torn file counts as absent)."""
        try:
            text = (self.path / EXIT_CODE).read_text()
        except (OSError, UnicodeDecodeError):
            return None
        return int(text) if re.fullmatch(r"[0-9]{1,3}\n", text) else None

    def files(self) -> Iterator[tuple[str, os.stat_result]]:
        """Every file that is not the engine's own, as (relative path, stat), sorted by path."""
        yield from _walk(self.path, "")

    def last_log_lines(self, count: int = 15) -> list[str]:
        """The end of `run.log`, read from the back so that a huge log costs nothing."""
        try:
            with self.log.open("rb") as log:
                log.seek(0, os.SEEK_END)
                log.seek(max(0, log.tell() - 200 * count - 1000))
                text = log.read().decode(errors="replace")
        except OSError:
            return []
        return [line.rstrip()[:500] for line in text.splitlines()[-count:]]

    def archive_attempt(self, number: int, keep: set[str]) -> None:
        """Move what attempt `number` left, but the inputs in `keep`, below `attempts/`.

        So a stale output can neither pass nor fail the checks of the next attempt, and nothing is lost.
        """
        left = [name for name, _ in self.files() if name not in keep]
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
            path = self.inside(name)
            path.unlink(missing_ok=True)
            for parent in path.parents:
                if parent == self.path or any(parent.iterdir()):
                    break
                parent.rmdir()


def _walk(directory: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    for entry in entries:
        if not prefix and (entry.name in _ENGINE or is_partial(entry.name)):
            continue
        name = prefix + entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(directory / entry.name, f"{name}/")
        elif entry.is_symlink() and not os.path.exists(entry.path):
            continue  # a dangling link is no file
        else:
            yield name, entry.stat()


def is_partial(name: str) -> bool:
    """Whether a file of this name is what a killed writer left of an atomic write."""
    return name.startswith(".") and name.endswith(".part")


def write_atomic(path: Path, content: str | bytes, mode: int | None = None) -> None:
    """Write a file so that a reader, or a kill at any moment, sees the old or the new content whole."""
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    data = content.encode() if isinstance(content, str) else content
    try:
        with part.open("wb") as file:
            file.write(data)
        if mode is not None:
            part.chmod(mode)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def copy_atomic(source: Path, target: Path) -> None:
    """Copy a file of any size, with its permissions, so that `target` is never half a file."""
    part = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        shutil.copyfile(source, part)
        shutil.copymode(source, part)
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def script_text(
    commands: Sequence[Command],
    env: Mapping[str, str],
    *,
    title: str,
    working_dir: str | None = None,
) -> str:
    """The text of `run.sh`: POSIX shell, nothing needed but `/bin/sh`.

    The commands run in order and stop at the first that fails. Values of secret variables are
    not written: they come with the process, and the script says which one is missing.
    """
    lines = [
        "#!/bin/sh",
        f"# {title}. Start it again by hand: sh {SCRIPT}",
        'case $0 in */*) cd "${0%/*}" || exit 126 ;; esac',
        "workspace=$PWD",
        "finish() {",
        # Renamed into place where the image has `mv`; the line end tells a whole file otherwise.
        f'  {{ echo "$1" >"$workspace/.{EXIT_CODE}.part" &&'
        f' mv "$workspace/.{EXIT_CODE}.part" "$workspace/{EXIT_CODE}"; }} 2>/dev/null ||'
        f' echo "$1" >"$workspace/{EXIT_CODE}"',
        '  exit "$1"',
        "}",
    ]
    for name, value in env.items():
        if is_secret(name):
            lines.append(f': "${{{name}?set it before you start this script}}"')
        else:
            lines.append(f"export {name}={shlex.quote(value)}")
    if working_dir is not None:
        lines.append(f"cd {shlex.quote(working_dir)} || finish 126")
    for command in commands:
        if isinstance(command, str):
            # A subshell of its own, so that its `cd`, `exit` or `set` ends with it.
            lines += ["(", command.strip("\n"), ") || finish $?"]
        else:
            lines.append(f"{shlex.join(command)} || finish $?")
    lines.append("finish 0")
    return "\n".join(lines) + "\n"
