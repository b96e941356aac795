"""`rompy-hydra new KIND NAME [--directory D]`: a small package with a plugin that works as it stands."""

from __future__ import annotations

import argparse
import importlib.util
import keyword
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rompy_hydra.cli.report import say, shown
from rompy_hydra.errors import ConfigError
from rompy_hydra.models.render import render_directory
from rompy_hydra.plugins import registry
from rompy_hydra.workspace.atomic import write_atomic

_PACKAGES = Path(__file__).with_name("packages")
_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_LONGEST = 40


@dataclass(frozen=True)
class Kind:
    """What differs between the kinds of plugins."""

    category: str
    group: str
    suffix: str
    contract: str
    description: str


KINDS = {
    "run-backend": Kind("run", "run_backend", "RunBackend", "RunBackendContract", "Runs models"),
    "postprocessor": Kind(
        "postprocess",
        "processor",
        "Postprocessor",
        "PostprocessorContract",
        "Looks at the outputs of models",
    ),
    "pipeline": Kind("pipeline", "pipeline", "Pipeline", "PipelineContract", "Runs models step by step"),
    "model": Kind("config", "model", "", "ModelContract", "A model"),
}


def main(argv: Sequence[str]) -> int:
    """0; 2 for a name that no package can have, or a directory that is there already."""
    arguments = _parser().parse_args(list(argv))
    kind = KINDS[arguments.kind.replace("_", "-")]
    name = _checked(arguments.name, kind)
    directory = Path(os.path.abspath(arguments.directory or name))
    if os.path.lexists(directory):
        raise ConfigError(f"{directory} is there already; choose another one with --directory")
    written = write_package(arguments.kind.replace("_", "-"), name, directory)
    package = name.replace("-", "_")
    place = shown(directory)
    say(
        [
            *(f"wrote  {place}/{path}" for path in written),
            "",
            f"next   pip install -e '{place}[test]'",
            f"       rompy-hydra plugins {kind.group} {package}",
            f"       pytest {place}",
        ]
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rompy-hydra new", description=__doc__)
    parser.add_argument("kind", choices=[*KINDS, "run_backend"], metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("name", metavar="NAME", help="of the package: lower case, such as my-cloud")
    parser.add_argument("--directory", help="where it is written; it must not be there yet. Default: NAME")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _checked(name: str, kind: Kind) -> str:
    """The name, if a package and a plugin can have it; ConfigError tells why not."""
    package = name.replace("-", "_")
    what = registry.WHAT[kind.category]
    if not _NAME.fullmatch(name) or len(name) > _LONGEST or keyword.iskeyword(package):
        raise ConfigError(
            f"'{name}' cannot be the name of a package: it needs lower-case letters and digits, words "
            f"joined by '-', at most {_LONGEST} characters, and must not be a word of Python"
        )
    if registry.is_known(kind.category, package):
        owner = registry.plugins(kind.category)[package][0].distribution
        raise ConfigError(f"there is a {what} '{package}' already, of {owner}; choose another name")
    if package in sys.stdlib_module_names or _is_module(package):
        raise ConfigError(f"there is a Python module '{package}' already; choose another name")
    return name


def _is_module(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None


def write_package(kind_name: str, name: str, directory: Path) -> list[str]:
    """Write the package into a directory that does not exist yet; the names of its files."""
    files = package_files(kind_name, name)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        # Whole or not at all.
        unfinished = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        try:
            for path, content in files.items():
                target = unfinished / path
                target.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(target, content)
            unfinished.chmod(0o755)
            unfinished.rename(directory)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise ConfigError(f"cannot write {directory}: {error.strerror}") from error
    return sorted(files)


def package_files(kind_name: str, name: str) -> Mapping[str, bytes]:
    """The files of a package by their paths in it."""
    kind, package = KINDS[kind_name], name.replace("-", "_")
    stem = "".join(word.capitalize() for word in package.split("_"))
    context = {
        "name": name,
        "package": package,
        "class_stem": stem,
        "class_name": stem if stem.endswith(kind.suffix) else f"{stem}{kind.suffix}",
        "group": kind.group,
        "entry_points": f"rompy_hydra.{kind.category}",
        "what": registry.WHAT[kind.category],
        "contract": kind.contract,
        "description": f"{kind.description}, for rompy_hydra: {name}",
    }
    folders = ("common", kind_name.replace("-", "_"))
    inputs = [item for folder in folders for item in render_directory(_PACKAGES / folder, context)]
    return {item.path: item.content for item in inputs if item.content is not None}
