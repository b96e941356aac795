"""Plugins of installed distributions are found by name, imported when selected, and named in errors."""

from __future__ import annotations

import json
from pathlib import Path

from tests.plugins.packaging import Package, Program, install


def test_a_plugin_is_imported_only_when_it_is_selected(program, traced, tmp_path):
    traces = {"TRACES": str(tmp_path / "traces")}
    idle = (["model.friction=0.02"], ["--help"], ["check", "run_id=x"], ["-m", "--dry-run"])
    for answer in program.run_all(*idle, **traces):
        assert answer.returncode == 0, answer.stderr
    assert traced() == set()
    answer = program("run_backend=with_settings", "processor=noop", **traces)
    assert answer.returncode == 0, answer.stderr
    assert traced() == {"good_plugins"}


def test_an_installed_backend_is_selected_by_name_and_accepts_settings(program):
    answer = program("run_backend=with_config", "run_backend.nodes=7", "processor=counter", "run_id=seven")
    assert answer.returncode == 0, answer.stderr
    run = program.cwd / "runs" / "seven"
    assert (run / "nodes.txt").read_text() == "7 short"
    record = json.loads((run / "run.json").read_text())
    assert record["run_backend"] == {"name": "with_config", "nodes": 7, "queue": "short", "tags": []}
    assert record["metrics"] == {"files": 1}
    assert record["state"] == "completed"


BROKEN = {
    "run_backend=broken": ("run backend 'broken'", "rompy.run", "there_is_no_such_module"),
    "processor=quitting": ("postprocessor 'quitting'", "rompy.postprocess", "SystemExit: goodbye"),
    "pipeline=misnamed": ("pipeline backend 'misnamed'", "rompy.pipeline", "AttributeError"),
    "model=broken_model": ("model configuration 'broken_model'", "rompy_hydra.config", "no_such_module"),
}


def test_a_broken_plugin_is_reported_with_its_group_and_distribution(program):
    answers = program.run_all(*([override] for override in BROKEN))
    for (override, (what, group, cause)), answer in zip(BROKEN.items(), answers, strict=True):
        assert answer.returncode == 2, override
        whose = f"the {what} of the distribution Broken.Plugin 0.3 (entry-point group {group}, "
        assert whose in answer.stderr
        assert cause in answer.stderr
        assert "Traceback" not in answer.stderr
    assert not (program.cwd / "runs").exists()


def test_an_object_that_is_not_a_backend_is_rejected_before_anything_is_written(program):
    answer = program("run_backend=nothing")
    assert answer.returncode == 2
    assert "is not a run backend: it has no run()" in answer.stderr
    assert not (program.cwd / "runs").exists()


def test_a_name_in_two_distributions_is_ambiguous_and_the_distribution_selects_one(program):
    answer, chosen = program.run_all(
        ["run_backend=twin"], ["run_backend=twin-2:twin", "processor=none", "run_id=second"]
    )
    assert answer.returncode == 2
    assert "2 distributions provide a run backend 'twin': twin-1 1.0, twin-2 1.0" in answer.stderr
    assert "Choose one with 'twin-1:twin' or 'twin-2:twin'" in answer.stderr
    assert chosen.returncode == 0, chosen.stderr
    run = program.cwd / "runs" / "second"
    assert (run / "run.log").read_text() == "beach completed by 2\n"
    assert json.loads((run / "run.json").read_text())["run_backend"] == {"name": "twin-2:twin"}


def test_the_name_of_a_distribution_is_normalised_as_in_pip(program):
    answer = program("run_backend=Twin_1:twin", "processor=none")
    assert answer.returncode == 0, answer.stderr


def test_a_wrong_name_is_reported_with_the_closest_one(program):
    answer, other = program.run_all(["run_backend=with_confg"], ["run_backend=twin-3:twin"])
    assert answer.returncode == other.returncode == 2
    assert "run_backend=with_confg: there is no such option. Did you mean 'with_config'?" in answer.stderr
    assert "Did you mean 'twin-" in other.stderr


def test_a_built_in_plugin_takes_precedence_over_a_third_party_plugin_of_the_same_name(
    program, traced, tmp_path
):
    traces = {"TRACES": str(tmp_path / "traces")}
    answer = program("run_backend=local", "processor=noop", **traces)
    assert answer.returncode == 0, answer.stderr
    assert traced() == set()
    answer = program("run_backend=thief:local", **traces)
    assert answer.returncode == 1
    assert "the run backend thief:local failed: RuntimeError: the thief's backend" in answer.stdout


def test_python_finds_the_same_plugins_by_name(program):
    code = """
from rompy_hydra import BaseConfig, ModelRun
run = ModelRun(run_id="x", config=BaseConfig(commands="true"))
print(run.run("with_settings", nodes=3), run.run("local"), run.run("twin-1:twin"))
for wrong in ({"backend": "twin"}, {"backend": "with_settings", "nods": 3}, {"backend": "broken"}):
    try:
        run.run(**wrong)
    except Exception as error:
        print(type(error).__name__, error)
"""
    answer = program.python("-c", code)
    lines = answer.stdout.splitlines()
    assert lines[0] == "True True True", answer.stderr
    assert lines[1].startswith("PluginError 2 distributions provide a run backend 'twin'")
    assert "nods" in lines[2] and "nodes" in lines[2]
    assert lines[3].startswith("PluginError the run backend 'broken' of the distribution Broken.Plugin 0.3")


def test_a_yaml_file_of_the_same_name_in_the_users_directory_takes_precedence(program, tmp_path):
    file = tmp_path / "mine" / "run_backend" / "with_config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("_target_: rompy_hydra.run.LocalRunBackend\ncommand: date\n")
    answer = program("--config-dir", str(tmp_path / "mine"), "--cfg", "job", "run_backend=with_config")
    assert "_target_: rompy_hydra.run.LocalRunBackend" in answer.stdout


def test_the_first_of_two_installations_of_a_distribution_on_the_path_is_used(tmp_path):
    source = "class Backend:\n    version = {version!r}\n    def run(self, model_run): ...\n"
    sites = []
    for version in ("2.0", "1.0"):
        name = f"module_{version[0]}"
        package = Package(
            "twice",
            {f"{name}.py": source.format(version=version)},
            {"rompy.run": {"twice": f"{name}:Backend"}},
            version,
        )
        sites.append(install(tmp_path / version, package))
    program = Program(Path(f"{sites[0]}:{sites[1]}"), tmp_path)
    code = "from rompy_hydra.plugins import registry; print(registry.find('run', 'twice').load().version)"
    assert program.python("-c", code).stdout == "2.0\n"


def test_the_program_works_from_its_checkout_without_being_installed(tmp_path):
    root = Path(__file__).parents[2]
    code = f"""
import sys
sys.path[:0] = [{str(root)!r}]
import importlib.metadata as metadata
found = metadata.distributions
metadata.distributions = lambda **how: [d for d in found(**how) if d.name != "rompy-hydra"]
from rompy_hydra.plugins import registry
print(registry.find("run", "local").target, registry.find("run", "local").own)
"""
    answer = Program(tmp_path, tmp_path).python("-c", code)
    assert answer.stdout == "rompy_hydra.run.local.LocalRunBackend True\n", answer.stderr
