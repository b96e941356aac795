"""Search the lines of a log for regular expressions, with a limit on the time.

A pattern such as `(a+)+$` can take longer than anybody waits. Python's `re` then answers no signal and lets
no other thread run. Lines for which that is possible are searched by the `regex` package instead, which
accepts the same patterns, lets other threads run and has a time limit, but takes ten times as long.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import regex

# Seconds that a pattern may take for a log, and for each character of it.
_LIMIT = 10.0
_LIMIT_PER_CHARACTER = 1e-6
# What `re` may do with one line, about 1 s at the worst.
_MOST_STEPS = 1e8

_NAMED = r"\\N\{[^}]*\}"
# What is one character or class in a pattern: an escape, a class in brackets.
_ONE = re.compile(rf"{_NAMED}|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_GROUP_START = re.compile(r"\(\?(?:P?<?[=!:>]|P?<\w+>|[a-zA-Z-]+[:)])")
# `{e}` is a character and a literal text for `re`, but asks `regex` for approximate matches.
_BRACE = re.compile(rf"{_NAMED}|\\.|(\{{)(?![\d,]+\}})", re.DOTALL)


class TooSlow(Exception):
    """A pattern exceeds its time limit, or cannot be searched with one."""


class LimitedPattern:
    """A regular expression for the lines of one log, with a time limit for all of them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._re = re.compile(text)
        self._longest = _longest_line(text)
        self._spent = 0.0
        self._allowed = _LIMIT
        self._slow: regex.Pattern[str] | None = None

    def search(self, line: str) -> re.Match[str] | regex.Match[str] | None:
        """The first match in a line; TooSlow if the time is over."""
        if self._longest is None:
            return self._re.search(line)
        start = time.perf_counter()
        match = self._re.search(line) if len(line) <= self._longest else self._search_slowly(line)
        self._spent += time.perf_counter() - start
        self._allowed += len(line) * _LIMIT_PER_CHARACTER
        if self._spent > self._allowed:
            raise TooSlow(self._explain())
        return match

    def _search_slowly(self, line: str) -> regex.Match[str] | None:
        import regex

        try:
            if self._slow is None:
                self._slow = regex.compile(_BRACE.sub(_escaped, self.text), regex.VERSION0)
            return self._slow.search(line, timeout=max(0.1, self._allowed - self._spent))
        except TimeoutError:
            raise TooSlow(self._explain()) from None
        except regex.error as error:
            raise TooSlow(f"the pattern '{self.text}' cannot be searched: {error}; simplify it") from error

    def _explain(self) -> str:
        return (
            f"the pattern '{self.text}' takes more than {self._allowed:.0f} s: give it fewer repetitions, "
            "and none inside another, as in (a+)+"
        )


def _escaped(found: re.Match[str]) -> str:
    return "\\{" if found[1] else found[0]


def _longest_line(pattern: str) -> float | None:
    """The length of lines that `re` searches within `_MOST_STEPS`; None if it always does.

    Each repetition multiplies the possible matches by the length, each choice doubles them. A choice or a
    repetition inside another has no such bound.
    """
    text = _GROUP_START.sub("(", _ONE.sub("x", pattern))
    if re.search(r"\)[*+?]|\)\{", text):
        return 0.0
    repetitions = len(re.findall(r"[*+]+|\{\d*,?\d*\}", text))
    choices = text.count("?") + _choices_in_groups(text)
    is_back_reference = re.search(r"\\[1-9]|\(\?P=|\(\?\(", pattern)
    if is_back_reference:
        return 0.0
    if not repetitions and choices <= 10:
        return None
    return float((_MOST_STEPS / 2**choices) ** (1 / (1 + repetitions)))


def _choices_in_groups(text: str) -> int:
    depth = choices = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        choices += character == "|" and depth > 0
    return choices
