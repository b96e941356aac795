"""Hydra's own sweeper and launchers can be selected, and create runs with records."""

from __future__ import annotations

import json

import pytest

X = "model.parameters.x"
BASIC_LAUNCHER = "hydra/launcher=basic"
BASIC_SWEEPER = "hydra/sweeper=basic"


def by_x(sweeps):
    """The state of each run by its `x`, in any directory."""
    found = {}
    for path in sweeps.path.glob("*/run.json"):
        record = json.loads(path.read_bytes())
        found[record["config"]["model"]["parameters"]["x"]] = record["state"]
    return found


@pytest.mark.parametrize("chosen", [(BASIC_LAUNCHER,), (BASIC_SWEEPER,), (BASIC_LAUNCHER, BASIC_SWEEPER)])
def test_hydras_own_plugins_run_a_sweep(sweeps, chosen):
    sweeps.sweep(f"{X}=1,2", "model.parameters.text=a,b", *chosen)
    assert sweeps.started() == ["1", "1", "2", "2"]
    assert by_x(sweeps) == {1: "completed", 2: "completed"}
    assert len(list(sweeps.path.glob("*/run.json"))) == 4


@pytest.mark.parametrize("chosen", [(BASIC_LAUNCHER,), (BASIC_SWEEPER,), (BASIC_LAUNCHER, BASIC_SWEEPER)])
def test_hydras_own_plugins_continue_after_a_failure_and_report_it(sweeps, chosen):
    sweeps.fail(2)
    out = sweeps.sweep(f"{X}=1,2,3", *chosen, code=1)
    assert by_x(sweeps) == {1: "completed", 2: "failed", 3: "completed"}
    assert "template exited with 3" in out
    assert "Fatal: no water at 2" in "".join(path.read_text() for path in sweeps.path.glob("*/run.log"))


@pytest.mark.parametrize("flags", [("--dry-run",), ("sweep.dry_run=true",)])
def test_a_dry_run_runs_nothing_with_any_launcher(sweeps, flags):
    before = sweeps.snapshot()
    assert "2 points in sweeps/probe: 2 to run" in sweeps.sweep(f"{X}=1,2", BASIC_LAUNCHER, *flags)
    out = sweeps.sweep(f"{X}=1,2", BASIC_SWEEPER, BASIC_LAUNCHER, *flags, code=2)
    assert "cannot validate its points without running them" in out
    assert sweeps.snapshot() == before
    assert sweeps.started() == []


def test_points_are_validated_before_another_launcher_runs_the_first(sweeps):
    before = sweeps.snapshot()
    for command in (("-m",), ("check", "-m")):
        out = sweeps.run(*command, "model.friction=0.05,1.9", BASIC_LAUNCHER, code=2)
        assert "1 problem in 2 points; nothing was changed" in out
    assert sweeps.snapshot() == before


def test_the_launcher_creates_the_same_runs_with_the_sweeper_of_hydra(sweeps):
    command = (f"{X}=1,2", "+model.parameters.depth=3", "~model.success")
    assert "2 points: 2 completed" in sweeps.sweep(*command)
    assert "2 points: 2 already done" in sweeps.sweep(*command, BASIC_SWEEPER)


@pytest.mark.parametrize("launcher", [BASIC_LAUNCHER, "hydra/launcher=joblib"])
def test_a_sweep_started_with_another_launcher_can_be_resumed(sweeps, launcher):
    sweeps.fail(2)
    command = (f"{X}=1,2", "model.parameters.text='a, b',c", "~model.success")
    sweeps.sweep(*command, launcher, code=1)
    before = sweeps.started()
    sweeps.fix(2)
    assert "4 points: 2 completed, 2 already done" in sweeps.sweep(*command)
    assert sorted(sweeps.started()) == sorted([*before, "2", "2"])


def test_another_launcher_gives_a_sweep_over_models_the_same_name(sweeps):
    command = ("-m", "model=beach,probe", "processor=noop")
    sweeps.run(*command, BASIC_LAUNCHER)
    assert "sweeps/models: 2 points, 2 already done" in sweeps.run(*command)


def test_batches_of_hydras_sweeper_have_one_summary(sweeps):
    sweeps.fail(1)
    out = sweeps.sweep(f"{X}=range(0,5)", BASIC_SWEEPER, "hydra.sweeper.max_batch_size=2", code=1)
    assert "5 points: 4 completed, 1 failed" in out
    assert len(sweeps.table()) == 5


def test_sweeper_params_define_a_sweep_in_a_configuration(sweeps):
    (sweeps.configs / "experiment").mkdir()
    (sweeps.configs / "experiment" / "pair.yaml").write_text(
        "# @package _global_\n"
        "defaults: [{override /model: probe}]\n"
        "hydra: {sweeper: {params: {model.parameters.x: '1,2', model.parameters.text: 'a'}}}\n"
    )
    out = sweeps.run("-m", "experiment=pair", "processor=noop")
    assert "2 points: 2 completed" in out
    assert sweeps.started() == ["1", "2"]
    assert "1 point" in sweeps.run("-m", "experiment=pair", "processor=noop", f"{X}=2")


def test_the_joblib_launcher_runs_a_sweep(sweeps):
    sweeps.fail(2)
    out = sweeps.sweep(f"{X}=1,2,3", "hydra/launcher=joblib", code=1)
    assert by_x(sweeps) == {1: "completed", 2: "failed", 3: "completed"}
    assert "3 runs, 1 failed" in out


def test_a_constant_of_another_launcher_keeps_a_later_value_in_a_separate_directory(sweeps):
    sweeps.sweep(f"{X}=1,2", "+model.parameters.depth=3", BASIC_LAUNCHER)
    sweeps.sweep(f"{X}=1,2", "+model.parameters.depth=4")
    assert sorted(path.parent.name for path in sweeps.path.glob("*/run.json")) == [
        "depth=4,x=1",
        "depth=4,x=2",
        "x=1",
        "x=2",
    ]


OPTUNA = ("hydra/sweeper=optuna", "hydra.sweeper.sampler.seed=3", "hydra.sweeper.n_jobs=2")
SEARCH = (f"{X}=range(1,6)", "processor=summary", "sweep.objective=result.value.max")


@pytest.fixture
def with_a_metric(sweeps):
    """The result of the model as a table, so that its number is a metric."""
    path = sweeps.configs.parent / "template" / "probe.sh"
    path.write_text(path.read_text() + "printf 'value\\n%s\\n' {{ model.x }} > result.csv\n")
    return sweeps


def best(sweeps):
    found = (sweeps.path / "optimization_results.yaml").read_text()
    return float(found.rpartition("best_value: ")[2])


def test_optuna_minimises_a_metric_and_a_repeated_command_starts_no_run_again(with_a_metric):
    sweeps = with_a_metric
    sweeps.sweep(*OPTUNA, *SEARCH, "hydra.sweeper.n_trials=6")
    assert best(sweeps) == min(map(int, sweeps.started()))
    before = sweeps.started()
    assert len(before) == len(set(before)) < 6  # equal points run once
    sweeps.sweep(*OPTUNA, *SEARCH, "hydra.sweeper.n_trials=6")
    assert sweeps.started() == before


def test_a_failed_run_has_no_objective_and_optuna_may_continue(with_a_metric):
    sweeps = with_a_metric
    for x in range(1, 4):
        sweeps.fail(x)
    more = ("hydra.sweeper.n_trials=8", "hydra.sweeper.max_failure_rate=1")
    sweeps.sweep(*OPTUNA, *SEARCH, *more, code=1)
    assert best(sweeps) in (4, 5)


def test_an_unknown_objective_is_reported_with_the_closest_metric(with_a_metric):
    out = with_a_metric.sweep(*OPTUNA, *SEARCH[:-1], "sweep.objective=result.valu.max", code=2)
    assert "has no such metric. Did you mean 'result.value.max'?" in out


def test_an_objective_without_an_optimising_sweeper_is_refused(sweeps):
    out = sweeps.sweep(f"{X}=1,2", "sweep.objective=result.value.max", code=2)
    assert "this sweeper does not optimise" in out
    assert not sweeps.path.exists()


def test_a_sampler_that_is_not_one_of_optunas_is_refused(sweeps):
    out = sweeps.sweep(*OPTUNA, f"{X}=range(1,6)", "hydra.sweeper.sampler._target_=os.system", code=2)
    assert "hydra.sweeper.sampler._target_ = 'os.system': is neither a plugin of Hydra nor allowed" in out
