"""Every exception that rompy_hydra raises, so that a caller can catch one or all of them.

::

    RompyHydraError
    ├── ConfigError        the configuration or the usage is wrong (also a ValueError)
    │   └── InvalidConfig  ... with a list of all problems
    │       └── SweepInvalid  ... of all points of a sweep
    ├── PluginError        a plugin is unknown, broken or ambiguous
    ├── GenerateError      the inputs of a run could not be made
    ├── RunError           a run could not be started, or was lost
    │   ├── Busy           ... because another driver works on it
    │   ├── EngineUnavailable  ... because the container engine does not answer
    │   └── RunLost        ... while its model may still run
    ├── ModelFailed        the model was started, then failed
    │   └── ModelTimedOut  ... because its time was up (also a TimeoutError)
    ├── PostprocessError   the outputs could not be processed
    ├── PipelineFailed     a pipeline plugin reported a failure
    ├── DamagedRecord      a run record cannot be read
    └── SweepError         a sweep as a whole cannot continue

Each message says what happened, to what, and what to do next. `exit_code` is what the command line
answers: 2 where the user's input is wrong, 1 where a run failed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rompy_hydra.redaction import is_hidden

INTERRUPTED_EXIT_CODE = 130


class RompyHydraError(Exception):
    """Base of all errors of this package."""

    exit_code = 1


class ConfigError(RompyHydraError, ValueError):
    """The configuration or the usage is wrong; nothing was started and nothing was written."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a configuration: where, what value, why, and what would be right."""

    path: str
    value: object
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        shown = self.value is not NO_VALUE and not is_hidden(self.path)
        value = f" = {shortened(self.value)}" if shown else ""
        return f"{self.path}{value}: {self.reason}" + (f". {self.hint}" if self.hint else "")


NO_VALUE = object()


def shortened(value: object) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


class InvalidConfig(ConfigError):
    """A configuration with problems; `problems` holds them all."""

    def __init__(self, found: Sequence[Problem]) -> None:
        self.problems = list(found)
        count = len(self.problems)
        head = "the configuration is wrong" if count == 1 else f"{count} problems in the configuration"
        super().__init__("\n".join([f"{head}:", *(f"  {problem}" for problem in self.problems)]))


class SweepInvalid(InvalidConfig):
    """Points of a sweep are invalid; nothing was started."""


class PluginError(RompyHydraError):
    """A plugin is unknown, cannot be imported, or its name is ambiguous."""

    exit_code = 2


class GenerateError(RompyHydraError):
    """The inputs of a run could not be made."""


class RunError(RompyHydraError):
    """A run could not be started, or its driver was lost."""


class Busy(RunError):
    """Another living driver works on this run."""


class EngineUnavailable(RunError):
    """The container engine does not answer."""


class RunLost(RunError):
    """The driver lost sight of a model that may still run; the next start looks for it."""


class ModelFailed(RompyHydraError):
    """The model was started and failed: its exit code, or one of its success checks."""


class ModelTimedOut(ModelFailed, TimeoutError):
    """The model was ended because its time limit was reached."""


class PostprocessError(RompyHydraError):
    """A postprocessor failed."""


class PipelineFailed(RompyHydraError):
    """A pipeline plugin reported a failure; `run_stage` is the stage it names."""

    def __init__(self, message: str, stage: str = "pipeline") -> None:
        self.run_stage = stage
        super().__init__(message)


class DamagedRecord(RompyHydraError):
    """A `run.json` that cannot be read; it is left unchanged."""


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
    # A beginning is closer than any likeness; of two letters one may be wrong.
    near = [choice for choice in sorted(by_lower, key=len) if name and choice.startswith(name.lower())]
    near = near or difflib.get_close_matches(
        name.lower(), by_lower, n=1, cutoff=0.6 if len(name) > 3 else 0.5
    )
    hint = f"Did you mean '{by_lower[near[0]]}'? " if near else ""
    return f"{hint}Choices: {', '.join(names)}."
