"""The process that keeps the claims of a dead driver alive while models of that driver run.

It is started with the first claim of a driver, and is a waiting shell until the driver has died.
The models of a killed driver keep running, and the next driver takes them over. On the same machine it
finds their processes; on another machine it sees only whether the dead driver's claims are touched, and
would start the models a second time. So this process touches them until the models end.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator

from rompy_hydra.process import tree
from rompy_hydra.workspace import Workspace, lease
from rompy_hydra.workspace.lease import Owner


def keep(owner: Owner) -> None:
    """Touch the claims of a dead driver whose models run on this machine; return when all have ended."""
    kept: set[str] = set()
    while True:
        now = set(_claims(owner))
        for path in now | kept:
            # A claim whose model has ended becomes stale immediately.
            with contextlib.suppress(OSError):
                os.utime(path, None if path in now else (0, 0), follow_symlinks=False)
        if not now:
            return
        kept = now
        time.sleep(min(5.0, lease.STALE_SECONDS / 10))


def _claims(owner: Owner) -> Iterator[str]:
    """The claims of an owner on runs of which a process lives on this machine."""
    for workspace in map(Workspace, tree.all_marks()):
        number = lease.latest(workspace)
        if lease.owner_of(workspace, number) == owner:
            yield lease.claim_path(workspace, number)


def main(owner: str) -> None:
    """Keep the claims of an owner, given as JSON."""
    keep(Owner(**json.loads(owner)))
