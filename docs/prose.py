"""Finds phrases that this project does not use, and suggests better ones.

    python docs/prose.py

Reads `docs/prose.txt` (a regular expression, a tab, a suggestion) and searches the prose of pages and
configurations, comments, docstrings and messages in code, and the names of tests.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
_CODE = ("rompy_hydra", "hydra_plugins", "benchmarks", "docs", "tests")
_SKIPPED = ("tests/data/", "docs/reference.md", "docs/benchmarks.md")


def phrases() -> list[tuple[re.Pattern[str], str]]:
    """The phrases to avoid, with suggestions."""
    lines = (ROOT / "docs" / "prose.txt").read_text().splitlines()
    pairs = (line.split("\t", 1) for line in lines if "\t" in line and not line.startswith("#"))
    return [(re.compile(pattern, re.IGNORECASE), hint) for pattern, hint in pairs]


def paragraphs_of_page(text: str) -> Iterator[tuple[int, str]]:
    """The paragraphs of a Markdown page with their first lines, without code."""
    fenced, first, lines = False, 0, []
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced and line.strip():
            first = first or number
            lines.append(line.strip())
            continue
        if lines:
            yield first, re.sub(r"`[^`]*`", "``", " ".join(lines))
        first, lines = 0, []


def prose_of_code(text: str, is_test: bool) -> Iterator[tuple[int, str]]:
    """Comments (those of consecutive lines together), docstrings and messages; names of tests."""
    comments: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            if comments and comments[-1][0] + comments[-1][1].count("\n") + 1 == token.start[0]:
                comments[-1] = comments[-1][0], f"{comments[-1][1]}\n{token.string.lstrip('# ')}"
            else:
                comments.append((token.start[0], token.string.lstrip("# ")))
    yield from comments
    for node in ast.walk(ast.parse(text)):
        if is_test and isinstance(node, ast.FunctionDef):
            yield node.lineno, node.name.replace("_", " ")
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node):
            yield node.body[0].lineno, ast.get_docstring(node) or ""
        elif not is_test and isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def sources() -> Iterator[tuple[Path, int, str]]:
    """Every piece of prose of the project: its file, its line and its text."""
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")]):
        yield from ((path, *piece) for piece in paragraphs_of_page(path.read_text()))
    for path in sorted(ROOT.glob("conf/**/*.yaml")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            yield path, number, line.partition("#")[2]
    for folder in _CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.name != Path(__file__).name:
                found = prose_of_code(path.read_text(), folder == "tests")
                yield from ((path, *piece) for piece in found)


def main() -> int:
    """Print every phrase that is found; 1 if there is one."""
    known, count = phrases(), 0
    for path, line, text in sources():
        name = str(path.relative_to(ROOT))
        if name.startswith(_SKIPPED):
            continue
        joined = " ".join(text.split())
        for pattern, hint in known:
            if found := pattern.search(joined):
                count += 1
                sys.stdout.write(f"{name}:{line}: '{found[0]}': rather {hint}\n")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
