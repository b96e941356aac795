"""Parameters of a template with limits: checked before anything starts, plain values everywhere else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from rompy_hydra import TemplateModel

MODEL = """\
defaults: [template]
template: TPL
parameters:
  wave_height: {value: 2.0, min: 0.05, max: 20, units: m}
  d50: {value: 0.0003, min: 0, units: m}
  steps: {value: 10, type: integer}
  shape: jonswap
commands: [cat in.txt > out.txt]
success: {must_exist: [out.txt]}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tpl").mkdir()
    (tmp_path / "tpl" / "in.txt.j2").write_text(
        "{{ model.wave_height }} {{ model.d50 }} {{ model.shape }}{% if model.steps %}{% endif %}\n"
    )
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "wave.yaml").write_text(MODEL.replace("TPL", str(tmp_path / "tpl")))
    (tmp_path / "conf" / "experiment").mkdir()
    return tmp_path


def rompy(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rompy_hydra", *arguments]
    flags = ["--config-dir", "conf", "model=wave", "processor=none"]
    return subprocess.run([*command, *flags], cwd=project, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("command", [[], ["check"]])
@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("wave_height=-1", "model.parameters.wave_height = -1: must be a number from 0.05 to 20 m"),
        ("wave_height=nan", "model.parameters.wave_height = nan: must be a number from 0.05 to 20 m"),
        ("d50=abc", "model.parameters.d50 = 'abc': must be a number of at least 0 m"),
        ("steps=1.5", "model.parameters.steps = 1.5: must be an integer"),
    ],
)
def test_a_value_outside_its_limits_stops_before_anything_starts(
    project: Path, command: list[str], override: str, reason: str
) -> None:
    answer = rompy(project, *command, f"model.parameters.{override}")
    assert answer.returncode == 2
    assert reason in answer.stderr
    assert not (project / "runs").exists()


def test_an_override_replaces_the_value_and_the_limits_stay(project: Path) -> None:
    answer = rompy(project, "run_id=a", "model.parameters.wave_height=3", "model.parameters.shape=gauss")
    assert answer.returncode == 0, answer.stderr
    assert (project / "runs" / "a" / "out.txt").read_text() == "3 0.0003 gauss\n"
    allowed = rompy(project, "model.parameters.wave_height=30", "model.parameter_limits.wave_height.max=40")
    assert allowed.returncode == 0, allowed.stderr


def test_every_point_of_a_sweep_is_checked_first(project: Path) -> None:
    answer = rompy(project, "-m", "model.parameters.wave_height=1,2,50,-3")
    assert answer.returncode == 2
    assert "wave_height" in answer.stderr and "50, -3" in answer.stderr
    assert not (project / "sweeps").exists()
    assert rompy(project, "-m", "model.parameters.wave_height=1,2").returncode == 0
    table = (project / "sweeps" / "wave" / "results.csv").read_text().splitlines()
    assert table[0].startswith("label,model,model.parameters.wave_height,")
    assert table[1].startswith("wave_height=1,wave,1,")


def test_an_experiment_replaces_a_value_within_the_limits_of_the_model(project: Path) -> None:
    experiment = project / "conf" / "experiment" / "storm.yaml"
    text = "# @package _global_\nmodel: {parameters: {wave_height: 9, d50: {value: 0.1, max: 1}}}\n"
    experiment.write_text(text)
    answer = rompy(project, "experiment=storm", "run_id=storm")
    assert answer.returncode == 0, answer.stderr
    assert (project / "runs" / "storm" / "out.txt").read_text().startswith("9 0.1 ")
    experiment.write_text(text.replace("9", "99").replace("0.1", "-0.1"))
    answer = rompy(project, "check", "experiment=storm")
    assert "wave_height = 99: must be a number from 0.05 to 20 m" in answer.stderr
    assert "d50 = -0.1: must be a number from 0 to 1 m" in answer.stderr


def test_a_misspelt_limit_is_reported(project: Path) -> None:
    path = project / "conf" / "model" / "wave.yaml"
    path.write_text(path.read_text().replace("min: 0.05", "mni: 0.05"))
    answer = rompy(project, "check")
    assert answer.returncode == 2
    assert "model.parameters.wave_height: has 'value' and the unknown key 'mni'" in answer.stderr
    assert "Did you mean 'min'" in answer.stderr


def test_python_takes_both_forms(tmp_path: Path) -> None:
    declared = {"h": {"value": 2.0, "min": 0, "max": 9}, "n": 3, "grid": {"dx": 1}}
    model = TemplateModel(template=str(tmp_path), parameters=declared)
    assert model.context() == {"h": 2.0, "n": 3, "grid": {"dx": 1}}
    plain = TemplateModel(template=str(tmp_path), parameters={"h": 2.0, "n": 3, "grid": {"dx": 1}})
    assert model.plain_data() == plain.plain_data()
    with pytest.raises(ValidationError, match="h: must be a number from 0 to 9"):
        TemplateModel(
            template=str(tmp_path), parameters=declared | {"h": {"value": [1, 10], "max": 9, "min": 0}}
        )
    with pytest.raises(ValidationError, match="min: 3 is above max, 1"):
        TemplateModel(template=str(tmp_path), parameters={"h": {"value": 2, "min": 3, "max": 1}})


@pytest.mark.parametrize(
    ("limits", "good", "bad"),
    [
        ({"value": True}, [False], [1, "yes", None]),
        ({"value": 1.5}, [1, -3.0], ["x", None, True, {}, [1.5]]),
        ({"value": 1.5, "many": True}, [1, [1.5, 2]], [["x"]]),
        ({"value": "a", "type": "text"}, ["b", 3], [{}]),
        ({"value": [1.0, 2.0], "max": 3}, [[3], 1, []], [[1, 4], ["a"]]),
    ],
)
def test_the_type_follows_from_the_declared_value(
    tmp_path: Path, limits: dict[str, object], good: list[object], bad: list[object]
) -> None:
    known = TemplateModel(template=str(tmp_path), parameters={"p": limits}).parameter_limits
    for value in good:
        TemplateModel(template=str(tmp_path), parameters={"p": value}, parameter_limits=known)
    for value in bad:
        with pytest.raises(ValidationError, match="p: must be"):
            TemplateModel(template=str(tmp_path), parameters={"p": value}, parameter_limits=known)
