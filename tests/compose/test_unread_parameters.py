"""Parameters that are set and that nothing reads: a run would carry a label that is not true."""

from __future__ import annotations

import json

import pytest

GLOBAL = "# @package _global_\n"
MODEL = """
defaults: [template]
template: {template}
parameters: {{friction: 0.1, unused: 3, dt: 10, grid: {{dx: 1, dy: 2}}}}
commands: ['echo ${{model.parameters.dt}} > out']
success: {{must_exist: [out]}}
"""
P = "model.parameters"


@pytest.fixture
def project(sweeps):
    """The command line with a model whose template reads `friction`, `grid.dx` and, if given, `depth`."""
    template = sweeps.configs.parent / "lake"
    template.mkdir()
    text = "f={{ model.friction }} d={{ model.get('depth', 5) }} dx={{ model.grid.dx }}\n"
    (template / "in.txt").write_text(text)
    (sweeps.configs / "model" / "lake.yaml").write_text(MODEL.format(template=template))
    (sweeps.configs / "experiment").mkdir()
    for name, parameters in {
        "typo": "{frction: 9}",
        "good": "{friction: 9}",
        "deep": "{grid: {dxx: 9}}",
    }.items():
        content = f"{GLOBAL}defaults: [{{override /model: lake}}]\nmodel: {{parameters: {parameters}}}\n"
        (sweeps.configs / "experiment" / f"{name}.yaml").write_text(content)
    return sweeps


REFUSED = {
    "added": (
        [f"+{P}.frction=9"],
        f"{P}.frction = 9: nothing reads this parameter. Did you mean 'friction'?",
    ),
    "forced": ([f"++{P}.frction=9"], "Did you mean 'friction'?"),
    "declared, but in no template": ([f"{P}.unused=9"], f"{P}.unused = 9: nothing reads this parameter"),
    "nested": (
        [f"+{P}.grid.dxx=9"],
        f"{P}.grid.dxx = 9: nothing reads this parameter. Did you mean 'grid.dx'?",
    ),
    "in a mapping": ([f"+{P}={{friction: 2, frction: 9}}"], f"{P}.frction = 9"),
    "two": ([f"+{P}.aa=1", f"+{P}.bb=1"], "2 problems in the configuration"),
    "referred to by an unread one": ([f"+{P}.aa=1", f"+{P}.bb=${{{P}.aa}}"], f"{P}.bb"),
    "in an experiment": (["experiment=typo"], f"{P}.frction = 9: nothing reads this parameter"),
    "in an experiment, nested": (["experiment=deep"], "Did you mean 'grid.dx'?"),
}


@pytest.mark.parametrize("command", [(), ("check",), ("--dry-run",), ("-m",), ("check", "-m")])
@pytest.mark.parametrize(("overrides", "message"), REFUSED.values(), ids=REFUSED)
def test_a_parameter_that_is_set_and_not_read_is_refused(project, command, overrides, message):
    before = project.snapshot()
    out = project.run(*command, "model=lake", *overrides, code=2)
    shown = " ".join(out.split())
    if "-m" in command:  # a table: the hint has a column of its own, and a single problem no count
        path = message.partition(":")[0].partition(" = ")[0]
        assert "nothing reads this parameter" in shown
        assert path in shown or message in shown or message.startswith("2 problems")
    else:
        assert message in shown
    assert project.snapshot() == before


def test_the_file_that_sets_it_is_named(project):
    assert "(in experiment/typo.yaml)" in project.run("experiment=typo", code=2)


def test_every_point_of_a_sweep_is_checked_with_its_own_model(project):
    out = project.run("-m", "model=lake", f"+{P}.frction=1,2,3", "processor=noop", code=2)
    assert f"{P}.frction" in out
    assert "nothing reads this parameter" in out
    assert not (project.directory / "sweeps").exists()
    out = project.run("-m", "experiment=good,typo", "processor=noop", code=2)
    assert "experiment=typo" in out


@pytest.mark.parametrize(
    "overrides",
    [
        [f"{P}.friction=0.2"],
        [f"+{P}.depth=3"],
        [f"{P}.grid.dx=3"],
        [f"{P}.grid={{dx: 3}}"],
        [f"{P}.dt=20"],  # the command refers to it
        [f"+{P}.rough=0.2", f"{P}.friction=${{{P}.rough}}"],
        [f"+{P}.rough=0.2", f"{P}.friction=${{.rough}}"],
        [f"+{P}.name=a", f"run_id=${{{P}.name}}"],
        [f"+{P}.name=a", f"+model.env.NAME=${{{P}[name]}}"],
        ["experiment=good"],
    ],
)
def test_a_parameter_that_something_reads_is_accepted(project, overrides):
    project.run("model=lake", *overrides, "--dry-run")
    if not any("run_id" in each for each in overrides):
        project.run("-m", "model=lake", *overrides, "--dry-run")


def test_a_model_that_reads_all_of_its_parameters_at_once_takes_any(project):
    (project.configs.parent / "lake" / "all.json").write_text("{{ model | tojson }}")
    project.run("model=lake", f"+{P}.anything=9", "--dry-run")


def test_a_parameter_that_only_the_models_own_file_declares_is_warned_about(project):
    warning = "nothing reads these parameters of the model: unused, grid.dy\n"
    assert f"warning    {warning}" in project.run("check", "model=lake")
    assert project.run("check", "-m", "model=lake", f"{P}.friction=1,2").count(warning) == 1
    project.run("model=lake", "processor=noop", "run_id=x")
    assert (project.directory / "runs/x/in.txt").read_text() == "f=0.1 d=5 dx=1\n"


def test_a_stored_configuration_with_an_unread_parameter_runs_again(project):
    project.run("model=lake", "processor=noop", "run_id=x")
    flags = ("--config-path=runs/x/.hydra", "--config-name", "config")
    assert "nothing to do" in project.run(*flags)
    assert "nothing reads" in project.run(*flags, f"{P}.unused=4", code=2)


def test_a_resumed_sweep_finds_its_points_again(project):
    command = ("-m", "model=lake", f"{P}.friction=1,2", "processor=noop")
    project.run(*command)
    out = project.run(*command)
    assert "2 already done" in out
    records = [json.loads(p.read_text()) for p in project.directory.glob("sweeps/lake/*/run.json")]
    assert {record["state"] for record in records} == {"completed"}
