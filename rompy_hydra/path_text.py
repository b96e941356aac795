"""Paths in configurations: text, which may be given as a path object."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import BeforeValidator


def path_text(value: object) -> object:
    """The text of a path object; anything else unchanged, also inside of lists and mappings.

    >>> path_text({"grid": __import__("pathlib").PurePosixPath("a", "b"), "n": 3})
    {'grid': 'a/b', 'n': 3}
    """
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, dict):
        return {key: path_text(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [path_text(each) for each in value]
    return value


# A text that is, or may contain, a path.
PathText = Annotated[str, BeforeValidator(path_text)]
