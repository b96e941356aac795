"""Every exception that rompy_hydra raises, so that a caller can catch one or all of them.

::

    RompyHydraError
    ├── ConfigError        the configuration or the usage is wrong (also a ValueError)
    ├── PluginError        a plugin is unknown, broken or ambiguous
    ├── GenerateError      the inputs of a run could not be made
    ├── RunError           a run could not be started, or was lost
    ├── ModelFailed        the model was started, then failed
    │   └── ModelTimedOut  ... because its time was up (also a TimeoutError)
    ├── PostprocessError   the outputs could not be processed
    └── SweepError         a sweep as a whole could not go on

Each message says what happened, to what, and what to do next. `exit_code` is what the command line
answers: 2 where the user's input is wrong, 1 where a run failed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

INTERRUPTED_EXIT_CODE = 130


class RompyHydraError(Exception):
    """Base of all errors of this package."""

    exit_code = 1


class ConfigError(RompyHydraError, ValueError):
    """The configuration or the usage is wrong; nothing was started and nothing was written."""

    exit_code = 2


class PluginError(RompyHydraError):
    """A plugin is unknown, cannot be imported, or its name is ambiguous."""

    exit_code = 2


class GenerateError(RompyHydraError):
    """The inputs of a run could not be made."""


class RunError(RompyHydraError):
    """A run could not be started, or its driver was lost."""


class ModelFailed(RompyHydraError):
    """The model was started and failed: its exit code, or one of its success checks."""


class ModelTimedOut(ModelFailed, TimeoutError):
    """The model was ended because its time limit was reached."""


class PostprocessError(RompyHydraError):
    """A postprocessor failed."""


class SweepError(RompyHydraError):
    """A sweep as a whole could not go on."""


def closest(name: str, choices: Iterable[str]) -> str:
    """The hint for a wrong name: the closest valid one and the whole choice, or nothing.

    >>> closest("locl", ["local", "docker"])
    "Did you mean 'local'? Choices: docker, local."
    """
    names = sorted(str(choice) for choice in choices)
    if not names:
        return ""
    by_lower = {choice.lower(): choice for choice in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    hint = f"Did you mean '{by_lower[near[0]]}'? " if near else ""
    return f"{hint}Choices: {', '.join(names)}."
