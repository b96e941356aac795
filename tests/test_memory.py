"""Rerunning in an existing run directory: what is skipped, what is repeated, and what is rejected."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest

from rompy_hydra import LocalConfig, ModelRun, TemplateModel
from rompy_hydra.adapters.resolve import resolve_processors
from rompy_hydra.core.execute import execute
from rompy_hydra.core.status import inspect
from rompy_hydra.errors import ConfigError, ModelFailed
from rompy_hydra.workspace.record import RunRecord
from tests.plans import plan_of


class Counts:
    """A postprocessor that writes a character to a file each time."""

    def process(self, model_run, name="count"):
        with (Path(model_run.output_dir) / model_run.run_id / f"{name}.txt").open("a") as file:
            file.write("x")
        return {"success": True, "message": ""}


@pytest.fixture
def template(tmp_path):
    directory = tmp_path / "template"
    directory.mkdir()
    (directory / "INPUT").write_text("f={{ model.friction }}\n")
    return directory


@pytest.fixture
def run(tmp_path, template):
    """Run a pipeline of a model that counts its starts outside its run directory."""

    def run(
        run_id="shoal",
        overwrite=False,
        backend=None,
        processor=Counts,
        settings=None,
        again=False,
        **fields,
    ):
        parameters = fields.pop("parameters", {"friction": 0.02})
        fields = {"commands": [f"cp INPUT out.nc; echo x >> '{tmp_path}/starts'"]} | fields
        config = TemplateModel(template=str(template), parameters=parameters, **fields)
        model_run = ModelRun(run_id=run_id, output_dir=tmp_path / "runs", config=config)
        plan = plan_of(
            model_run,
            backend=backend or "local",
            processors=resolve_processors(processor, settings or {}),
            overwrite=overwrite,
            rerun=again,
        )
        with contextlib.suppress(ConfigError):
            run.why = dict(inspect(plan).stale)
        return execute(plan)

    run.directory = tmp_path / "runs" / "shoal"
    run.starts = lambda: (
        (tmp_path / "starts").read_text().count("x") if (tmp_path / "starts").exists() else 0
    )
    return run


def test_completed_and_unchanged_stages_are_skipped(run):
    run()
    before = (run.directory / "run.json").read_bytes()
    record = run()
    assert run.why == {}
    assert run.starts() == 1
    assert record.state == "completed"
    assert (run.directory / "run.json").read_bytes() == before
    assert (run.directory / "count.txt").read_text() == "x"


def test_rerun_repeats_everything_except_unchanged_inputs(run):
    run()
    record = run(again=True)
    assert run.starts() == 2
    assert record.attempt == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"backend": LocalConfig(timeout=3600)},
        {"backend": LocalConfig(stream_output=True)},
        {"backend": LocalConfig(kill_grace=1)},
    ],
)
def test_changes_that_cannot_affect_the_result_rerun_nothing(run, fields):
    run()
    run(**fields)
    assert run.why == {}
    assert run.starts() == 1


def test_a_new_secret_does_not_make_it_a_different_run(run):
    run(env={"API_TOKEN": "old"}, backend=LocalConfig(env_vars={"DB_PASSWORD": "old"}))
    run(env={"API_TOKEN": "new"}, backend=LocalConfig(env_vars={"DB_PASSWORD": "new"}))
    assert run.starts() == 1


def test_touching_the_files_reruns_nothing(run, template):
    run()
    for path in (
        template / "INPUT",
        run.directory / "INPUT",
        run.directory / "out.nc",
        run.directory / "count.txt",
    ):
        os.utime(path, (1, 1))
    run()
    assert run.why == {}


def test_a_different_postprocessor_or_setting_repeats_only_postprocessing(run):
    run()
    run(settings={"name": "other"})
    assert run.why == {"postprocess": "the postprocessor or its settings changed"}
    assert (run.directory / "other.txt").exists()
    run(processor="noop")
    assert list(run.why) == ["postprocess"]
    assert run.starts() == 1


def test_a_missing_or_changed_output_reruns_the_model(run):
    run()
    (run.directory / "out.nc").unlink()
    record = run()
    assert run.why == {"run": "out.nc is missing or was changed", "postprocess": "run is done again"}
    assert (run.starts(), record.attempt) == (2, 2)
    (run.directory / "out.nc").write_text("f=9.99\n")
    record = run()
    assert (run.starts(), record.attempt) == (3, 3)
    assert (run.directory / "out.nc").read_text() == "f=0.02\n"
    # Nothing is lost: the earlier file is kept with the attempt that wrote it.
    assert (run.directory / "attempts" / "2" / "out.nc").read_text() == "f=9.99\n"


def test_a_changed_input_is_regenerated_and_all_later_stages_are_repeated(run):
    run()
    (run.directory / "INPUT").write_text("f=9.99\n")
    run()
    assert run.why == {
        "generate": "INPUT is missing or was changed",
        "run": "generate is done again",
        "postprocess": "run is done again",
    }
    assert (run.directory / "out.nc").read_text() == "f=0.02\n"


def test_a_missing_product_repeats_only_postprocessing(run):
    run()
    (run.directory / "count.txt").unlink()
    run()
    assert run.why == {"postprocess": "count.txt is missing or was changed"}
    assert run.starts() == 1


def test_a_postprocessor_that_changes_or_removes_outputs_does_not_cause_a_rerun_of_the_model(run):
    class Compresses:
        def process(self, model_run):
            directory = model_run.staging_dir
            (directory / "out.nc").rename(directory / "out.nc.gz")
            (directory / "other.nc").write_text("changed")
            return {"success": True, "message": ""}

    commands = ["cp INPUT out.nc; cp INPUT other.nc; echo $0 >> /dev/null"]
    run(commands=commands, processor=Compresses)
    run(commands=commands, processor=Compresses)
    assert run.why == {}


def test_a_different_configuration_in_the_same_directory_is_rejected_with_the_difference(run):
    run()
    for fields, expected in [
        ({"parameters": {"friction": 0.05}}, "model.parameters.friction: 0.02 there, 0.05 here"),
        ({"parameters": {"friction": 0.02, "depth": 5}}, "model.parameters.depth: nothing there, 5 here"),
        ({"backend": LocalConfig(command="true")}, 'run_backend.command: null there, "true" here'),
        ({"env": {"A": "1"}}, "model.env"),
    ]:
        with pytest.raises(ConfigError, match="holds another configuration") as error:
            run(**fields)
        assert expected.replace("null", "nothing") in str(error.value)
        assert "Choose another run_id or output_dir, or set overwrite=true" in str(error.value)
    assert run.starts() == 1
    assert RunRecord.read(run.directory / "run.json").state == "completed"


@pytest.mark.parametrize(
    "correction",
    [
        {"commands": ["cp INPUT out.nc"]},
        {"commands": ["test $A = 1 && cp INPUT out.nc"], "env": {"A": "1"}},
        {"commands": ["cp INPUT other.nc"], "success": {"must_exist": ["other.nc"]}},
        {"backend": LocalConfig(command="cp INPUT out.nc")},
    ],
)
def test_after_a_failure_a_corrected_command_or_check_is_another_attempt(run, correction):
    with pytest.raises(ModelFailed):
        run(commands=["cp INPUT half.nc; exit 3"])
    record = run(**correction)
    assert (record.state, record.attempt) == ("completed", 2)
    assert record.attempts[0]["exit_code"] == 3
    assert (run.directory / "attempts" / "1" / "half.nc").exists()
    assert not (run.directory / "half.nc").exists()


def test_after_a_failure_another_simulation_is_still_rejected(run):
    with pytest.raises(ModelFailed):
        run(commands=["exit 3"])
    with pytest.raises(ConfigError, match=r"friction: 0\.02 there, 0\.05 here"):
        run(commands=["cp INPUT out.nc"], parameters={"friction": 0.05})


def test_a_changed_environment_variable_is_rejected_without_showing_its_value(run):
    run(env={"PLAIN": "of before"})
    with pytest.raises(ConfigError, match="values that are not stored differ") as error:
        run(env={"PLAIN": "of now"})
    assert "of now" not in str(error.value)


def test_overwrite_moves_the_old_directory_aside_and_loses_nothing(run):
    run()
    record = run(overwrite=True, parameters={"friction": 0.05})
    aside = run.directory.with_name("shoal.old-1")
    assert (aside / "out.nc").read_text() == "f=0.02\n"
    assert RunRecord.read(aside / "run.json").state == "completed"
    assert (run.directory / "out.nc").read_text() == "f=0.05\n"
    assert (record.state, record.attempt) == ("completed", 1)
    run(overwrite=True, parameters={"friction": 0.05})
    assert run.directory.with_name("shoal.old-2").is_dir()


def test_overwrite_without_an_earlier_run_does_not_move_anything(run):
    run(overwrite=True)
    assert [path.name for path in run.directory.parent.iterdir()] == ["shoal"]


def test_a_changed_template_of_a_completed_run_sets_the_old_directory_aside(run, template):
    run()
    (template / "INPUT").write_text("f={{ model.friction }} # edited\n")
    run()
    assert run.why["generate"] == "a template or a staged file changed"
    assert (run.directory.with_name("shoal.old-1") / "out.nc").read_text() == "f=0.02\n"
    assert (run.directory / "out.nc").read_text() == "f=0.02 # edited\n"


def test_a_failed_run_with_a_changed_template_is_repeated_in_place(run, template, tmp_path):
    commands = ["grep -q good INPUT && cp INPUT out.nc"]
    with pytest.raises(Exception, match="exited with 1"):
        run(commands=commands)
    (template / "INPUT").write_text("good\n")
    record = run(commands=commands)
    assert (record.state, record.attempt) == ("completed", 2)
    assert not run.directory.with_name("shoal.old-1").exists()
    assert (run.directory / "attempts" / "1" / "run.log").exists()


def test_an_input_of_an_earlier_attempt_is_not_an_output_of_the_next_one(run, template):
    with pytest.raises(Exception, match="exited with 3"):
        run(commands=["exit 3"])
    (template / "INPUT").rename(template / "params.txt")
    with pytest.raises(Exception, match="exited with 3"):
        run(commands=["exit 3"])
    assert not (run.directory / "INPUT").exists()
    record = RunRecord.read(run.directory / "run.json")
    assert ([fact.path for fact in record.inputs], record.outputs) == (["params.txt"], [])


def test_a_new_attempt_starts_without_the_files_of_the_old_one(run, tmp_path):
    """In the next attempt, a stale error file must not fail the checks, nor a stale output pass them."""
    commands = [f"[ -e '{tmp_path}/repaired' ] || {{ touch Errfile deep.nc; exit 1; }}; ls > listing.txt"]
    checks = {"must_not_exist": ["**/Errfile"], "must_exist": ["listing.txt"]}
    with pytest.raises(Exception, match=r"exited with 1; .*the model left Errfile"):
        run(commands=commands, success=checks)
    (tmp_path / "repaired").touch()
    record = run(commands=commands, success=checks)
    assert record.attempt == 2
    assert "Errfile" not in (run.directory / "listing.txt").read_text()
    assert "deep.nc" not in (run.directory / "listing.txt").read_text()
    assert sorted(path.name for path in (run.directory / "attempts" / "1").iterdir()) == [
        *("Errfile", "deep.nc", "exit_code", "run.log")
    ]
    (earlier,) = record.attempts
    assert (earlier["attempt"], earlier["state"], earlier["exit_code"]) == (1, "failed", 1)
    assert earlier["error"]["type"] == "ModelFailed"


def test_files_from_before_the_run_are_never_moved_or_deleted_and_are_not_outputs(run):
    run.directory.mkdir(parents=True)
    (run.directory / "notes.txt").write_text("mine")
    with pytest.raises(Exception, match="exited with 3"):
        run(commands=["exit 3"])
    with pytest.raises(Exception, match="exited with 3"):
        run(commands=["exit 3"])
    assert (run.directory / "notes.txt").read_text() == "mine"
    record = RunRecord.read(run.directory / "run.json")
    assert (record.found, record.outputs, record.attempt) == (["notes.txt"], [], 2)


@pytest.mark.parametrize("name", ["INPUT", "run.sh", "run.log", "metrics.json", "exit_code"])
def test_a_file_not_written_by_the_run_is_never_replaced(run, name):
    run.directory.mkdir(parents=True)
    (run.directory / name).write_text("somebody else's")
    with pytest.raises(ConfigError, match=r"overwrite=true.*moves the directory aside"):
        run()
    assert (run.directory / name).read_text() == "somebody else's"
    assert [path.name for path in run.directory.iterdir()] == [name]
    run(overwrite=True)
    assert (run.directory.with_name("shoal.old-1") / name).read_text() == "somebody else's"


@pytest.mark.parametrize(
    ("name", "declared"),
    [
        ("out.nc", {"outputs": ["out.nc"]}),
        ("out.nc", {"outputs": ["*.nc", "**/*"]}),
        ("fields/deep/a.nc", {"outputs": ["fields"]}),
        ("fields/deep/a.nc", {"success": {"must_exist": ["**/*.nc"]}}),
        ("out.nc", {"success": {"must_exist": ["out.nc"]}}),
        ("model.log", {"success": {"log_file": "model.log"}}),
    ],
)
def test_declared_outputs_do_not_replace_a_file_not_written_by_the_run(run, name, declared):
    path = run.directory / name
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    with pytest.raises(ConfigError, match=rf"{name} already exists.*moves the directory aside"):
        run(**declared)
    assert path.read_text() == "precious"
    assert run.starts() == 0
    command = f"mkdir -p fields/deep; cp INPUT out.nc; cp INPUT '{name}'"
    assert run(overwrite=True, commands=[command], **declared).state == "completed"
    assert (run.directory.with_name("shoal.old-1") / name).read_text() == "precious"


def test_a_model_does_not_write_through_an_existing_link(run, tmp_path):
    run.directory.mkdir(parents=True)
    (run.directory / "out.nc").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"out.nc already exists"):
        run(outputs=["out.nc"])
    assert not (tmp_path / "elsewhere").exists()


def test_an_input_that_is_also_an_output_does_not_count_as_an_existing_file(run):
    run.directory.mkdir(parents=True)
    (run.directory / "INPUT").write_text("f=0.02\n")
    state = run(commands=["echo end >> INPUT"], success={"must_exist": ["INPUT"]}).state
    assert state == "completed"


def test_a_directory_prepared_for_outputs_is_accepted(run):
    (run.directory / "fields").mkdir(parents=True)
    assert run(commands=["cp INPUT fields/a.nc"], outputs=["fields/*"]).state == "completed"
    assert [fact.path for fact in run(outputs=["fields/*"], commands=["cp INPUT fields/a.nc"]).outputs] == [
        "fields/a.nc"
    ]


def test_an_existing_input_with_the_same_content_is_accepted(run):
    run.directory.mkdir(parents=True)
    (run.directory / "INPUT").write_text("f=0.02\n")
    assert run().state == "completed"


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema_version": 99}', b"\xff\xfe"])
def test_a_damaged_record_is_rejected_and_overwrite_moves_it_aside(run, content):
    run()
    (run.directory / "run.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"is damaged .* overwrite=true"):
        run()
    assert (run.directory / "run.json").read_bytes() == content
    assert (run.directory / "out.nc").exists()
    run(overwrite=True)
    assert (run.directory.with_name("shoal.old-1") / "run.json").read_bytes() == content
    assert RunRecord.read(run.directory / "run.json").state == "completed"


def test_a_linked_input_identifies_the_same_run_as_long_as_its_content_is_unchanged(run, tmp_path):
    source = tmp_path / "grid.nc"
    source.write_text("one")
    files = [{"source": str(source), "link": True}]
    run(files=files)
    run(files=files)
    assert run.why == {}
    source.write_text("two")
    run(files=files)
    assert list(run.why) == ["generate", "run", "postprocess"]


def test_secrets_in_overrides_are_not_recorded(tmp_path):
    from rompy_hydra.core.plan import Origin

    run = ModelRun(run_id="a", output_dir=tmp_path)
    origin = Origin(overrides=("run_backend.env_vars.TOKEN=hunter2", "model.friction=1"))
    execute(plan_of(run, "generate", origin=origin))
    stored = json.loads(run.workspace.record.read_text())["overrides"]
    assert stored == ["run_backend.env_vars.TOKEN=<not stored>", "model.friction=1"]


def test_a_different_version_of_the_script_text_is_not_a_different_run(run):
    run()
    script = run.directory / "run.sh"
    script.write_text("# of an older version\n" + script.read_text())
    run()
    assert run.why == {}
