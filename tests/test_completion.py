"""What the shells offer after TAB: asked of the program, and with keys typed into real shells."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.terminal import Terminal

SCRIPTS = Path(sys.executable).parent
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(rompy-hydra -sc install=bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'eval "$(rompy-hydra -sc install=zsh)"'),
    "fish": (["fish", "--no-config", "-i"], "rompy-hydra -sc install=fish | source"),
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "my" / "model").mkdir(parents=True)
    (tmp_path / "my" / "model" / "lagoon.yaml").write_text("defaults: [beach]\n")
    return tmp_path


def offered(line: str, directory: Path, shell: str = "bash", point: int | None = None) -> list[str]:
    environment = os.environ | {"COMP_LINE": line}
    if point is not None:
        environment["COMP_POINT"] = str(point)
    result = subprocess.run(
        [sys.executable, "-m", "rompy_hydra", "-sc", f"query={shell}"],
        env=environment,
        cwd=directory,
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.split()


def shows_after(terminal: Terminal, place: int, text: str) -> bool:
    return text in terminal.screen[place:]


def in_shell(shell: str, directory: Path) -> Terminal:
    """A shell that has read the script for it."""
    program, install = SHELLS[shell]
    if shutil.which(program[0]) is None:
        pytest.skip(f"{program[0]} is not installed")
    setup = directory / "setup"
    setup.write_text(f"{install}\necho is ready\n")
    search = ["env", f"PATH={SCRIPTS}:{os.environ['PATH']}", f"HOME={directory}", "LC_ALL=C.UTF-8"]
    terminal = Terminal(program, directory, search)
    terminal.type(". ./setup\n")
    terminal.shows("is ready")
    return terminal


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rompy-hydra pl", ["plugins"]),
        ("rompy-hydra check mo", ["model.", "model="]),
        ("rompy-hydra check model=be", ["model=beach"]),
        ("rompy-hydra model=beach model.fric", ["model.friction="]),
        ("rompy-hydra -m model.friction=0.01,0.02 pipel", ["pipeline.", "pipeline="]),
        ("rompy-hydra --dry-run model=be", ["model=beach"]),
        ("rompy-hydra --c", ["--cfg", "--config-dir", "--config-name", "--config-path"]),
        ("rompy-hydra --cfg ", ["all", "hydra", "job"]),
        ("rompy-hydra --config-dir=my model=l", ["model=lagoon"]),
        ("rompy-hydra check -cd my model=l", ["model=lagoon"]),
        ("rompy-hydra check --config-dir my model=l", ["model=lagoon"]),
        ("rompy-hydra --config-dir ", ["my/"]),
        ("rompy-hydra --config-dir=m", ["--config-dir=my/"]),
        ("rompy-hydra plugins ", ["model", "pipeline", "processor", "run_backend"]),
        ("rompy-hydra plugins processor ma", ["map"]),
        ("rompy-hydra plugins --j", ["--json"]),
        ("rompy-hydra new po", ["postprocessor"]),
        ("python -m rompy_hydra check model=be", ["model=beach"]),
    ],
)
def test_the_words_that_may_follow_are_offered(line: str, expected: list[str], directory: Path) -> None:
    assert offered(line, directory) == expected


@pytest.mark.parametrize(
    "line",
    [
        "rompy-hydra mo model=beach",
        "rompy-hydra --nonsense mo",
        "rompy-hydra --config-dir=missing model=",
        "rompy-hydra model='a b",
        "rompy-hydra model.friction=[1,",
        "rompy-hydra model=nothing model.f",
        "rompy-hydra --cfg mo model=be",
        "rompy-hydra plugins nothing ",
        "",
    ],
)
def test_a_line_that_cannot_be_understood_prints_neither_usage_nor_traceback(
    line: str, directory: Path
) -> None:
    for word in offered(line, directory):
        assert " " not in word and "Traceback" not in word and "usage" not in word


def test_only_what_stands_before_the_cursor_counts(directory: Path) -> None:
    line = "rompy-hydra check model=be run_id=x"
    assert offered(line, directory, point=line.index(" run_id")) == ["model=beach"]


TRAP = "$(touch${IFS}caught)"


@pytest.fixture
def trapped(directory: Path) -> Path:
    """Names and values of a stranger that a shell must not take for commands."""
    (directory / f"dir{TRAP}").mkdir()
    options = directory / "my" / "model"
    values = f"parameters: {{x: '{TRAP}', y: 1, '{TRAP}': 1, '`touch caught`': 1, ';touch caught;': 1}}\n"
    (options / "lagoon.yaml").write_text(
        "_target_: rompy_hydra.models.TemplateModel\ntemplate: t\ncommands: ['true']\n" + values
    )
    (options / f"{TRAP}.yaml").write_text("defaults: [beach]\n")
    (options / "`touch caught`.yaml").write_text("defaults: [beach]\n")
    return directory


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rompy-hydra --config-dir my model=", "model=lagoon"),
        ("rompy-hydra --config-dir my model=lagoon model.parameters.", "model.parameters.y="),
        ("rompy-hydra --config-dir my model=lagoon model.parameters.x=", ""),
        ("rompy-hydra --config-dir ", "my/"),
        ("rompy-hydra --config-dir=", "--config-dir=my/"),
    ],
)
def test_only_words_that_mean_nothing_to_a_shell_are_offered(
    line: str, expected: str, trapped: Path
) -> None:
    words = offered(line, trapped)
    assert expected in words or not expected
    assert not [word for word in words if set(word) & set("$`;(){} <>&|!*?[]'\"\\#")]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_tab_key_runs_nothing(shell: str, trapped: Path) -> None:
    terminal = in_shell(shell, trapped)
    for typed, completed in [
        ("rompy-hydra --config-dir my model=l", "model=lagoon"),
        ("rompy-hydra --config-dir my model=", ""),
        ("rompy-hydra --config-dir my model=$", ""),
        ("rompy-hydra --config-dir my model=lagoon model.parameters.", "y="),
        ("rompy-hydra --config-dir my model=lagoon model.parameters.x=", ""),
        ("rompy-hydra --config-dir d", ""),
        ("rompy-hydra --config-dir=d", ""),
    ]:
        before = len(terminal.screen)
        terminal.type(f"{typed}\t\t")  # the second one lists the words
        if completed:
            wait_until(functools.partial(shows_after, terminal, before, completed))
        terminal.type("\x05\x15echo an''swered\n")
        wait_until(functools.partial(shows_after, terminal, before, "answered"))
        assert not (trapped / "caught").exists(), (typed, terminal.screen[before:])
    terminal.type("exit\n")
    terminal.wait()


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_can_be_removed_again(shell: str, directory: Path) -> None:
    terminal = in_shell(shell, directory)
    remove = SHELLS[shell][1].replace("install", "uninstall")
    terminal.type(f"{remove}; echo is re''moved\n")
    terminal.shows("is removed")
    terminal.type("rompy-hydra model=bea\t\x05\x15exit\n")
    terminal.wait()
    assert "model=beach" not in terminal.screen


@pytest.mark.parametrize("arguments", [[], ["install=tcsh"], ["install"], ["query=nothing"], ["x=y"]])
def test_a_wrong_request_is_explained(arguments: list[str], directory: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "rompy_hydra", "--shell-completion", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert "install=bash" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("rompy-hydra check model=be", "model=beach"),
        ("rompy-hydra plugins run_b", "run_backend"),
        ("rompy-hydra --config-d", "--config-dir"),
        ("rompy-hydra --config-dir=my model=lag", "model=lagoon"),
    ],
)
def test_the_tab_key_completes_a_word(shell: str, typed: str, completed: str, directory: Path) -> None:
    terminal = in_shell(shell, directory)
    terminal.type(f"{typed}\t")
    terminal.shows(completed)
    terminal.type("\x15exit\n")  # Ctrl-U deletes the line, which is then not run
    terminal.wait()
    assert "Traceback" not in terminal.screen
    assert "usage:" not in terminal.screen
