"""The code on the pages about plugins is what the program writes, and their commands work with it."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest

from rompy_hydra.cli.new import package_files
from tests.plugins.packaging import Program, pip_install

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {
    "run-backend": "my-cluster",
    "postprocessor": "my-numbers",
    "pipeline": "patience",
    "model": "decay",
}


@pytest.fixture(scope="module")
def page_program(tmp_path_factory):
    """The program after the steps of all pages: their packages are written and installed."""
    directory = tmp_path_factory.mktemp("reader")
    program = Program(directory / "site", directory)
    answers = program.run_all(*(["new", kind, name] for kind, name in PAGES.items()))
    assert all(answer.returncode == 0 for answer in answers), answers
    pip_install(program.site, *(f"./{name}" for name in PAGES.values()), cwd=directory)
    return program


def blocks(page):
    """The files of a page by name, and the commands that other tests skip."""
    text = (DOCS / page).read_text()
    files = dict(re.findall(r"<!-- file: (\S+) -->\n```\w+ title=\"\S+\"\n(.*?)```\n", text, re.S))
    untested = re.findall(r"<!-- not tested: [^>]* -->\n```console\n(.*?)```\n", text, re.S)
    return files, [line[2:] for block in untested for line in block.splitlines() if line.startswith("$ ")]


@pytest.mark.parametrize("kind", PAGES)
def test_the_code_on_a_page_is_what_the_program_writes(kind):
    name = PAGES[kind]
    files, _ = blocks(f"plugin-{kind}.md")
    written = package_files(kind, name)
    assert len(files) >= 2
    for path, text in files.items():
        assert text == written[path.removeprefix(f"{name}/")].decode(), path


@pytest.mark.parametrize("kind", PAGES)
def test_the_commands_on_a_page_work_as_shown(kind, page_program):
    _, commands = blocks(f"plugin-{kind}.md")
    assert commands
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "rompy-hydra"
        answer = page_program(*arguments, "overwrite=true")
        assert answer.returncode == 0, answer.stderr
        assert answer.stdout.endswith("record     runs/mine/run.json\n")


def test_the_overview_shows_the_programs_description_of_a_plugin(page_program):
    shown = (DOCS / "plugins.md").read_text()
    description = page_program("plugins", "run_backend", "my_cluster").stdout
    assert description in shown


def test_every_signature_in_the_overview_works(tmp_path):
    text = (DOCS / "plugins.md").read_text()
    code = re.search(r"```python\n(class MyRunBackend.*?)```", text, re.S)[1]
    path = tmp_path / "shapes_of_the_page.py"
    path.write_text(
        f"from pydantic import BaseModel\n\nclass MyConfig(BaseModel):\n    nodes: int = 1\n\n{code}"
    )
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    from rompy_hydra.plugins.signatures import names_of, settings_model

    shapes = {
        "MyRunBackend": "run",
        "AsInRompy": "run",
        "MyPostprocessor": "postprocess",
        "MyPipeline": "pipeline",
    }
    known = {name: names_of(settings_model(getattr(module, name), kind)) for name, kind in shapes.items()}
    assert known == {
        "MyRunBackend": ["nodes", "queue"],
        "AsInRompy": ["nodes"],
        "MyPostprocessor": ["threshold"],
        "MyPipeline": [],  # arguments from the other groups are not settings of the pipeline
    }
