"""What this application's command line knows beyond Hydra's grammar."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.core.override_parser.types import Quote, QuotedString

_FILTER = re.compile(r"(sweep\.filter=)\s*(?!['\"]|null$)(.+)", re.DOTALL)
_LIST = re.compile(r"processor=\[\s*([\w.:-]+(?:\s*,\s*[\w.:-]+)*)\s*\]")


def in_hydras_terms(overrides: Sequence[str]) -> list[str]:
    """Overrides as Hydra's grammar wants them."""
    return lists_of_options([_quoted_filter(line) for line in overrides])


def _quoted_filter(line: str) -> str:
    """`sweep.filter=a < b` without a second pair of quotes, which the grammar would need."""
    match = _FILTER.fullmatch(line)
    return line if match is None else match[1] + QuotedString(match[2], Quote.single).with_quotes()


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
        # `dist:name` chooses one of two, but a key has no colon.
        found += [f"+processor@processor.{name.replace(':', '_')}={name}" for name in names]
    return found
