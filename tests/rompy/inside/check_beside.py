"""If both packages are installed, neither changes the behaviour of the other."""

from __future__ import annotations

import json
import subprocess
import sys

import yaml

from rompy_hydra.plugins import registry


def python(code, cwd):
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_rompy_finds_only_its_own_plugins(tmp_path):
    code = """
import json, sys
from rompy.model import CONFIG_TYPES, PIPELINE_BACKENDS, POSTPROCESSORS, RUN_BACKENDS
tables = (RUN_BACKENDS, POSTPROCESSORS, PIPELINE_BACKENDS)
classes = [*CONFIG_TYPES, *(kind for table in tables for kind in table.values())]
print(json.dumps([
    [sorted(table) for table in tables],
    sorted({kind.__module__.split(".")[0] for kind in classes}),
    "rompy_hydra" in sys.modules,
]))
"""
    names, modules, imported = json.loads(python(code, tmp_path).splitlines()[-1])
    assert names == [["docker", "local", "slurm"], ["noop"], ["local"]]
    assert modules == ["rompy", "rompy_schism", "rompy_swan", "rompy_xbeach"]
    assert not imported


def test_rompy_is_imported_only_if_one_of_its_plugins_is_selected(tmp_path):
    code = """
import sys
from rompy_hydra.cli import main
for command in (["check"], ["--help"], ["run_backend=local", "processor=noop"]):
    assert main(command) == 0
assert not [name for name in sys.modules if name.split(".")[0].startswith("rompy") and "hydra" not in name]
"""
    python(code, tmp_path)


def test_plugin_names_resolve_to_the_same_plugins_with_and_without_rompy():
    for category, name in (
        ("run", "local"),
        ("run", "docker"),
        ("postprocess", "noop"),
        ("pipeline", "local"),
    ):
        assert registry.find(category, name).own, name
        assert not registry.find(category, f"rompy:{name}").own, name


def test_importing_a_plugin_of_rompy_does_not_change_the_logging_configuration(tmp_path):
    code = """
import logging, sys
handler = logging.StreamHandler(sys.stdout)
logging.basicConfig(handlers=[handler], level=logging.WARNING)
from rompy_hydra.plugins import registry
registry.find("run", "rompy:local").load()
assert logging.getLogger().handlers == [handler], logging.getLogger().handlers
assert logging.getLogger().level == logging.WARNING
logging.getLogger("mine").warning("told once")
"""
    assert python(code, tmp_path) == "WARNING:mine:told once\n"


def test_the_command_line_program_of_rompy_works(tmp_path):
    config = {
        "run_id": "theirs",
        "output_dir": str(tmp_path / "runs"),
        "period": {"start": "2023-01-01", "duration": "1d", "interval": "1h"},
        "config": {"model_type": "base"},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    answer = subprocess.run(
        [sys.executable, "-m", "rompy.cli", "generate", "config.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "run_id: 'theirs'" in (tmp_path / "runs" / "theirs" / "INPUT").read_text()


def test_the_table_shows_which_plugins_of_rompy_are_shadowed(program):
    answer = program("plugins", "run_backend", "--json")
    states = {(one["distribution"], one["name"]): one["state"] for one in json.loads(answer.stdout)}
    assert states["rompy", "local"] == states["rompy", "docker"] == "shadowed"
    assert states["rompy", "slurm"] == "ok"
    assert states["rompy-hydra", "local"] == "ok"
