"""The process that keeps the claims of a driver which died, as long as models of it run.

    python -m rompy_hydra.workspace.lease_keeper OWNER

A driver that is killed leaves its models running, for the next one to take over. One on the same
machine sees them; one on another machine sees only that the dead driver's claims are not touched any
more, and would start the same models once more. So they are touched from here until the models end.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time

from rompy_hydra.process import tree
from rompy_hydra.workspace import Workspace, lease
from rompy_hydra.workspace.lease import Owner

_LOOK_SECONDS = 5.0


def keep(owner: Owner) -> None:
    """Touch the claims of a dead driver whose models run here; return when none is left."""
    kept: set[str] = set()
    while True:
        now = set(_claims(owner))
        for path in now:
            with contextlib.suppress(OSError):
                os.utime(path)
        for path in kept - now:
            # Its model has ended: nobody needs to wait until the claim is stale by itself.
            with contextlib.suppress(OSError):
                os.utime(path, (0, 0))
        if not now:
            return
        kept = now
        time.sleep(_LOOK_SECONDS)


def _claims(owner: Owner) -> list[str]:
    """The claims of an owner on runs that have a process on this machine."""
    found = []
    for mark in tree.all_marks():
        workspace = Workspace(mark)
        number = lease.latest(workspace)
        if lease.owner_of(workspace, number) == owner:
            found.append(lease.claim_path(workspace, number))
    return found


if __name__ == "__main__":
    of = Owner(**json.loads(sys.argv[1]))
    sys.stdin.buffer.read()  # until the driver ends
    keep(of)
