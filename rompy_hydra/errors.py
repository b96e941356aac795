"""All exceptions that rompy_hydra raises, with one base class to catch them all.

Each message says what happened, what it affects, and what to do next. `exit_code` is the exit code of the
command line: 2 if the user's input is wrong, 1 if a run failed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rompy_hydra.redaction import hide, is_hidden, redacted

INTERRUPTED_EXIT_CODE = 130


class RompyHydraError(Exception):
    """Base class of all exceptions of this package."""

    exit_code = 1


class ConfigError(RompyHydraError, ValueError):
    """The configuration or the usage is wrong; nothing was started and nothing was written."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One problem in a configuration: the path, the value, the reason, and a hint to fix it."""

    path: str
    value: object
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        value = f" = {self.shown_value}" if self.shown_value is not None else ""
        return f"{self.path}{value}: {self.reason}" + (f". {self.hint}" if self.hint else "")

    @property
    def shown_value(self) -> str | None:
        """The value for a message, without secrets; None if there is none to show."""
        if self.value is NO_VALUE or is_hidden(self.path):
            return None
        return shortened(redacted(self.value, self.path.rpartition(".")[2].partition("[")[0]))


NO_VALUE = object()


def shortened(value: object) -> str:
    """A value for a message, truncated if it is long."""
    # Before it is cut: half a secret would not be recognised.
    text = hide(repr(value))
    return text if len(text) <= 120 else text[:117] + "..."


class InvalidConfig(ConfigError):
    """An invalid configuration; `problems` lists everything that is wrong."""

    def __init__(self, found: Sequence[Problem]) -> None:
        self.problems = list(found)
        head = f"{len(found)} problem{'s' * (len(found) != 1)} in the configuration:"
        super().__init__("\n".join([head, *(f"  {problem}" for problem in found)]))


class InvalidValues(ValueError):
    """Some values of a mapping are invalid: the reason for each key."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        super().__init__("; ".join(f"{key}: {reason}" for key, reason in reasons.items()))


class SweepInvalid(InvalidConfig):
    """Some points of a sweep are invalid; nothing was started."""


class PluginError(RompyHydraError):
    """A plugin is unknown, cannot be imported or used, or has an ambiguous name."""

    exit_code = 2


class UnknownPlugin(PluginError, ValueError, LookupError):
    """No installed plugin has this name; the message suggests the closest one."""


class NotAPlugin(ConfigError, PluginError, TypeError):
    """An object is given as a plugin, but lacks the method of its kind."""


class GenerateError(RompyHydraError):
    """The inputs of a run could not be generated."""


class ModelRaised(GenerateError):
    """A model configuration of another package raised an exception, which is the cause of this one."""


class TransferError(GenerateError):
    """A file could not be fetched or stored, or is another one than its checksum says."""


class RunError(RompyHydraError):
    """A run could not start, or its driver was lost."""


class Busy(RunError):
    """Another driver is working on this run."""


class LeaseLost(Busy):
    """This driver was taken for dead and another one took over the run; nothing more is written here."""


class EngineUnavailable(RunError):
    """The container engine does not respond."""


class RunLost(RunError):
    """The driver lost contact with a model that may still be running; the next start searches for it."""


class ModelFailed(RompyHydraError):
    """The model started and failed, by its exit code or one of its success checks."""


class ModelTimedOut(ModelFailed, TimeoutError):
    """The model exceeded its time limit and was stopped."""


class PostprocessError(RompyHydraError):
    """A postprocessor failed."""


class PipelineFailed(RompyHydraError):
    """A pipeline plugin reported a failure; `run_stage` is the stage it names."""

    def __init__(self, message: str, stage: str = "pipeline") -> None:
        self.run_stage = stage
        super().__init__(message)


class DamagedRecord(RompyHydraError):
    """A run record (`run.json`) cannot be read; the file is left unchanged."""


class SweepError(RompyHydraError):
    """A sweep as a whole cannot continue."""


def closest(name: str, choices: Iterable[str]) -> str:
    """A hint for an unknown name: the closest valid name and all choices; empty without choices.

    >>> closest("locl", ["local", "docker"])
    "Did you mean 'local'? Choices: docker, local."
    """
    names = sorted(str(choice) for choice in choices)
    if not names:
        return ""
    by_lower = {choice.lower(): choice for choice in names}
    # A prefix beats any similarity; in very short names, half of the letters may differ.
    near = [choice for choice in sorted(by_lower, key=len) if name and choice.startswith(name.lower())]
    cutoff = 0.6 if len(name) > 3 else 0.5
    near = near or difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    hint = f"Did you mean '{by_lower[near[0]]}'? " if near else ""
    return f"{hint}Choices: {', '.join(names)}."
