"""Text for terminals and logs: without secrets, and with control characters shown instead of obeyed."""

from __future__ import annotations

import re

from rompy_hydra.redaction import hide

# Control characters but tab and line feed; marks that change the direction of text; line separators.
# Half of a pair that stands for a byte of a file name is left to the stream; other halves are no text.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
    "\ud800-\udc7f\udd00-\udfff]"
)


def printable(text: str) -> str:
    r"""A text that a terminal shows as it is: names of strangers cannot colour, move or hide anything.

    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return _CONTROL.sub(_escape, hide(text))


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
