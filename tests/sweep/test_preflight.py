"""All points are validated before the first run starts, without changing anything on disk."""

from __future__ import annotations

import subprocess
import sys

import pytest

X = "model.parameters.x"


def test_the_problems_of_all_points_are_shown_in_one_table(sweeps):
    before = sweeps.snapshot()
    out = sweeps.run("-m", "processor=noop", "model.friction=0.01,x,9", "model.wave_height=-1,1,2", code=2)
    rows = [line.split() for line in out.splitlines()]
    assert "the sweep cannot start: 3 problems in 9 points; nothing was changed" in out
    assert ["points", "example", "key", "value", "reason"] in rows
    assert ["3", "friction=0.01,wave_height=-1", "model.wave_height", "-1"] in [r[:4] for r in rows]
    assert ["3", "friction=x,wave_height=-1", "model.friction", "'x'"] in [r[:4] for r in rows]
    assert ["3", "friction=9,wave_height=-1", "model.friction", "9"] in [r[:4] for r in rows]
    assert sweeps.snapshot() == before


def test_a_key_that_is_wrong_in_all_points_is_reported_once_with_the_closest_one(sweeps):
    out = sweeps.run("-m", "processor=noop", "model.frictoin=range(0,500)", code=2)
    assert "1 problem in 500 points" in out
    assert out.count("Did you mean 'friction'?") == 1


@pytest.mark.parametrize(
    ("override", "row"),
    [
        ("model.friction=1.9,2", "friction=1.9  model.friction  1.9, 2  input"),
        ("period=default,nope", "period=default  period  'default', 'nope'  there"),
        ("model.friction=2,3,4", "friction=2  model.friction  2, 3, 4  input"),
        ("model.friction=range(2,900)", "friction=2  model.friction  2, 3, 4, ...  input"),
    ],
)
def test_several_wrong_values_of_a_key_are_shown_together(sweeps, override, row):
    out = sweeps.run("-m", "processor=noop", override, code=2)
    assert "1 problem in " in out
    assert row in out


def test_a_wrong_key_that_is_named_like_a_secret_keeps_its_value(sweeps):
    out = sweeps.run("-m", "model.friction=0.1,0.2", "+model.api_key=hunter1,hunter2", code=2)
    assert "model.api_key" in out
    assert "hunter" not in out


def test_one_point_is_counted_in_the_singular(sweeps):
    assert "1 problem in 1 point; nothing" in sweeps.run("-m", "model.friction=2", code=2)
    assert sweeps.sweep(f"{X}=1", "--dry-run").endswith("1 point in sweeps/probe: 1 to run\n")
    lines = sweeps.sweep(f"{X}=1", "hydra.launcher.workers=1").splitlines()
    assert lines[0] == "sweep      sweeps/probe: 1 point, 1 in parallel"
    assert lines[2].startswith("sweep      1 point: 1 completed in ")


def test_a_mistake_in_each_of_many_points_needs_little_memory(tmp_path):
    limited = ["sh", "-c", 'ulimit -d 150000; exec "$@"', "sh", sys.executable, "-m", "rompy_hydra"]
    wrong = [*limited, "check", "-m", "model.frictoin=range(0,2500)"]
    answer = subprocess.run(wrong, capture_output=True, text=True, cwd=tmp_path)
    assert answer.returncode == 2, answer.stderr
    assert "1 problem in 2500 points" in answer.stderr


def test_an_unknown_column_is_reported_with_the_closest_key_before_anything_is_written(sweeps):
    rows = "".join(f"0.0{number},{number}\n" for number in range(1, 9))
    (sweeps.directory / "cases.csv").write_text("model.friction,model.wave_hight\n" + rows)
    before = sweeps.snapshot()
    out = sweeps.run("-m", "processor=noop", "sweep.cases=cases.csv", code=2)
    assert "model.wave_hight" in out
    assert "Did you mean 'wave_height'?" in out
    assert sweeps.snapshot() == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run_backend=locla,dokcer", "Did you mean 'docker'?"),
        ("nope/group=a,b", "nope/group"),
        ("model.friction=1,,2", "is not a valid override"),
        ("experiment=null", "the option of a group must be a name. Choices: "),
        ("processor=null", "Did you mean 'none'?"),
        ("=3", "'=3' is not a valid override: write key=value"),
        ("+=3,4", "(there is no key)"),
        ("model.friction=${nowhere},0.1", "nowhere"),
        ("model.files=[no-such-file],[]", "no-such-file"),
        ("+model.friction=0.1,0.2", "already"),
        ("~model.nothing", "model.nothing"),
        ("run_backend.timeout=-1,5", "run_backend.timeout"),
        ("model.commands=[[no-such-program]],[[true]]", "'no-such-program' was not found"),
    ],
)
def test_every_kind_of_problem_with_a_point_is_reported(sweeps, override, message):
    before = sweeps.snapshot()
    out = sweeps.run("-m", "processor=noop", override, code=2)
    assert message in out
    assert "Traceback" not in out
    assert sweeps.snapshot() == before


@pytest.mark.parametrize("flag", ["--dry-run", "sweep.dry_run=true"])
def test_a_dry_run_lists_the_points_and_the_planned_actions(sweeps, flag):
    sweeps.fail(2)
    sweeps.sweep(f"{X}=1,2", code=1)
    before = sweeps.snapshot()
    rows = [line.split("  ") for line in sweeps.sweep(f"{X}=1,2,3", flag).splitlines()]
    found = [[cell.strip() for cell in row if cell] for row in rows]
    assert found == [
        ["skip", "x=1", "done and unchanged"],
        ["retry", "x=2", "failed before"],
        ["run", "x=3", "not done yet"],
        ["command", "sh probe.sh"],
        ["3 points in sweeps/probe: 2 to run, 1 done and unchanged"],
    ]
    assert sweeps.snapshot() == before


@pytest.mark.parametrize("command", [(), ("check",)])
def test_a_setting_of_a_sweep_is_rejected_without_a_sweep(sweeps, command):
    before = sweeps.snapshot()
    out = sweeps.run(*command, "sweep.cases=storms.csv", code=2)
    assert "'sweep.cases=storms.csv' is a setting of a sweep: add -m" in out
    assert sweeps.snapshot() == before


def test_check_validates_a_sweep_and_changes_nothing(sweeps):
    before = sweeps.snapshot()
    found = sweeps.run("check", *sweeps.command(f"{X}=1,2"))
    assert found.splitlines()[:2] == ["command    sh probe.sh", "2 points in sweeps/probe: 2 to run"]
    assert "no problems found" in found
    assert "x=1" in sweeps.run("check", *sweeps.command(f"{X}=1,2", "+model.success.no=1"), code=2)
    assert sweeps.snapshot() == before


def test_flags_may_stand_anywhere_among_the_overrides(sweeps):
    command = ("model=probe", "--dry-run", f"{X}=1,2", "-m", "processor=noop")
    assert "2 points in sweeps/probe: 2 to run" in sweeps.run(*command)


@pytest.mark.parametrize("command", [("-m",), ("-m", "--dry-run"), ("check", "-m")])
def test_an_unusable_output_directory_is_reported_before_anything_starts(sweeps, command):
    (sweeps.directory / "sweeps").touch()
    out = sweeps.run(*command, "model.friction=0.1,0.2", code=2)
    assert (
        f"{sweeps.directory}/sweeps is not a directory. Choose another place with sweep.directory=DIR"
        in out
    )


@pytest.mark.parametrize(
    ("override", "suggestion"),
    [("hydra.launcher.wrkers=2", "'workers'"), ("sweep.nam=2", "'name'"), ("period.strat=1", "'start'")],
)
@pytest.mark.parametrize("group", ["run_backend=local,docker", "model=glob(be*)", "period=one_day"])
def test_the_closest_setting_is_suggested_in_any_sweep(sweeps, override, suggestion, group):
    out = sweeps.run("-m", group, override, code=2)
    assert f"Did you mean {suggestion}? Choices: " in out
    assert ".  " not in out


@pytest.mark.parametrize("flags", [["--cfg", "job"], ["-m", "--cfg", "job"], ["-m", "--info", "all"]])
def test_a_flag_that_shows_one_configuration_rejects_several_values(sweeps, flags):
    out = sweeps.run(*flags, "model.friction=0.1,0.2", code=2)
    assert "model.friction has several values" in out
    assert "--multirun" not in out


def test_points_excluded_by_a_filter_are_not_run(sweeps):
    sweeps.sweep(f"{X}=range(1,7)", "sweep.filter=x % 2 == 0 and x < 6")
    assert sweeps.started() == ["2", "4"]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("x > 9", "sweep.filter leaves out every one"),
        ("y > 1", "sweep.filter: 'y' is not swept. Choices: model, model.parameters.x, processor, x."),
        ("x >", "is not a valid expression"),
        ("open('x')", "is not supported"),
    ],
)
def test_an_invalid_filter_is_rejected(sweeps, expression, message):
    assert message in sweeps.sweep(f"{X}=1,2", f"sweep.filter={expression}", code=2)
    assert not sweeps.path.exists()


def test_a_huge_grid_is_rejected_without_being_created(sweeps):
    out = sweeps.sweep(f"{X}=range(0,10000000)", code=2)
    assert "the grid has 10000000 points, and sweep.max_points is 10000" in out
    assert "set sweep.max_points=10000000" in out


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [("n", 2, "sweep.max_points"), ("y", 0, "3 points in sweeps/probe: 3 to run")],
)
def test_a_huge_grid_needs_confirmation_on_a_terminal(sweeps, answer, code, message):
    terminal = sweeps.on_terminal(*sweeps.command(f"{X}=1,2,3", "sweep.max_points=2", "--dry-run"))
    terminal.shows("The grid has 3 points. Run them all? [y/N]")
    terminal.type(f"{answer}\n")
    terminal.shows(message)
    assert terminal.wait() == code
