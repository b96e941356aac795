"""Names of strangers neither colour, move nor hide anything on a terminal, and break no display."""

from __future__ import annotations

import csv
import os
import subprocess
import sys

import pytest

from rompy_hydra.redaction import printable
from rompy_hydra.sweep.results_table import _cell
from tests.terminal import Terminal

NOOP = "processor=noop"
PRINTS = """
import sys, time
class Prints:
    def process(self, model_run, **kwargs):
        sys.stdout.write(str(model_run.output_dir))  # without a line end
        sys.stdout.flush()
        return {"success": True, "message": ""}
"""


@pytest.mark.parametrize("swept", [True, False])
def test_names_that_look_like_markup_are_shown_as_they_are(tmp_path, swept):
    (tmp_path / "mine.py").write_text(PRINTS)
    where = ["-m", "sweep.directory='x[/y]'"] if swept else ["output_dir='x[/y]'"]
    (tmp_path / "conf" / "processor").mkdir(parents=True)
    (tmp_path / "conf" / "processor" / "prints.yaml").write_text("_target_: mine.Prints\n")
    plugin = ["--config-dir", "conf", "processor=prints", "allowed_targets=[mine.]"]
    terminal = Terminal([*where, "model.friction=0.02", *plugin], tmp_path)
    assert terminal.wait() == 0, terminal.screen
    assert "x[/y]" in terminal.screen
    assert "Traceback" not in terminal.screen


ESCAPE = "\x1b]0;title\x07\x1b[2J\u202e\x9b1m"


@pytest.mark.parametrize(
    "arguments",
    [
        [f"output_dir='{ESCAPE}'", NOOP],
        [f"output_dir='{ESCAPE}'", NOOP, "model.commands=['exit 3']"],
        [f"model.nothing='{ESCAPE}'"],
        [f"model.friction='{ESCAPE}'"],
        [f"model='{ESCAPE}'"],
        [f"{ESCAPE}=1"],
        ["check", f"output_dir='{ESCAPE}'"],
        ["-m", f"sweep.directory='{ESCAPE}'", "model.friction=0.1,0.2", NOOP],
        ["-m", f"sweep.directory='{ESCAPE}'", "model.commands=['exit 3'],['exit 4']", NOOP],
        ["-m", f"model.friction=0.1,'{ESCAPE}'", NOOP],
        ["--debug", f"model.nothing='{ESCAPE}'"],
        ["--cfg", "job", f"output_dir='{ESCAPE}'"],
        [f"{ESCAPE}"],
        ["new", ESCAPE],
        ["plugins", ESCAPE],
    ],
)
def test_control_characters_are_shown_escaped(tmp_path, arguments):
    answer = subprocess.run(
        [sys.executable, "-P", "-m", "rompy_hydra", *arguments],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    shown = (answer.stdout + answer.stderr).decode()
    assert shown
    assert not [c for c in "\x1b\x07\u202e\x9b" if c in shown], shown
    assert "Traceback" not in shown or "--debug" in arguments


def test_ordinary_text_and_bytes_of_file_names_are_unchanged():
    text = "Größe 1 > 0\tβ\nzweite Zeile\u00a0x " + os.fsdecode(b"\xff")
    assert printable(text) == text


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ('=HYPERLINK("http://x")', '\'=HYPERLINK("http://x")'),
        ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("-x", "'-x"),
        ("-5", "-5"),
        ("+0.5e3", "+0.5e3"),
        (-0.5, -0.5),
        ("a=b", "a=b"),
    ],
)
def test_texts_in_the_table_are_not_formulas(value, cell):
    assert _cell(value) == cell


def test_the_table_of_a_sweep_holds_no_formula(tmp_path):
    (tmp_path / "t").mkdir()
    subprocess.run(
        [
            *(sys.executable, "-P", "-m", "rompy_hydra", "-m", "model=template", "model.template=t", NOOP),
            *("model.commands=['true']", "+model.parameters.x='=HYPERLINK(\"http://x\")',2"),
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    with (tmp_path / "sweeps" / "template" / "results.csv").open() as file:
        rows = list(csv.reader(file))
    assert sorted(row[rows[0].index("model.parameters.x")] for row in rows[1:]) == [
        '\'=HYPERLINK("http://x")',
        "2",
    ]
