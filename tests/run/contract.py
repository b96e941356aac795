"""The contract of every run backend, tested with real processes and engines.

To test a new backend, define a subclass with one fixture in its own test module::

    class TestTheDockerBackendKeepsTheContract(RunBackendContract):
        @pytest.fixture
        def place(self):
            return Place("docker", DockerConfig, {"image": "rompy-hydra-test:busybox"})

The models require only a POSIX shell.
"""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rompy_hydra import BackendConfig, BaseConfig, ModelRun, SuccessChecks
from rompy_hydra.core.execute import execute
from rompy_hydra.errors import PluginError
from rompy_hydra.process import StopSignal
from rompy_hydra.workspace.record import RunRecord
from tests.conftest import LIMIT, wait_until
from tests.plans import plan_of

TAKE_OVER = """
commands = ["echo start >> starts; until [ -e go ]; do sleep 0.05; done", "echo data > out.nc"]
config = BaseConfig(commands=commands)
run = ModelRun(run_id="lost run", output_dir=sys.argv[1], config=config)
settings = __import__("json").loads(sys.argv[3])
print(run.pipeline(run_backend=sys.argv[2], run_kwargs=settings)["success"])
"""


@dataclass(frozen=True)
class Place:
    """A backend under test: its name, its configuration class, and the settings that it needs."""

    name: str
    config_class: type[BackendConfig]
    settings: dict[str, object] = field(default_factory=dict)

    def config(self, **settings: object) -> BackendConfig:
        return self.config_class(**(self.settings | settings))


class RunBackendContract:
    """The tests of the contract; the fixture `place` provides the backend."""

    @pytest.fixture
    def place(self) -> Place:
        raise NotImplementedError("a subclass gives the place")

    @pytest.fixture
    def model(self, tmp_path):
        """Create a run of shell lines."""

        def model(*commands, run_id="it's a run", **fields):
            config = BaseConfig(commands=commands, **fields)
            return ModelRun(run_id=run_id, output_dir=tmp_path / "my runs", config=config)

        return model

    def test_a_model_runs_in_its_workspace_and_its_output_is_logged(self, place, model):
        run = model("echo out; echo err >&2; echo data > out.nc", ["sh", "-c", "cat out.nc"])
        assert run.run(place.config()) is True
        assert (run.workspace.path / "out.nc").read_text() == "data\n"
        assert run.workspace.log.read_text() == "out\nerr\ndata\n"
        assert run.workspace.exit_code() == 0

    def test_output_files_belong_to_the_user_who_starts_the_run(self, place, model):
        run = model("mkdir -p a/b; echo data > a/b/out.nc")
        assert run.run(place.config())
        for path in run.workspace.path.rglob("*"):
            assert path.stat().st_uid == os.getuid(), path

    def test_all_ways_to_select_a_backend_are_equivalent(self, place, model):
        backend = place.config().get_backend_class()
        ways = [
            lambda run: run.run(place.name, **place.settings),
            lambda run: run.run(place.config()),
            lambda run: run.run(backend(**place.settings)),
            lambda run: run.run(backend, **place.settings),
            lambda run: run.pipeline(run_backend=place.name, run_kwargs=place.settings)["success"],
            lambda run: run.pipeline(run_backend=place.config())["success"],
        ]
        for number, way in enumerate(ways):
            run = model("echo data > out.nc", run_id=f"way {number}")
            assert way(run) is True
            record = RunRecord.load(run.workspace)
            assert record.state == "completed"
            assert record.run_backend == json.loads(json.dumps({"name": place.name, **_stored(place)}))

    def test_a_backend_can_be_called_directly_as_in_the_reference(self, place, model):
        run = model("echo data > out.nc")
        backend = place.config().get_backend_class()()
        assert backend.run(run, place.config(), workspace_dir=run.generate()) is True
        assert (run.workspace.path / "out.nc").exists()
        failing = model("exit 3", run_id="failing")
        assert backend.run(failing, place.config()) is False

    def test_the_configuration_is_plain_data(self, place):
        config = place.config(timeout=5, env_vars={"A": "1"})
        assert type(config).model_validate_json(config.model_dump_json()) == config
        with pytest.raises(ValueError, match="frozen"):
            config.timeout = 6
        with pytest.raises(ValueError, match="no_such_field"):
            place.config(no_such_field=1)

    @pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "soon"])
    def test_a_timeout_must_be_a_positive_number_of_seconds(self, place, timeout):
        with pytest.raises(ValueError, match="timeout"):
            place.config(timeout=timeout)
        assert place.config(timeout=0.5).timeout == 0.5
        assert place.config(timeout=10 * 86400).timeout == 864000

    def test_an_invalid_model_run_raises_value_error(self, place):
        backend = place.config().get_backend_class()(place.config())
        with pytest.raises(ValueError, match="model_run cannot be None"):
            backend.run(None, place.config())
        with pytest.raises(ValueError, match="model_run must have a run_id attribute"):
            backend.run(object(), place.config())

    def test_a_nonzero_exit_code_is_a_failure(self, place, model):
        run = model("echo the reason; exit 7")
        assert run.run(place.config()) is False
        record = RunRecord.load(run.workspace)
        assert (record.state, record.exit_code) == ("failed", 7)
        assert record.error["type"] == "ModelFailed"
        assert "base exited with 7" in record.error["message"]
        assert record.error["log"] == ["the reason"]

    def test_commands_run_in_order_and_stop_at_the_first_that_fails(self, place, model):
        run = model("echo one", "cd /; echo two; exit 4", "echo three")
        assert run.run(place.config()) is False
        assert run.workspace.log.read_text() == "one\ntwo\n"
        assert run.workspace.exit_code() == 4

    def test_a_model_that_exits_with_zero_but_leaves_an_error_file_has_failed(self, place, model):
        checks = SuccessChecks(must_exist=["out.nc"], must_not_exist=["Errfile"])
        run = model("echo data > out.nc; touch Errfile", success=checks)
        assert run.run(place.config()) is False
        record = RunRecord.load(run.workspace)
        assert "exited with 0 but check must_not_exist: the model left Errfile" in record.error["message"]
        assert [check["ok"] for check in record.checks] == [True, False]

    def test_environment_variables_reach_the_model_unchanged(self, place, model):
        values = {
            "BLANKS": " a  b ",
            "QUOTES": 'it\'s "x"',
            "LINES": "a\nb",
            "SHELL_WORDS": "$HOME `id` *",
            "U": "ö",
        }
        run = model('printf "<%s>" "$BLANKS" "$QUOTES" "$LINES" "$SHELL_WORDS" "$U" "$OF_MODEL" "$BOTH"',
                    env={"OF_MODEL": "m", "BOTH": "model"})  # fmt: skip
        assert run.run(place.config(env_vars=values | {"BOTH": "backend"}))
        expected = [*values.values(), "m", "backend"]
        assert run.workspace.log.read_text() == "".join(f"<{value}>" for value in expected)

    def test_secrets_reach_the_model_but_are_not_written_to_any_file(self, place, model):
        run = model("echo ${#API_TOKEN} ${#DB_PASSWORD} > lengths", env={"DB_PASSWORD": "swordfish"})
        assert run.pipeline(run_backend=place.config(env_vars={"API_TOKEN": "hunter2"}))["success"]
        assert (run.workspace.path / "lengths").read_text() == "7 9\n"
        for path in run.workspace.path.rglob("*"):
            if path.is_file():
                text = path.read_text()
                assert "hunter2" not in text, path
                assert "swordfish" not in text, path

    def test_values_of_environment_variables_are_not_recorded(self, place, model):
        run = model("true", env={"PLAIN_ONE": "of the model"})
        assert run.run(place.config(env_vars={"PLAIN_TWO": "of the backend"}))
        text = run.workspace.record.read_text()
        assert "of the model" not in text
        assert "of the backend" not in text
        assert "PLAIN_ONE" in text
        assert "PLAIN_TWO" in text

    def test_a_timeout_raises_timeout_error_and_stops_all_processes(self, place, model):
        run = model(
            "(while :; do echo more; sleep 0.01; done) & while :; do echo tick >> ticks; sleep 0.01; done"
        )
        with pytest.raises(TimeoutError, match=r"exceeded its time limit of 1 s \(run_backend.timeout\)"):
            run.run(place.config(timeout=1))
        record = RunRecord.load(run.workspace)
        assert (record.state, record.stages["run"].state) == ("timed_out", "timed_out")
        assert record.error["type"] == "ModelTimedOut"
        _assert_not_growing(run.workspace.log, run.workspace.path / "ticks")

    def test_a_stop_signal_stops_the_model_and_the_run_is_recorded_as_interrupted(self, place, model):
        run = model("while :; do echo tick; sleep 0.01; done")
        stop = StopSignal()
        ended = []

        def work():
            try:
                execute(plan_of(run, backend=place.config()), stop=stop)
            except KeyboardInterrupt:
                ended.append("interrupted")

        worker = threading.Thread(target=work)
        worker.start()
        wait_until(lambda: run.workspace.log.exists() and "tick" in run.workspace.log.read_text())
        stop.set()
        worker.join(LIMIT)
        stop.close()
        assert ended == ["interrupted"]
        assert RunRecord.load(run.workspace).state == "interrupted"
        _assert_not_growing(run.workspace.log)

    def test_killing_the_driver_neither_loses_the_model_nor_runs_it_twice(
        self, place, start_driver, tmp_path
    ):
        arguments = (TAKE_OVER, tmp_path / "runs", place.name, json.dumps(place.settings))
        directory = tmp_path / "runs" / "lost run"
        first = start_driver(*arguments)
        wait_until(lambda: (directory / "starts").exists())
        wait_until(lambda: json.loads((directory / "run.json").read_text())["state"] == "running")
        first.kill()
        second = start_driver(*arguments)
        wait_until(lambda: "looking for the model" in second.output or second.process.poll() is not None)

        def ended():
            # Repeatedly: a new attempt archives the file of the one before.
            (directory / "go").touch()
            return second.process.poll() is not None

        wait_until(ended)
        assert second.wait() == 0, second.output
        assert second.output.endswith("True\n"), second.output
        starts = (directory / "starts").read_text().count("start")
        record = json.loads((directory / "run.json").read_text())
        assert record["state"] == "completed"
        # Either the running model was re-attached, or it was stopped and restarted as a new attempt.
        assert (starts, record["attempt"]) in [(1, 1), (1, 2)]
        assert (directory / "out.nc").read_text() == "data\n"

    def test_nothing_to_execute_fails_unless_the_model_needs_no_execution(self, place, model):
        assert model().run(place.config()) is False
        assert model(run_id="by intent", needs_execution=False).run(place.config()) is True

    def test_run_sh_can_be_started_manually(self, place, model):
        run = model("echo data >> out.nc", env={"A": "1"})
        assert run.run(place.config())
        assert os.system(f'sh "{run.workspace.script}"') == 0
        assert (run.workspace.path / "out.nc").read_text() == "data\ndata\n"

    def test_another_workspace_can_be_specified(self, place, model, tmp_path):
        run = model("echo data > out.nc")
        (tmp_path / "else where").mkdir()
        assert run.run(place.config(), workspace_dir=tmp_path / "else where") is True
        assert (tmp_path / "else where" / "out.nc").exists()
        assert not run.workspace.path.exists()
        assert run.run(place.config(), workspace_dir=tmp_path / "missing") is False

    def test_a_valid_model_passes_the_check_without_side_effects(self, place, model):
        run = model("echo data > out.nc")
        backend = place.config().get_backend_class()(place.config())
        backend.check(run.config, set())
        assert not run.workspace.path.exists()

    def test_unknown_settings_are_rejected_by_name(self, place, model):
        with pytest.raises((ValueError, PluginError), match="no_such_field"):
            model("true").run(place.name, **(place.settings | {"no_such_field": 1}))


def _stored(place: Place) -> dict[str, object]:
    return place.config().model_dump(mode="json")


def _assert_not_growing(*files: Path) -> None:
    """Assert that the files have stopped growing: the process that wrote them every 10 ms is gone."""
    sizes = [file.stat().st_size for file in files]
    threading.Event().wait(0.2)
    assert [file.stat().st_size for file in files] == sizes
