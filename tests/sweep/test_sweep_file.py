"""`sweep.json` grows with every command, and is never lost or rewritten by mistake."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from rompy_hydra.errors import SweepError
from rompy_hydra.sweep.points import Naming
from rompy_hydra.sweep.sweep_file import read_naming, write_sweep_file

PROBE = Naming({"model": "probe"})


@pytest.fixture
def write(tmp_path):
    def write(*labels, **options):
        points = [(label, [f"model.{label}"]) for label in labels]
        write_sweep_file(tmp_path, "probe", {"points": len(labels)}, lambda: points, **options)
        return json.loads((tmp_path / "sweep.json").read_bytes())

    return write


def test_a_later_command_adds_its_points_and_keeps_the_order(write, tmp_path):
    write("x=1", "x=2")
    with (tmp_path / "sweep.json").open() as file:
        assert sum(line.startswith('  "') for line in file) == 2  # one line per point
    found = write("x=3", "x=1", "x=größe")
    assert list(found["points"]) == ["x=1", "x=2", "x=3", "x=größe"]
    assert [command["points"] for command in found["commands"]] == [2, 3]
    assert (found["name"], found["schema_version"]) == ("probe", 1)


def test_a_repeated_point_gets_its_new_overrides(write, tmp_path):
    write("x=1", "x=2")
    write_sweep_file(tmp_path, "probe", {}, lambda: [("x=1", ["site=far", "x=1"])])
    found = json.loads((tmp_path / "sweep.json").read_bytes())
    assert list(found["points"].items()) == [("x=1", ["site=far", "x=1"]), ("x=2", ["model.x=2"])]


@pytest.mark.parametrize(
    "reformat",
    [
        lambda data: json.dumps(data),
        lambda data: json.dumps(data, indent=0),
        lambda data: json.dumps(data, indent=2),
        lambda data: json.dumps(dict(sorted(data.items(), reverse=True)), indent=1),
        lambda data: json.dumps(data).replace('"points": {', '\n"points": {\n'),
    ],
)
def test_a_reformatted_file_is_read(write, tmp_path, reformat):
    data = write("x=1", "x=2", naming=PROBE)
    (tmp_path / "sweep.json").write_text(reformat(data | {"note": "by hand"}))
    assert read_naming(tmp_path) == PROBE
    found = write("x=3")
    assert list(found["points"].values()) == [["model.x=1"], ["model.x=2"], ["model.x=3"]]
    assert found["note"] == "by hand"


@pytest.mark.parametrize("keep", [0, 1, 30, 0.5, -30, -10, -5, -3])
def test_a_truncated_file_is_damaged_and_left_unchanged(write, tmp_path, keep):
    write("x=1", "x=2", "x=3")
    path = tmp_path / "sweep.json"
    text = path.read_bytes()
    path.write_bytes(text[: int(len(text) * keep) if isinstance(keep, float) else keep])
    before = path.read_bytes()
    with pytest.raises(SweepError, match=r"sweep\.json is damaged .* left unchanged"):
        write("x=4")
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir() if each.name.endswith(".part")] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"schema_version": 1', '"schema_version": 2'),
        ('"commands": [', '"ordered": ['),
        ('["model.x=2"],', '["model.x=2"]'),
        ('["model.x=2"],', '["model.x=2",'),
        ('["model.x=3"]\n', '["model.x=3"],\n'),
    ],
)
def test_a_file_with_a_mistake_is_damaged(write, tmp_path, old, new):
    write("x=1", "x=2", "x=3")
    path = tmp_path / "sweep.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(SweepError, match="is damaged"):
        write("x=4")
    assert path.read_text() == text.replace(old, new)


def test_constants_are_recorded_by_the_first_command_only(write, tmp_path):
    assert read_naming(tmp_path) is None
    assert write("x=1", naming=PROBE)["constants"] == {"model": "probe"}
    assert read_naming(tmp_path) == PROBE
    assert write("x=2", naming=PROBE)["constants"] == {"model": "probe"}


def test_a_sweep_of_an_earlier_version_has_no_constants_and_none_are_added(write, tmp_path):
    write("x=1")
    assert read_naming(tmp_path) == Naming(with_processors=True)
    assert "constants" not in write("x=2", naming=read_naming(tmp_path))


def test_a_constant_postprocessor_of_an_earlier_record_does_not_name_runs(write, tmp_path):
    write("x=1", naming=Naming({"model": "probe", "processor": "noop", "processor.map.dpi": "100"}))
    assert read_naming(tmp_path) == PROBE


def test_constants_are_read_without_the_points(write, tmp_path):
    write("x=1", naming=PROBE)
    path = tmp_path / "sweep.json"
    path.write_text(path.read_text().replace('["model.x=1"]', "not read"))
    assert read_naming(tmp_path) == PROBE


def test_a_sweep_that_another_command_created_meanwhile_is_left_unchanged(write, tmp_path):
    write("x=1", naming=PROBE)
    before = (tmp_path / "sweep.json").read_bytes()
    with pytest.raises(SweepError, match=r"another command has created .* Rerun the command"):
        write("x=2", naming=Naming({"model": "other"}))
    with pytest.raises(SweepError, match="another command has created"):
        write("x=2", naming=Naming())
    assert (tmp_path / "sweep.json").read_bytes() == before


def test_two_first_commands_with_equal_constants_share_a_sweep(write):
    write("x=1", naming=PROBE)
    assert len(write("x=2", naming=PROBE)["points"]) == 2


def test_memory_does_not_grow_with_the_points(tmp_path):
    def points(first):
        return lambda: ((f"x={x}", [f"model.parameters.x={x}"]) for x in range(first, first + 10_000))

    tracemalloc.start()
    for first in (0, 5000):
        write_sweep_file(tmp_path, "probe", {}, points(first))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    assert len(json.loads((tmp_path / "sweep.json").read_bytes())["points"]) == 15_000


@pytest.mark.parametrize("constants", [5, ["model"], {"model": 1}])
def test_constants_of_a_wrong_type_are_reported(write, tmp_path, constants):
    data = write("x=1", naming=PROBE)
    (tmp_path / "sweep.json").write_text(json.dumps(data | {"constants": constants}))
    with pytest.raises(SweepError, match=r"is damaged \(constants that are not texts by key"):
        read_naming(tmp_path)
