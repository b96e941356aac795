"""The documentation is correct: examples run, links resolve, generated parts are up to date."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
# Pages whose examples are not executed here, with the reason.
ELSEWHERE = {
    "benchmarks.md": "written by benchmarks/sweep.py, which measures for hours",
}


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


sessions = _load("sessions")
generate = _load("generate")

RUN = [page for page in PAGES if any(block.mark == "tested" for block in sessions.blocks(page))]


@pytest.fixture(scope="module")
def page_results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[Path, Future[object]]]:
    """The results of the examples; the pages are executed in parallel, each in its own directory."""
    with ThreadPoolExecutor(4) as pool:
        yield {
            page: pool.submit(sessions.run_page, page, tmp_path_factory.mktemp(page.stem)) for page in RUN
        }


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_the_examples_on_a_page_work_as_shown(
    page: Path, page_results: Mapping[Path, Future[object]]
) -> None:
    complaints = [ran.complaint() for ran in page_results[page].result()]  # type: ignore[attr-defined]
    assert not any(complaints), "\n\n".join(filter(None, complaints))


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in ELSEWHERE], ids=lambda page: page.stem)
def test_every_command_on_a_page_is_tested_or_has_a_reason_not_to_be(page: Path) -> None:
    for block in sessions.blocks(page):
        if block.language in sessions.SHELL and block.mark != "file":
            assert block.mark in {"tested", "slow", "not tested"}, block.name
            assert block.mark == "tested" or block.note, f"{block.name}: the reason is missing"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_file_created_on_a_page_shows_its_name(page: Path) -> None:
    made = re.findall(r"<!-- file: (\S+) -->\n```\w+(.*)", page.read_text())
    for name, shown in made:
        assert shown.strip() == f'title="{name}"'


def test_the_readme_has_at_most_145_lines() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 145


def test_the_generated_parts_are_up_to_date() -> None:
    stale = [page.name for page, text in generate.pages().items() if page.read_text() != text]
    assert not stale, "run: python docs/generate.py"


def test_the_reference_contains_the_help_of_the_program() -> None:
    command = [sys.executable, "-m", "rompy_hydra", "--help"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=DOCS).stdout
    assert printed.strip() in (DOCS / "reference.md").read_text()


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.stem)
def test_the_links_of_a_page_resolve(page: Path) -> None:
    for target in _links(page.read_text()):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in _anchors(there), f"{page.name} links to {target}"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().partition("nav:")[2]
    named = re.findall(r"[\w-]+\.md", navigation)
    assert sorted(named) == sorted(page.name for page in DOCS.glob("*.md"))


def test_images_are_small_enough_for_the_repository() -> None:
    for picture in (DOCS / "images").iterdir():
        assert picture.stat().st_size < 300_000, picture.name


def _links(text: str) -> list[str]:
    """Targets of links and images outside code, except those on other hosts."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
    targets = re.findall(r"\]\(([^)\s]+)\)", prose)
    return [target for target in targets if "://" not in target]


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the site generator creates them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.M)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}
