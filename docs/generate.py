"""Generate the parts of the documentation that come from the program: reference, exceptions, outputs.

python docs/generate.py             write reference.md and the generated parts of other pages
python docs/generate.py --check     exit with 1 if they are out of date
python docs/generate.py --outputs   run the tested examples and update their output
                 --outputs --slow   also the examples that need more than a bare installation
"""

from __future__ import annotations

import argparse
import importlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from rompy_hydra import cli, errors
from rompy_hydra.compose import app
from rompy_hydra.models.base import StagedFile
from rompy_hydra.models.parameters import ParameterLimits
from rompy_hydra.models.success import SuccessChecks
from rompy_hydra.plugins.signatures import settings_model
from rompy_hydra.time_range import Seconds, parse_seconds

sys.path.insert(0, str(Path(__file__).parent))
from sessions import refreshed, run_page

DOCS = Path(__file__).parent
ROOT = DOCS.parent
CONF = ROOT / "conf"
GROUPS = {
    "model": "What is simulated.",
    "period": "Start, end and output interval.",
    "run_backend": "Where the model executes.",
    "processor": "What to compute from the outputs.",
    "pipeline": "The order of the stages, and how failures are handled.",
    "sweep": "How `-m` builds and executes a sweep.",
    "experiment": "A complete setup under one name.",
    "site": "Facts about a machine.",
    "hydra/launcher": "How many runs of a sweep execute in parallel.",
    "hydra/sweeper": "Sweeps defined in YAML.",
}
# Files that slow examples create, and where they are kept in docs/.
KEPT = [
    ("index.md", "runs/salish_tsunami/map-stage.png", "images/salish_tsunami.png"),
    ("sweeps.md", "sweeps/salish_tsunami/results.csv", "data/salish_sweep.csv"),
    ("sweeps.md", "response.png", "images/salish_sweep.png"),
]
_REGION = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end of generated -->)", re.S)
_BOUNDS = {"Gt": "> {}", "Ge": "≥ {}", "Lt": "< {}", "Le": "≤ {}", "MinLen": "at least {} item"}


@dataclass(frozen=True)
class Option:
    """One file of `conf/`: its comments, its keys with their trailing comments, its values."""

    group: str
    name: str
    title: str
    comments: Mapping[str, str]
    values: Mapping[str, Any]
    text: str

    @property
    def model(self) -> type[BaseModel] | None:
        """The class that checks its fields."""
        target = self.values.get("_target_")
        return settings_model(_class(target)) if target else None


def _class(target: str) -> Any:
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def option(path: Path) -> Option:
    """Read one file of `conf/`."""
    text = path.read_text()
    head = [line[1:].strip() for line in text.splitlines() if line.startswith("#")]
    title = next((line for line in head if not line.startswith("@")), "")
    comments = {}
    for line in text.splitlines():
        if found := re.match(r"(\w+):.*?(?:\s#\s(.*))?$", line):
            comments[found[1]] = found[2] or ""
    group = path.parent.relative_to(CONF).as_posix()
    return Option(group, path.stem, title, comments, yaml.safe_load(text) or {}, text)


def options(group: str) -> list[Option]:
    """The options of a group, sorted by name."""
    return [option(path) for path in sorted((CONF / group).glob("*.yaml"))]


def help_text() -> str:
    """What `rompy-hydra --help` prints."""
    command = [sys.executable, "-m", "rompy_hydra", "--help"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tempfile.gettempdir())
    return answer.stdout.strip()


def reference() -> str:
    """The page `reference.md`."""
    lines = [
        "# Reference",
        "",
        "This page is generated from the program and lists every option and field. Set a field with\n"
        "`GROUP.FIELD=VALUE`.",
        "",
        "## Command line",
        "",
        *_commands(),
        "",
        *_flags(),
        "",
        "## Top-level fields",
        "",
        *_top_level(),
    ]
    for group, what in GROUPS.items():
        lines += ["", f"## {group}", "", what]
        for each in options(group):
            lines += _option(each)
    lines += _nested(
        "success",
        "Success checks in `model.success`; see [their meaning](models.md#success).",
        SuccessChecks,
    )
    lines += _nested("files", "One entry of `model.files`. A plain path is short for `source`.", StagedFile)
    lines += ["", "## Help", "", "Output of `rompy-hydra --help`:", "", "```text", help_text(), "```"]
    return "\n".join(lines) + "\n"


def _flags() -> Iterator[str]:
    yield from ("| flag | meaning |", "|---|---|")
    for action in app.parser()._actions:
        if action.option_strings and action.help != argparse.SUPPRESS:
            flags = ", ".join(f"`{flag}`" for flag in action.option_strings)
            meaning = " ".join(str(action.help or "").split("\n")[0].split()).rstrip(":")
            yield f"| {flags} | {_cell(meaning)} |"


def _commands() -> Iterator[str]:
    yield from ("| command | description |", "|---|---|")
    yield "| `rompy-hydra [-m] OVERRIDES` | execute a run; with `-m`, a sweep |"
    for name in cli.COMMANDS:
        told = (
            importlib.import_module(f"rompy_hydra.cli.{name.replace('-', '_')}").__doc__ or ""
        ).splitlines()[0]
        command, _, what = told.partition(": ")
        yield f"| {_cell(command)} | {_cell(what.rstrip('.'))} |"


def _top_level() -> Iterator[str]:
    found = option(CONF / "config.yaml")
    yield from ("| field | default | meaning |", "|---|---|---|")
    for key, value in found.values.items():
        if key not in {"defaults", "hydra"}:
            yield f"| `{key}` | {_value(value)} | {_cell(found.comments[key])} |"


def _option(each: Option) -> Iterator[str]:
    yield from ("", f"### {each.group}={each.name}", "")
    title, _, command = each.title.rpartition(": ")
    yield f"{title or command}."
    if each.model is None or "_target_" not in each.values:
        yield from ("", "```yaml", each.text.strip(), "```")
        return
    yield from ("", f"Class `{each.values['_target_']}`.", "")
    yield from ("| field | default | type | meaning |", "|---|---|---|---|")
    for key, value in each.values.items():
        if key == "_target_":
            continue
        info = each.model.model_fields[key]
        yield f"| `{key}` | {_value(value)} | {_type(info)} | {_cell(each.comments.get(key, ''))} |"


def _nested(name: str, what: str, model: type[BaseModel]) -> Iterator[str]:
    yield from ("", f"## {name}", "", what, "", "| field | default | type |", "|---|---|---|")
    for key, info in model.model_fields.items():
        default = "required" if info.is_required() else _value(info.default)
        yield f"| `{key}` | {default} | {_type(info)} |"


def _value(value: Any) -> str:
    if value == "???":
        return "required"
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, dict):
        value = {key: item for key, item in value.items() if item != []}
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, allow_unicode=True, sort_keys=False)
    return f"`{_cell(text.removesuffix(chr(10)).removesuffix('...').strip())}`"


def _type(info: FieldInfo) -> str:
    bounds = [
        pattern.format(getattr(found, attribute))
        for found in info.metadata
        for name, pattern in _BOUNDS.items()
        for attribute in [{"MinLen": "min_length"}.get(name, name.lower())]
        if type(found).__name__ == name
    ]
    is_seconds = any(getattr(found, "func", None) is parse_seconds for found in info.metadata)
    return ", ".join(["seconds or duration" if is_seconds else _name(info.annotation), *bounds])


def _name(kind: Any) -> str:
    """The name of a type for readers."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in inside)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if kind is ParameterLimits:
            return "[limits](models.md#parameters-with-limits)"
        if kind not in (SuccessChecks, StagedFile):
            return "[checks](models.md#success)"
        section = "success" if kind is SuccessChecks else "files"
        return f"[`{section}`](#{section})"
    if origin in (tuple, list):
        items = _name(inside[0])
        return f"list; each item: {items}" if " or " in items else f"list of {_plural(items)}"
    if origin is dict:
        return "mapping"
    if origin is not None and type(None) in inside:
        return f"{' or '.join(_name(each) for each in inside if each is not type(None))}, or null"
    if kind == Seconds:
        return "seconds or duration"
    if origin is not None and hasattr(kind, "__metadata__"):
        return _name(inside[0])
    if inside and origin is not None:
        return " or ".join(_name(each) for each in inside)
    words = {"float": "number", "int": "integer", "str": "string", "bool": "boolean"}
    words |= {"Path": "path", "datetime": "time", "timedelta": "duration"}
    name = getattr(kind, "__name__", str(kind))
    return words.get(name, name)


def _plural(items: str) -> str:
    """The name of a type, for several of them: `strings`, `lists of strings`."""
    head, _, rest = items.partition(" ")
    return f"{head}s {rest}".rstrip() if head.isalpha() else items


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def exceptions() -> str:
    """The exceptions as a table, each with its base class and the first line of its docstring."""
    lines = ["| exception | base | meaning |", "|---|---|---|"]

    def add(kind: type) -> None:
        text = (kind.__doc__ or "").splitlines()[0].rstrip(".")
        others = [base.__name__ for base in kind.__bases__ if base is not Exception]
        lines.append(f"| `{kind.__name__}` | {', '.join(f'`{name}`' for name in others)} | {_cell(text)} |")
        for sub in kind.__subclasses__():
            if sub.__module__ == errors.__name__:
                add(sub)

    add(errors.RompyHydraError)
    return "\n".join([*lines, ""])


REGIONS = {"exceptions": exceptions}


def pages() -> dict[Path, str]:
    """The expected text of every page with generated parts."""
    found = {DOCS / "reference.md": reference()}
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text()
        made = _REGION.sub(lambda region: region[1] + REGIONS[region[2]]() + region[3], text)
        if "<!-- generated:" in text and page not in found:
            found[page] = made
    return found


def refresh_outputs(slow: bool) -> int:
    """Run the examples and write what they print; return how many had an unexpected exit code."""
    failures = 0
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(2) as pool:
        found = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
        directories = {page: Path(name) / page.stem / "waves" for page in found}
        for directory in directories.values():
            directory.mkdir(parents=True)
        results = list(pool.map(lambda page: run_page(page, directories[page], slow=slow), found))
        for page, ran in zip(found, results, strict=True):
            if ran:
                page.write_text(refreshed(page, ran))
            for each in ran:
                if each.exit_code != each.expected:
                    failures += 1
                    sys.stderr.write(each.complaint() + "\n")
        for page_name, made, target in KEPT if slow else []:
            source = directories[DOCS / page_name] / made
            (DOCS / target).parent.mkdir(exist_ok=True)
            shutil.copyfile(source, DOCS / target)
    return failures


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 if a page is out of date")
    parser.add_argument("--outputs", action="store_true", help="update the output of the examples")
    parser.add_argument("--slow", action="store_true", help="with --outputs: also run the slow examples")
    arguments = parser.parse_args()
    stale = [page for page, text in pages().items() if not page.exists() or page.read_text() != text]
    if arguments.check:
        for page in stale:
            sys.stderr.write(f"{page.relative_to(ROOT)} is out of date; run: python docs/generate.py\n")
        return 1 if stale else 0
    for page in stale:
        page.write_text(pages()[page])
    return 1 if arguments.outputs and refresh_outputs(arguments.slow) else 0


if __name__ == "__main__":
    sys.exit(main())
