"""What a container is kept away from, and which settings let it out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from rompy_hydra.run.docker.config import DockerConfig, Volume
from rompy_hydra.run.docker.engine import Engine

# Who may talk to an engine may do everything that it may: on most machines, everything.
SOCKET_ALLOWED = "ROMPY_HYDRA_ALLOW_ENGINE_SOCKET"
_SOCKETS = (
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
)


def loosened(config: DockerConfig) -> Iterator[str]:
    """The settings that take away protection which a container has by default."""
    if config.network != "none":
        yield f"run_backend.network={config.network}"
    if config.user is not None:
        yield f"run_backend.user={config.user}"
    if config.cap_add:
        yield f"run_backend.cap_add=[{','.join(config.cap_add)}]"
    if not config.no_new_privileges:
        yield "run_backend.no_new_privileges=false"
    if config.pids_limit is None:
        yield "run_backend.pids_limit=null"
    if config.gpus is not None:
        yield f"run_backend.gpus={config.gpus}"
    for volume in config.mounts:
        how = "read only" if volume.read_only else "writable"
        yield f"run_backend.volumes: {_host_path(volume)} as {volume.container}, {how}"
    if config.dockerfile is not None:
        network = f" with the network {config.build_network}" if config.build_network else ""
        yield f"run_backend.dockerfile: building runs the commands of {config.dockerfile}{network}"


def socket_problems(engine: Engine, config: DockerConfig) -> Iterator[str]:
    """The volumes through which a container could reach an engine, unless the user allows it."""
    if os.environ.get(SOCKET_ALLOWED) == "1":
        return
    sockets = {*_SOCKETS, *filter(None, [engine.socket])}
    sockets |= {os.path.realpath(path) for path in sockets}
    for volume in config.mounts:
        path = _host_path(volume)
        for place in (path, os.path.realpath(path)):
            found = next((each for each in sorted(sockets) if Path(each).is_relative_to(place)), None)
            if found is not None:
                what = "is" if place == found else "contains"
                yield (
                    f"run_backend.volumes: {path} {what} the socket of a container engine ({found}), which "
                    "gives the container every right of the engine. Mount something else; if you trust "
                    f"all that runs in it, set {SOCKET_ALLOWED}=1 in the environment"
                )
                break


def _host_path(volume: Volume) -> str:
    return os.path.normpath(Path(volume.host).expanduser().absolute())
