"""Input files that are given by URL: fetched when a run is generated, checked, and never twice."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from rompy_hydra import BaseConfig, ModelRun
from rompy_hydra.models.base import StagedFile

TIDE = b"tide " * 100_000


def sha(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def files(source: str, **more: str) -> str:
    pairs = ",".join(f"{key}: '{value}'" for key, value in {"source": source, **more}.items())
    return f"model.files=[{{{pairs}}}]"


@pytest.fixture
def tide(web):
    web.files["/data/tide.nc"] = TIDE
    return f"{web.url}/data/tide.nc"


def test_a_file_is_fetched_when_the_run_is_generated(runs, web, tide):
    runs(f"model.files=['{tide}']", "run_id=a")
    assert (runs.here / "runs/a/tide.nc").read_bytes() == TIDE
    assert (runs.here / "runs/a/out.txt").read_bytes() == TIDE
    record = json.loads((runs.here / "runs/a/run.json").read_text())
    fact = next(each for each in record["inputs"] if each["path"] == "tide.nc")
    assert fact["sha256"] == hashlib.sha256(TIDE).hexdigest()
    assert not runs.leftovers()


@pytest.mark.parametrize("look", [("check",), ("--dry-run",), ("--cfg", "job", "--resolve")])
def test_looking_asks_no_server(runs, web, tide, look):
    out = runs(*look[:1], *look[1:], f"model.files=['{tide}']", "run_id=a")
    assert web.requests == []
    assert tide in out
    assert not (runs.here / "runs").exists()


def test_a_checksum_is_verified_and_a_wrong_file_is_never_kept(runs, web, tide):
    runs(files(tide, target="tide.nc", checksum=sha(TIDE)), "run_id=right")
    out = runs(files(tide, checksum=sha(b"another")), "run_id=wrong", code=1)
    assert "checksum" in out and hashlib.sha256(TIDE).hexdigest() in out
    assert not (runs.here / "runs/wrong/tide.nc").exists()
    assert not runs.leftovers()


def test_a_download_that_breaks_off_is_tried_again_and_never_taken_for_whole(runs, web, tide):
    web.broken, web.refused = 1, [503]
    runs(f"model.files=['{tide}']", "run_id=a")
    assert (runs.here / "runs/a/tide.nc").read_bytes() == TIDE
    web.broken = 100
    web.files["/data/tide.nc"] = TIDE + b"more"
    out = runs(f"model.files=['{tide}']", "run_id=b", code=1)
    assert tide in out
    assert not (runs.here / "runs/b/tide.nc").exists()
    assert not runs.leftovers()


def test_a_file_that_does_not_exist_is_not_tried_again(runs, web, tide):
    out = runs(f"model.files=['{web.url}/none.nc']", "run_id=a", code=1)
    assert f"{web.url}/none.nc" in out and "does not exist" in out
    assert web.downloads <= 2  # asked for once, before it would be fetched


def test_the_points_of_a_sweep_fetch_a_file_once(runs, web, tide):
    runs("-m", f"model.files=['{tide}']", "+model.parameters.y=1,2,3,4", "sweep.name=s")
    assert len(list(runs.here.glob("sweeps/s/*/out.txt"))) == 4
    assert web.downloads == 1
    assert len(web.requests) < 8


def test_a_run_is_done_again_when_the_file_on_the_server_has_changed(runs, web, tide):
    command = (f"model.files=['{tide}']", "run_id=a")
    runs(*command)
    assert "nothing to do" in runs(*command)
    assert web.downloads == 1
    web.files["/data/tide.nc"] = b"another tide"
    runs(*command)
    assert (runs.here / "runs/a/out.txt").read_bytes() == b"another tide"


def test_with_a_checksum_a_finished_run_asks_no_server(runs, web, tide):
    command = (files(tide, checksum=sha(TIDE)), "run_id=a")
    runs(*command)
    before = list(web.requests)
    assert "nothing to do" in runs(*command)
    assert web.requests == before


def test_without_an_answer_a_finished_run_stays_finished(runs, web, tide):
    command = (f"model.files=['{tide}']", "run_id=a")
    runs(*command)
    web.files.clear()
    assert "nothing to do" in runs(*command)


def test_a_server_without_facts_about_its_files_is_good_enough(runs, web, tide):
    web.has_facts = False
    runs(f"model.files=['{tide}']", "run_id=a")
    assert (runs.here / "runs/a/out.txt").read_bytes() == TIDE


def test_secrets_in_a_url_are_hidden_and_do_not_make_another_run(runs, web, tide):
    for secret in ("opensesame1", "opensesame2"):
        url = f"{tide}?X-Amz-Signature={secret}&version=3"
        out = runs(files(url, checksum=sha(TIDE), target="tide.nc"), "run_id=a")
        assert secret not in out
        written = [path for path in runs.here.rglob("*") if path.is_file()]
        assert not any(secret.encode() in path.read_bytes() for path in written)
    assert "nothing to do" in out
    out = runs(files(f"{web.url}/none.nc?token=opensesame3", target="tide.nc"), "run_id=b", code=1)
    assert "opensesame3" not in out


def test_a_file_is_fetched_from_s3(runs, bucket):
    bucket.call("s3.put_object(Bucket='ocean', Key='in/tide.nc', Body=b'from s3')")
    out = runs("model.files=['s3://ocean/in/tide.nc']", "run_id=a", **bucket.variables)
    assert (runs.here / "runs/a/out.txt").read_bytes() == b"from s3"
    assert "opensesame-s3" not in out
    out = runs("model.files=['s3://ocean/in/none.nc']", "run_id=b", code=1, **bucket.variables)
    assert "does not exist" in out


def test_a_file_url_is_a_file_of_this_machine(runs, tmp_path):
    (tmp_path / "tide.nc").write_bytes(b"here")
    runs(f"model.files=['file://{tmp_path}/tide.nc']", "run_id=a")
    assert (runs.here / "runs/a/out.txt").read_bytes() == b"here"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.files=['github://org:repo@main/tide.nc']", "github"),
        ("model.files=['simplecache::http://h/tide.nc']", "http, https"),
        ("model.files=['http://h/']", "target"),
        ("model.files=[{source: 'http://h/a.nc', checksum: 'abc'}]", "sha256:"),
        ("model.files=[{source: 'http://h/a.nc', checksum: 'sha256:12'}]", "64"),
    ],
)
def test_urls_that_cannot_be_fetched_are_reported_before_anything_is_written(runs, setting, message):
    assert message in runs("check", setting, code=2)


def test_a_checksum_of_a_local_file_is_verified_as_well(runs, tmp_path):
    (tmp_path / "tide.nc").write_bytes(b"here")
    runs(files(f"{tmp_path}/tide.nc", checksum=sha(b"here")), "run_id=a")
    out = runs("check", files(f"{tmp_path}/tide.nc", checksum=sha(b"there")), "run_id=b", code=2)
    assert "checksum" in out


def test_a_missing_package_is_reported_before_anything_is_written(runs, tide, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sitecustomize.py").write_text(
        "import importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'fsspec' else find(name, *rest)\n"
    )
    out = runs(
        "check", f"model.files=['{tide}']", code=2, PYTHONPATH=f"{tmp_path / 'broken'}:{os.getcwd()}"
    )
    assert "rompy-hydra[transfer]" in out


def test_the_identity_of_runs_without_urls_is_that_of_earlier_versions():
    assert StagedFile(source="a.nc").model_dump(mode="json") == {
        "source": "a.nc", "target": None, "link": False,
    }  # fmt: skip


def test_a_file_is_fetched_in_the_python_api(web, tide, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = BaseConfig(files=(tide,), commands="cat tide.nc > out.txt")
    assert ModelRun(run_id="a", output_dir=tmp_path, config=model).run() is True
    assert (tmp_path / "a/out.txt").read_bytes() == TIDE


def test_a_server_that_fails_is_asked_again(runs, web, tide):
    web.failing = [503] * 4  # the version of the file, and the file
    runs(f"model.files=['{tide}']", "run_id=a")
    assert (runs.here / "runs/a/tide.nc").read_bytes() == TIDE


@pytest.mark.parametrize(("status", "reason"), [(401, "401 Unauthorized"), (403, "403 Forbidden")])
def test_a_refusal_is_reported_as_such_and_not_tried_again(runs, web, tide, status, reason):
    web.failing = [status] * 20
    out = runs(f"model.files=['{tide}']", "run_id=a", code=1)
    assert f"the server answers {reason}" in out and "does not exist" not in out
    assert len(web.failing) >= 14


def test_a_server_that_cannot_be_reached_is_named(runs):
    out = runs("model.files=['http://127.0.0.1:1/x.nc']", "run_id=a", code=1)
    assert "127.0.0.1:1" in out and "does not exist" not in out
