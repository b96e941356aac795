"""Run a model in a container."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from loguru import logger

from rompy_hydra.errors import ConfigError, EngineUnavailable, LeaseLost, RunError, RunLost
from rompy_hydra.jsonable import Json
from rompy_hydra.regular_files import strip_setuid
from rompy_hydra.run.base import BackendConfig, BaseRunBackend, Job, Outcome
from rompy_hydra.run.docker.config import DockerConfig, Volume, parse_size
from rompy_hydra.run.docker.container import (
    IMAGE_LABEL,
    STARTER,
    Container,
    belongs_to,
    container_labels,
    container_name,
    has_living_driver,
    outcome_of,
    own_containers,
    seconds_since_start,
    start_error,
)
from rompy_hydra.run.docker.engine import CACHE_SECONDS, Engine, engine_errors, error_text, get_engine
from rompy_hydra.run.docker.fences import loosened, socket_problems
from rompy_hydra.run.docker.image import Build, check_present, check_registry, prepare_image, to_pull
from rompy_hydra.run.handle import timed_out
from rompy_hydra.run.programs import programs_of
from rompy_hydra.workspace import ATTEMPTS, Workspace, lease
from rompy_hydra.workspace.record import RunRecord
from rompy_hydra.workspace.script import Command

# A host name that the container can resolve without a network, as MPI does.
_HOST_NAME = "model"


class DockerRunBackend(BaseRunBackend):
    """Runs `run.sh` in a container, which sees the run directory at the same path, and little else."""

    name: ClassVar[str] = "docker"
    config_class: ClassVar[type[DockerConfig]] = DockerConfig
    config: DockerConfig

    def __init__(self, config: BackendConfig | None = None, **fields: object) -> None:
        super().__init__(config, **fields)
        self._pulled: set[str] = set()
        # The image key of a Dockerfile, and when it was computed: the points of a sweep share it.
        self._build_key: tuple[float, str] | None = None

    def commands(self, model: object) -> tuple[Command, ...]:
        config = self.config
        if config.executable is None:
            return super().commands(model)
        if config.mpiexec is None:
            return (config.executable,)
        return (f"{config.mpiexec} -n {config.cpu:.0f} {config.executable}",)

    def image_key(self, image: str | None) -> str | None:
        """What identifies the image's content in a run's status: its id, or its name if that is unknown.

        It is determined without the network.
        """
        if self.config.dockerfile is not None:
            now = time.monotonic()
            if self._build_key is None or now - self._build_key[0] > CACHE_SECONDS:
                self._build_key = (now, Build(self.config).tag())
            return self._build_key[1]
        name = self.config.image or image
        if not name or "@" in name:
            return name  # a digest identifies the content wherever the image is
        try:
            # The engine's cache is cleared as soon as any thread builds or pulls an image.
            found = get_engine().image(name)
        except engine_errors():
            return name
        return str(found["Id"]) if found else name

    def preflight(self, commands: tuple[Command, ...], files: set[str], image: str | None) -> None:
        try:
            engine = get_engine()
            problems = self._setting_problems(engine)
            # Programs that should be among the run's files; those of the image are unknown.
            for command in commands if self.config.working_dir is None else ():
                for program in programs_of(command):
                    is_relative = "/" in program and not program.startswith("/")
                    if is_relative and os.path.normpath(program) not in files:
                        problems.append(
                            f"the program '{program}' is not among the run's files (command: {command}). "
                            "Give its full path in the image, or add it to model.files"
                        )
            try:
                check_present(engine, self.config, image)
            except ConfigError as error:
                problems.append(str(error))
        except EngineUnavailable as error:
            raise ConfigError(str(error)) from error
        if problems:
            raise ConfigError("\n".join(problems))

    def check_outside(self, model: object) -> None:
        try:
            check_registry(get_engine(), self.config, getattr(model, "image", None))
        except EngineUnavailable as error:
            raise ConfigError(str(error)) from error

    def exposures(self, model: object) -> list[str]:
        found = list(loosened(self.config))
        with contextlib.suppress(*engine_errors(), ConfigError):
            if name := to_pull(get_engine(), self.config, getattr(model, "image", None)):
                found.append(f"the image {name} would be pulled from its registry")
        return found

    def _setting_problems(self, engine: Engine) -> list[str]:
        """Problems with settings that this engine cannot apply."""
        from docker.errors import NotFound

        config = self.config
        problems = list(socket_problems(engine, config))
        for volume in config.mounts:
            path = Path(volume.host).expanduser().absolute()
            if engine.is_local and not os.path.exists(path):
                problems.append(
                    f"run_backend.volumes: the host path {path} does not exist; create it, or correct "
                    "the volume"
                )
        cores = int(engine.info.get("NCPU") or 0)
        if config.cpu and cores and config.cpu > cores:
            problems.append(f"run_backend.cpu={config.cpu:g}: the engine has {cores} cores; ask for fewer")
        name = config.network
        if name not in {"none", "host", "bridge", "default"} and not name.startswith("container:"):
            try:
                engine.cached(("network", name), lambda: engine.api.inspect_network(name))
            except NotFound:
                problems.append(
                    f"run_backend.network={name}: the engine has no such network. Use none or host, or "
                    f"create it (docker network create {name})"
                )
        return problems

    def execute(self, job: Job) -> Outcome:
        engine = get_engine()
        if problems := self._setting_problems(engine):
            raise RunError("\n".join(problems))
        name, image = prepare_image(engine, self.config, job, self._pulled)
        job.workspace.forget_exit_code()
        container = _create(engine, job, self.config, name, image)
        facts: dict[str, Json] = {
            "image": name,
            "image_id": image["Id"],
            "image_digest": next(iter(image.get("RepoDigests") or ()), None),
            "engine": engine.version,
            "container": container.id,
        }
        with _without_setuid(job.workspace), _released(container, self.config):
            job.report(facts)
            begin = time.monotonic()
            try:
                engine.call(lambda: engine.api.start(container.id))
            except EngineUnavailable as error:
                # The engine may have started it all the same, which waiting finds out.
                logger.warning("{}", error)
            except engine_errors() as error:
                raise start_error(job, self.config, name, error_text(error)) from error
            outcome = self._wait(job, container, begin, facts)
            return replace(outcome, seconds=time.monotonic() - begin)

    def finds_jobs_of_other_hosts(self, workspace: Workspace) -> bool:
        """Whether this engine has the container: the driver may have been in a container beside it."""
        try:
            return bool(Container.find(get_engine(), workspace))
        except engine_errors():
            return False

    def script_mode(self, env: Mapping[str, str]) -> int:
        # Another user than the owner of the directory must be able to read it.
        return super().script_mode(env) if self.config.user is None else 0o755

    def reattach(self, job: Job, facts: Mapping[str, Json]) -> Outcome | None:
        """The outcome of a container of this same job that a dead driver left; None if there is none.

        If the container is still running, wait for it. If it was killed and has no result, remove it.
        """
        try:
            engine = get_engine()
            left = Container.find(engine, job.workspace)
        except EngineUnavailable as error:
            raise RunLost(f"cannot determine what became of {job.run_id}: {error}") from error
        for container in left:
            info = container.inspect()
            if belongs_to(job, info):
                return self._take_over(job, container, info, engine)
            container.discard(self.config.kill_grace, "it has no result of this run")
        # The driver may have removed its container, and died before it recorded the outcome.
        return self.left_outcome(job)

    def _take_over(
        self, job: Job, container: Container, info: Mapping[str, Any], engine: Engine
    ) -> Outcome:
        """The outcome of a container that another driver started."""
        logger.info("taking over the container {} ({})", container, info["State"]["Status"])
        own_containers.add(container.id)
        facts: dict[str, Json] = {
            "image": str((info["Config"]["Labels"] or {}).get(IMAGE_LABEL, info["Image"])),
            "image_id": str(info["Image"]),
            "container": container.id,
            "engine": engine.version,
            "adopted": True,
        }
        with _without_setuid(job.workspace), _released(container, self.config):
            job.report(facts)
            begin = time.monotonic() - (seconds_since_start(info["State"]) or 0.0)
            return self._wait(job, container, begin, facts)

    def clean_up(self, workspace: Workspace) -> None:
        """Stop and remove the containers that a dead driver left; RunLost if the engine does not answer."""
        try:
            left = Container.find(get_engine(), workspace)
        except EngineUnavailable as error:
            raise RunLost(f"a container may still be running in {workspace.path}: {error}") from error
        for container in left:
            container.discard(self.config.kill_grace, "its driver is dead")

    def _wait(self, job: Job, container: Container, begin: float, facts: Mapping[str, Json]) -> Outcome:
        """Wait for a container and return its outcome; stop it at the time limit, or on Ctrl-C."""
        try:
            info = container.wait(None if job.timeout is None else begin + job.timeout, job.stop, job.check)
        except LeaseLost:
            record = RunRecord.load(job.workspace)
            container.taken_over = (
                record is not None
                and record.driver != vars(lease.me())
                and record.backend_facts.get("container") == container.id
            )
            if not container.taken_over:
                container.stop(self.config.kill_grace)
            raise
        except (TimeoutError, KeyboardInterrupt) as error:
            container.stop(self.config.kill_grace)
            raise (timed_out(job) if isinstance(error, TimeoutError) else error) from None
        outcome = outcome_of(container, info, job, self.config)
        return replace(outcome, facts={**facts, **outcome.facts})


def _create(
    engine: Engine, job: Job, config: DockerConfig, name: str, image: Mapping[str, Any]
) -> Container:
    """Create the container of a job without starting it; RunError says why the engine refuses it."""
    from docker.errors import APIError, DockerException

    user, groups = _user_and_groups(engine, config, job.workspace)
    environment = dict(job.secrets)
    own_variables = (image.get("Config") or {}).get("Env") or ()
    if re.match(r"[1-9]\d*(:|$)", user) and not any(each.startswith("HOME=") for each in own_variables):
        environment["HOME"] = "/tmp"  # the home of a user whom the image does not know is /
    isolated = config.network == "none"
    options = {
        "name": container_name(job.workspace, job.run_id),
        "entrypoint": ["/bin/sh", "-c", STARTER, str(job.workspace.script), str(job.workspace.log)],
        "hostname": _HOST_NAME if isolated else None,
        "user": user,
        "environment": environment,
        "working_dir": job.workspace.root,
        "labels": container_labels(job, name),
        "stop_signal": "SIGTERM",
        "healthcheck": {"test": ["NONE"]},
        "host_config": _host_config(engine, config, job.workspace, groups, isolated),
    }
    try:
        try:
            return _create_once(engine, image["Id"], options)
        except APIError as error:
            if "already in use" not in error_text(error):
                raise
            _remove_leftovers(engine, job.workspace, config)
            return _create_once(engine, image["Id"], options)
    except DockerException as error:
        raise start_error(job, config, name, error_text(error)) from error


def _create_once(engine: Engine, image_id: str, options: dict[str, Any]) -> Container:
    from docker.errors import APIError

    try:
        answer = engine.call(lambda: engine.api.create_container(image_id, **options))
    except APIError:
        raise
    except BaseException:
        _remove_by_name(engine, options["name"])
        raise
    for warning in answer.get("Warnings") or ():
        # For example, that it cannot enforce a limit.
        logger.warning("the container engine warns: {}", warning)
    container = Container(engine, str(answer["Id"]))
    own_containers.add(container.id)
    return container


def _remove_by_name(engine: Engine, name: str) -> None:
    """Remove a container whose creation was interrupted: it may appear within a second."""
    from docker.errors import NotFound

    deadline = time.monotonic() + 1.0
    with contextlib.suppress(*engine_errors()):
        while time.monotonic() < deadline:
            try:
                engine.api.remove_container(name, v=True, force=True)
                return
            except NotFound:
                time.sleep(0.1)


def _remove_leftovers(engine: Engine, workspace: Workspace, config: DockerConfig) -> None:
    """Remove the containers of a run directory; RunError if a living driver works with one."""
    for container in Container.find(engine, workspace):
        if has_living_driver(container.inspect()):
            raise RunError(
                f"another driver is using {workspace.path}, with the container {container}; wait for it "
                "to finish, or stop it"
            )
        container.discard(config.kill_grace, "an earlier start of this run left it")


def _host_config(
    engine: Engine, config: DockerConfig, workspace: Workspace, groups: list[str], isolated: bool
) -> dict[str, Any]:
    from docker.types import DeviceRequest, Mount

    mounts, binds = [], []
    for volume in _volumes(config, workspace):
        # Binds support labels, but no colons in paths, and they create a missing host path; Podman's
        # mounts do not support commas.
        paths = volume.host + volume.container
        if volume.label or ("," in paths and ":" not in paths):
            options = ["ro" if volume.read_only else "rw", *volume.label]
            binds.append(f"{volume.host}:{volume.container}:{','.join(options)}")
        else:
            mounts.append(Mount(volume.container, volume.host, type="bind", read_only=volume.read_only))
    memory = None if config.memory is None else parse_size(config.memory)
    return engine.api.create_host_config(
        mounts=mounts,
        binds=binds,
        network_mode=config.network,
        extra_hosts={_HOST_NAME: "127.0.0.1"} if isolated else None,
        group_add=groups,
        nano_cpus=None if config.cpu is None else round(config.cpu * 1e9),
        mem_limit=memory,
        memswap_limit=memory,
        shm_size=None if config.shm_size is None else parse_size(config.shm_size),
        device_requests=None if config.gpus is None else [DeviceRequest(**_gpus(config.gpus))],
        cap_drop=["ALL"],
        cap_add=list(config.cap_add),
        security_opt=["no-new-privileges"] if config.no_new_privileges else None,
        init=config.init,
        pids_limit=config.pids_limit,
    )


def _volumes(config: DockerConfig, workspace: Workspace) -> list[Volume]:
    """All mounts: the run directory, the volumes, and the targets of links in the run directory."""
    # The run directory has the same path in the container, so that paths in its files are valid.
    volumes = [Volume(workspace.root, workspace.root), *config.mounts]
    mounted = [Path(volume.container) for volume in config.mounts]
    for target in sorted(_link_targets(workspace)):
        if not any(target.is_relative_to(path) for path in mounted):
            volumes.append(Volume(str(target), str(target), read_only=True))
    return [replace(v, host=str(Path(v.host).expanduser().absolute())) for v in volumes]


def _link_targets(workspace: Workspace) -> set[Path]:
    """The files outside of a run directory to which its inputs link; other links are not followed."""
    record = RunRecord.load(workspace)
    inputs = {fact.path for fact in record.inputs} if record else set()
    targets = set()
    for folder, folders, names in os.walk(workspace.root):
        for link in (os.path.join(folder, name) for name in [*folders, *names]):
            if not os.path.islink(link):
                continue
            target = Path(os.path.normpath(os.path.join(folder, os.readlink(link))))
            if target.is_relative_to(workspace.path):
                continue
            if os.path.relpath(link, workspace.root) in inputs and target.is_file():
                targets.add(target)
            else:
                logger.warning(
                    "{} is a link to {}, which the container does not see: the run has no such input. "
                    "List it in model.files, or mount it with run_backend.volumes",
                    link,
                    target,
                )
        if Path(folder) == workspace.path and ATTEMPTS in folders:
            folders.remove(ATTEMPTS)
    return targets


@contextlib.contextmanager
def _released(container: Container, config: DockerConfig) -> Iterator[None]:
    try:
        yield
    finally:
        container.release(keep=not config.remove_container)


@contextlib.contextmanager
def _without_setuid(workspace: Workspace) -> Iterator[None]:
    """Make sure that no program of the container runs here with the rights of its user there.

    RunError if it left such programs that only their owner can change.
    """
    try:
        yield
    except BaseException:
        if problem := _strip_setuid(workspace):
            logger.warning("{}", problem)
        raise
    if problem := _strip_setuid(workspace):
        raise RunError(problem)


def _strip_setuid(workspace: Workspace) -> str:
    try:
        found = strip_setuid(workspace.root)
    except OSError as error:
        return f"cannot look for set-user-ID files in {workspace.path}: {error.strerror}"
    for path in found.stripped[:20]:
        logger.warning("took the set-user-ID bits from {}, which the container left", path)
    if not found.left:
        return ""
    more = f" and {len(found.left) - 1} more" if len(found.left) > 1 else ""
    return (
        f"the container left {found.left[0]}{more}, which only the container's user can change: a "
        "set-user-ID program, or a directory that hides one, gives everybody here that user's rights. "
        f"Remove it (sudo chmod -R u-s,g-s {workspace.path}), and let the container run as you: "
        "run_backend.user=null"
    )


def _user_and_groups(engine: Engine, config: DockerConfig, workspace: Workspace) -> tuple[str, list[str]]:
    """The user of the container and their supplementary groups: by default, the owner of the outputs."""
    if config.user is not None:
        return str(config.user), []
    if engine.rootless:
        return "0:0", []  # which a rootless engine maps to the caller
    user, group = os.getuid(), os.getgid()
    owner = workspace.path.stat()
    if user == 0 and owner.st_uid != 0:
        # Without capabilities, root may not write to another user's directory.
        return f"{owner.st_uid}:{owner.st_gid}", []
    return f"{user}:{group}", [str(other) for other in os.getgroups() if other != group]


def _gpus(value: str | int) -> dict[str, Any]:
    if isinstance(value, str) and value.startswith("device="):
        return {"device_ids": value.removeprefix("device=").split(","), "capabilities": [["gpu"]]}
    return {"count": -1 if value == "all" else int(value), "capabilities": [["gpu"]]}
