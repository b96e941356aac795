"""A pattern that takes too long is stopped and named; it blocks neither Ctrl-C nor other runs."""

from __future__ import annotations

import re
import signal
import time

import pytest

from rompy_hydra.models import patterns
from rompy_hydra.models.patterns import LimitedPattern, TooSlow
from rompy_hydra.models.success import SuccessChecks
from rompy_hydra.workspace import Workspace

CATASTROPHES = ["(a+)+$", r"(a|aa)+$", "(.*)(.*)(.*)(.*)(.*)(.*)(.*)[^a!]$", r"(a|a?)+\d$"]
CATASTROPHES += ["a?" * 40 + "a" * 40 + "$"]
LINE = "a" * 78 + "!"
PRELUDE = f"""
model = TemplateModel(
    template=TEMPLATE,
    commands=['echo {LINE}'],
    success={{"log_must_contain": [r"(a|aa)+$"]}},
)
"""


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "PRINT").write_text(f"a line\n{LINE}\n")
    return Workspace(tmp_path)


def check(workspace: Workspace, pattern: str):
    [found] = SuccessChecks(log_file="PRINT", log_must_not_contain=(pattern,)).judge(workspace)
    return found


def test_a_pattern_that_takes_too_long_fails_its_check_and_is_named(workspace, monkeypatch):
    monkeypatch.setattr(patterns, "_LIMIT", 0.2)
    found = check(workspace, "(a|aa)+$")
    assert not found.ok
    expected = "PRINT could not be checked: the pattern '(a|aa)+$' takes more than "
    assert found.message.startswith(expected)


@pytest.mark.parametrize("pattern", CATASTROPHES)
def test_patterns_for_which_python_takes_years_end(workspace, monkeypatch, pattern):
    monkeypatch.setattr(patterns, "_LIMIT", 0.2)
    start = time.monotonic()
    check(workspace, pattern)
    assert time.monotonic() - start < 10


def test_many_lines_that_each_take_long_are_stopped_as_well(monkeypatch):
    monkeypatch.setattr(patterns, "_LIMIT", 0.2)
    pattern = LimitedPattern(".*.*[^a]x")
    with pytest.raises(TooSlow):
        for _ in range(100_000):
            pattern.search("a" * 400)


@pytest.mark.parametrize(
    "pattern",
    [
        "ABORT|Severe error",
        r"Courant number\s*=\s*([\d.]+)",
        r"(?i)\bnan\b",
        r"(?P<key>\w+)=(?P=key)",
        r"x{e}",
        r"\{e\} [{e}]+",
        r"\N{DEGREE SIGN}\d{1,3}",
        r"[\]a-]+(?=\d)",
        r"(?<!no )error(?!s?\s*=\s*0)",
        "a{2,}?b{,3}",
        r"^\s*(\d+(?:\.\d*)?)\s+[^|]*\|",
        "ß|ss",
    ],
)
def test_a_long_line_is_matched_as_a_short_one(pattern):
    texts = ["Courant number = 0.7", "NaN", "ab=ab", "x{e}", "{e} {e", "°37", "]a-9", "error = 0", "aabb"]
    texts += ["an error", " 12.5 text |", "Severe error", "SS", "STRASSE", "\u0130", ""]
    limited = LimitedPattern(pattern)
    limited._longest = 0  # every line is a long one
    for text in texts:
        expected, found = re.search(pattern, text), limited.search(text)
        assert (found and (found.span(), found.groups())) == (
            expected and (expected.span(), expected.groups())
        )


def test_ctrl_c_ends_a_driver_whose_threads_match_a_catastrophic_pattern(start_driver, tmp_path):
    (tmp_path / "template").mkdir()
    code = f"TEMPLATE = {str(tmp_path / 'template')!r}\n" + PRELUDE
    driver = start_driver(
        code
        + f"""
import threading
run = ModelRun(run_id="r", output_dir={str(tmp_path / "runs")!r}, config=model)
thread = threading.Thread(target=run.run, kwargs={{"backend": "local"}}, daemon=True)
thread.start()
log = Path({str(tmp_path / "runs/r/exit_code")!r})
while not log.exists():
    thread.join(0.01)
try:
    thread.join(0.3)
    say("matching")
    thread.join()
    say("the pattern did not take long")
except KeyboardInterrupt:
    say("interrupted")
"""
    )
    deadline = time.monotonic() + 30
    while "matching" not in driver.output:
        assert time.monotonic() < deadline, driver.output
        time.sleep(0.05)
    driver.send(signal.SIGINT)
    while "interrupted" not in driver.output:
        assert time.monotonic() < deadline, driver.output
        time.sleep(0.05)
