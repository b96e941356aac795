"""Pipeline plugins that do some or all of the work by themselves: how their runs end and are remembered."""

from __future__ import annotations

import json

import pytest

CLOUD = ["model=drip", "pipeline=cloud"]


@pytest.fixture
def cloud(program):
    """Run commands of the program with a pipeline that runs models elsewhere, in one process."""

    def run(*commands):
        return program.run_all(*([*CLOUD, *command] for command in commands))

    return run


def record_of(program, run_id):
    return json.loads((program.cwd / "runs" / run_id / "run.json").read_text())


def calls(program):
    return (program.cwd / "calls").read_text().split()


def test_a_run_that_a_pipeline_has_completed_by_itself_is_completed_and_not_repeated(program, cloud):
    first, again = cloud(["run_id=far"], ["run_id=far"])
    assert first.returncode == again.returncode == 0, first.stderr + again.stderr
    assert "completed  far" in first.stdout
    assert "nothing to do: every stage is done and unchanged" in again.stdout
    assert calls(program) == ["far"]
    record = record_of(program, "far")
    assert record["state"] == "completed"
    assert {stage["state"] for stage in record["stages"].values()} == {"completed"}
    assert record["stages"]["run"]["why"] == "left to the pipeline cloud"
    assert [fact["path"] for fact in record["outputs"]] == ["drip.csv"]
    assert record["pipeline"]["name"] == "cloud"
    assert record["pipeline"]["stages_completed"] == ["generate", "submit", "execute", "postprocess"]
    assert record["pipeline"]["results"] == {"job_id": "job-north", "outputs": ["drip.csv"]}


def test_other_settings_of_the_pipeline_and_lost_outputs_repeat_what_was_left_to_it(program, cloud):
    south = ["run_id=far", "+pipeline.region=south"]
    assert [answer.returncode for answer in cloud(["run_id=far"], south, south)] == [0, 0, 0]
    assert calls(program) == ["far"] * 2
    assert record_of(program, "far")["pipeline"]["region"] == "south"
    assert (program.cwd / "runs/far/drip.csv").read_text() == "job-south"
    (program.cwd / "runs/far/drip.csv").unlink()
    assert cloud(south)[0].returncode == 0
    assert calls(program) == ["far"] * 3
    # The local pipeline cannot know what another one did by itself.
    answer = program("model=drip", "run_id=far", "processor=noop")
    assert answer.returncode == 0, answer.stdout
    assert (program.cwd / "runs/far/drip.csv").read_text() == "drip\n"


FAILURES = {
    "nowhere": ("failed", "run", "no such region"),
    "vague": ("failed", "run", "returned 'done', so whether it succeeded cannot be determined"),
    "forgetful": ("failed", "run", "check must_exist: drip.csv was not written"),
    "interrupted": ("interrupted", "run", "interrupted"),
}


def test_a_failure_of_a_pipeline_is_recorded_with_its_stage_and_can_be_retried(program, cloud):
    answers = cloud(*([f"run_id={region}", f"+pipeline.region={region}"] for region in FAILURES))
    for answer, (region, (state, stage, message)) in zip(answers, FAILURES.items(), strict=True):
        assert answer.returncode == (130 if region == "interrupted" else 1), answer.stdout
        assert state in answer.stdout
        record = record_of(program, region)
        assert (record["state"], record["error"]["stage"]) == (state, stage), region
        assert message in record["error"]["message"]
        assert record["stages"]["generate"]["state"] == "completed"
    (program.cwd / "opened").touch()
    assert cloud(["run_id=nowhere", "+pipeline.region=nowhere"])[0].returncode == 0
    record = record_of(program, "nowhere")
    assert (record["state"], record["attempt"], record["error"]) == ("completed", 2, None)


def test_a_pipeline_that_raises_before_anything_was_generated_leaves_a_failed_run(program):
    answer = program("model=drip", "pipeline=raising", "processor=none", "run_id=raised")
    assert answer.returncode == 1
    assert "the pipeline raising failed: RuntimeError: the cloud is closed" in answer.stdout
    record = record_of(program, "raised")
    assert (record["state"], record["error"]["stage"]) == ("failed", "generate")


def test_a_sweep_calls_such_a_pipeline_once_for_each_point_and_retries_what_failed(program):
    sweep = ["-m", *CLOUD, "model.drops=1,2,3", "+pipeline.region=odd"]
    first, again = program.run_all(sweep, sweep)
    assert (first.returncode, again.returncode) == (1, 1), first.stdout + first.stderr
    assert "2 completed, 1 failed" in first.stdout
    assert "2 already done" in again.stdout
    assert len(calls(program)) == 4
    table = (program.cwd / "sweeps/drip/results.csv").read_text()
    assert table.count("completed") == 2
    assert "pending" not in table


def test_overwriting_moves_the_run_of_such_a_pipeline_aside_once(program, cloud):
    answers = cloud(["run_id=far"], ["run_id=far", "overwrite=true"])
    assert [answer.returncode for answer in answers] == [0, 0]
    assert len(list((program.cwd / "runs").glob("far*"))) == 2
    assert calls(program) == ["far"] * 2


def test_a_choice_that_a_pipeline_does_not_take_is_refused_and_not_dropped(program):
    asked = [
        ["model=drip", "pipeline=stepwise", "processor=noop"],
        ["model=drip", "pipeline=raising", "run_backend=with_settings"],
        ["model=drip", "pipeline=raising", "run_backend.timeout=60"],
    ]
    for command, answer in zip(asked, program.run_all(*asked), strict=True):
        assert answer.returncode == 2, answer.stdout
        choice = command[-1].partition(".")[0].partition("=")[0]
        assert f"chooses its own {choice}: leave out {command[-1]}" in answer.stderr
    assert not (program.cwd / "runs").exists()


def test_a_run_completed_by_a_pipeline_from_python_is_completed_in_its_record(program):
    answer = program.python(
        "-c",
        """
import json
from good_plugins.models import Drip
from rompy_hydra import ModelRun
good = ModelRun(run_id="good", config=Drip()).pipeline("cloud")
bad = ModelRun(run_id="bad", config=Drip()).pipeline("cloud", region="nowhere")
print(json.dumps([good["success"], bad["success"]]))
""",
    )
    assert answer.stdout == "[true, false]\n", answer.stderr
    assert record_of(program, "good")["state"] == "completed"
    assert record_of(program, "good")["pipeline"]["results"]["job_id"] == "job-north"
    assert record_of(program, "bad")["state"] == "failed"
