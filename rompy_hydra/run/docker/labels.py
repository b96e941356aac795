"""How a container tells whose it is: its name and its labels."""

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

# Containers that this process works with.
own_containers: set[str] = set()


def name_of(workspace: Workspace, run_id: str) -> str:
    """The name of the container that works in a run directory: there is never a second one."""
    readable = re.sub(r"[^a-zA-Z0-9_.-]+", "-", run_id)[:40].strip("-.")
    return f"rompy_hydra-{readable}-{hashlib.sha256(os.fsencode(workspace.path)).hexdigest()[:12]}"


def script_hash(workspace: Workspace) -> str:
    """What tells the container of this script from one of another: SHA-256 of `run.sh`."""
    try:
        return hashlib.sha256(workspace.script.read_bytes()).hexdigest()
    except OSError:
        return ""


def driver_label() -> str:
    """Who made a container: this process."""
    return json.dumps(asdict(lease.me()))


def has_driver(facts: Mapping[str, Any]) -> bool:
    """Whether a living driver works with a container; one on another machine is believed to live."""
    try:
        driver = Owner(**json.loads((facts["Config"]["Labels"] or {})[DRIVER_LABEL]))
    except (KeyError, TypeError, ValueError):
        return False
    if driver.is_me():
        return facts["Id"] in own_containers
    if driver.host != lease.me().host:
        return True
    return lease.lives_here(driver)
