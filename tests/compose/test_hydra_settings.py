"""Settings of Hydra: each is honoured, or refused with the setting to use instead."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from rompy_hydra.compose.hydra_node import REFUSED
from tests.sweep.test_launchers import BASIC_LAUNCHER, BASIC_SWEEPER

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
X = "model.parameters.x"

# Overrides with an effect that this program does not have, and the setting to use instead.
IGNORED = {
    "hydra.run.dir=elsewhere": "output_dir=DIR and run_id=NAME",
    "hydra.sweep.dir=elsewhere": "sweep.directory=DIR and sweep.name=NAME",
    "hydra.sweep.subdir=elsewhere": "sweep.directory=DIR and sweep.name=NAME",
    "hydra.output_subdir=null": "always stored in .hydra",
    "hydra.job.chdir=true": "run_backend.working_dir=DIR",
    "+hydra.job.env_set.OMP_NUM_THREADS=4": "+model.env.NAME=VALUE",
    "hydra.job.env_copy=[HOME]": "model.env",
    "hydra.verbose=true": "log_level=DEBUG",
    "hydra.verbose=[hydra]": "log_level=DEBUG",
    "hydra/job_logging=none": "log_level=ERROR",
    "hydra/job_logging=default": "log_level",
    "hydra.job_logging.root.level=DEBUG": "log_level=DEBUG",
    "hydra/hydra_logging=disabled": "log_level=ERROR",
}


@pytest.fixture
def multi(sweeps):
    """The command line, with main configurations and experiments that have settings of Hydra."""
    (sweeps.configs / "experiment").mkdir()
    for name, node in {
        "swept": "{mode: MULTIRUN, sweeper: {params: {model.parameters.x: '1,2'}}}",
        "single": "{mode: RUN}",
    }.items():
        text = f"# @package _global_\ndefaults: [{{override /model: probe}}]\nhydra: {node}\n"
        (sweeps.configs / "experiment" / f"{name}.yaml").write_text(text)
    main = "defaults: [config, _self_]\nhydra: {run: {dir: elsewhere}, job: {chdir: true}}\n"
    (sweeps.configs / "mine.yaml").write_text(main)
    return sweeps


@pytest.mark.parametrize("command", [(), ("-m", "model.friction=0.1,0.2"), ("check",)])
@pytest.mark.parametrize(("setting", "instead"), IGNORED.items())
def test_a_setting_without_effect_is_refused_with_the_one_to_use(sweeps, command, setting, instead):
    before = sweeps.snapshot()
    out = sweeps.run(*command, setting, code=2)
    assert (
        setting.split("=")[0].lstrip("+").replace("/", ".").startswith(re.search(r"hydra\.[\w.]+", out)[0])
    )
    assert instead in out
    assert sweeps.snapshot() == before


def test_settings_without_effect_in_a_file_are_refused_together(multi):
    out = multi.run("--config-name", "mine", code=2)
    assert "hydra.run.dir = 'elsewhere'" in out
    assert "hydra.job.chdir = True" in out


def test_the_page_lists_every_setting_that_is_refused():
    text = PAGE.read_text()
    for key in REFUSED:
        assert f"`{key}`" in text
    for setting in IGNORED:
        key = setting.lstrip("+").split("=")[0].replace("/", ".")
        assert any(key.startswith(each) for each in REFUSED), setting


@pytest.mark.parametrize("launcher", [(BASIC_LAUNCHER,), (BASIC_SWEEPER, BASIC_LAUNCHER)])
def test_a_launcher_of_hydra_honours_its_settings(sweeps, launcher):
    overrides = ("model=template", "model.template=.", "processor=noop", "model.commands=['echo $MARK']")
    out = sweeps.run("-m", *overrides, *launcher, "+hydra.job.env_set.MARK=seen", code=None)
    logs = [path.read_text() for path in sweeps.directory.glob("sweeps/template/*/run.log")]
    assert logs == ["seen\n"], out


def test_hydras_own_sweeper_and_launcher_use_the_directory_of_hydra(sweeps):
    sweeps.sweep(f"{X}=1,2", BASIC_SWEEPER, BASIC_LAUNCHER, "hydra.sweep.dir=elsewhere")
    assert len(list(sweeps.directory.glob("elsewhere/*/run.json"))) == 2


CALLBACKS = """
from pathlib import Path
class Multirun:
    def on_multirun_start(self, config, **_):
        Path("began").touch()
    def on_multirun_end(self, config, **_):
        Path("ended").touch()
class Job(Multirun):
    def on_job_end(self, config, job_return, **_):
        Path("job").touch()
"""


@pytest.fixture
def callback(sweeps, tmp_path, monkeypatch):
    """The overrides for one of the callbacks of a module."""
    (tmp_path / "my_callbacks.py").write_text(CALLBACKS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return lambda name: (
        f"+hydra.callbacks.mine={{_target_: my_callbacks.{name}}}",
        "allowed_targets=[my_callbacks.]",
        "processor=noop",
    )


def test_a_callback_is_refused_in_a_single_run_and_called_in_a_sweep(sweeps, callback):
    out = sweeps.run(*callback("Multirun"), code=2)
    assert "hydra.callbacks.mine: is called in sweeps (-m) only" in out
    for looking in (("-m", "--dry-run"), ("check", "-m")):
        sweeps.run(*looking, *callback("Multirun"), "model.friction=0.1")
        assert not (sweeps.directory / "began").exists()
    sweeps.run("-m", *callback("Multirun"), "model.friction=0.1")
    assert (sweeps.directory / "began").exists()
    assert (sweeps.directory / "ended").exists()


def test_a_callback_of_jobs_needs_a_launcher_that_calls_it(sweeps, callback):
    before = sweeps.snapshot()
    out = sweeps.run("-m", *callback("Job"), "model.friction=0.1", code=2)
    assert "hydra.callbacks.mine = 'my_callbacks.Job': on_job_end would not be called" in out
    assert sweeps.snapshot() == before
    sweeps.run("-m", *callback("Job"), "model.friction=0.1", BASIC_LAUNCHER)
    assert (sweeps.directory / "job").exists()


def test_a_rerun_of_hydra_is_refused_with_the_way_to_do_it(sweeps):
    out = sweeps.run("--experimental-rerun", "runs/x/.hydra/config.pickle", code=2)
    assert "--config-path RUN/.hydra --config-name config" in out


def test_a_configuration_may_ask_for_a_sweep(multi):
    assert "2 points in sweeps/swept: 2 to run" in multi.run(
        "experiment=swept", "--dry-run", "processor=noop"
    )
    assert "2 points in sweeps/swept: 2 to run" in multi.run("check", "experiment=swept", "processor=noop")
    out = multi.run("experiment=swept", "processor=noop")
    assert "2 points: 2 completed" in out
    assert multi.started() == ["1", "2"]
    out = multi.run("experiment=swept", "processor=noop", f"{X}=3,4", "sweep.name=other")
    assert "sweeps/other: 2 points" in out


def test_the_command_line_may_ask_for_a_sweep_by_its_mode(sweeps):
    assert "2 points in sweeps/beach" in sweeps.run(
        "hydra.mode=MULTIRUN", "model.friction=0.1,0.2", "--dry-run"
    )
    assert "1 point in sweeps/beach" in sweeps.run("hydra.mode=MULTIRUN", "--dry-run")


def test_the_command_wins_over_the_mode_of_a_configuration(multi):
    assert "run        swept" in multi.run(
        "experiment=swept", "hydra.mode=RUN", "processor=noop", "--dry-run"
    )
    assert "1 point in sweeps/single" in multi.run("-m", "experiment=single", "processor=noop", "--dry-run")


@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_sweeper_params_may_be_given_in_the_command(sweeps, sign):
    params = f"{sign}hydra.sweeper.params={{model.friction: '0.1,0.2'}}"
    out = sweeps.run("-m", params, "processor=noop", "--dry-run")
    assert "2 points in sweeps/beach" in out


# --- the stored configuration ---------------------------------------------------------------------


def run_again(sweeps, name, *arguments, code=0):
    return sweeps.run(f"--config-path=runs/{name}/.hydra", "--config-name", "config", *arguments, code=code)


def record(sweeps, name):
    return json.loads((sweeps.directory / "runs" / name / "run.json").read_bytes())


def test_a_stored_configuration_runs_again(sweeps):
    sweeps.run("model.friction=0.03", "processor=[summary,noop]")
    (name,) = (path.name for path in sweeps.directory.glob("runs/*"))
    first = record(sweeps, name)
    assert "nothing to do: every stage is done and unchanged" in run_again(sweeps, name)
    shutil.move(sweeps.directory / "runs" / name, sweeps.directory / "runs" / "kept")
    run_again(sweeps, "kept", f"run_id={name!r}")
    second = record(sweeps, name)
    assert second["identity"] == first["identity"]
    assert second["config_hash"] == first["config_hash"]
    assert second["metrics"] == first["metrics"]


def test_a_stored_configuration_may_be_changed_by_overrides_and_swept(sweeps):
    sweeps.run("processor=noop")
    name = "beach"
    run_again(sweeps, name, "model.friction=0.05")
    assert record(sweeps, f"{name},friction=0.05")["config"]["model"]["friction"] == 0.05
    out = run_again(sweeps, name, "-m", "model.friction=0.1,0.2,0.3", "--dry-run")
    assert f"3 points in sweeps/{name}: 3 to run" in out
    assert "has values, and no options to select" in run_again(sweeps, name, "processor=none", code=2)


def test_a_stored_configuration_of_the_first_version_runs_again(sweeps):
    data = Path(__file__).parents[1] / "data" / "version_0_1_0"
    shutil.copytree(
        data / "runs" / "completed" / ".hydra", sweeps.directory / "runs" / "completed" / ".hydra"
    )
    shutil.copytree(data / "tpl", sweeps.directory / "tpl")
    assert "run        again:" in run_again(sweeps, "completed", "run_id=again", "--dry-run")


def test_a_value_that_was_not_stored_has_to_be_given_again(sweeps):
    sweeps.run("run_id=secret", "processor=noop", "+model.env.API_TOKEN=xyz")
    out = run_again(sweeps, "secret", code=2)
    assert "model.env.API_TOKEN: its value was not stored. Give it with model.env.API_TOKEN=VALUE" in out
    assert "xyz" not in out
    run_again(sweeps, "secret", "model.env.API_TOKEN=abc", "--dry-run")
