"""Success checks of logs: lines that must or must not match, numbers in them, and warnings."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence

from rompy_hydra.models.checks import Check, IsInput, never, results
from rompy_hydra.models.patterns import LimitedPattern, TooSlow
from rompy_hydra.models.plausibility import LogPatterns, LogValue
from rompy_hydra.reading.tables import number_of
from rompy_hydra.reading.text import open_text
from rompy_hydra.regular_files import open_inside
from rompy_hydra.workspace import LOG, Workspace


def check_log(
    workspace: Workspace, log: LogPatterns, values: Sequence[LogValue], is_input: IsInput = never
) -> Iterator[Check]:
    """The checks of one log, which is read once, line by line: it may be larger than the memory.

    A log that was not written fails, unless it is `run.log`, which the engine writes, or optional.
    """
    expressions = (*log.must_contain, *log.must_not_contain, *log.warnings)
    patterns = {each: LimitedPattern(each) for each in expressions}
    numbers = [(value, LimitedPattern(value.pattern), _Numbers(value)) for value in values]
    if not patterns and not numbers:
        return
    found: dict[str, str] = {}
    names, missing = results(workspace, log.file, is_input)
    if not names and log.file != LOG:
        if not log.optional:
            hint = "" if numbers or log.must_contain else " (if it need not be: logs with optional: true)"
            yield Check("log_file", log.file, False, missing + hint)
            return
        if not log.must_contain:
            return
    try:
        for line in log_lines(workspace, [name for name, _ in names]):
            for pattern, limited in patterns.items():
                if pattern not in found and limited.search(line):
                    found[pattern] = line.strip()[:500]
            for _, limited, seen in numbers:
                if match := limited.search(line):
                    seen.add(match[1] or "")
    except OSError as error:
        yield Check("log_file", log.file, False, f"{error.filename or log.file} {error.strerror}")
    except TooSlow as error:
        yield Check("log_file", log.file, False, f"{log.file} could not be checked: {error}")
        return
    for pattern in log.must_contain:
        message = "found" if pattern in found else f"{log.file} has no line with '{pattern}'"
        yield Check("log_must_contain", pattern, pattern in found, message)
    for pattern in log.must_not_contain:
        message = f"{log.file} contains: {found[pattern]}" if pattern in found else "absent"
        yield Check("log_must_not_contain", pattern, pattern not in found, message)
    for pattern in log.warnings:
        message = f"{log.file}: {found[pattern]}" if pattern in found else "absent"
        yield Check("warnings", pattern, True, message, warning=pattern in found)
    for value, _, seen in numbers:
        wrong = seen.wrong(log.file)
        yield Check("log_value", value.pattern, not wrong, wrong or "plausible")


class _Numbers:
    """The numbers of a `log_value` check, as far as its outcome depends on them."""

    def __init__(self, value: LogValue) -> None:
        self._value = value
        self._text: str | None = None
        self._excess = ""

    def add(self, text: str) -> None:
        """Take the number in a line that matches."""
        is_settled = {"first": self._text is not None, "every": bool(self._excess), "last": False}
        if is_settled[self._value.which]:
            return
        self._text, number = text, number_of(text)
        wrong = f"is '{text}', which is not a number" if math.isnan(number) else ""
        self._excess = wrong or self._value.excess(number, number)

    def wrong(self, file: str) -> str:
        """What is wrong with the numbers of a log; '' if the check passes."""
        if self._text is None:
            return f"{file} has no line with '{self._value.pattern}'"
        return self._excess and f"the value of '{self._value.pattern}' in {file} {self._excess}"


def log_lines(workspace: Workspace, names: Sequence[str]) -> Iterator[str]:
    """The lines of files, in pieces if a line is very long; bytes that are not UTF-8 are Latin-1.

    OSError if one is not a regular file of the run directory; directories are skipped.
    """
    for name in names:
        if os.path.isdir(workspace.at(name)):
            continue
        with open_text(open_inside(workspace.root, name)) as log:
            while line := log.readline(65536):  # the log may be a single endless line
                yield line
