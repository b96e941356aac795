"""What Hydra creates is what was checked, also where a value depends on something that comes later."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.security.test_hostile_configurations import (
    LOOKS,
    command,
    everywhere,
    modules,
    names_below,
    write,
)

__all__ = ["modules"]

# Calling it creates `{caught}`; so does importing the module `evil`.
CALL = {"_target_": "builtins.open", "file": "{caught}", "mode": "w"}
HANDLER = {"()": "builtins.open", "file": "{caught}", "mode": "w"}
IMPORT = {"_target_": "evil.Callback"}
# The commands that compose a sweep, and the run of one.
SWEEPS = {
    **{name: LOOKS[name] for name in ("check", "a dry run of a sweep")},
    "a sweep": ["-m", "+model.parameters.y=1,2"],
}


def processor(**named: object) -> dict[str, object]:
    """An option that shadows `noop`, and gives a setting by its long form, which is merged late."""
    return {
        "conf/processor/noop.yaml": {
            "_target_": "rompy_hydra.postprocess.NoopPostprocessor",
            "noop": named,
        }
    }


def logging_with(**handler: object) -> dict[str, object]:
    return {"version": 1, "handlers": handler, "root": {"level": "INFO", "handlers": [*handler]}}


BASIC = {
    "conf/hydra/launcher/rompy_hydra.yaml": {
        "_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
    }
}
JOBS = {"0": HANDLER, "1": HANDLER, "job_id_for_0": HANDLER}

LATE: dict[str, Mapping[str, object]] = {
    "a default that counts once the callbacks are left out": everywhere(
        vars={"evil": CALL},
        hydra={
            "mode": "MULTIRUN",
            "callbacks": {"x": 2},
            "launcher": {"workers": "${oc.select:hydra.callbacks.x,${vars.evil}}"},
        },
    ),
    "workers from a setting that is merged later": {
        **everywhere(hydra={"launcher": {"workers": "${processor.evil}"}}),
        **processor(evil=CALL),
    },
    "sweep parameters from a setting that is merged later": {
        **everywhere(hydra={"sweeper": {"params": "${processor.evil}"}}),
        **processor(evil=CALL),
    },
    "a callback from a setting that is merged later": {
        **everywhere(hydra={"mode": "MULTIRUN", "callbacks": {"x": "${processor.evil}"}}),
        **processor(evil=IMPORT),
    },
    "a handler named after the job": {
        **everywhere(vars=JOBS, hydra={"job_logging": logging_with(x="${vars.${hydra.job.id}}")}),
        **BASIC,
    },
    "a handler named after the number of the job": {
        **everywhere(vars=JOBS, hydra={"job_logging": logging_with(x="${vars.${hydra.job.num}}")}),
        **BASIC,
    },
    "all logging named after the job": {
        **everywhere(
            vars={"0": logging_with(x=HANDLER)}, hydra={"job_logging": "${vars.${hydra.job.num}}"}
        ),
        **BASIC,
    },
    "a name that is completed by the job": {
        **everywhere(
            hydra={
                "job_logging": logging_with(
                    x={"class": "logging.StreamHandler", "stream": "ext://evil.${hydra.job.num}"}
                )
            }
        ),
        **BASIC,
    },
    "an interpolation in an escaped text": everywhere(
        vars={"evil": CALL}, hydra={"launcher": {"workers": "\\${vars.evil}"}}
    ),
    "a launcher from elsewhere": everywhere(
        vars={"evil": {"_target_": "hydra_plugins.rompy_hydra.RompyLauncher", "workers": CALL}},
        hydra={"launcher": "${vars.evil}"},
    ),
    "a method of a plugin": everywhere(
        hydra={"launcher": {"workers": {"_target_": "hydra_plugins.rompy_hydra.RompySweeper.sweep"}}}
    ),
    "workers of themselves": everywhere(hydra={"launcher": {"workers": "${hydra.launcher}"}}),
    "a callback with a path as its name": everywhere(
        hydra={"mode": "MULTIRUN", "callbacks": {"a.b": IMPORT, "a": {"b": IMPORT}}}
    ),
    "the schema of Hydra": {
        **everywhere(vars={"evil": CALL}, hydra={"launcher": {"workers": "${vars.evil}"}}),
        "conf/hydra/config.yaml": {"hydra": {"launcher": CALL, "callbacks": {"x": CALL}}},
    },
}


@pytest.mark.parametrize("name", LATE)
def test_nothing_is_created_from_a_value_that_comes_later(name, tmp_path, modules):
    caught, directory = tmp_path / "caught", tmp_path / "project"
    write(directory, LATE[name], caught)
    before = names_below(directory)
    for look, (first, *rest) in SWEEPS.items():
        arguments = [first, "--config-dir", "conf", "model=mine", "processor=noop", *rest]
        answer = command(directory, modules, arguments)
        shown = answer.stderr.decode(errors="replace")
        assert not caught.exists(), (look, shown)
        assert "Traceback" not in shown, (look, shown[-3000:])
        # Without a sweep, nothing uses the value.
        assert answer.returncode == 2 or look != "a sweep", (look, answer)
        assert names_below(directory) == before, look
        # Not by Hydra, which would have begun to create it.
        assert "call to target" not in shown, (look, shown)


def test_a_function_that_a_sweeper_imports_by_its_name_must_be_allowed_by_the_user(tmp_path, modules):
    caught = tmp_path / "caught"
    sweeper = {"custom_search_space": "evil.space", "n_trials": 1}
    write(tmp_path, everywhere(hydra={"sweeper": sweeper}), caught)
    (modules / "evil" / "__init__.py").write_text(f"def space(*_): open({str(caught)!r}, 'w')\n")
    arguments = ["-m", "--config-dir", "conf", "model=mine", "processor=noop", "hydra/sweeper=optuna"]
    one = "+model.parameters.y=interval(1,2)"
    answer = command(tmp_path, modules, [*arguments, one, "sweep.objective=seconds"])
    assert answer.returncode == 2, answer
    assert b"hydra.sweeper.custom_search_space" in answer.stderr
    assert not caught.exists()
    command(tmp_path, modules, [*arguments, one, "sweep.objective=seconds", "allowed_targets=[evil.]"])
    assert caught.exists()


def test_the_message_names_the_value_that_cannot_be_resolved_in_time(tmp_path, modules):
    write(tmp_path, LATE["workers from a setting that is merged later"], tmp_path / "caught")
    arguments = ["-m", "--config-dir", "conf", "model=mine", "processor=noop", "--dry-run"]
    answer = command(tmp_path, modules, arguments)
    assert b"hydra.launcher.workers: " in answer.stderr, answer
    assert b"processor.evil" in answer.stderr


def test_a_run_needs_no_value_of_a_launcher_that_only_a_sweep_uses(tmp_path, modules):
    files = everywhere(hydra={"launcher": {"workers": "${oc.decode:${oc.env:CORES_OF_THE_CLUSTER}}"}})
    write(tmp_path, files, tmp_path / "caught")
    arguments = ["--config-dir", "conf", "model=mine", "processor=noop"]
    assert command(tmp_path, modules, ["check", *arguments]).returncode == 0
    answer = command(tmp_path, modules, ["check", "-m", *arguments])
    assert answer.returncode == 2
    assert b"hydra.launcher.workers" in answer.stderr and b"CORES_OF_THE_CLUSTER" in answer.stderr
    answer = command(tmp_path, modules, ["check", "-m", *arguments], CORES_OF_THE_CLUSTER="2")
    assert answer.returncode == 0, answer


def test_the_log_file_of_each_job_is_in_its_own_directory(tmp_path, modules):
    """Hydra's own logging, whose files are named after a directory that only the job knows."""
    write(tmp_path, everywhere(), tmp_path / "caught")
    arguments = ["-m", "--config-dir", "conf", "model=mine", "processor=noop", "sweep.name=s"]
    hydras = ["hydra/launcher=basic", "hydra/job_logging=default", "+model.parameters.y=1,2"]
    answer = command(tmp_path, modules, [*arguments, *hydras])
    assert answer.returncode == 0, answer
    found = {path.parent.name for path in (tmp_path / "sweeps" / "s").glob("*/rompy_hydra.log")}
    assert found == {"y=1", "y=2"}


def test_a_queue_of_logging_is_not_looked_up_by_its_name(tmp_path, modules):
    handler = {"class": "logging.handlers.QueueHandler", "queue": "evil.queue", "listener": "evil.listener"}
    write(
        tmp_path,
        {**everywhere(hydra={"job_logging": logging_with(x=handler)}), **BASIC},
        tmp_path / "caught",
    )
    arguments = ["-m", "--config-dir", "conf", "model=mine", "processor=noop", "+model.parameters.y=1,2"]
    answer = command(tmp_path, modules, arguments)
    assert answer.returncode == 2
    assert b"hydra.job_logging.handlers.x.queue" in answer.stderr
    assert b"hydra.job_logging.handlers.x.listener" in answer.stderr
    assert not (tmp_path / "caught").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "-m", "+hydra.callbacks.x._target_=hydra_plugins.nope.X"],
        ["-m", "+hydra.callbacks.x=5"],
        ["-m", "hydra.launcher._target_=hydra_plugins.nope.X"],
        ["-m", "hydra.launcher._target_=hydra_plugins.rompy_hydra.RompySweeper"],
        ["-m", "hydra.sweeper._target_=hydra_plugins.rompy_hydra.RompyLauncher"],
        ["-m", "hydra.launcher.workers={_target_: hydra_plugins.nope.X}"],
        ["-m", "hydra.launcher={_target_: evil.Launcher}", "allowed_targets=[evil.]"],
        ["--help", "hydra.help.template=$NOPE"],
        ["--help", "hydra.help.template=null"],
        ["--hydra-help", "hydra.hydra_help.template=5$"],
        ["check", "hydra.job.env_copy=[NOPE]"],
    ],
)
def test_a_plugin_or_a_template_that_cannot_be_used_is_named(tmp_path, modules, arguments):
    answer = command(tmp_path, modules, arguments)
    assert answer.returncode == 2, answer
    assert b"Traceback" not in answer.stderr, answer.stderr.decode()[-3000:]
