"""`rompy-hydra from-rompy FILE... [--directory DIR]`: write rompy's files as options of a directory."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path

from rompy_hydra.cli import explain_usage
from rompy_hydra.cli.report import say, shown
from rompy_hydra.errors import ConfigError


def main(argv: Sequence[str]) -> int:
    """Write the options and return 0. ConfigError if a file cannot be translated, or an option exists."""
    arguments = explain_usage(_parser()).parse_args(list(argv))
    from rompy_hydra.compose import rompy_conversion, rompy_files

    directory, allowed = Path(os.path.abspath(arguments.directory)), arguments.rompy_include
    files = rompy_files.load(arguments.files, allowed)
    if arguments.name is not None:
        if len(files) > 1:
            raise ConfigError("--name goes with one file: each file has options of its own name")
        if not re.fullmatch(r"[A-Za-z]\w*", arguments.name, re.ASCII):
            raise ConfigError(
                f"--name {arguments.name}: write letters, digits and '_', starting with a letter"
            )
        files = [rompy_files.translate_file(arguments.files[0], allowed, arguments.name)]
    texts = {path: text for file in files for path, text in rompy_conversion.converted(file, allowed)}
    existing = [path for path in texts if os.path.lexists(directory / path)]
    if existing and not arguments.overwrite:
        names = ", ".join(shown(directory / path) for path in existing)
        raise ConfigError(
            f"{names} already exists. Choose another name "
            "with --name or another directory with --directory, or replace it with --overwrite"
        )
    for path, text in texts.items():
        _write(directory / path, text)
    place = shown(directory)
    commands = [" ".join(rompy_files.overrides([file], [])) for file in files]
    notes = [f"note   {file.path.name}: {note}" for file in files for note in file.notes]
    say(
        [
            *(f"wrote  {place}/{path}" for path in texts),
            *notes,
            "",
            *(f"next   rompy-hydra --config-dir {place} {command}" for command in commands),
        ]
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rompy-hydra from-rompy", description=__doc__)
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="a run, pipeline, model, backend or postprocessor file"
    )
    parser.add_argument(
        "--directory", default="conf", help="the configuration directory to write to. Default: conf"
    )
    parser.add_argument("--name", help="the name of the options. Default: that of the file")
    parser.add_argument("--overwrite", action="store_true", help="replace options that exist")
    parser.add_argument(
        "--rompy-include", metavar="DIR", action="append", default=[], help="where !include may read files"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _write(path: Path, text: str) -> None:
    """Write a file completely or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}. Choose another directory with --directory"
        ) from error
