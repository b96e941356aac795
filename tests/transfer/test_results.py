"""`processor=transfer`: results at a URL, with a manifest."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

RESULT = (
    "model.commands=['printf results > out.nc; mkdir -p deep; printf more > deep/b.csv; touch other.log']"
)


@pytest.fixture
def store(runs):
    """The program with a model that has results."""

    def run(destination, *arguments, code=0, **variables):
        more = [f"processor.destination={destination}", RESULT, "processor=transfer", *arguments]
        head = [each for each in more if each == "check"]
        return runs(*head, *[each for each in more if each != "check"], code=code, **variables)

    return run


def manifest(path):
    return json.loads(path.read_text())


def test_the_outputs_are_stored_with_a_manifest(store, runs, tmp_path):
    store(tmp_path / "archive", "run_id=a", "processor.files=['*.nc','*.csv']")
    place = tmp_path / "archive" / "a"
    assert sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()) == [
        "deep/b.csv", "manifest.json", "out.nc",
    ]  # fmt: skip
    found = manifest(place / "manifest.json")
    assert found["run_id"] == "a" and found["complete"] is True
    assert found["files"]["out.nc"] == {"size": 7, "sha256": hashlib.sha256(b"results").hexdigest()}
    record = json.loads((runs.here / "runs/a/run.json").read_text())
    assert record["metrics"]["transferred_files"] == 2
    assert record["metrics"]["transferred_bytes"] == 11


def test_results_are_stored_in_s3(store, runs, bucket):
    out = store("s3://ocean/results", "run_id=a", **bucket.variables)
    keys = bucket.call(
        "print(sorted(o['Key'] for o in s3.list_objects(Bucket='ocean', Prefix='results')['Contents']))"
    )
    assert (
        "results/a/out.nc" in keys and "results/a/manifest.json" in keys and "results/a/deep/b.csv" in keys
    )
    body = "print(s3.get_object(Bucket='ocean', Key='results/a/out.nc')['Body'].read().decode())"
    assert bucket.call(body) == "results"
    assert "opensesame-s3" not in out
    assert "s3://ocean/results/a" in out


def test_each_point_of_a_sweep_has_a_directory_of_its_own(store, tmp_path):
    store(tmp_path / "archive", "-m", "+model.parameters.y=1,2", "sweep.name=s")
    assert sorted(path.name for path in (tmp_path / "archive").iterdir()) == ["y=1", "y=2"]


def test_files_of_somebody_else_are_not_overwritten_unasked(store, tmp_path):
    place = tmp_path / "archive" / "a"
    place.mkdir(parents=True)
    (place / "out.nc").write_text("mine")
    out = store(tmp_path / "archive", "run_id=a", code=1)
    assert "out.nc" in out and "processor.overwrite=true" in out
    assert (place / "out.nc").read_text() == "mine"
    assert not (place / "manifest.json").exists()
    store(tmp_path / "archive", "run_id=a", "processor.overwrite=true")
    assert (place / "out.nc").read_text() == "results"


def test_a_transfer_that_was_interrupted_continues(store, tmp_path):
    store(tmp_path / "archive", "run_id=a")
    place = tmp_path / "archive" / "a"
    before = os.stat(place / "out.nc").st_mtime_ns
    found = manifest(place / "manifest.json")
    found["complete"] = False
    del found["files"]["deep/b.csv"]
    (place / "manifest.json").write_text(json.dumps(found))
    (place / "deep/b.csv").unlink()
    (place / "deep/b.csv.part").write_text("mo")
    store(tmp_path / "archive", "run_id=a", "processor.retries=2", "processor.files=['*']")
    assert (place / "deep/b.csv").read_text() == "more"
    assert os.stat(place / "out.nc").st_mtime_ns == before
    assert manifest(place / "manifest.json")["complete"] is True
    assert not (place / "deep/b.csv.part").exists()


def test_a_server_that_does_not_answer_fails_the_stage_and_keeps_the_results(store, runs):
    variables = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "opensesame-s3", "AWS_MAX_ATTEMPTS": "1",
    }  # fmt: skip
    out = store("s3://ocean/results", "run_id=a", "processor.retries=0", code=1, **variables)
    assert "postprocess" in out and "s3://ocean/results/a" in out
    assert "opensesame-s3" not in out
    assert (runs.here / "runs/a/out.nc").read_text() == "results"


@pytest.mark.parametrize(
    ("destination", "message"),
    [("http://h/a", "cannot be written"), ("ftp://h/a", "s3"), ("''", "destination")],
)
def test_a_destination_that_cannot_be_written_to_is_reported_before_the_run(
    store, runs, destination, message
):
    assert message in store(destination, "check", code=2)


def test_no_output_that_matches_is_a_failure(store, tmp_path):
    assert "no output" in store(tmp_path / "archive", "run_id=a", "processor.files=['*.grib']", code=1)
    assert not (tmp_path / "archive").exists()


def test_a_link_out_of_the_run_directory_is_not_followed(store, tmp_path):
    (tmp_path / "secret.txt").write_text("opensesame")
    command = f"ln -s {tmp_path}/secret.txt out.nc && echo 1 > b.csv"
    store(tmp_path / "archive", "run_id=a", f"run_backend.command='{command}'")
    assert not (tmp_path / "archive/a/out.nc").exists()
    assert (tmp_path / "archive/a/b.csv").exists()
