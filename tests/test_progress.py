"""The display of one run on a terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.terminal import Terminal


@pytest.fixture
def template(tmp_path: Path) -> Path:
    (tmp_path / "template").mkdir()
    return tmp_path / "template"


def command(template: Path, line: str, *more: str) -> list[str]:
    return [
        "model=template",
        f"model.template={template}",
        f"model.commands=['{line}; echo 1 > out.txt']",
        "run_id=shown",
        *more,
    ]


def test_the_log_stands_on_lines_of_its_own_above_the_display(template: Path, tmp_path: Path) -> None:
    terminal = Terminal(command(template, "sleep 1"), tmp_path)
    assert terminal.wait() == 0, terminal.screen
    lines = [line for line in re.split(r"[\r\n]+", terminal.screen) if " INFO " in line]
    assert len(lines) == 2
    for line in lines:
        assert re.match(r"\d\d:\d\d:\d\d INFO    shown: ", line), line


def test_the_stage_is_shown_in_the_colour_of_its_state_with_a_bar(template: Path, tmp_path: Path) -> None:
    (template / "hold").write_text("")
    wait = f"while [ -e {template}/hold ]; do sleep 0.02; done"
    terminal = Terminal(command(template, wait, "processor=noop"), tmp_path)
    terminal.shows("running")
    terminal.shows("━━━━")
    (template / "hold").unlink()
    assert terminal.wait() == 0, terminal.screen
    assert re.search(r"\x1b\[36m[^\x1b]*running", terminal.raw)  # cyan
    assert "completed  shown in " in terminal.screen


def test_a_long_line_of_the_log_is_not_broken_by_the_display(template: Path, tmp_path: Path) -> None:
    deep = "deep" * 30
    terminal = Terminal(command(template, "true", f"output_dir={tmp_path}/{deep}"), tmp_path)
    assert terminal.wait() == 0, terminal.screen
    logged = [line for line in re.split(r"[\r\n]+", terminal.screen) if "INFO" in line]
    assert f"input files in {tmp_path}/{deep}/shown" in logged[0]
