"""Images from a Dockerfile, named by what they are made of, and built once."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from loguru import logger

from rompy_hydra.errors import ConfigError, RunError
from rompy_hydra.hashing import hash_file
from rompy_hydra.process import StopSignal
from rompy_hydra.run.docker.config import DockerConfig
from rompy_hydra.run.docker.engine import Engine, engine_errors, error_text
from rompy_hydra.workspace import BUILD_LOG, Workspace

REPOSITORY = "rompy_hydra/build"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", re.I | re.M)


@dataclass(frozen=True)
class Build:
    """What an image is built from: a Dockerfile, the directory that it may copy from, its arguments."""

    dockerfile: Path
    context: Path
    args: tuple[tuple[str, str], ...] = ()
    network: str | None = None

    @classmethod
    def of(cls, config: DockerConfig) -> Build:
        """The build that a configuration describes; relative paths begin at the working directory."""
        assert config.dockerfile is not None
        dockerfile = Path(config.dockerfile).expanduser().absolute()
        context = Path(config.build_context).expanduser().absolute() if config.build_context else None
        args = tuple(sorted(config.build_args.items()))
        return cls(dockerfile, context or dockerfile.parent, args, config.build_network)

    def check(self) -> None:
        """ConfigError if the Dockerfile or the directory is not there."""
        if not self.dockerfile.is_file():
            raise ConfigError(
                f"run_backend.dockerfile: there is no file {self.dockerfile}; correct the path"
            )
        if not self.context.is_dir():
            raise ConfigError(
                f"run_backend.build_context: {self.context} is no directory; correct the path"
            )

    def files(self) -> list[str]:
        """What the build may copy, relative to the context, without what `.dockerignore` leaves out."""
        from docker.utils.build import exclude_paths

        return sorted(exclude_paths(str(self.context), self._ignored(), self._inside or "Dockerfile"))

    def refuse(self, workspace: Workspace, files: list[str]) -> None:
        """RunError if the build would copy a run directory: each run would make another image."""
        inside = os.path.relpath(workspace.path, self.context)
        if any(name == inside or name.startswith(f"{inside}/") for name in files):
            raise RunError(
                f"the run directory {workspace.path} lies in the build context {self.context}, so that "
                f"every run would make another image. Add {inside.split('/')[0]} to "
                f"{self.context / '.dockerignore'}, or give the Dockerfile a directory of its own"
            )

    def _ignored(self) -> list[str]:
        try:
            lines = (self.context / ".dockerignore").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]

    def tag(self, files: list[str] | None = None) -> str:
        """The image's name: a hash of every byte that the build can see; `files` if they are known."""
        try:
            parts = hashlib.sha256(repr((self._inside, self.args)).encode())
            parts.update(hash_file(self.dockerfile).encode())
            for name in self.files() if files is None else files:
                parts.update(f"\0{name}\0{_fact(self.context / name)}".encode(errors="surrogateescape"))
        except OSError as error:
            raise ConfigError(
                f"cannot read the build context {self.context}: {error.strerror} ({error.filename}). "
                "Mend its permissions, or leave the file out with .dockerignore"
            ) from error
        return f"{REPOSITORY}:{parts.hexdigest()[:40]}"

    def bases(self) -> list[str]:
        """The images that the Dockerfile begins from, as far as they are named plainly."""
        found = _FROM.findall(self.dockerfile.read_text(errors="replace"))
        stages = {stage.lower() for _, stage in found if stage}
        return [base for base, _ in found if base.lower() not in {"scratch", *stages} and "$" not in base]

    @functools.cached_property
    def _inside(self) -> str | None:
        """The Dockerfile's path in the context, or None if it lies elsewhere."""
        relative = os.path.relpath(self.dockerfile, self.context)
        return None if relative.startswith("..") else relative

    def write_archive(self, file: IO[bytes]) -> None:
        """The context as the engine takes it, a tar file."""
        from docker.utils.build import create_archive

        extra = []
        if self._inside is None:
            # Sent beside the context, and taken out again by the engine before anything is copied.
            hidden = [] if (self.context / ".dockerignore").exists() else [".dockerignore"]
            ignored = "\n".join([*self._ignored(), self.sent_as, *hidden])
            extra = [(".dockerignore", ignored), (self.sent_as, self.dockerfile.read_text())]
        create_archive(str(self.context), files=self.files(), fileobj=file, extra_files=extra)

    @property
    def sent_as(self) -> str:
        return self._inside or ".rompy_hydra.Dockerfile"


def _fact(path: Path) -> str:
    facts = path.lstat()
    if stat.S_ISLNK(facts.st_mode):
        return f"link {os.readlink(path)}"
    if stat.S_ISDIR(facts.st_mode):
        return f"directory {facts.st_mode & 0o7777:o}"
    if stat.S_ISREG(facts.st_mode):
        return f"file {facts.st_mode & 0o7777:o} {hash_file(path)}"
    return "other"


def built(engine: Engine, build: Build, workspace: Workspace, pull: bool, stop: StopSignal | None) -> str:
    """The name of the built image; what is there is taken, and only one driver builds.

    The output of a build goes to `build.log`. RunError shows its last lines if it fails.
    """
    build.check()
    files = build.files()
    build.refuse(workspace, files)
    tag = build.tag(files)
    if engine.image(tag, fresh=True) is not None:
        return tag
    with _alone(tag.rpartition(":")[2], stop):
        if engine.image(tag, fresh=True) is not None:
            return tag
        begin = time.monotonic()
        logger.info("building the image of {}", build.dockerfile)
        image = _build(engine, build, workspace.path / BUILD_LOG, pull, stop)
        if build.tag() != tag:
            raise RunError(
                f"the files in {build.context} changed while the image was built from them; run the "
                "same command again"
            )
        engine.ask(lambda: engine.api.tag(image, REPOSITORY, tag.removeprefix(f"{REPOSITORY}:")))
        engine.forget()
        logger.info("built {} in {:.1f} s", tag, time.monotonic() - begin)
    return tag


def _build(engine: Engine, build: Build, log: Path, pull: bool, stop: StopSignal | None) -> str:
    ids: list[str] = []
    failures: list[str] = []

    with tempfile.TemporaryFile() as context, log.open("w", errors="replace") as output:
        build.write_archive(context)

        def each(event: Mapping[str, Any]) -> None:
            aux = event.get("aux")
            if isinstance(aux, Mapping) and "ID" in aux:
                ids.append(str(aux["ID"]))
            text = event.get("stream") or event.get("error") or event.get("status") or ""
            if "error" in event:
                failures.append(str(event["error"]))
                text += "\n"
            elif "status" in event:
                if event.get("progressDetail"):
                    return
                text = f"{event.get('id', '')} {text}\n".lstrip()
            output.write(_COLOUR.sub("", str(text)))
            output.flush()

        try:
            engine.stream(
                lambda api: api.build(
                    fileobj=context,
                    custom_context=True,
                    dockerfile=build.sent_as,
                    buildargs=dict(build.args),
                    labels={"rompy_hydra.dockerfile": str(build.dockerfile)},
                    network_mode=build.network,
                    pull=pull,
                    rm=True,
                    forcerm=True,
                    decode=True,
                ),
                each,
                stop,
            )
        except engine_errors() as error:
            failures.append(error_text(error))
            output.write(f"{error_text(error)}\n")
    if failures or not ids:
        raise _failed(build, log, failures)
    return ids[-1]


def _failed(build: Build, log: Path, failures: list[str]) -> RunError:
    text = log.read_text(errors="replace")
    last = "\n".join(f"  {line[:500]}" for line in text.splitlines()[-15:])
    reason = failures[-1].strip() if failures else "the engine broke off without a word"
    advice = f"Correct {build.dockerfile}, then run the same command again"
    if "no space left on device" in text.lower():
        reason = f"the engine's disk is full ({reason})"
        advice = "Free space (docker system prune), then run the same command again"
    return RunError(
        f"the image of {build.dockerfile} could not be built: {reason}. {advice}.\n"
        f"Last lines of {log}:\n{last}"
    )


@contextlib.contextmanager
def _alone(name: str, stop: StopSignal | None) -> Iterator[None]:
    """Hold the machine-wide lock of this name: between threads as well as between processes."""
    path = Path(tempfile.gettempdir()) / f"rompy_hydra-{os.getuid()}" / f"build-{name}.lock"
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        lock = path.open("w")
    except OSError as error:
        raise RunError(f"cannot make the lock {path}: {error.strerror}. Mend it, or set TMPDIR") from error
    with lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if stop is None:
                    time.sleep(0.1)
                elif stop.wait(0.1):
                    raise KeyboardInterrupt from None
        yield
