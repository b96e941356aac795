"""The name and the labels of a container: which run it belongs to, and which driver created it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rompy_hydra.workspace import Workspace, lease
from rompy_hydra.workspace.lease import Owner

WORKSPACE_LABEL = "rompy_hydra.workspace"
SCRIPT_LABEL = "rompy_hydra.workspace.script"
DRIVER_LABEL = "rompy_hydra.driver"
IMAGE_LABEL = "rompy_hydra.image"
RUN_ID_LABEL = "rompy_hydra.run_id"

# The ids of the containers that this process is working with.
own_containers: set[str] = set()


def container_name(workspace: Workspace, run_id: str) -> str:
    """The name of the run directory's container; the engine refuses a second one with this name."""
    readable = re.sub(r"[^a-zA-Z0-9_.-]+", "-", run_id)[:40].strip("-.")
    return f"rompy_hydra-{readable}-{hashlib.sha256(os.fsencode(workspace.path)).hexdigest()[:12]}"


def script_hash(workspace: Workspace) -> str:
    """SHA-256 of `run.sh`, which identifies the job of a container; empty if it cannot be read."""
    try:
        return hashlib.sha256(workspace.script.read_bytes()).hexdigest()
    except OSError:
        return ""


def driver_label() -> str:
    """The value of `DRIVER_LABEL` for containers that this process creates."""
    return json.dumps(asdict(lease.me()))


def has_living_driver(info: Mapping[str, Any]) -> bool:
    """Whether a container's driver is alive; a driver on another machine counts as alive."""
    try:
        driver = Owner(**json.loads((info["Config"]["Labels"] or {})[DRIVER_LABEL]))
    except (KeyError, TypeError, ValueError):
        return False
    if driver == lease.me():
        return info["Id"] in own_containers
    return driver.host != lease.me().host or lease.lives_here(driver)
