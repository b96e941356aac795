"""What a configuration may name as `_target_`: an untrusted file cannot call arbitrary code."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import yaml

from rompy_hydra.compose.allowed_targets import check_allowed, load_target
from rompy_hydra.compose.build import build
from rompy_hydra.errors import ConfigError


class Bomb:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


def attacks(touch):
    """Models of an untrusted file, each of which runs a command unless it is rejected."""
    call = {"_target_": "os.system", "command": touch}
    beach = "rompy_hydra.models.Beach"
    created = f"${{oc.create:{{_target_: os.system, command: '{touch}'}}}}"
    return {
        "plain": call,
        "posix": {"_target_": "posix.system", "command": touch},
        "subprocess": {"_target_": "subprocess.run", "args": touch, "shell": True},
        "popen": {"_target_": "os.popen", "cmd": touch},
        "eval": {"_target_": "builtins.eval", "_args_": [f"__import__('os').system({touch!r})"]},
        "reexport": {"_target_": "rompy_hydra.process.command.os.system", "command": touch},
        "reexport_deep": {"_target_": "rompy_hydra.run.local.os.popen", "cmd": touch},
        "reexport_module": {"_target_": "rompy_hydra.adapters.model.subprocess.run", "args": touch},
        "own_function": {
            "_target_": "rompy_hydra.process.run", "argv": ["sh", "-c", touch], "cwd": ".", "env": {},
            "log": "log", "mark": "x",
        },
        "method": {"_target_": f"{beach}.parse_raw", "b": "x", "proto": "pickle", "allow_pickle": True},
        "construct": {"_target_": f"{beach}.model_construct"},
        "dunder": {"_target_": f"{beach}.__class__.__call__", "_args_": [touch]},
        "lookalike": {"_target_": "rompy_hydra_evil.System", "command": touch},
        "dots": {"_target_": "rompy_hydra..process.command.os.system", "command": touch},
        "relative": {"_target_": ".os.system", "command": touch},
        "colon": {"_target_": "os:system", "command": touch},
        "number": {"_target_": 3},
        "a_list": {"_target_": ["os.system"], "command": touch},
        "nothing": {"_target_": None, "command": touch},
        "module": {"_target_": "rompy_hydra.models"},
        "hydra_instantiate": {"_target_": "hydra.utils.instantiate", "config": call},
        "hydra_call": {"_target_": "hydra.utils.call", "_args_": [call]},
        "hydra_method": {"_target_": "hydra.utils.get_method", "path": "os.system"},
        "nested_value": {"_target_": beach, "wave_height": call},
        "nested_list": {"_target_": beach, "files": [call]},
        "nested_deep": {"_target_": beach, "success": {"must_exist": [{"a": [call]}]}},
        "nested_args": {"_target_": beach, "_args_": [call]},
        "nested_partial": {"_target_": beach, "_partial_": True, "friction": call},
        "partial": {**call, "_partial_": True},
        "not_recursive": {"_target_": beach, "_recursive_": False, "friction": call},
        "convert": {"_target_": beach, "_convert_": "object", "friction": call},
        "interpolated": {"_target_": "${.name}", "name": "os.system", "command": touch},
        "created": {"_target_": beach, "friction": created},
        "created_later": {"_target_": beach, "_convert_": "all", "kind_of": "\\" + created},
        "by_environment": {"_target_": "${oc.env:TARGET}", "command": touch},
    }  # fmt: skip


def test_an_untrusted_model_cannot_call_anything_else(program, tmp_path):
    touch = f"touch {tmp_path}/called"
    stranger = tmp_path / "stranger"
    (stranger / "model").mkdir(parents=True)
    models = attacks(touch)
    (tmp_path / "bomb").write_bytes(pickle.dumps(Bomb(touch)))
    opened = {"_target_": "builtins.open", "file": str(tmp_path / "bomb")}
    models["pickled"] = {"_target_": "pickle.load", "file": opened}
    for name, node in models.items():
        (stranger / "model" / f"{name}.yaml").write_text(yaml.safe_dump(node))
    (stranger / "model" / "tagged.yaml").write_text(f"!!python/object/apply:os.system ['{touch}']\n")
    names = [*models, "tagged"]
    commands = [["--config-dir", str(stranger), f"model={name}"] for name in names]
    answers = program.run_all(*commands, TARGET="os.system")
    for name, answer in zip(names, answers, strict=True):
        assert answer.returncode == 2, (name, answer.stdout, answer.stderr)
        assert not (tmp_path / "called").exists(), name
    answer_to = dict(zip(names, answers, strict=True))
    assert (
        "model._target_ = 'os.system': is not allowed: a configuration could call anything. If you trust "
        "it, add allowed_targets=[os.] to the command"
    ) in answer_to["plain"].stderr
    assert "is really posix.system, which is not allowed" in answer_to["reexport"].stderr
    assert "is not a model, run backend, postprocessor or pipeline" in answer_to["own_function"].stderr
    assert "model.files[0]._target_ = 'os.system'" in answer_to["nested_list"].stderr
    assert "model.success.must_exist[0].a[0]._target_" in answer_to["nested_deep"].stderr
    assert "model._args_[0]._target_" in answer_to["nested_args"].stderr
    assert not (program.cwd / "runs").exists()


GLOBAL = "# @package _global_\n"


def test_an_untrusted_experiment_cannot_call_anything_else(program, tmp_path):
    touch = f"touch {tmp_path}/called"
    call = {"_target_": "os.system", "command": touch}
    hydra = {"_target_": "hydra_plugins.rompy_hydra.RompySweeper", "max_batch_size": call}
    callback, stream = "hydra.experimental.callbacks.PickleJobInfoCallback", "logging.StreamHandler"

    def handler(fields):
        return {"version": 1, "root": {"handlers": ["x"]}, "handlers": {"x": fields}}

    experiments = {
        "allows_itself": {"allowed_targets": ["os."], "model": call},
        "allows_all": {"allowed_targets": [""], "model": call},
        "allows_by_text": {"allowed_targets": "os.", "model": call},
        "period": {"period": call},
        "backend": {"run_backend": call},
        "processor": {"processor": {"a": call}},
        "pipeline": {"pipeline": call},
        "backend_by_name": {"run_backend": "os:system"},
        "sweep": {"sweep": call},
        "filtered": {"sweep": {"filter": f"__import__('os').system({touch!r})"}},
        "swept": {"hydra": {"sweeper": {"params": {"allowed_targets": "[os.]", "model": "plain"}}}},
        "callbacks": {"hydra": {"callbacks": {"mine": call}}},
        "callbacks_reexport": {
            "hydra": {"callbacks": {"mine": {"_target_": "hydra_plugins.rompy_hydra.annotations"}}}
        },
        "callbacks_interpolated": {"mine": call, "hydra": {"callbacks": {"mine": "${mine}"}}},
        "callbacks_nested": {"hydra": {"callbacks": {"mine": {"_target_": callback, "a": call}}}},
        "launcher": {"hydra": {"launcher": {"workers": call}}},
        "launcher_other": {"hydra": {"launcher": {"_target_": "os.system"}}},
        "sweeper": {"hydra": {"sweeper": hydra}},
        "logging": {"hydra": {"hydra_logging": handler({"()": "os.system", "command": touch})}},
        "logging_class": {"hydra": {"job_logging": handler({"class": "logging.os.system", "a": touch})}},
        "logging_stream": {"hydra": {"job_logging": handler({"class": stream, "stream": "ext://os.system"})}},
    }  # fmt: skip
    stranger = tmp_path / "stranger"
    (stranger / "experiment").mkdir(parents=True)
    (stranger / "model").mkdir(parents=True)
    (stranger / "model" / "plain.yaml").write_text(yaml.safe_dump(call))
    for name, node in experiments.items():
        (stranger / "experiment" / f"{name}.yaml").write_text(GLOBAL + yaml.safe_dump(node))
    basic = ["hydra/launcher=basic", "hydra/sweeper=basic"]
    commands = []
    for name, node in experiments.items():
        command = ["--config-dir", str(stranger), f"experiment={name}"]
        if "hydra" in node or "sweep" in node:
            commands += [["-m", *command], ["-m", *command, *basic]]
        else:
            commands += [command]
    # Hydra's own sweeper ignores these nodes.
    harmless = {"experiment=sweep", "experiment=filtered", "experiment=swept", "experiment=sweeper"}
    for command, answer in zip(commands, program.run_all(*commands), strict=True):
        assert not (tmp_path / "called").exists(), command
        if not (basic[0] in command and harmless & set(command)):
            assert answer.returncode == 2, (command, answer.stdout, answer.stderr)


def test_targets_that_a_file_requests_are_reported_and_the_user_can_allow_them(program, tmp_path):
    conf = tmp_path / "conf" / "model"
    conf.mkdir(parents=True)
    (conf / "dated.yaml").write_text("_target_: my_models.Dated\n")
    (conf.parent / "experiment").mkdir()
    (conf.parent / "experiment" / "dated.yaml").write_text(
        f"{GLOBAL}defaults:\n  - override /model: dated\n  - override /processor: none\n"
        "allowed_targets: [my_models.]\n"
    )
    (tmp_path / "my_models.py").write_text(
        "import os\nfrom rompy_hydra import BaseConfig\n\n"
        "class Dated(BaseConfig):\n    commands: tuple[str, ...] = ('date',)\n"
    )
    beside = {"PYTHONPATH": f"{program.site}:{tmp_path}"}
    directory = ["--config-dir", str(conf.parent)]
    refused, asked, swept = program.run_all(
        [*directory, "model=dated"],
        [*directory, "experiment=dated"],
        ["-m", *directory, "experiment=dated", "allowed_targets=[my_models.]"],
        **beside,
    )
    assert refused.returncode == 2
    assert "add allowed_targets=[my_models.] to the command" in refused.stderr
    assert asked.returncode == 2
    assert "allowed_targets = ['my_models.']: is requested by a configuration file" in asked.stderr
    assert "or set ROMPY_HYDRA_ALLOWED_TARGETS=my_models." in asked.stderr
    assert swept.returncode == 0, swept.stderr + swept.stdout
    answer = program(*directory, "experiment=dated", "allowed_targets=[my_models]", **beside)
    assert answer.returncode == 0, answer.stderr
    by_environment = {**beside, "ROMPY_HYDRA_ALLOWED_TARGETS": "other., my_models."}
    answer = program(*directory, "experiment=dated", **by_environment)
    assert answer.returncode == 0, answer.stderr
    # Only what the module defines is allowed, not what it imports.
    call = ["model=dated", "model._target_=my_models.os.system", "allowed_targets=[my_models.]"]
    answer = program(*directory, *call, **beside)
    assert "is really posix.system" in answer.stderr
    assert answer.returncode == 2


def test_a_target_is_not_imported_unless_it_is_allowed(program, traced, tmp_path):
    answer = program("model._target_=quitting_plugin.Other", TRACES=str(tmp_path / "traces"))
    assert answer.returncode == 2
    assert "is not allowed" in answer.stderr
    assert traced() == set()


def test_a_package_that_registers_a_plugin_does_not_allow_what_it_imports(program):
    tried = ["good_plugins.subprocess.run", "good_plugins.Path"]
    tried += ["slow_plugin.time.sleep", "slow_plugin.SlowBackend.run"]
    for target, answer in zip(
        tried, program.run_all(*([f"run_backend._target_={target}"] for target in tried)), strict=True
    ):
        assert answer.returncode == 2, target
        assert "allowed" in answer.stderr, target


@pytest.mark.parametrize(
    "target", ["rompy_hydra.models.Beach", "rompy_hydra.models.beach.Beach", "rompy_hydra.Beach"]
)
def test_classes_of_this_package_can_be_given_by_all_their_names(target):
    assert load_target(target, []).__name__ == "Beach"


@pytest.mark.parametrize(
    "target", ["", "os", None, 3, "a b.c", "rompy_hydra.models.", "rompy_hydra.__main__", "a.1b"]
)
def test_an_invalid_dotted_path_is_reported(target):
    with pytest.raises(ConfigError, match="must be the dotted path of a class"):
        check_allowed(target, ["os.", "a."])


@pytest.mark.parametrize("prefixes", [[""], ["."], [".."], ["o"], ["os.sys"], ["osx."]])
def test_a_prefix_matches_only_whole_parts_of_a_name(prefixes):
    with pytest.raises(ConfigError, match="is not allowed"):
        check_allowed("os.system", prefixes)


def test_an_unknown_name_in_an_allowed_module_is_reported_with_the_closest_class():
    with pytest.raises(ConfigError, match=r"beach has no 'Beech'\. Did you mean 'Beach'\?"):
        load_target("rompy_hydra.models.beach.Beech", [])
    with pytest.raises(ConfigError, match="cannot be imported"):
        load_target("rompy_hydra.nowhere.Beach", [])


def test_special_keys_work_as_in_hydra():
    node = {"_target_": "collections.Counter", "_args_": [["a", "b", "a"]]}
    assert build(node, ["collections."]) == {"a": 2, "b": 1}
    partial = build({"_target_": "datetime.timedelta", "_partial_": True, "hours": 1}, ["datetime."])
    assert partial(minutes=30).total_seconds() == 5400
    nested = {"_target_": "types.SimpleNamespace", "inner": {"_target_": "collections.Counter"}}
    assert build({**nested, "_recursive_": False}, ["types.", "collections."]).inner == nested["inner"]
    assert build(nested, ["types.", "collections."]).inner == {}


def test_a_working_directory_full_of_traps_is_not_imported(program, site):
    for name in ("hydra_plugins", "slow_plugin", "yaml"):
        trap = program.cwd / name
        trap.mkdir()
        (trap / "__init__.py").write_text("raise SystemExit('a trap')\n")
    script = Path(__import__("sys").executable).with_name("rompy-hydra")
    if not script.exists():
        pytest.skip("the console script is not installed")
    answer = program.python(str(script), "check")
    assert answer.returncode == 0, answer.stderr
