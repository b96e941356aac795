"""Paths and globs inside the run directory, as configurations give them."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import AfterValidator


def _check_inside(pattern: str) -> str:
    inside = pattern and not pattern.startswith("/") and ".." not in pattern.split("/")
    if not inside or os.path.normpath(pattern) == ".":
        raise ValueError(f"'{pattern}' must be a path or glob inside the run directory")
    return pattern


Glob = Annotated[str, AfterValidator(_check_inside)]
