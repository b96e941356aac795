"""From a job and a configuration to a container that is ready to start."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loguru import logger

from rompy_hydra.errors import EngineUnavailable, RunError
from rompy_hydra.run.base import Job
from rompy_hydra.run.docker.config import DockerConfig, Volume, parse_size
from rompy_hydra.run.docker.container import STARTER, Container
from rompy_hydra.run.docker.engine import Engine, engine_errors, error_text
from rompy_hydra.run.docker.image import Image
from rompy_hydra.run.docker.labels import (
    DRIVER_LABEL,
    SCRIPT_LABEL,
    WORKSPACE_LABEL,
    driver_label,
    has_driver,
    name_of,
    own_containers,
    script_hash,
)
from rompy_hydra.run.docker.refusal import refused
from rompy_hydra.workspace import ATTEMPTS, Workspace

if TYPE_CHECKING:
    from docker.types import DeviceRequest, HostConfig, Mount

# A name for the container that it can look up without a network, as MPI does.
_HOST_NAME = "model"
# How long a container may take to appear after an interrupt of its making, seconds.
_APPEAR_SECONDS = 1.0


def create(engine: Engine, job: Job, config: DockerConfig, image: Image) -> Container:
    """The container of a job, not yet started; RunError says why the engine refuses it."""
    name = name_of(job.workspace, job.run_id)
    user, groups = _user(engine, config, job.workspace)
    environment = dict(job.secrets)
    number = re.fullmatch(r"([1-9]\d*)(:.*)?", user)
    if number and "HOME" not in image.env:
        environment["HOME"] = "/tmp"  # a user whom the image does not know has / for a home
    alone = config.network == "none"
    options = {
        "name": name,
        "entrypoint": ["/bin/sh", "-c", STARTER, str(job.workspace.script), str(job.workspace.log)],
        "hostname": _HOST_NAME if alone else None,
        "user": user,
        "environment": environment,
        "working_dir": job.workspace.root,
        "labels": {
            WORKSPACE_LABEL: job.workspace.root,
            SCRIPT_LABEL: script_hash(job.workspace),
            DRIVER_LABEL: driver_label(),
            "rompy_hydra.run_id": job.run_id,
            "rompy_hydra.image": image.name,
        },
        "stop_signal": "SIGTERM",
        "healthcheck": {"test": ["NONE"]},
        "host_config": _host_config(engine, config, job.workspace, groups, alone),
    }
    try:
        try:
            return _made(engine, image, options)
        except _NameTaken:
            _take_away(engine, job.workspace, config)
            return _made(engine, image, options)
    except EngineUnavailable:
        raise
    except engine_errors() as error:
        raise refused(job, config, image.name, error_text(error)) from error


class _NameTaken(Exception):
    """There is a container of this name already."""


def _made(engine: Engine, image: Image, options: dict[str, Any]) -> Container:
    from docker.errors import APIError

    try:
        answer = engine.ask(lambda: engine.api.create_container(image.id, **options))
    except APIError as error:
        raise (_NameTaken() if "already in use" in error_text(error) else error) from error
    except BaseException:
        _remove_unseen(engine, options["name"])
        raise
    for warning in answer.get("Warnings") or ():
        logger.warning("the engine says: {}", warning)  # such as of a limit that it cannot keep
    container = Container(engine, str(answer["Id"]))
    own_containers.add(container.id)
    return container


def _remove_unseen(engine: Engine, name: str) -> None:
    """Remove a container that was asked for, and whose id never came: it may yet appear."""
    from docker.errors import NotFound

    deadline = time.monotonic() + _APPEAR_SECONDS
    with contextlib.suppress(*engine_errors()):
        while time.monotonic() < deadline:
            try:
                engine.api.remove_container(name, v=True, force=True)
                return
            except NotFound:
                time.sleep(0.1)


def _take_away(engine: Engine, workspace: Workspace, config: DockerConfig) -> None:
    """Remove the containers of a run directory that have no driver; RunError if one has."""
    for container in Container.left_in(engine, workspace):
        if has_driver(container.facts()):
            raise RunError(
                f"another driver works in {workspace.path}, in the container {container.id[:12]}; wait for "
                "its end, or end it"
            )
        logger.warning("removing the container {} of an earlier start", container.id[:12])
        container.end(config.kill_grace)
        container.remove()


def _host_config(
    engine: Engine, config: DockerConfig, workspace: Workspace, groups: list[str], alone: bool
) -> HostConfig:
    volumes = _volumes(config, workspace)
    memory = None if config.memory is None else parse_size(config.memory)
    return engine.api.create_host_config(
        mounts=[_mount(volume) for volume in volumes if not _is_bind(volume)],
        binds=[_bind(volume) for volume in volumes if _is_bind(volume)],
        network_mode=config.network,
        extra_hosts={_HOST_NAME: "127.0.0.1"} if alone else None,
        group_add=groups,
        nano_cpus=None if config.cpu is None else round(config.cpu * 1e9),
        mem_limit=memory,
        memswap_limit=memory,
        shm_size=None if config.shm_size is None else parse_size(config.shm_size),
        device_requests=None if config.gpus is None else [_gpus(config.gpus)],
        cap_drop=["ALL"],
        cap_add=list(config.cap_add),
        security_opt=["no-new-privileges"] if config.no_new_privileges else None,
        init=config.init,
        pids_limit=config.pids_limit,
    )


def _volumes(config: DockerConfig, workspace: Workspace) -> list[Volume]:
    """All that is mounted: the run directory, the volumes, and what the run directory links to."""
    # The run directory has the same path inside, so that whatever is written down there is right.
    wanted = [Volume(workspace.root, workspace.root), *config.mounts]
    places = [Path(volume.container) for volume in config.mounts]
    for target in sorted(_linked(workspace)):
        if not any(place in (target, *target.parents) for place in places):
            wanted.append(Volume(str(target), str(target), read_only=True))
    return [replace(v, host=str(Path(v.host).expanduser().absolute())) for v in wanted]


def _is_bind(volume: Volume) -> bool:
    """Whether a volume is mounted in the older way.

    It knows labels and no colons, and makes a missing host path; Podman's newer way knows no commas.
    """
    paths = volume.host + volume.container
    return bool(volume.label) or ("," in paths and ":" not in paths)


def _bind(volume: Volume) -> str:
    options = ["ro" if volume.read_only else "rw", *volume.label]
    return f"{volume.host}:{volume.container}:{','.join(options)}"


def _mount(volume: Volume) -> Mount:
    from docker.types import Mount

    return Mount(volume.container, volume.host, type="bind", read_only=volume.read_only)


def _linked(workspace: Workspace) -> Iterator[Path]:
    """What symbolic links of the run directory point to outside of it, and what those point to."""
    seen: set[Path] = set()
    links = [
        Path(folder) / name
        for folder, folders, names in os.walk(workspace.path)
        for name in [*folders, *names]
        if ATTEMPTS not in Path(folder).relative_to(workspace.path).parts[:1]
        and os.path.islink(os.path.join(folder, name))
    ]
    for link in links:
        target = Path(os.path.normpath(link.parent / os.readlink(link)))
        outside = target != workspace.path and workspace.path not in target.parents
        if outside and target not in seen and target.exists():
            seen.add(target)
            yield target


def _user(engine: Engine, config: DockerConfig, workspace: Workspace) -> tuple[str, list[str]]:
    """The user of the container, and further groups: by default whoever is to own the outputs."""
    if config.user is not None:
        return str(config.user), []
    if engine.rootless:
        return "0:0", []  # there, it stands for the caller
    user, group = os.getuid(), os.getgid()
    facts = workspace.path.stat()
    if user == 0 and facts.st_uid != 0:
        # Without capabilities root may not write in another user's directory.
        return f"{facts.st_uid}:{facts.st_gid}", []
    return f"{user}:{group}", [str(other) for other in os.getgroups() if other != group]


def _gpus(value: str | int) -> DeviceRequest:
    from docker.types import DeviceRequest

    if isinstance(value, str) and value.startswith("device="):
        ids = value.removeprefix("device=").split(",")
        return DeviceRequest(device_ids=ids, capabilities=[["gpu"]])
    return DeviceRequest(count=-1 if value == "all" else int(value), capabilities=[["gpu"]])
