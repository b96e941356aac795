from __future__ import annotations

import pytest
from pydantic import ValidationError

from rompy_hydra import BaseConfig, ModelRun, TemplateModel
from rompy_hydra.core.inputs import rendered_inputs
from rompy_hydra.errors import GenerateError
from rompy_hydra.models.base import StagedFile
from rompy_hydra.models.inputs import RunFacts


def plan_inputs(config, tmp_path):
    run = ModelRun(run_id="shoal", output_dir=tmp_path / "runs", config=config)
    return rendered_inputs(run.config, RunFacts(run.run_id, run.period, run.workspace.root), run.workspace)


def test_an_empty_configuration_renders_nothing_and_runs_nothing(tmp_path):
    assert plan_inputs(BaseConfig(), tmp_path) == ()
    assert BaseConfig().commands == ()
    assert BaseConfig().needs_execution


@pytest.mark.parametrize(
    ("given", "commands"),
    [
        ("swan.exe < INPUT", ("swan.exe < INPUT",)),
        (["ww3_grid", "ww3_strt"], ("ww3_grid", "ww3_strt")),
        (
            [["mpirun", "-n", 4, "swan.exe"], "echo 'done'"],
            (["mpirun", "-n", "4", "swan.exe"], "echo 'done'"),
        ),
        ([], ()),
    ],
)
def test_commands_are_shell_lines_or_lists_of_arguments(given, commands):
    assert BaseConfig(commands=given).commands == commands


@pytest.mark.parametrize("given", ["", "  \n", [""], [[]], [["", "x"]], [" "], [None], 5])
def test_an_empty_command_is_rejected(given):
    with pytest.raises(ValidationError):
        BaseConfig(commands=given)


@pytest.mark.parametrize("field", ["directories", "outputs"])
@pytest.mark.parametrize("name", ["/abs", "../up", ".", ""])
def test_directories_and_outputs_must_be_inside_the_run_directory(field, name):
    with pytest.raises(ValidationError, match="inside the run directory"):
        BaseConfig(**{field: [name]})


def test_a_configuration_is_immutable_and_rejects_unknown_fields():
    with pytest.raises(ValidationError, match="frozen"):
        BaseConfig().commands = ("x",)
    with pytest.raises(ValidationError, match="comands"):
        BaseConfig(comands=["x"])


@pytest.mark.parametrize("value", ["", "  "])
def test_a_template_model_requires_a_directory(value):
    with pytest.raises(ValidationError, match="requires the directory of the template files"):
        TemplateModel(template=value)


def test_staged_files_keep_their_name_or_get_a_new_one(tmp_path):
    source = tmp_path / "bathymetry 2024.nc"
    source.write_text("data")
    config = BaseConfig(
        files=[str(source), {"source": str(source), "target": "in/bottom.nc", "link": True}]
    )
    first, second = plan_inputs(config, tmp_path)
    assert (first.path, first.source, first.link, first.size) == ("bathymetry 2024.nc", source, False, 4)
    assert (second.path, second.source, second.link) == ("in/bottom.nc", source, True)


def test_a_missing_staged_file_is_reported(tmp_path):
    with pytest.raises(GenerateError, match=r"missing.nc does not exist \(model.files\)"):
        StagedFile(source=str(tmp_path / "missing.nc")).as_input()
    with pytest.raises(GenerateError, match="is a directory"):
        StagedFile(source=str(tmp_path)).as_input()


@pytest.mark.parametrize(
    "target",
    ["run.json", "./run.sh", "attempts/1/a", "claims/1.json", "x/../run.log", ".hydra/a", "exit_code"],
)
def test_an_input_cannot_have_the_name_of_an_engine_file(tmp_path, target):
    (tmp_path / "template").mkdir()
    name = tmp_path / "template" / "{{ model.target }}"
    name.write_text("x")
    config = TemplateModel(template=str(tmp_path / "template"), parameters={"target": target})
    with pytest.raises(GenerateError, match="has the name of a file of the engine; rename it"):
        plan_inputs(config, tmp_path)


@pytest.mark.parametrize("target", ["../x", "/etc/x", "", "a/../.."])
def test_a_rendered_name_cannot_leave_the_run_directory(tmp_path, target):
    (tmp_path / "template").mkdir()
    (tmp_path / "template" / "{{ model.target }}").write_text("x")
    config = TemplateModel(template=str(tmp_path / "template"), parameters={"target": target})
    with pytest.raises(GenerateError, match="lies outside the run directory"):
        plan_inputs(config, tmp_path)


def test_two_inputs_with_the_same_path_are_reported_however_it_is_written(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    config = BaseConfig(
        files=[str(tmp_path / "a.txt"), {"source": str(tmp_path / "a.txt"), "target": "./a.txt"}]
    )
    with pytest.raises(GenerateError, match=r"two inputs have the same path 'a.txt'"):
        plan_inputs(config, tmp_path)
