"""`rompy-hydra from-rompy FILE...`: a file of rompy's as options of a configuration directory."""

from __future__ import annotations

import os

import pytest
from omegaconf import OmegaConf

from tests.migration.conftest import RUN

GENERATE = "pipeline.stages=[generate]"


def read(path):
    return OmegaConf.to_container(OmegaConf.load(path), resolve=False)


def test_a_run_file_becomes_options_that_generate_the_same_files(files):
    out = files.run("from-rompy", "run.yml")
    assert sorted(str(path.relative_to(files.here)) for path in files.here.glob("conf/*/*.yaml")) == [
        "conf/experiment/run.yaml", "conf/model/run.yaml", "conf/period/run.yaml",
    ]  # fmt: skip
    assert "conf/model/run.yaml" in out and "--config-dir conf experiment=run" in out
    files.run("--rompy", "run.yml", "output_dir=a")
    files.run("--config-dir", "conf", "experiment=run", "output_dir=b", GENERATE)
    assert (files.here / "a/deep/lake.txt").read_bytes() == (files.here / "b/deep/lake.txt").read_bytes()


def test_the_comments_of_the_file_are_kept_and_what_was_changed_is_explained(files):
    files.write("run.yml", "delete_existing: true\n" + RUN)
    files.run("from-rompy", "run.yml")
    model = (files.here / "conf/model/run.yaml").read_text()
    assert model.splitlines() == [
        "# From rompy's run.yml: model=run",
        "_target_: lake_model.Lake",
        "model_type: lakeconfig   # the kind",
        "# how deep it is",
        "depth: 12.5",
        "levels: {0: 1.5, 1: 2.5}",
    ]
    experiment = (files.here / "conf/experiment/run.yaml").read_text()
    assert experiment.startswith("# @package _global_\n# From rompy's run.yml: experiment=run\n")
    assert "overwrite: true" in experiment and "moved aside" in experiment


def test_a_pipeline_and_a_backend_become_options_of_their_groups(files):
    files.run("from-rompy", "pipeline.yml", "parts/backend.yml")
    assert read(files.here / "conf/run_backend/backend.yaml") == {
        "_target_": "rompy_hydra.run.local.LocalRunBackend",
        "timeout": 7200,
        "command": "cp lake.txt result.txt",
        "env_vars": {"OMP_NUM_THREADS": "4"},
    }
    text = (files.here / "conf/run_backend/backend.yaml").read_text()
    assert "shell is left out: it has no effect in rompy, either" in text
    files.run("--config-dir", "conf", "experiment=pipeline")
    assert (files.here / "simulations/deep/result.txt").exists()


@pytest.mark.parametrize(
    "text",
    [
        "extra: ${A}",
        "extra: 'x ${A|strftime:%Y} it''s'",
        'extra: "${A:-b}"',
        "extra: 1e-4",
        "extra: 2023-01-01",
        "extra: 2023-01-01 12:00:00   # a time",
        "extra: 0x1f",
        "extra: ~",
        "extra: yes",
        "extra: [1e-4, '${A}', {a: 1.0e-4}]",
        "extra: $${oc.env:HOME}",
        "extra: &x {a: 1}\n  name: *y",
        "extra: |\n    several\n    lines ${A}",
        "extra: >-\n    folded\n    text",
        "extra: {'a b': '#', \"c: d\": '- e'}",
        "extra: !include value.yml",
        "extra: {true: 1, 1.5: 2}",
        "extra: 'ünïcödé \\ \"'",
        "# only a comment",
    ],
)
def test_every_value_survives_the_conversion(files, text):
    files.write("value.yml", "# of the value\na: [1e-4, '${A}']\n")
    name = "name: &y deep\n  " if "*y" in text else ""
    body = text.replace("name: *y", "levels: {}")
    files.write("some.yml", f"run_id: a\nconfig:\n  model_type: lakeconfig\n  {name}{body}\n")
    for each in (("--rompy", "some.yml", "output_dir=x"), ("from-rompy", "some.yml")):
        files.run(*each, A="2023-01-01")
    files.run("--config-dir", "conf", "experiment=some", "output_dir=y", GENERATE, A="2023-01-01")
    assert (files.here / "x/a/lake.txt").read_bytes() == (files.here / "y/a/lake.txt").read_bytes()


def test_variables_stay_variables(files):
    files.write(
        "cycle.yml", "run_id: ${CYCLE|strftime:%Y}\nconfig: {model_type: lakeconfig, name: '${TOKEN}'}"
    )
    files.run("from-rompy", "cycle.yml", TOKEN="opensesame", CYCLE="2023-01-01")
    written = b"".join(path.read_bytes() for path in files.here.glob("conf/*/*.yaml"))
    assert b"opensesame" not in written
    assert b"CYCLE" in written
    assert b"2023-01-01" not in written
    files.run("--config-dir", "conf", "experiment=cycle", GENERATE, CYCLE="2022-02-02", TOKEN="deep")
    assert (files.here / "simulations/2022/lake.txt").exists()


def test_an_existing_file_is_never_overwritten_unasked(files):
    files.write("conf/model/run.yaml", "mine: 1\n")
    before = files.snapshot()
    out = files.run("from-rompy", "run.yml", code=2)
    assert "conf/model/run.yaml already exists" in out and "--overwrite" in out
    assert files.snapshot() == before
    files.run("from-rompy", "run.yml", "--name", "other")
    assert read(files.here / "conf/model/other.yaml")["depth"] == 12.5
    files.run("from-rompy", "run.yml", "--overwrite")
    assert read(files.here / "conf/model/run.yaml")["depth"] == 12.5


def test_nothing_is_written_if_one_of_several_files_is_wrong(files):
    files.write("bad.yml", "run_id: a\nconfig: {model_type: lakconfig}")
    before = files.snapshot()
    assert "bad.yml" in files.run("from-rompy", "run.yml", "bad.yml", code=2)
    assert files.snapshot() == before


def test_a_directory_of_configurations_that_is_a_link_is_not_followed_out(files):
    (files.here / "elsewhere").mkdir()
    (files.here / "conf").mkdir()
    os.symlink(files.here / "elsewhere", files.here / "conf/model")
    files.run("from-rompy", "model.yml")
    assert (files.here / "elsewhere/model.yaml").exists()  # the user's own link


def test_the_help_shows_how_to_use_it(files):
    out = files.run("from-rompy", "--help")
    assert "--directory" in out and "--overwrite" in out
    assert "FILE" in files.run("from-rompy", code=2)


def test_the_command_that_is_advised_generates_the_inputs_and_then_runs_them(files):
    advised = files.run("from-rompy", "run.yml").rpartition("next   rompy-hydra ")[2].split()
    assert advised[-1] == GENERATE
    files.run(*advised)
    files.run(*advised[:-1], "run_backend.command=cp lake.txt result.txt")
    assert (files.here / "simulations/deep/result.txt").exists() or list(files.here.glob("**/result.txt"))
