"""Installed plugins as options of config groups: in help, completion, validation and sweeps."""

from __future__ import annotations

import json

import yaml

from tests.plugins.packaging import Package, Program, install


def test_help_and_completion_list_the_installed_plugins(program):
    help_text = program("--help").stdout
    options = dict(line.split(": ", 1) for line in help_text.splitlines() if line.count(": ") == 1)
    assert {"with_config", "with_settings", "slow", "broken"} <= set(options["run_backend"].split(", "))
    assert {"twin-1:twin", "twin-2:twin", "thief:local", "local"} <= set(options["run_backend"].split(", "))
    assert "counter" in options["processor"].split(", ")
    assert "stepwise" in options["pipeline"].split(", ")
    assert {"drip", "slow_drip", "beach"} <= set(options["model"].split(", "))
    assert "dripping" in options["experiment"].split(", ")
    line = "rompy-hydra run_backend=with"
    answer = program("-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
    assert sorted(answer.stdout.split()) == ["run_backend=with_config", "run_backend=with_settings"]


def test_the_settings_of_a_plugin_become_keys_with_their_defaults(program):
    commands = [
        ["--cfg", "job", "run_backend=with_config", "model=drip"],
        ["--cfg", "job", "run_backend=with_settings", "processor=counter", "pipeline=stepwise"],
    ]
    first, second = (yaml.safe_load(answer.stdout) for answer in program.run_all(*commands))
    backend = {"_target_": "good_plugins.WithConfig", "nodes": 2, "queue": "short", "tags": []}
    assert first["run_backend"] == backend
    assert first["model"]["drops"] == 3
    assert first["model"]["success"]["must_exist"] == ["drip.csv"]
    settings = {"_target_": "good_plugins.WithSettings", "nodes": 1, "queue": "short"}
    assert second["run_backend"] == settings
    assert second["processor"] == {"_target_": "good_plugins.Counter", "pattern": "*.csv", "ignore": []}
    assert second["pipeline"]["pause"] == 0.0


INVALID_VALUES = """
run_backend=with_config   run_backend.nodes=many     run_backend.nodes = 'many': input should be a valid integer
run_backend=with_config   run_backend.nodes=0        run_backend.nodes = 0: input should be greater than or equal to 1
run_backend=with_config   run_backend.queue=x        run_backend.queue = 'x': input should be 'short' or 'long'
run_backend=with_config   run_backend.tags=[[a]]     run_backend.tags[0] = ['a']: input should be a valid string
run_backend=with_config   +run_backend.nods=3        run_backend.nods = 3: no such key. Did you mean 'nodes'?
run_backend=with_config   run_backend.nods=3         run_backend has no key 'nods'. Did you mean 'nodes'?
run_backend=with_settings run_backend.nodes=many     run_backend.nodes = 'many': input should be a valid integer
run_backend=with_settings +run_backend.nods=3        run_backend.nods = 3: no such key. Did you mean 'nodes'?
processor=counter         processor.pattern=3        processor.pattern = 3: input should be a valid string
processor=counter         +processor.patern=x        processor.patern = 'x': no such key. Did you mean 'pattern'?
processor=[counter,noop]  processor.counter.ignore=3 processor.counter.ignore = 3: must be a list. Write [3]
pipeline=stepwise         pipeline.pause=long        pipeline.pause = 'long': input should be a valid number
model=drip                model.drops=few            model.drops = 'few': input should be a valid integer
model=drip                +model.success.must_exits=[a] model.success.must_exits = ['a']: no such key. Did you mean 'must_exist'?
"""  # noqa: E501


def test_invalid_values_are_reported_as_for_built_in_plugins(program):
    lines = [line.split(maxsplit=2) for line in INVALID_VALUES.strip().splitlines()]
    answers = program.run_all(*(line[:2] for line in lines))
    for (*command, message), answer in zip(lines, answers, strict=True):
        assert answer.returncode == 2, command
        assert message in answer.stderr, command
    assert not (program.cwd / "runs").exists()


def test_all_invalid_values_are_reported_together(program):
    answer = program(
        "run_backend=with_config", "run_backend.nodes=0", "processor=counter", "processor.pattern=3",
        "model=drip", "model.drops=few",
    )  # fmt: skip
    assert answer.returncode == 2
    assert "3 problems in the configuration:" in answer.stderr


def test_a_package_can_provide_a_directory_of_configurations_with_its_own_classes(program):
    answer = program("experiment=dripping", "model.drops=9", "run_id=drip")
    assert answer.returncode == 0, answer.stderr
    record = json.loads((program.cwd / "runs" / "drip" / "run.json").read_text())
    assert record["config"]["model"]["drops"] == 9


def test_a_missing_directory_of_configurations_is_reported_as_broken(tmp_path):
    points = {"rompy_hydra.conf": {"gone": "there_is.no_such_tree"}}
    program = Program(install(tmp_path, Package("no-tree", {}, points)), tmp_path)
    plugins, checked = program.run_all(["plugins"], ["check"])
    assert checked.returncode == 0, checked.stderr
    assert "broken: the directory there_is.no_such_tree does not exist" in plugins.stdout


def test_a_postprocessor_that_only_registers_its_configuration_is_an_option(program):
    given, missing, wrong, listed = program.run_all(
        ["processor=ww3_transfer", "processor.destination=/archive", "model=drip", "run_id=moved"],
        ["processor=ww3_transfer", "model=drip"],
        ["processor=ww3_transfer", "+processor.keeep=true", "model=drip"],
        ["plugins", "processor"],
    )
    assert given.returncode == 0, given.stdout + given.stderr
    record = json.loads((program.cwd / "runs/moved/run.json").read_text())
    assert record["config"]["processor"][0]["name"] == "ww3_transfer"
    assert record["config"]["processor"][0]["destination"] == "/archive"
    assert record["messages"] == [{"processor": "ww3_transfer", "message": "to /archive, keep True"}]
    assert "processor.destination: is required" in missing.stderr
    assert "processor.keeep = True: no such key. Did you mean 'keep'?" in wrong.stderr
    assert "ww3_transfer" in listed.stdout


def test_plugins_can_be_swept_and_rerunning_the_sweep_skips_completed_runs(program):
    sweep = ["-m", "run_backend=local,with_settings,with_config", "model=drip", "processor=noop"]
    answer = program(*sweep)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    records = [json.loads(path.read_text()) for path in program.cwd.glob("sweeps/drip/*/run.json")]
    assert sorted(record["run_backend"]["name"] for record in records) == [
        "local", "with_config", "with_settings",
    ]  # fmt: skip
    assert {record["state"] for record in records} == {"completed"}
    assert "3 already done" in program(*sweep).stdout


def test_a_pipeline_plugin_executes_a_composed_run_and_its_record_has_the_configuration(program):
    arguments = ["pipeline=stepwise", "run_backend=with_settings", "run_backend.nodes=4", "processor=none"]
    answer = program(*arguments, "model=drip", "run_id=steps")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    run = program.cwd / "runs" / "steps"
    assert (run / "nodes.txt").read_text() == "4 short"
    record = json.loads((run / "run.json").read_text())
    assert record["run_backend"] == {"name": "with_settings", "nodes": 4, "queue": "short"}
    assert "pipeline=stepwise" in record["overrides"]
    assert record["parameters"]["run_backend.nodes"] == 4
    assert (run / ".hydra" / "config.yaml").exists()


def test_a_pipeline_plugin_can_be_swept(program):
    sweep = ["-m", "pipeline=stepwise", "model=drip", "model.drops=1,2", "processor=none"]
    answer = program(*sweep)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert len(list(program.cwd.glob("sweeps/drip/*/drip.csv"))) == 2
