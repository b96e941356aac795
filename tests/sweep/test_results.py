"""The results table of a sweep is complete, even after failures during the sweep."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rompy_hydra.sweep.results_table import ResultsTable, Row, natural_sort_key
from rompy_hydra.sweep.spool import Spool
from rompy_hydra.sweep.summary import Summary
from tests.conftest import wait_until

X = "model.parameters.x"
FIXED = ["state", "attempts", "seconds", "cpu_seconds", "peak_memory_bytes", "exit_code"]


def test_the_table_has_a_row_for_each_run_with_parameters_facts_and_metrics(sweeps):
    out = sweeps.run("-m", "model.friction=0.01,0.1", "model.wave_height=range(1,3)", "processor=summary")
    assert "4 points: 4 completed" in out
    rows = sweeps.table("beach")
    assert list(rows[0])[:10] == ["label", "model.friction", "model.wave_height", "processor", *FIXED]
    metrics = list(rows[0])[10:]
    assert metrics
    for row in rows:
        record = json.loads(
            (sweeps.directory / "sweeps" / "beach" / row["label"] / "run.json").read_bytes()
        )
        assert row["exit_code"] == "0"
        assert float(row["seconds"]) > 0
        assert float(row["cpu_seconds"]) > 0
        assert {name: row[name] for name in metrics} == {
            name: str(value) for name, value in record["metrics"].items()
        }
    found = [(float(row["model.friction"]), int(row["model.wave_height"])) for row in rows]
    assert found == [(0.01, 1), (0.01, 2), (0.1, 1), (0.1, 2)]


def test_values_in_the_table_keep_their_types(sweeps):
    values = "1,2.5,true,null,word,'a, b',[1,two]"
    sweeps.sweep(f"{X}=0", f"+model.parameters.value={values}")
    column = [row["model.parameters.value"] for row in sweeps.table()]
    assert sorted(column) == sorted(["1", "2.5", "true", "", "word", "a, b", '[1, "two"]'])


def test_the_table_includes_the_runs_of_earlier_commands(sweeps):
    sweeps.fail(2)
    sweeps.sweep(f"{X}=1,2", code=1)
    sweeps.sweep(f"{X}=3", "+model.parameters.depth=7")
    rows = {row[X]: row for row in sweeps.table()}
    assert {x: row["state"] for x, row in rows.items()} == {
        "1": "completed",
        "2": "failed",
        "3": "completed",
    }
    assert {x: row["model.parameters.depth"] for x, row in rows.items()} == {"1": "", "2": "", "3": "7"}


def test_the_table_is_refreshed_while_the_sweep_runs(sweeps):
    sweeps.sweep(f"{X}=7")
    sweeps.hold()
    driver = sweeps.start_sweep(f"{X}=1,2", "hydra.launcher.workers=1")
    sweeps.wait_for_models(2)
    (sweeps.outside / "hold").rename(sweeps.outside / "let-one-go")
    wait_until(lambda: sweeps.started()[-2:] != ["1", "7"] and "2" in sweeps.started())
    wait_until(lambda: {row[X] for row in sweeps.table()} >= {"1", "7"})
    assert driver.wait() == 0
    assert len(sweeps.table()) == 3


def test_sweep_json_lists_the_points_the_commands_and_the_versions(sweeps):
    sweeps.sweep(f"{X}=1,2", "+model.env.API_TOKEN=hush")
    sweeps.sweep(f"{X}=3")
    text = (sweeps.path / "sweep.json").read_text()
    found = json.loads(text)
    assert found["name"] == "probe"
    assert found["points"]["x=3"] == ["model=probe", "processor=noop", f"{X}=3"]
    assert len(found["points"]) == 3
    first, second = found["commands"]
    assert first["overrides"][-2:] == [f"{X}=1,2", "+model.env.API_TOKEN=<not stored>"]
    assert (first["points"], first["to_run"], second["points"]) == (2, 2, 1)
    assert "hydra-core" in first["packages"]
    assert "hush" not in text


def test_the_next_command_recreates_lost_tables(sweeps):
    sweeps.sweep(f"{X}=1,2,3")
    table, index = sweeps.path / "results.csv", sweeps.path / "sweep.json"
    before = table.read_bytes()
    table.unlink()
    index.unlink()
    assert "2 points: 2 already done" in sweeps.sweep(f"{X}=1,2")
    assert table.read_bytes() == before
    assert len(json.loads(index.read_text())["points"]) == 2


def test_a_read_only_sweep_directory_is_reported(sweeps, read_only_directory):
    out = sweeps.sweep(f"{X}=1,2", f"sweep.directory='{read_only_directory}'", code=2)
    assert f"{read_only_directory} is not writable" in out
    assert "choose another place with sweep.directory=DIR" in out
    assert sweeps.started() == []


def test_a_file_in_place_of_the_sweeps_directory_is_reported(sweeps):
    (sweeps.directory / "sweeps").write_text("in the way")
    out = sweeps.sweep(f"{X}=1,2", code=None)
    assert "sweeps" in out
    assert "Traceback" not in out
    assert (sweeps.directory / "sweeps").read_text() == "in the way"


def test_failures_are_grouped_by_kind_with_one_example_each(sweeps):
    sweeps.fail(*range(1, 5))
    out = sweeps.sweep(f"{X}=range(0,6)", "model.parameters.text=a", "+model.parameters.late=0", code=1)
    assert "6 points: 2 completed, 4 failed" in out
    assert out.count("failed     4 like ") == 1
    assert "sh " in out
    assert "run.sh" in out
    assert "next       rerun the command" in out


def test_swept_numeric_environment_variables_are_columns(sweeps):
    key = "run_backend.env_vars.OMP_NUM_THREADS"
    sweeps.sweep(f"{X}=1", f"+{key}=1,2")
    assert sorted(row[key] for row in sweeps.table()) == ["1", "2"]
    assert "2 already done" in sweeps.sweep(f"{X}=1", f"+{key}=1,2")
    assert sorted(row[key] for row in sweeps.table()) == ["1", "2"]


def test_nan_and_infinity_are_text_in_the_record_and_equal_in_every_table(sweeps):
    command = (f"{X}=1,2", "model.parameters.seconds=0", "+model.parameters.depth=nan,inf,-inf")
    sweeps.sweep(*command)
    column = [row["model.parameters.depth"] for row in sweeps.table()]
    assert sorted(column) == sorted(["NaN", "Infinity", "-Infinity"] * 2)
    for record in sweeps.path.glob("*/run.json"):
        json.loads(record.read_bytes(), parse_constant=pytest.fail)
    assert "6 already done" in sweeps.sweep(*command)
    assert [row["model.parameters.depth"] for row in sweeps.table()] == column


def test_a_full_temporary_directory_does_not_stop_a_sweep(sweeps, small_disk, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(small_disk))
    with (small_disk / "ballast").open("wb", buffering=0) as file:
        with pytest.raises(OSError, match="No space left"):
            while True:
                file.write(bytes(4096))
        file.truncate(file.tell() // 4096 * 4096 - 4096)  # room for an empty table, but not for the rows
    sweeps.sweep(f"{X}=range(0,60)")
    assert [row["state"] for row in sweeps.table()] == ["completed"] * 60
    assert [row[X] for row in sweeps.table()] == [str(x) for x in range(60)]
    assert "60 already done" in sweeps.sweep(f"{X}=range(0,60)")


@pytest.mark.parametrize("output", ["> /dev/full", "| true"])
def test_a_sweep_continues_when_its_output_is_not_read(sweeps, output):
    program = [sys.executable, "-m", "rompy_hydra", f"--config-dir={sweeps.configs}"]
    line = f"set -o pipefail; {shlex.join([*program, *sweeps.command(f'{X}=1,2,3')])} {output}"
    done = subprocess.run(["bash", "-c", line], cwd=sweeps.directory, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert [row["state"] for row in sweeps.table()] == ["completed"] * 3


def by_numbers(label):
    parts = re.split(r"(\d+(?:\.\d+)?)", label)
    return [(0, float(part), "") if index % 2 else (1, 0.0, part) for index, part in enumerate(parts)]


@given(st.lists(st.text("x=,.-0123456789aé_~", max_size=12)))
def test_labels_are_sorted_by_the_values_of_their_numbers(labels):
    assert sorted(labels, key=natural_sort_key) == sorted(labels, key=by_numbers)


@pytest.fixture
def spool():
    spool = Spool()
    yield spool
    spool.close()


def test_rows_added_by_several_threads_are_all_in_the_table(tmp_path, spool):
    table = ResultsTable(tmp_path, spool)

    def add(first):
        for x in range(first, 400, 4):
            table.add(Row(f"x={x}", "completed", {"x": x}, metrics={f"m{x % 3}": x}))
            table.refresh()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(4)))
    table.add(Row("x=7", "failed", {"x": 7}))
    table.complete()
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [f"x={x}" for x in range(400)]
    assert rows[5]["m2"] == "5"
    assert (rows[7]["state"], rows[7]["m1"]) == ("failed", "")


def test_memory_does_not_grow_with_the_table(tmp_path, spool):
    table = ResultsTable(tmp_path, spool)
    tracemalloc.start()
    for x in range(20_000):
        table.add(Row(f"x={x}", "completed", {"x": x}, metrics={"depth": x / 7}))
    table.complete()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
    assert (tmp_path / "results.csv").stat().st_size > 500_000


def test_a_row_whose_label_is_not_valid_text_is_written(tmp_path, spool):
    label = os.fsdecode(b"x=\xe9")
    table = ResultsTable(tmp_path, spool)
    table.add(Row(label, "completed"))
    table.complete()
    assert b"\nx=\xe9,completed," in (tmp_path / "results.csv").read_bytes()


def test_a_summary_of_errors_that_all_differ_is_bounded():
    parts = Summary(), Summary()
    for number in range(3000):
        word = "".join(chr(ord("a") + int(digit)) for digit in str(number))
        parts[number % 2].add(Row(f"x={number}", "failed", error=f"no {word}\n  the last line: {word}"))
    both = parts[1].after(parts[0])
    assert sum(count for count, _, _ in both.failures.values()) == 3000
    assert max(len(summary.failures) for summary in (*parts, both)) <= 401
    assert any("many different errors" in message for _, _, message in both.failures.values())
