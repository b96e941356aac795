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


@pytest.mark.parametrize(
    "text",
    [
        "\udcc2\udc9b2J",  # the bytes of U+009B in UTF-8
        "\udc9b2J",  # the same in one byte
        "\udce2\udc80\udcae",  # U+202E
        "\udcef\udcbb\udcbf",  # U+FEFF
        "\ud800",
    ],
)
def test_bytes_of_control_characters_are_shown_escaped(text):
    shown = printable(f"a{text}b").encode("utf-8", "surrogateescape")
    assert not [c for c in ("\x9b", "\u202e", "\ufeff") if c.encode() in shown]
    assert b"\x9b" not in shown


def shown_by(arguments: list[str], directory) -> bytes:
    answer = subprocess.run(
        [sys.executable, "-P", "-m", "rompy_hydra", *arguments],
        cwd=directory,
        capture_output=True,
        check=False,
    )
    assert b"Traceback" not in answer.stderr, answer.stderr.decode()[-2000:]
    return answer.stdout + answer.stderr


HIDDEN = '"\\udcc2\\udc9b2J\\udcc2\\udc9b31mFAKE\\e[2J"'


@pytest.mark.parametrize(
    ("name", "content", "arguments"),
    [
        ("hydra/help/rompy_hydra", f"app_name: x\ntemplate: {HIDDEN}\n", ["--help"]),
        ("model/mine", f"x: {HIDDEN}\n", ["--cfg", "job", "model=mine"]),
        ("main", f"hydra: {{searchpath: [{HIDDEN}]}}\n", ["--cfg", "job", "--config-name", "main"]),
    ],
)
def test_what_a_file_contains_does_not_reach_the_terminal(tmp_path, name, content, arguments):
    path = tmp_path / "conf" / f"{name}.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    shown = shown_by(["--config-dir", "conf", *arguments], tmp_path)
    assert b"FAKE" in shown, shown
    assert b"\x1b" not in shown
    assert b"\xc2\x9b" not in shown


def test_the_live_output_of_a_model_is_shown_escaped(tmp_path):
    prints = r"printf 'one\ttwo\rthree \033[2J\302\2332J\342\200\256 \303\244\n'"
    arguments = ["run_backend.stream_output=true", "run_id=s", NOOP, f'model.commands=["{prints}"]']
    (tmp_path / "t").mkdir()
    shown = shown_by(["model=template", "model.template=t", *arguments], tmp_path)
    assert "one\ttwo\rthree \\x1b[2J\\x9b2J\\u202e ä".encode() in shown, shown
    assert b"\x1b" in (tmp_path / "runs" / "s" / "run.log").read_bytes()


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
        # A program may split lines at these, and respects quotation marks only at its own commas.
        ("a;=1+2", "a;'=1+2"),
        ("a; =1+2", "a;' =1+2"),
        ("a\t=1+2", "a\t'=1+2"),
        ("a\n=1+2;-x", "a\n'=1+2;'-x"),
        ("a|=1+2", "a|'=1+2"),
        (["a;=1+2"], '["a;\'=1+2"]'),
        ("a,@SUM(A1)", "a,@SUM(A1)"),
        (" =1+2", "' =1+2"),
        ("＝1+2", "'＝1+2"),
        ("friction=1,wave_height=2", "friction=1,wave_height=2"),
        ("a,-5;+3", "a,-5;+3"),
        ("x: 1; y", "x: 1; y"),
    ],
)
def test_texts_in_the_table_are_not_formulas(value, cell):
    assert _cell(value) == cell


def test_the_table_of_a_sweep_holds_no_formula(tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t/in.txt").write_text("{{ model.x }}")
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
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "@"))]
    assert sorted(row[rows[0].index("model.parameters.x")] for row in rows[1:]) == [
        '\'=HYPERLINK("http://x")',
        "2",
    ]


@pytest.mark.parametrize("name", ["=1+2", "@x", "a;=1+2"])
def test_the_name_of_a_run_is_no_formula(tmp_path, name):
    """A directory in a sweep is a row of its table, whoever has named it."""
    command = [sys.executable, "-P", "-m", "rompy_hydra", "-m", "model.friction=0.02", NOOP, "sweep.name=s"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "sweeps" / "s" / "friction=0.02").rename(tmp_path / "sweeps" / "s" / name)
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    with (tmp_path / "sweeps" / "s" / "results.csv").open() as file:
        labels = [row[0] for row in csv.reader(file)]
    assert _cell(name) in labels
    assert name not in labels
