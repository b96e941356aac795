"""What an engine says when it refuses a container, and what to do about it."""

from __future__ import annotations

import re

from rompy_hydra.errors import RunError
from rompy_hydra.run.base import Job
from rompy_hydra.run.docker.config import DockerConfig

# What the engine says of a wrong setting, and what to do about it.
_ADVICE = {
    r"no matching entries|unable to find (user|group)": (
        "the image {image} does not know run_backend.user={config.user}. Give numbers, as in '1000:1000', "
        "or leave it null"
    ),
    r"could not select device driver|nvidia": (
        "the engine cannot hand out GPUs (run_backend.gpus={config.gpus}). Install its GPU support "
        "(nvidia-container-toolkit), or leave it null"
    ),
    r"bind source path does not exist": (
        "the engine does not see a path that is to be mounted. It must run on this machine, or share "
        "its file system"
    ),
    r"Range of CPUs": "run_backend.cpu={config.cpu} is more than the engine has; ask for fewer",
    r"capabilit": "run_backend.cap_add={config.cap_add}: name Linux capabilities, as in SYS_PTRACE",
    r"network|No such container": "run_backend.network={config.network} cannot be used; take none or host",
    r"/bin/sh|exec format": (
        "the image {image} has no /bin/sh that can run here, and every run needs one. Take another "
        "image, or add a shell to this one (busybox)"
    ),
    r"docker-init|catatonit|init binary": (
        "the engine has no init process for its containers; install it, or say run_backend.init=false"
    ),
    r"No such image": "the image {image} was removed meanwhile; run the same command again",
    r"no space left": "the engine's disk is full; free space (docker system prune)",
}


def refused(job: Job, config: DockerConfig, image: str, text: str) -> RunError:
    """The engine's refusal of a container, with what to do about it."""
    for pattern, advice in _ADVICE.items():
        if re.search(pattern, text, re.I):
            advice = advice.format(config=config, image=image)
            return RunError(f"cannot start {job.run_id} in a container: {advice} ({text})")
    return RunError(
        f"cannot start {job.run_id} in a container of {image}: {text}. Look at the settings of run_backend"
    )
