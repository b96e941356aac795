"""Packages that only some plugins need: whether they are installed, found out without importing them."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from typing import ClassVar

from rompy_hydra.errors import ConfigError


class Requiring:
    """A plugin that needs packages which its own distribution does not install by default."""

    # Top-level modules, each with what to install: {"xarray": "rompy-hydra[analysis]"}.
    requires: ClassVar[Mapping[str, str]] = {}

    def required_packages(self) -> Mapping[str, str]:
        """What this object needs of `requires`."""
        return self.requires


def check_packages(what: str, requires: Mapping[str, str]) -> None:
    """Raise ConfigError if a package that `what` needs is not installed here."""
    missing = [name for name in requires if not _is_installed(name)]
    if missing:
        packages = " ".join(f"'{package}'" for package in dict.fromkeys(requires[name] for name in missing))
        verb = "is" if len(missing) == 1 else "are"
        raise ConfigError(
            f"{what} needs {', '.join(missing)}, which {verb} not installed here: pip install {packages}"
        )


@functools.cache
def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # a module that a program has put together by itself
        return False
