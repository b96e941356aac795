"""Creates the container of a job, ready to start."""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from loguru import logger

from rompy_hydra.errors import RunError
from rompy_hydra.run.base import Job
from rompy_hydra.run.docker.config import DockerConfig, Volume, parse_size
from rompy_hydra.run.docker.container import (
    STARTER,
    Container,
    container_labels,
    container_name,
    has_living_driver,
    own_containers,
    start_error,
)
from rompy_hydra.run.docker.engine import Engine, engine_errors, error_text
from rompy_hydra.run.docker.image import Image
from rompy_hydra.workspace import ATTEMPTS, Workspace

# A host name that the container can resolve without a network, as MPI does.
_HOST_NAME = "model"


def create(engine: Engine, job: Job, config: DockerConfig, image: Image) -> Container:
    """Create the container of a job without starting it; RunError says why the engine refuses it."""
    from docker.errors import APIError, DockerException

    user, groups = _user_and_groups(engine, config, job.workspace)
    environment = dict(job.secrets)
    if re.match(r"[1-9]\d*(:|$)", user) and "HOME" not in image.env:
        environment["HOME"] = "/tmp"  # the home of a user whom the image does not know is /
    isolated = config.network == "none"
    options = {
        "name": container_name(job.workspace, job.run_id),
        "entrypoint": ["/bin/sh", "-c", STARTER, str(job.workspace.script), str(job.workspace.log)],
        "hostname": _HOST_NAME if isolated else None,
        "user": user,
        "environment": environment,
        "working_dir": job.workspace.root,
        "labels": container_labels(job, image.name),
        "stop_signal": "SIGTERM",
        "healthcheck": {"test": ["NONE"]},
        "host_config": _host_config(engine, config, job.workspace, groups, isolated),
    }
    try:
        try:
            return _create(engine, image, options)
        except APIError as error:
            if "already in use" not in error_text(error):
                raise
            _remove_leftovers(engine, job.workspace, config)
            return _create(engine, image, options)
    except DockerException as error:
        raise start_error(job, config, image.name, error_text(error)) from error


def _create(engine: Engine, image: Image, options: dict[str, Any]) -> Container:
    from docker.errors import APIError

    try:
        answer = engine.call(lambda: engine.api.create_container(image.id, **options))
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
    for target in sorted(_link_targets(workspace.path)):
        if not any(target.is_relative_to(path) for path in mounted):
            volumes.append(Volume(str(target), str(target), read_only=True))
    return [replace(v, host=str(Path(v.host).expanduser().absolute())) for v in volumes]


def _link_targets(directory: Path) -> set[Path]:
    """The existing paths outside of a run directory to which its symbolic links point."""
    targets = set()
    for folder, folders, names in os.walk(directory):
        for link in (os.path.join(folder, name) for name in [*folders, *names]):
            if os.path.islink(link):
                target = Path(os.path.normpath(os.path.join(folder, os.readlink(link))))
                if not target.is_relative_to(directory) and target.exists():
                    targets.add(target)
        if Path(folder) == directory and ATTEMPTS in folders:
            folders.remove(ATTEMPTS)
    return targets


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
