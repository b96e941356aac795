"""The image of a run: which one it is, whether the engine has it, and how it is pulled or built."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from loguru import logger

from rompy_hydra.errors import ConfigError, RunError
from rompy_hydra.hashing import hash_file
from rompy_hydra.process import StopSignal
from rompy_hydra.regular_files import open_regular, read_chosen, read_regular
from rompy_hydra.run.base import Job
from rompy_hydra.run.docker.config import DockerConfig, check_image
from rompy_hydra.run.docker.engine import Engine, engine_errors, error_text, pause
from rompy_hydra.run.docker.ignore import included, read_patterns
from rompy_hydra.workspace import BUILD_LOG, Workspace

REPOSITORY = "rompy_hydra/build"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", re.I | re.M)


def image_name(config: DockerConfig, model_image: str | None) -> str:
    """The image of a run without a Dockerfile; ConfigError if nothing names a valid one."""
    name = config.image or model_image
    if not name:
        raise ConfigError(
            "no image to run in: the model names none. Give run_backend.image=NAME or "
            "run_backend.dockerfile=PATH"
        )
    try:
        return check_image(name)
    except ValueError as error:
        raise ConfigError(f"the image of the model: {error}") from error


def check_present(engine: Engine, config: DockerConfig, model_image: str | None) -> None:
    """ConfigError if the engine lacks an image that it may not pull; asks nobody but the engine."""
    if config.dockerfile:
        build = Build(config)
        for base in build.bases() if config.pull == "never" else ():
            if engine.image(base) is None:
                raise ConfigError(f"{build.dockerfile} is based on {base}: {_not_pulled(base)}")
        return
    name = image_name(config, model_image)
    if config.pull == "never" and engine.image(name) is None:
        raise ConfigError(_not_pulled(name))


def to_pull(engine: Engine, config: DockerConfig, model_image: str | None) -> str:
    """The image that would have to be pulled; '' for none, and for the bases of a Dockerfile."""
    if config.dockerfile or config.pull == "never":
        return ""
    name = image_name(config, model_image)
    return name if config.pull == "always" or engine.image(name) is None else ""


def check_registry(engine: Engine, config: DockerConfig, model_image: str | None) -> None:
    """ConfigError if the engine lacks the image and cannot pull it; asks the registry, with the login."""
    name = "" if config.dockerfile else image_name(config, model_image)
    if config.dockerfile or config.pull == "never" or engine.image(name) is not None:
        return
    # The registry is not asked for every point of a sweep.
    problem = engine.cached(("registry", name), lambda: _registry_problem(engine, name), seconds=10.0)
    if problem:
        raise ConfigError(
            f"the engine has no image {name} and cannot pull it: {problem}. Correct the name, log in "
            "(docker login), load the image by hand, or build it: run_backend.dockerfile=PATH"
        )


def _not_pulled(name: str) -> str:
    return (
        f"the engine has no image {name}, and run_backend.pull=never. Pull or load it "
        f"(docker pull {name}), or set run_backend.pull=missing"
    )


def _registry_problem(engine: Engine, name: str) -> str | None:
    """Why the registry does not provide an image; None if it does, or if the engine cannot ask it."""
    from docker.errors import APIError

    try:
        engine.api.inspect_distribution(name)  # type: ignore[no-untyped-call]
    except APIError as error:
        text = error_text(error)
        # Podman does not implement this request.
        unknown = error.status_code == 404 and text.lower() in ("not found", "page not found")
        return None if unknown else text
    return None


def prepare_image(
    engine: Engine, config: DockerConfig, job: Job, pulled: set[str]
) -> tuple[str, Mapping[str, Any]]:
    """The image of a job, built or pulled if necessary: its name, and the engine's description of it.

    RunError if that fails. `pulled` holds the names that this backend has pulled: `pull=always` pulls
    once per sweep.
    """
    always = config.pull == "always"
    if config.dockerfile:
        name = build_image(engine, Build(config), job.workspace, always, job.stop)
    else:
        name = image_name(config, job.image)
    found = engine.image(name, fresh=True)
    if not config.dockerfile and (found is None or always):
        found = _pull(engine, name, config, pulled, job.stop)
    if found is None:
        raise RunError(f"the image {name} was removed while the run was starting; rerun the command")
    return name, found


def _pull(
    engine: Engine, name: str, config: DockerConfig, pulled: set[str], stop: StopSignal | None
) -> Mapping[str, Any] | None:
    """Pull an image, once even if several threads need it, and return the engine's description of it."""
    from docker.utils import parse_repository_tag

    if config.pull == "never":
        raise RunError(_not_pulled(name))
    with _lock(f"pull-{hashlib.sha256(name.encode()).hexdigest()}", stop):
        found = engine.image(name, fresh=True)
        if found is not None and (config.pull == "missing" or name in pulled):
            return found
        logger.info("pulling {}", name)
        repository, tag = parse_repository_tag(name)
        if "@" in name:  # `tag` is a digest, and the image may have a tag as well
            repository, _ = parse_repository_tag(repository)
        try:
            engine.stream(lambda api: api.pull(repository, tag or "latest", stream=True, decode=True), stop)
        except engine_errors() as error:
            raise RunError(
                f"cannot pull the image {name}: {error_text(error)}. Correct the name, log in (docker "
                "login), or load the image by hand and set run_backend.pull=missing"
            ) from error
        pulled.add(name)
        engine.cache.clear()
        return engine.image(name, fresh=True)


class Build:
    """What an image is built from: a Dockerfile, its arguments, and the directory it may copy from."""

    def __init__(self, config: DockerConfig) -> None:
        """Relative paths start at the working directory. ConfigError if one does not exist."""
        assert config.dockerfile is not None
        self.config = config
        self.dockerfile = Path(config.dockerfile).expanduser().absolute()
        self.context = self.dockerfile.parent
        if config.build_context:
            self.context = Path(config.build_context).expanduser().absolute()
        if not self.dockerfile.is_file():
            raise ConfigError(
                f"run_backend.dockerfile: there is no file {self.dockerfile}; correct the path"
            )
        if not self.context.is_dir():
            raise ConfigError(
                f"run_backend.build_context: {self.context} is not a directory; correct the path"
            )
        relative = os.path.relpath(self.dockerfile, self.context)
        # The Dockerfile's path in the context, None if it is elsewhere.
        self.inside = None if relative.startswith("..") else relative

    def files(self) -> list[str]:
        """The paths that the build may copy, relative to the context, without those in `.dockerignore`."""
        return included(self.context, self.ignored(), self.inside or "Dockerfile")

    def ignored(self) -> list[str]:
        """The patterns of `.dockerignore`."""
        try:
            return read_patterns(read_chosen(self.context / ".dockerignore").decode(errors="replace"))
        except FileNotFoundError:
            return []

    def tag(self, files: list[str] | None = None) -> str:
        """The image's name: a hash of everything that the build can read. `files` saves listing them."""
        try:
            args = tuple(sorted(self.config.build_args.items()))
            parts = hashlib.sha256(repr((self.inside, args)).encode())
            parts.update(hash_file(self.dockerfile).encode())
            for name in self.files() if files is None else files:
                parts.update(
                    f"\0{name}\0{_fingerprint(self.context / name)}".encode(errors="surrogateescape")
                )
        except OSError as error:
            raise ConfigError(
                f"cannot read the build context {self.context}: {error.strerror} ({error.filename}). "
                "Fix its permissions, or exclude the file with .dockerignore"
            ) from error
        return f"{REPOSITORY}:{parts.hexdigest()[:40]}"

    def bases(self) -> list[str]:
        """The base images of the Dockerfile, except for names that contain variables."""
        found = _FROM.findall(self.dockerfile.read_text(errors="replace"))
        stages = {stage.lower() for _, stage in found if stage}
        return [base for base, _ in found if base.lower() not in {"scratch", *stages} and "$" not in base]


def _fingerprint(path: Path) -> str:
    """A text that changes with the kind, the permissions and the content of a file."""
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return f"link {os.readlink(path)}"
    if stat.S_ISDIR(mode):
        return f"directory {mode & 0o7777:o}"
    if stat.S_ISREG(mode):
        return f"file {mode & 0o7777:o} {hash_file(path)}"
    return "other"


def build_image(
    engine: Engine, build: Build, workspace: Workspace, pull: bool, stop: StopSignal | None
) -> str:
    """Build an image unless it exists, and return its name; concurrent drivers build it only once.

    The build output goes to `build.log`. RunError shows its last lines if the build fails.
    """
    files = build.files()
    inside = os.path.relpath(workspace.path, build.context)
    if any(name == inside or name.startswith(f"{inside}/") for name in files):
        raise RunError(
            f"the run directory {workspace.path} is in the build context {build.context}, so every run "
            f"would build another image. Add {inside.split('/')[0]} to {build.context / '.dockerignore'}, "
            "or move the Dockerfile to a separate directory"
        )
    tag = build.tag(files)
    if engine.image(tag, fresh=True) is not None:
        return tag
    with _lock(f"build-{tag.rpartition(':')[2]}", stop):
        if engine.image(tag, fresh=True) is not None:
            return tag
        begin = time.monotonic()
        logger.info("building the image of {}", build.dockerfile)
        image = _build(engine, build, workspace.path / BUILD_LOG, pull, stop)
        if build.tag() != tag:
            raise RunError(
                f"files in {build.context} changed while the image was being built from them; rerun the "
                "command"
            )
        engine.call(lambda: engine.api.tag(image, REPOSITORY, tag.removeprefix(f"{REPOSITORY}:")))
        engine.cache.clear()
        logger.info("built {} in {:.1f} s", tag, time.monotonic() - begin)
    return tag


def _build(engine: Engine, build: Build, log: Path, pull: bool, stop: StopSignal | None) -> str:
    """Build an image, with the output in `log`, and return its id."""
    from docker.utils.build import create_archive

    ids: list[str] = []
    # A Dockerfile from outside of the context is added, and the image cannot copy it.
    dockerfile = build.inside or ".rompy_hydra.Dockerfile"
    text = None if build.inside else build.dockerfile.read_text()
    with (
        tempfile.TemporaryFile() as context,
        open(open_regular(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w", errors="replace") as output,
    ):
        extra = [] if text is None else [(dockerfile, text)]
        if extra:
            # Nor may the image copy the Dockerfile from outside, nor this file, if the user has none.
            own = [] if (build.context / ".dockerignore").exists() else [".dockerignore"]
            extra.append((".dockerignore", "\n".join([*build.ignored(), dockerfile, *own])))
        create_archive(os.path.abspath(build.context), build.files(), context, extra_files=extra)

        def write(event: Mapping[str, Any]) -> None:
            aux = event.get("aux")
            if isinstance(aux, Mapping) and "ID" in aux:
                ids.append(str(aux["ID"]))
            text = str(event.get("stream") or "")
            if "status" in event and not event.get("progressDetail"):
                text = f"{event.get('id', '')} {event['status']}\n".lstrip()
            output.write(_COLOUR.sub("", text))
            output.flush()

        try:
            engine.stream(
                lambda api: api.build(
                    fileobj=context,
                    custom_context=True,
                    dockerfile=dockerfile,
                    buildargs=build.config.build_args,
                    labels={"rompy_hydra.dockerfile": str(build.dockerfile)},
                    network_mode=build.config.build_network,
                    pull=pull,
                    rm=True,
                    forcerm=True,
                    decode=True,
                ),
                stop,
                write,
            )
        except engine_errors() as error:
            reason = _COLOUR.sub("", error_text(error))
            output.write(f"{reason}\n")
            output.flush()
            raise _build_error(build, log, reason) from error
    if not ids:
        raise _build_error(build, log, "the engine stopped without an error message")
    return ids[-1]


def _build_error(build: Build, log: Path, reason: str) -> RunError:
    text = read_regular(log).decode(errors="replace")
    last = "\n".join(f"  {line[:500]}" for line in text.splitlines()[-15:])
    advice = f"Correct {build.dockerfile}, then rerun the command"
    if "no space left on device" in text.lower():
        reason = f"the engine's disk is full ({reason})"
        advice = "Free space (docker system prune), then rerun the command"
    return RunError(
        f"the image of {build.dockerfile} could not be built: {reason}. {advice}.\n"
        f"Last lines of {log}:\n{last}"
    )


@contextlib.contextmanager
def _lock(name: str, stop: StopSignal | None) -> Iterator[None]:
    """Hold a lock that all threads and processes of this user on this machine share."""
    path = Path(tempfile.gettempdir()) / f"rompy_hydra-{os.getuid()}" / f"{name}.lock"
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        facts = path.parent.lstat()
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o022:
            raise RunError(
                f"{path.parent} is not a directory that only this user can write to, so another user could "
                "have prepared it. Remove it, or set TMPDIR"
            )
        lock = os.fdopen(open_regular(path, os.O_WRONLY | os.O_CREAT), "w")
    except OSError as error:
        raise RunError(
            f"cannot create the lock {path}: {error.strerror}. Fix its permissions, or set TMPDIR"
        ) from error
    with lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pause(0.1, stop)
        yield
