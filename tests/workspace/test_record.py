from __future__ import annotations

import json
import os
import threading

import pytest

from rompy_hydra.errors import DamagedRecord, RunError
from rompy_hydra.jsonable import plain
from rompy_hydra.workspace import Workspace
from rompy_hydra.workspace import record as rec
from rompy_hydra.workspace.record import RunRecord, StageRecord, file_fact


@pytest.fixture
def workspace(tmp_path):
    workspace = Workspace(tmp_path / "run")
    workspace.create()
    return workspace


def fill(disk):
    """Fill a small disk to its last byte."""
    with open(disk / "filler", "wb", 0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


def test_a_record_is_read_back_as_it_was_written(workspace):
    (workspace.path / "größe.nc").write_text("data")
    record = RunRecord(
        "shoal",
        state=rec.FAILED,
        stages={
            name: StageRecord(rec.COMPLETED, rec.now(), rec.now(), 0.5, "key", "why") for name in rec.STAGES
        },
        outputs=[file_fact(workspace, "größe.nc")],
        metrics={"height": 1.5, "missing": None},
        error=rec.error_facts("run", RunError("it broke"), ["last line"]),
    )
    record.save(workspace)
    assert RunRecord.load(workspace) == record
    stored = json.loads(workspace.record.read_text())
    assert stored["schema_version"] == 1
    assert stored["outputs"][0]["size"] == 4
    assert stored["error"] == {
        "stage": "run",
        "type": "RunError",
        "message": "it broke",
        "log": ["last line"],
    }


def test_results_of_postprocessors_are_kept_in_memory_and_not_in_the_file(workspace):
    record = RunRecord("shoal")
    record.answers.append({"success": True, "figure": object()})
    record.save(workspace)
    stored = json.loads(workspace.record.read_text())
    assert "answers" not in stored
    assert RunRecord.load(workspace) == record
    assert RunRecord.load(workspace).answers == []
    workspace.record.write_text(json.dumps({**stored, "answers": [{"success": True}]}))
    with pytest.raises(DamagedRecord, match="a field is missing or unknown"):
        RunRecord.load(workspace)


def test_a_queued_run_is_not_finished_and_its_record_is_read_back(workspace):
    record = RunRecord("shoal", state=rec.QUEUED)
    record.save(workspace)
    assert json.loads(workspace.record.read_text())["state"] == "queued"
    assert RunRecord.load(workspace) == record
    assert not record.ended


def test_a_directory_without_a_run_has_no_record(workspace):
    assert RunRecord.load(workspace) is None
    assert RunRecord.load(Workspace(workspace.path / "missing" / "deeper")) is None


def test_a_field_that_an_older_version_did_not_write_gets_its_default(workspace):
    RunRecord("a").save(workspace)
    data = json.loads(workspace.record.read_text())
    del data["resources"]
    workspace.record.write_text(json.dumps(data))
    assert RunRecord.load(workspace).resources == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b"{}",
        b'{"schema_version": 2, "run_id": "a"}',
        b'{"schema_version": 1}',
        b'{"schema_version": 1, "run_id": "a", "stages": {}}',
        b'{"schema_version": 1, "run_id": "a", "stages": null}',
        b'{"schema_version": 1, "run_id": "a", "identity": []}',
        b'{"schema_version": 1, "run_id": "a", "inputs": [{}], "outputs": [], "products": []}',
        b'{"schema_version": 1, "run_id": 5}',
    ],
)
def test_a_damaged_record_is_reported_and_left_unchanged(workspace, content):
    workspace.record.write_bytes(content)
    with pytest.raises(DamagedRecord, match=r"is damaged .* overwrite=true"):
        RunRecord.load(workspace)
    assert workspace.record.read_bytes() == content


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "it is empty"),
        (b"{", "it is not valid JSON, or incomplete"),
        (b"\xff\xfe\x00", "it is not valid JSON, or incomplete"),
        (b"[]", "it is not a record"),
        (b"{}", "it has no schema_version"),
        (b'{"schema_version": 2}', "schema_version 2 is not 1"),
        (b'{"schema_version": 1, "run_id": "a"}', "it has no stages"),
    ],
)
def test_the_message_says_what_is_wrong_with_a_damaged_record(workspace, content, what):
    workspace.record.write_bytes(content)
    with pytest.raises(DamagedRecord) as error:
        RunRecord.load(workspace)
    assert f"is damaged ({what})" in str(error.value)
    assert "keeps the completed runs" in str(error.value)


def test_every_missing_or_mistyped_field_is_either_filled_or_reported(workspace):
    RunRecord("a").save(workspace)
    complete = json.loads(workspace.record.read_text())
    for name in complete:
        for changed in (
            {k: v for k, v in complete.items() if k != name},
            {**complete, name: {"odd": 1}},
            {**complete, name: "odd"},
        ):
            workspace.record.write_text(json.dumps(changed))
            try:
                record = RunRecord.load(workspace)
            except DamagedRecord:
                continue
            assert set(record.stages) == set(rec.STAGES)
            record.save(workspace)


def test_a_record_that_is_a_directory_is_reported(workspace):
    workspace.record.mkdir()
    with pytest.raises(DamagedRecord, match="cannot be read: it is a directory"):
        RunRecord.load(workspace)


def test_a_reader_never_sees_an_incomplete_record(workspace):
    record = RunRecord("a", overrides=["x" * 50_000])
    record.save(workspace)
    seen, done = [], threading.Event()

    def read():
        while not done.is_set():
            seen.append(RunRecord.load(workspace).overrides[0][0])

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(300):
        record.overrides = [str(number % 10) * (50_000 if number % 2 else 10)]
        record.save(workspace)
    done.set()
    reader.join()
    assert len(seen) > 10


def test_the_record_of_an_active_run_reserves_space_for_its_failure_on_a_full_disk(small_disk):
    workspace = Workspace(small_disk)
    record = RunRecord("a", state=rec.RUNNING)
    record.save(workspace)
    fill(small_disk)
    for pid in range(3):  # as a backend that reports what it started
        record.backend_facts = {"pid": pid}
        record.save(workspace)
    record.state = rec.FAILED
    record.error = rec.error_facts("run", OSError(28, "No space left on device"), ["a line"])
    record.save(workspace)
    found = RunRecord.load(workspace)
    assert found == record
    assert found.error["message"] == "[Errno 28] No space left on device"


def test_on_a_full_disk_an_error_that_does_not_fit_is_shortened(small_disk):
    workspace = Workspace(small_disk)
    record = RunRecord("a", state=rec.RUNNING)
    record.save(workspace)
    fill(small_disk)
    record.state = rec.FAILED
    record.error = rec.error_facts("run", RunError("e" * 20_000), ["l" * 500] * 15)
    record.save(workspace)
    found = RunRecord.load(workspace)
    assert found.state == rec.FAILED
    assert found.error["message"] == "e" * 1000


def test_on_a_full_disk_a_completed_record_is_rejected_rather_than_shortened(small_disk):
    workspace = Workspace(small_disk)
    RunRecord("a", state=rec.RUNNING).save(workspace)
    before = workspace.record.read_text()
    fill(small_disk)
    with pytest.raises(OSError, match="No space left"):
        RunRecord("a", state=rec.COMPLETED, overrides=["x" * 20_000]).save(workspace)
    assert workspace.record.read_text() == before


def test_a_final_record_is_strict_json_without_padding(workspace):
    record = RunRecord("a", state=rec.RUNNING)
    record.save(workspace)
    assert workspace.record.stat().st_size > len(record.to_json())
    record.state = rec.COMPLETED
    record.save(workspace)
    assert workspace.record.read_text() == record.to_json()


def test_numpy_numbers_stay_numbers_and_nan_is_converted():
    numpy = pytest.importorskip("numpy")
    values = {"a": numpy.float32(0.5), "b": numpy.int64(3), "c": float("nan"), "d": numpy.float64("inf")}
    values |= {"e": numpy.bool_(True), "f": [numpy.float32(1.5)], "g": numpy.array([1, 2])}
    found = plain(values, constant=lambda _name: None)
    assert found == {"a": 0.5, "b": 3, "c": None, "d": None, "e": True, "f": [1.5], "g": "[1 2]"}
    json.dumps(found, allow_nan=False)
    assert plain({"x": float("inf"), "y": float("-inf")}) == {"x": "Infinity", "y": "-Infinity"}


def test_a_file_is_intact_if_its_content_is_unchanged_regardless_of_its_modification_time(workspace):
    path = workspace.path / "out.nc"
    path.write_text("data")
    fact = file_fact(workspace, "out.nc")
    assert fact.is_intact(workspace)
    os.utime(path, (1, 1))
    assert fact.is_intact(workspace)
    path.write_text("atad")
    assert not fact.is_intact(workspace)
    path.write_text("longer data")
    assert not fact.is_intact(workspace)
    path.unlink()
    assert not fact.is_intact(workspace)
