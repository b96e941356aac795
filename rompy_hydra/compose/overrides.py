"""What this application's command line knows beyond Hydra's grammar."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LIST = re.compile(r"processor=\[\s*([\w.:-]+(?:\s*,\s*[\w.:-]+)*)\s*\]")


def lists_of_options(overrides: Sequence[str]) -> list[str]:
    """`processor=[summary,map]` written in Hydra's own terms: several options of one group.

    Each goes to a package of its own, `processor.summary` and `processor.map`, in this order.
    """
    found: list[str] = []
    for line in overrides:
        match = _LIST.fullmatch(line.strip())
        if match is None:
            found.append(line)
            continue
        names = [name.strip() for name in match[1].split(",")]
        found.append("processor=none")
        found += [f"+processor@processor.{name}={name}" for name in names]
    return found
