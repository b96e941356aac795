"""`rompy-hydra new KIND NAME [--directory D]`: create a small package with a working plugin."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import keyword
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rompy_hydra.cli import explain_usage
from rompy_hydra.cli.report import say, shown
from rompy_hydra.errors import ConfigError
from rompy_hydra.models.render import render_directory
from rompy_hydra.plugins import registry

_PACKAGES = Path(__file__).with_name("packages")
_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_MAX_LENGTH = 40


class Kind(NamedTuple):
    """What distinguishes the packages of one kind of plugin."""

    category: str
    group: str
    suffix: str
    description: str


KINDS = {
    "run-backend": Kind("run", "run_backend", "RunBackend", "Runs models"),
    "postprocessor": Kind("postprocess", "processor", "Postprocessor", "Evaluates the outputs of models"),
    "pipeline": Kind("pipeline", "pipeline", "Pipeline", "Runs models step by step"),
    "model": Kind("config", "model", "", "A model"),
}


def main(argv: Sequence[str]) -> int:
    """Write the package and return 0. ConfigError if its name is invalid, or the directory exists."""
    arguments = explain_usage(_parser()).parse_args(list(argv))
    kind_name, name = arguments.kind.replace("_", "-"), arguments.name
    kind, package = KINDS[kind_name], name.replace("-", "_")
    _check_name(name, package, kind)
    directory = Path(os.path.abspath(arguments.directory or name))
    if os.path.lexists(directory):
        raise ConfigError(f"{directory} already exists; choose another one with --directory")
    files = package_files(kind_name, name)
    _write_package(files, directory)
    place = shown(directory)
    say(
        [
            *(f"wrote  {place}/{path}" for path in sorted(files)),
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
    parser.add_argument("name", metavar="NAME", help="name of the package, in lower case, such as my-cloud")
    parser.add_argument("--directory", help="where to write it; must not exist. Default: NAME")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _check_name(name: str, package: str, kind: Kind) -> None:
    """ConfigError if the package, its module or its plugin cannot have this name."""
    what = registry.WHAT[kind.category]
    if not _NAME.fullmatch(name) or len(name) > _MAX_LENGTH or keyword.iskeyword(package):
        raise ConfigError(
            f"'{name}' is not a valid package name: use lower-case letters and digits, in words joined by "
            f"'-', at most {_MAX_LENGTH} characters, and no Python keyword"
        )
    if found := registry.candidates(kind.category, package):
        owner = found[0].distribution
        raise ConfigError(f"the {what} '{package}' of {owner} already exists; choose another name")
    spec = importlib.util.find_spec(package)
    if package in sys.stdlib_module_names or (spec is not None and spec.origin is not None):
        raise ConfigError(f"the Python module '{package}' already exists; choose another name")
    # Also where it is not installed: the two could never be installed together.
    if name == "rompy":
        raise ConfigError(f"'{name}' is the name of another distribution; choose another name")
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        installed = importlib.metadata.distribution(name)
        raise ConfigError(f"the distribution {installed.name} is installed; choose another name")


def _write_package(files: Mapping[str, bytes], directory: Path) -> None:
    """Create a directory with these files, completely or not at all."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as temporary:
            for path, content in files.items():
                target = Path(temporary, "package", path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            Path(temporary, "package").rename(directory)
    except OSError as error:
        raise ConfigError(
            f"cannot write {directory}: {error.strerror}. Choose another directory with --directory"
        ) from error


def package_files(kind_name: str, name: str) -> Mapping[str, bytes]:
    """The contents of a package's files by their relative paths."""
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
        "contract": f"{kind.suffix or 'Model'}Contract",
        "description": f"{kind.description}, for rompy_hydra: {name}",
    }
    folders = ("common", kind_name.replace("-", "_"))
    inputs = [item for folder in folders for item in render_directory(_PACKAGES / folder, context)]
    return {item.path: item.content for item in inputs if item.content is not None}
