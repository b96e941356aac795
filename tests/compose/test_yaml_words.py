"""What YAML makes of unquoted values: numbers of what looks like a time, booleans of words."""

from __future__ import annotations

import pytest

MODEL = """
defaults: [template]
template: {template}
parameters: {{{parameters}}}
commands: ['echo > out']
success: {{must_exist: [out]}}
"""


@pytest.fixture
def lake(sweeps):
    """Run a command with a model of these parameters, all of which its template writes."""
    template = sweeps.configs.parent / "lake"
    template.mkdir()
    (template / "in.txt").write_text(
        "{% for name, value in model.items() %}{{ name }}={{ value }} {% endfor %}"
    )

    def run(parameters, *arguments, code=0):
        text = MODEL.format(template=template, parameters=parameters)
        (sweeps.configs / "model" / "lake.yaml").write_text(text)
        return sweeps.run(*arguments, "model=lake", "processor=noop", "run_id=x", code=code)

    run.sweeps = sweeps
    return run


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("t: 1:30", "model.parameters.t: YAML reads 1:30 as the number 90. Put it in quotes: '1:30'"),
        ("t: 12:30:00", "YAML reads 12:30:00 as the number 45000"),
        ("t: -1:30.5", "YAML reads -1:30.5 as the number -90.5"),
        ("code: 010", "model.parameters.code: YAML reads 010 as the number 8. Put it in quotes: '010'"),
        ("g: {t: 1:30}", "model.parameters.g.t: YAML reads 1:30"),
        ("l: [1, 1:30]", "model.parameters.l[1]: YAML reads 1:30"),
        ("t: {value: 1:30, min: 0}", "model.parameters.t.value: YAML reads 1:30"),
    ],
)
@pytest.mark.parametrize("command", [(), ("check",)])
def test_a_number_that_was_meant_as_a_text_is_refused(lake, command, parameters, message):
    before = lake.sweeps.snapshot()
    out = lake(parameters, *command, code=2)
    assert message in out
    assert "model/lake.yaml, line 4" in out
    assert lake.sweeps.snapshot() == before


@pytest.mark.parametrize("word", ["NO", "no", "Yes", "on", "OFF"])
def test_a_word_that_becomes_a_boolean_is_warned_about(lake, word):
    becomes = "true" if word.lower() in ("yes", "on") else "false"
    out = lake(f"side: {word}", "check")
    assert (
        f"warning    model.parameters.side: YAML reads {word} as {becomes}. Put it in quotes: '{word}', "
        f"or write {becomes} (model/lake.yaml, line 4)"
    ) in out


@pytest.mark.parametrize(
    "parameters",
    ["t: '1:30'", "side: 'NO'", "side: true", "a: 10, b: 0, c: 0.5, d: 1_000, e: 0x1f, f: nope, g: 1e-3"],
)
def test_what_is_clear_is_accepted(lake, parameters):
    assert "YAML reads" not in lake(parameters, "check")


def test_an_experiment_is_read_in_the_same_way(lake):
    folder = lake.sweeps.configs / "experiment"
    folder.mkdir()
    text = "# @package _global_\ndefaults: [{override /model: lake}]\nmodel:\n  parameters:\n    t: 1:30\n"
    (folder / "storm.yaml").write_text(text)
    out = lake("t: 3", "experiment=storm", code=2)
    assert "model.parameters.t: YAML reads 1:30 as the number 90" in out
    assert "experiment/storm.yaml, line 5" in out


def test_an_empty_value_is_refused_where_it_would_be_written(lake):
    out = lake("d: ", "check", code=2)
    assert "an expression has no value (null). Give it one" in out
