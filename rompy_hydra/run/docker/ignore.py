"""The files of a build context that `.dockerignore` leaves, as the engine would select them.

The matcher of the Docker client in Python differs from the engine's in escapes, classes of characters and
directories, so files would be sent that the user excluded, or be missing.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rompy_hydra.errors import ConfigError

_IGNORE = ".dockerignore"
_WILDCARDS = set("*?[\\")


class Pattern:
    """One line of `.dockerignore`. `keeps`: it begins with `!`, and what matches is not excluded."""

    def __init__(self, line: str) -> None:
        self.keeps = line.startswith("!")
        self.text = _clean(line.removeprefix("!").strip())
        self._regex = re.compile(_regex(self.text), re.DOTALL)

    def matches(self, path: str) -> bool:
        """Whether a path relative to the context matches, without regard to its parents."""
        return bool(self._regex.fullmatch(path))

    def may_keep_below(self, folder: str) -> bool:
        """Whether it keeps something in a directory that is excluded itself."""
        return self.keeps and (self.text.startswith(f"{folder}/") or bool(_WILDCARDS & set(self.text)))


def read_patterns(text: str) -> list[str]:
    """The patterns of `.dockerignore`, without comments and blank lines."""
    lines = text.removeprefix("\ufeff").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def included(context: Path, lines: Sequence[str], dockerfile: str) -> list[str]:
    """The files and directories below `context` that no pattern excludes, sorted, as relative paths.

    The Dockerfile and `.dockerignore` are always among them. ConfigError names a pattern that is not valid.
    """
    patterns = []
    for line in (*lines, f"!{dockerfile}", f"!{_IGNORE}"):
        try:
            patterns.append(Pattern(line))
        except re.error as error:
            raise ConfigError(f"{context / _IGNORE}: '{line}' is not a valid pattern: {error}") from error
    return sorted(_walk(os.fspath(context), "", patterns, [False] * len(patterns)))


def _walk(root: str, folder: str, patterns: Sequence[Pattern], of_parent: Sequence[bool]) -> Iterator[str]:
    with os.scandir(os.path.join(root, folder)) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        path = f"{folder}/{name}" if folder else name
        excluded, matched = False, list(of_parent)
        for index, pattern in enumerate(patterns):
            # What could not change the outcome is not evaluated, also not for what is below.
            if not matched[index] and pattern.keeps == excluded:
                matched[index] = pattern.matches(path)
            if matched[index]:
                excluded = not pattern.keeps
        if not excluded:
            yield path
        if is_folder and (not excluded or any(each.may_keep_below(path) for each in patterns)):
            yield from _walk(root, path, patterns, matched)


def _clean(path: str) -> str:
    return posixpath.normpath(path).lstrip("/") or "/"


def _regex(pattern: str) -> str:
    """A pattern as a regular expression: `**` stands for any directories, `*` and `?` for no slash."""
    parts: list[str] = []
    index = 0
    while index < len(pattern):
        character = pattern[index]
        index += 1
        if pattern.startswith("**", index - 1):
            index += 1 + pattern.startswith("/", index + 1)
            # Before a name without wildcards, `**` also stands for the beginning of the name.
            is_suffix = not parts and pattern[2:3] != "/" and not _WILDCARDS & set(pattern[2:])
            parts.append(".*" if index >= len(pattern) or is_suffix else "(?:.*/)?")
        elif character == "*":
            parts.append("[^/]*")
        elif character == "?":
            parts.append("[^/]")
        elif character == "\\" and index < len(pattern):
            parts.append(re.escape(pattern[index]))
            index += 1
        elif character == "[":
            end = _class_end(pattern, index)
            negated = pattern.startswith("^", index)
            inside = pattern[index + negated : end].replace("[", "\\[").replace("&&", "&\\&")
            parts.append(f"[{'^' * negated}{inside}]")
            index = end + 1
        else:
            parts.append(re.escape(character))
    return "".join(parts)


def _class_end(pattern: str, index: int) -> int:
    """Where the class that begins before `index` ends; re.error if it does not."""
    start = index + pattern.startswith("^", index)
    index = start
    while index < len(pattern) and pattern[index] != "]":
        index += 1 + (pattern[index] == "\\")
    if index >= len(pattern) or index == start:
        raise re.error("a [ without its ]")
    return index
