"""The examples of the pages, run as a reader would run them.

A comment before a fenced block says what becomes of it:

    <!-- tested -->               run it: exit code 0, and what is shown comes out
    <!-- tested: exit 2 -->       the same, with another exit code of the last command
    <!-- slow: REASON -->         run by `python docs/generate.py --outputs --slow` only
    <!-- not tested: REASON -->   shown only
    <!-- file: PATH -->           a file of the reader's, which later commands find
    <!-- prints -->               what the Python block before it prints

The blocks of a page share one directory and run in their order, Python blocks as one program at the
end. A line `...` in an output stands for lines that are left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SHELL = {"console", "sh"}
# What the reader's directory is called in the pages.
HOME = "/home/ada/waves"
# What a command comes to on a machine where it has installed everything already.
INSTALLED = {"make demo": "rompy-hydra experiment=salish_tsunami"}

_MARK = re.compile(r"<!-- (tested|slow|not tested|file|prints)(?:: (.*?))? -->")
_FENCE = re.compile(r"(```+)(\w*)(.*)")
_NEXT = "-- next block --"
# What differs from one time to the next, and from machine to machine.
_CHANGING = [
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "hh:mm:ss"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT\S+"), "TIME"),
    (re.compile(r"\b\d+(\.\d+)? (s|ms)\b"), "# s"),
    (re.compile(r"\b\d+(\.\d+)? (B|kB|MB)\b"), "# B"),
    (re.compile(r"\b\d+ in parallel"), "# in parallel"),
    (re.compile(r"\s*\[\d+/\d+\]$"), ""),
    (re.compile(r"^slowest .*"), "slowest"),
    (re.compile(r"\b[0-9a-f]{40,64}\b"), "HASH"),
]


@dataclass
class Block:
    """A fenced block: where it is in its page (lines from 0, fences left out), and what it is for."""

    page: Path
    first: int
    end: int
    language: str
    mark: str
    note: str
    lines: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.page.name}, line {self.first}"

    @property
    def exit_code(self) -> int:
        return int(self.note.removeprefix("exit ")) if self.note.startswith("exit ") else 0

    def commands(self) -> Iterator[tuple[str, list[str], list[str]]]:
        """Each command, the lines that show it, and the lines that show its output."""
        if self.language != "console":
            yield "\n".join(["set -e", *self.lines]), self.lines, []
            return
        command: list[str] = []
        output: list[str] = []
        for line in self.lines:
            if line.startswith("$ "):
                if command:
                    yield _typed(command), command, output
                command, output = [line], []
            elif command and not output and command[-1].endswith("\\"):
                command.append(line)
            else:
                output.append(line)
        yield _typed(command), command, output


def _typed(lines: list[str]) -> str:
    return "\n".join(line.removeprefix("$ ").removeprefix("> ") for line in lines)


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    found: list[Block] = []
    current: Block | None = None
    fence, mark, note = "", "", ""
    for number, line in enumerate(page.read_text().splitlines()):
        if current is not None:
            if line == fence:
                current.end, current = number, None
            else:
                current.lines.append(line)
        elif told := _MARK.fullmatch(line):
            mark, note = told[1], told[2] or ""
        elif begun := _FENCE.fullmatch(line):
            fence = begun[1]
            current = Block(page, number + 1, number + 1, begun[2], mark, note)
            found.append(current)
            mark, note = "", ""
        elif line.strip():
            mark, note = "", ""
    return found


@dataclass
class Ran:
    """What came of one command, or of the whole of a page's Python."""

    block: Block
    told: list[str]
    shown: list[str]
    output: str
    exit_code: int
    expected: int

    def complaint(self) -> str:
        """What differs from the page; empty if nothing does."""
        what = f"{self.block.name}: {' '.join(self.told)[:200]}"
        if self.exit_code != self.expected:
            return f"{what}\nexited with {self.exit_code} instead of {self.expected}:\n{self.output}"
        if self.block.language == "sh":
            return ""
        shown, came = Counter(map(normal, self.shown)), Counter(map(normal, self.output.splitlines()))
        whole = "..." not in shown
        shown.pop("...", None)
        missing, more = shown - came, came - shown if whole else Counter()
        if not missing and not more:
            return ""
        return f"{what}\nshown only: {list(missing)}\nnot shown: {list(more)}\nall of it:\n{self.output}"


def normal(line: str) -> str:
    """A line without what may differ."""
    for pattern, word in _CHANGING:
        line = pattern.sub(word, line)
    return line.rstrip()


def run_page(page: Path, directory: Path, *, slow: bool = False) -> list[Ran]:
    """Carry out the blocks of a page in a directory."""
    ran: list[Ran] = []
    program: list[Block] = []
    printed: dict[int, Block] = {}
    for block in blocks(page):
        if block.mark == "file":
            path = directory / block.note
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(block.lines) + "\n")
        elif block.mark == "prints":
            printed[len(program) - 1] = block
        elif block.mark == "tested" or (slow and block.mark == "slow"):
            if block.language in SHELL:
                ran += _run_shell(block, directory)
            elif block.language == "python":
                program.append(block)
            else:
                raise ValueError(f"{block.name}: {block.language or 'a block without language'} is not run")
    if program:
        ran += _run_python(program, printed, directory)
    return ran


def _run_shell(block: Block, directory: Path) -> Iterator[Ran]:
    commands = list(block.commands())
    for number, (command, told, shown) in enumerate(commands):
        last = number == len(commands) - 1
        answer = _run(["sh", "-c", INSTALLED.get(command, command)], directory, subprocess.STDOUT)
        expected = block.exit_code if last else 0
        yield Ran(block, told, shown, _as_shown(answer.stdout, directory), answer.returncode, expected)


def _run_python(program: list[Block], printed: dict[int, Block], directory: Path) -> Iterator[Ran]:
    script = directory / "example.py"
    separator = f'\nprint("{_NEXT}", flush=True)\n'
    script.write_text(separator.join("\n".join(block.lines) for block in program))
    answer = _run([sys.executable, script.name], directory, subprocess.PIPE)
    parts = _as_shown(answer.stdout, directory).split(_NEXT + "\n")
    if answer.returncode:
        yield Ran(program[len(parts) - 1], ["example.py"], [], answer.stderr, answer.returncode, 0)
        return
    for number, (block, output) in enumerate(zip(program, parts, strict=True)):
        shown = printed.get(number)
        yield Ran(shown or block, ["example.py"], shown.lines if shown else [], output, 0, 0)


def _run(argv: list[str], directory: Path, stderr: int) -> subprocess.CompletedProcess[str]:
    bin_directory = str(Path(sys.executable).parent)
    names = ("LANG", "LC_ALL", "TMPDIR", "HOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    environment = {**kept, "PATH": f"{bin_directory}:{os.environ['PATH']}", "USER": "ada"}
    return subprocess.run(
        argv,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        check=False,
        timeout=600,
    )


def _as_shown(text: str, directory: Path) -> str:
    return text.replace(str(directory.resolve()), HOME).replace(str(directory), HOME)


def refreshed(page: Path, ran: list[Ran]) -> str:
    """The text of a page with the outputs that came."""
    lines = page.read_text().splitlines()
    bodies: dict[int, list[str]] = {}
    ends = {each.block.first: each.block.end for each in ran}
    for each in ran:
        body = bodies.setdefault(each.block.first, [])
        if each.block.language in {"sh", "python"}:
            body += each.block.lines
            continue
        body += each.told if each.block.language == "console" else []
        # Where nothing but times differs, or a command went wrong, the page stays as it is.
        stays = not each.complaint() or each.exit_code != each.expected
        body += each.shown if stays else _cut(each.output.splitlines(), each.shown)
    for first in sorted(bodies, reverse=True):
        lines[first : ends[first]] = bodies[first]
    return "\n".join(lines) + "\n"


def _cut(came: list[str], shown: list[str]) -> list[str]:
    """An output with as many lines left out in its middle as the page leaves out."""
    came = [line.rstrip() for line in came]
    if "..." not in shown:
        return came
    head = shown.index("...")
    tail = len(shown) - head - 1
    if head + tail >= len(came):
        return came
    return [*came[:head], "...", *came[len(came) - tail :]]
