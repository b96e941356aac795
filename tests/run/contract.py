"""What every run backend keeps, tested on the real thing.

A new backend is one subclass with one fixture, in its own test module::

    class TestTheDockerBackendKeepsTheContract(RunBackendContract):
        @pytest.fixture
        def place(self):
            return Place("docker", DockerConfig, {"image": "rompy-hydra-test:busybox"})

The models here need nothing but a POSIX shell.
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
    """The promises; `place` says for which backend."""

    @pytest.fixture
    def place(self) -> Place:
        raise NotImplementedError("a subclass gives the place")

    @pytest.fixture
    def model(self, tmp_path):
        """Make a run of shell lines."""

        def model(*commands, run_id="it's a run", **fields):
            config = BaseConfig(commands=commands, **fields)
            return ModelRun(run_id=run_id, output_dir=tmp_path / "my runs", config=config)

        return model

    def test_a_model_runs_in_its_workspace_and_its_output_is_in_the_log(self, place, model):
        run = model("echo out; echo err >&2; echo data > out.nc", ["sh", "-c", "cat out.nc"])
        assert run.run(place.config()) is True
        assert (run.workspace.path / "out.nc").read_text() == "data\n"
        assert run.workspace.log.read_text() == "out\nerr\ndata\n"
        assert run.workspace.exit_code() == 0

    def test_what_the_model_writes_belongs_to_who_runs_it(self, place, model):
        run = model("mkdir -p a/b; echo data > a/b/out.nc")
        assert run.run(place.config())
        for path in run.workspace.path.rglob("*"):
            assert path.stat().st_uid == os.getuid(), path

    def test_all_ways_to_choose_it_are_the_same(self, place, model):
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

    def test_the_backend_itself_runs_a_model_as_in_the_reference(self, place, model):
        run = model("echo data > out.nc")
        backend = place.config().get_backend_class()()
        assert backend.run(run, place.config(), workspace_dir=run.generate()) is True
        assert (run.workspace.path / "out.nc").exists()
        failing = model("exit 3", run_id="failing")
        assert backend.run(failing, place.config()) is False

    def test_its_configuration_is_plain_data(self, place):
        config = place.config(timeout=5, env_vars={"A": "1"})
        assert type(config).model_validate_json(config.model_dump_json()) == config
        with pytest.raises(ValueError, match="frozen"):
            config.timeout = 6
        with pytest.raises(ValueError, match="no_such_field"):
            place.config(no_such_field=1)

    @pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "soon"])
    def test_a_time_limit_is_a_positive_number_of_seconds(self, place, timeout):
        with pytest.raises(ValueError, match="timeout"):
            place.config(timeout=timeout)
        assert place.config(timeout=0.5).timeout == 0.5
        assert place.config(timeout=10 * 86400).timeout == 864000

    def test_what_is_no_model_run_is_a_value_error(self, place):
        backend = place.config().get_backend_class()(place.config())
        with pytest.raises(ValueError, match="model_run cannot be None"):
            backend.run(None, place.config())
        with pytest.raises(ValueError, match="model_run must have a run_id attribute"):
            backend.run(object(), place.config())

    def test_an_exit_code_other_than_zero_is_a_failure(self, place, model):
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

    def test_a_model_that_returns_zero_but_left_an_error_file_has_failed(self, place, model):
        checks = SuccessChecks(must_exist=["out.nc"], must_not_exist=["Errfile"])
        run = model("echo data > out.nc; touch Errfile", success=checks)
        assert run.run(place.config()) is False
        record = RunRecord.load(run.workspace)
        assert "exited with 0 but check must_not_exist: the model left Errfile" in record.error["message"]
        assert [check["ok"] for check in record.checks] == [True, False]

    def test_variables_reach_the_model_as_they_are(self, place, model):
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

    def test_secrets_reach_the_model_and_no_file(self, place, model):
        run = model("echo ${#API_TOKEN} ${#DB_PASSWORD} > lengths", env={"DB_PASSWORD": "swordfish"})
        assert run.pipeline(run_backend=place.config(env_vars={"API_TOKEN": "hunter2"}))["success"]
        assert (run.workspace.path / "lengths").read_text() == "7 9\n"
        for path in run.workspace.path.rglob("*"):
            if path.is_file():
                text = path.read_text()
                assert "hunter2" not in text, path
                assert "swordfish" not in text, path

    def test_values_of_variables_are_not_in_the_record(self, place, model):
        run = model("true", env={"PLAIN_ONE": "of the model"})
        assert run.run(place.config(env_vars={"PLAIN_TWO": "of the backend"}))
        text = run.workspace.record.read_text()
        assert "of the model" not in text
        assert "of the backend" not in text
        assert "PLAIN_ONE" in text
        assert "PLAIN_TWO" in text

    def test_a_timeout_is_a_timeout_error_and_nothing_goes_on(self, place, model):
        run = model(
            "(while :; do echo more; sleep 0.01; done) & while :; do echo tick >> ticks; sleep 0.01; done"
        )
        with pytest.raises(TimeoutError, match=r"exceeded its time limit of 1 s \(run_backend.timeout\)"):
            run.run(place.config(timeout=1))
        record = RunRecord.load(run.workspace)
        assert (record.state, record.stages["run"].state) == ("timed_out", "timed_out")
        assert record.error["type"] == "ModelTimedOut"
        _stands_still(run.workspace.log, run.workspace.path / "ticks")

    def test_a_stop_signal_ends_the_model_and_the_record_says_interrupted(self, place, model):
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
        _stands_still(run.workspace.log)

    def test_a_driver_that_is_killed_loses_no_model_and_starts_none_twice(
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
        (directory / "go").touch()
        assert second.wait() == 0, second.output
        assert second.output.endswith("True\n"), second.output
        starts = (directory / "starts").read_text().count("start")
        record = json.loads((directory / "run.json").read_text())
        assert record["state"] == "completed"
        # Either the model that ran was taken over, or it was ended and started anew as another attempt.
        assert (starts, record["attempt"]) in [(1, 1), (1, 2)]
        assert (directory / "out.nc").read_text() == "data\n"

    def test_nothing_to_execute_is_no_success_unless_the_model_says_so(self, place, model):
        assert model().run(place.config()) is False
        assert model(run_id="by intent", needs_execution=False).run(place.config()) is True

    def test_run_sh_starts_the_same_model_by_hand(self, place, model):
        run = model("echo data >> out.nc", env={"A": "1"})
        assert run.run(place.config())
        assert os.system(f'sh "{run.workspace.script}"') == 0
        assert (run.workspace.path / "out.nc").read_text() == "data\ndata\n"

    def test_another_workspace_can_be_given(self, place, model, tmp_path):
        run = model("echo data > out.nc")
        (tmp_path / "else where").mkdir()
        assert run.run(place.config(), workspace_dir=tmp_path / "else where") is True
        assert (tmp_path / "else where" / "out.nc").exists()
        assert not run.workspace.path.exists()
        assert run.run(place.config(), workspace_dir=tmp_path / "missing") is False

    def test_a_model_that_can_run_here_passes_the_check_and_the_check_changes_nothing(self, place, model):
        run = model("echo data > out.nc")
        backend = place.config().get_backend_class()(place.config())
        backend.check(run.config, set())
        assert not run.workspace.path.exists()

    def test_settings_that_it_does_not_have_are_refused_by_name(self, place, model):
        with pytest.raises((ValueError, PluginError), match="no_such_field"):
            model("true").run(place.name, **(place.settings | {"no_such_field": 1}))


def _stored(place: Place) -> dict[str, object]:
    return place.config().model_dump(mode="json")


def _stands_still(*files: Path) -> None:
    """None of the files grows any more: whoever wrote them every 10 ms is gone."""
    sizes = [file.stat().st_size for file in files]
    threading.Event().wait(0.2)
    assert [file.stat().st_size for file in files] == sizes
