"""`rompy-hydra --rompy FILE`: a file of rompy's runs as it stands."""

from __future__ import annotations

import json
import os

import pytest
import yaml

from tests.migration.conftest import RUN

GENERATE = "pipeline.stages=[generate]"


def test_a_run_file_generates_the_inputs_where_it_says(files):
    out = files.run("--rompy", "run.yml")
    text = (files.here / "simulations/deep/lake.txt").read_text()
    assert text.startswith("deep 2023-01-01 00:00:00 2023-01-02 00:00:00 ")
    assert '"depth":12.5' in text and '"levels":{"0":1.5,"1":2.5}' in text
    assert "generate" in out
    record = json.loads((files.here / "simulations/deep/run.json").read_text())
    assert record["config"]["model"]["_target_"] == "lake_model.Lake"
    assert record["config"]["period"]["interval"] in ("PT1H", "PT3600S", 3600.0)
    again = files.run("--rompy", "run.yml")
    assert "nothing to do" in again


def test_a_run_file_runs_with_a_command_or_with_a_backend_file(files):
    files.run("--rompy", "run.yml", "run_id=a", "run_backend.command='cp lake.txt out.txt'")
    assert (files.here / "simulations/a/out.txt").exists()
    files.run("--rompy", "run.yml", "--rompy", "parts/backend.yml", "run_id=b")
    record = json.loads((files.here / "simulations/b/run.json").read_text())
    assert record["commands"] == ["cp lake.txt result.txt"]
    assert record["config"]["run_backend"]["timeout"] == 7200
    assert (files.here / "simulations/b/result.txt").exists()


def test_a_pipeline_file_with_includes_generates_runs_and_postprocesses(files):
    files.run("--rompy", "pipeline.yml")
    record = json.loads((files.here / "simulations/deep/run.json").read_text())
    assert record["state"] == "completed"
    assert [stage for stage, facts in record["stages"].items() if facts["state"] == "completed"] == [
        "generate", "run", "postprocess",
    ]  # fmt: skip
    assert [each["name"] for each in record["config"]["processor"]] == ["noop"]


def test_a_model_file_is_an_option_of_the_group_model(files):
    files.run("--rompy", "model.yml", "run_id=mine", "output_dir=out", "period=one_day", GENERATE)
    assert '"depth":12.5' in (files.here / "out/mine/lake.txt").read_text()


def test_overrides_and_sweeps_change_what_a_file_says(files):
    command = ("-m", "--rompy", "run.yml", "model.depth=1,2", "run_backend.command='cp lake.txt out.txt'")
    files.run(*command)
    found = sorted(path.parent.name for path in files.here.glob("sweeps/run/*/out.txt"))
    assert found == ["depth=1", "depth=2"]
    assert '"depth":2.0' in (files.here / "sweeps/run/depth=2/lake.txt").read_text()
    assert "2 already done" in files.run(*command)


def test_variables_of_the_environment_have_defaults_and_filters(files):
    files.write(
        "cycle.yml",
        """
run_id: cycle_${CYCLE|strftime:%Y%m%d}
output_dir: ${OUT_ROOT:-./output}/x_${CYCLE|as_datetime|shift:-1d|strftime:%Y/%j}
period:
  start: ${CYCLE}
  end: ${CYCLE|as_datetime|shift:+6h}
  interval: 1h
config:
  model_type: lakeconfig
  depth: "${DEPTH:-7}"
  name: 'it''s ${NUMBER} ${FLAG:-no} $${HOME.x}'
  extra: "${FLAG:-yes}"
""",
    )
    files.run("--rompy", "cycle.yml", GENERATE, CYCLE="2023-03-01T06:00:00", NUMBER="1")
    text = (files.here / "output/x_2023/059/cycle_20230301/lake.txt").read_text()
    assert text.startswith("cycle_20230301 2023-03-01 06:00:00 2023-03-01 12:00:00 ")
    assert '"depth":7.0' in text and "it's 1 no $${HOME.x}" in text and '"extra":true' in text
    out = files.run("--rompy", "cycle.yml", GENERATE, code=2, CYCLE="2023-03-01T06:00:00")
    assert "NUMBER" in out and "${NUMBER:-DEFAULT}" in out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run_id: a\nconfig: {model_type: lakconfig}", "Did you mean 'lakeconfig'"),
        ("run_id: a\noutputdir: b\nconfig: {model_type: lake}", "Did you mean 'output_dir'"),
        ("run_id: a\nconfig: {depth: 3}", "model_type"),
        ("run_id: a\nconfig: {model_type: lakeconfig, dept: 3}", "Did you mean 'depth'"),
        ("run_id: a\nperiod: {start: 20230101T00}\nconfig: {model_type: lakeconfig}", "two of start, end"),
        ("a: 1\n---\nb: 2\n", "2 documents"),
        ("- a", "list"),
        ("just text", "text"),
        ("a: [", "not valid YAML"),
        ("a: !!python/object/apply:os.system ['touch hacked']", "python/object"),
        ("type: locla\ncommand: ls", "Did you mean 'local'"),
        ("type: local\ncomand: ls", "Did you mean 'command'"),
        ("run_id: ${A|strftme:%Y}\nconfig: {model_type: lakeconfig}", "Did you mean 'strftime'"),
        ("run_id: ${A:-${B}}\nconfig: {model_type: lakeconfig}", "inside of another"),
        ("run_id: a\nconfig: !include missing.yml", "missing.yml"),
        ("run_id: a\nconfig: !include bad.yml", "includes itself"),
        ("run_id: a\nconfig: {model_type: lakeconfig, levels: {0: deep}}", "model.levels[0] = 'deep'"),
    ],
)
def test_mistakes_are_reported_with_the_closest_name_and_nothing_is_written(files, text, message):
    files.write("bad.yml", text)
    before = files.snapshot()
    out = files.run("--rompy", "bad.yml", GENERATE, code=2, A="2023-01-01")
    assert message in out
    assert "Traceback" not in out
    assert files.snapshot() == before


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("--rompy", "none.yml"), "none.yml"),
        (("--rompy", "run.yml", "--rompy", "model.yml"), "model.yml"),
        (("--rompy", "run.yml", "experiment=salish_tsunami"), "experiment"),
        (("--rompy", "model.yml", "model=beach"), "model"),
        (("--rompy-include", "parts"), "--rompy"),
    ],
)
def test_files_that_contradict_each_other_are_refused(files, command, message):
    before = files.snapshot()
    assert message in files.run(*command, GENERATE, code=2)
    assert files.snapshot() == before


def test_a_file_of_another_directory_is_included_only_if_the_user_allows_it(files):
    files.write("deep/run.yml", "run_id: a\nconfig: !include ../model.yml\n")
    files.write("deep/absolute.yml", f"run_id: a\nconfig: !include {files.here}/model.yml\n")
    files.write("deep/variable.yml", "run_id: a\nconfig: !include $PLACE/model.yml\n")
    (files.here / "deep/link.yml").symlink_to(files.here / "model.yml")
    files.write("deep/linked.yml", "run_id: a\nconfig: !include link.yml\n")
    os.mkfifo(files.here / "deep/pipe.yml")
    files.write("deep/piped.yml", "run_id: a\nconfig: !include pipe.yml\n")
    for name in ("run", "absolute", "variable", "linked"):
        out = files.run("--rompy", f"deep/{name}.yml", GENERATE, code=2, PLACE="..")
        assert "--rompy-include" in out, name
        files.run(
            "--rompy",
            f"deep/{name}.yml",
            "--rompy-include",
            ".",
            GENERATE,
            f"output_dir={name}",
            PLACE="..",
        )
        assert (files.here / name / "a" / "lake.txt").exists()
    assert "pipe" in files.run("--rompy", "deep/piped.yml", GENERATE, code=2)


def test_aliases_that_stand_for_too_many_values_are_refused(files):
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    files.write("bomb.yml", "\n".join(lines))
    assert "aliases" in files.run("check", "--rompy", "bomb.yml", code=2)


def test_looking_at_a_file_runs_no_code_of_it_and_writes_nothing(files):
    files.write(
        "hostile.yml",
        """
run_id: "${API_TOKEN}"
output_dir: /tmp/${HOME|strftime:%Y}
config:
  model_type: lakeconfig
  name: "{{ ''.__class__ }} $(touch hacked) `touch hacked` ${oc.env:API_TOKEN} ${API_TOKEN}"
  extra: {_target_: os.system, _args_: [touch hacked]}
""",
    )
    before = files.snapshot()
    for command in (("check",), ("--dry-run",), ("--cfg", "job"), ("--cfg", "job", "--resolve")):
        answer = files._program(
            *command, "--rompy", "hostile.yml", GENERATE, API_TOKEN="opensesame", HOME="/root"
        )
        assert "opensesame" not in answer.stdout + answer.stderr, command
        assert "Traceback" not in answer.stderr, answer.stderr
        assert files.snapshot() == before


def test_a_secret_in_the_path_of_an_include_is_hidden(files):
    files.write("run.yml", "run_id: a\nconfig: !include /$API_TOKEN/x.yml\n")
    assert "opensesame" not in files.run("check", "--rompy", "run.yml", code=2, API_TOKEN="opensesame")


def test_a_container_runs_what_rompy_would_run(files):
    files.write("docker.yml", "type: docker\nimage: swan:1\nmpiexec: ''\nvolumes: ['./data:/data:ro']\n")
    out = files.run("--cfg", "job", "--package", "run_backend", "--rompy", "docker.yml")
    node = yaml.safe_load(out)
    assert node["executable"] == "/usr/local/bin/run.sh"
    assert node["volumes"] == ["./data:/data:ro"]
    assert "mpiexec" not in node
    files.write("docker.yml", "type: docker\nimage: swan:1\nexecutable: /bin/swan\nmpiexec: mpirun\n")
    out = files.run("--cfg", "job", "--package", "run_backend", "--rompy", "docker.yml")
    assert (yaml.safe_load(out)["cpu"], yaml.safe_load(out)["executable"]) == (1, "/bin/swan")


def test_a_secret_of_the_environment_reaches_the_model_and_no_output(files):
    files.write(
        "run.yml", "run_id: a\nconfig: {model_type: lakeconfig, extra: {password: '${DB_PASSWORD}'}}"
    )
    seen = ""
    for command in (("check",), ("--cfg", "job"), ("--cfg", "job", "--resolve"), ()):
        seen += files.run(*command, "--rompy", "run.yml", DB_PASSWORD="opensesame")
    assert "opensesame" not in seen
    assert "opensesame" in (files.here / "simulations/a/lake.txt").read_text()
    assert "opensesame" not in (files.here / "simulations/a/run.json").read_text()
    stored = yaml.safe_load((files.here / "simulations/a/.hydra/config.yaml").read_text())
    assert "opensesame" not in str(stored)


def test_existing_files_are_moved_aside_where_rompy_deletes_them(files):
    files.write("again.yml", "delete_existing: true\n" + RUN)
    files.run("--rompy", "run.yml")
    files.run("--rompy", "again.yml", "model.depth=3")
    moved = [path.name for path in (files.here / "simulations").iterdir() if path.name != "deep"]
    assert len(moved) == 1
    assert '"depth":3.0' in (files.here / "simulations/deep/lake.txt").read_text()


def test_without_a_subdirectory_the_output_directory_is_that_of_the_run(files):
    files.write("flat.yml", "run_id_subdir: false\n" + RUN)
    files.run("--rompy", "flat.yml")
    assert (files.here / "simulations/lake.txt").exists()


def test_the_end_of_a_period_may_be_left_out(files):
    files.write("run.yml", RUN.replace("interval: 1H", "interval: 1H\n  include_end: false"))
    shown = yaml.safe_load(files.run("--cfg", "job", "--package", "period", "--rompy", "run.yml"))
    assert shown["include_end"] is False
    files.run("--rompy", "run.yml")


def test_a_backend_of_another_package_is_selected_by_its_type(files):
    files.write("lakes.yml", "type: lakes\nnodes: 3\n")
    files.run("--rompy", "run.yml", "--rompy", "lakes.yml")
    assert (files.here / "simulations/deep/nodes.txt").read_text() == "3"


def test_a_stored_configuration_of_such_a_run_can_be_run_again(files):
    files.run("--rompy", "run.yml", "model.depth=4")
    files.run(
        "--config-path", "simulations/deep/.hydra", "--config-name", "config", "run_id=copy", GENERATE
    )
    assert '"depth":4.0' in (files.here / "simulations/copy/lake.txt").read_text()
