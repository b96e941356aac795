"""Plugin signatures that occur in practice: their settings, and how their return values are interpreted."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import os
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

import numpy
import pytest
from pydantic import BaseModel, ConfigDict

from rompy_hydra import BaseConfig, ModelRun, SuccessChecks
from rompy_hydra.errors import ConfigError, PluginError
from rompy_hydra.plugins.signatures import defaults, settings_model
from rompy_hydra.workspace.record import RunRecord

if TYPE_CHECKING:
    from rompy_hydra.run.local import LocalConfig as OnlyForCheckers


class Queue(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = "short"
    command: str | None = None
    env_vars: dict[str, str] = {}


@pytest.fixture
def run(tmp_path):
    config = BaseConfig(commands="echo data > out.csv", success=SuccessChecks(must_exist=("out.csv",)))
    return ModelRun(run_id="wild", output_dir=tmp_path, config=config)


def start(model_run):
    return os.system(f"cd {Path(model_run.output_dir) / model_run.run_id} && sh run.sh > run.log 2>&1") == 0


def why(run):
    return RunRecord.load(run.workspace).error["message"]


# Run backends


class Keywords:
    def run(self, model_run, **kwargs):
        assert kwargs == {"queue": "long"}, kwargs
        return start(model_run)


class WithoutWorkspace:
    def run(self, model_run, config: Queue):
        assert config.name == "long"
        return start(model_run)


class AsRompyHasIt:
    def run(self, model_run, config: "Queue", workspace_dir: Optional[str] = None) -> bool:  # noqa: UP037, UP045
        assert Path(workspace_dir).is_dir()
        assert config.name == "long"
        return start(model_run)


class ForCheckersOnly:
    def run(self, model_run, config: OnlyForCheckers):
        assert config.timeout == config["timeout"] == "soon"
        return start(model_run)


class ParameterForCheckersOnly:
    def run(self, model_run, timeout: OnlyForCheckers | None = None, nodes: int = 1):
        assert (timeout, nodes) == ("soon", 4)
        return start(model_run)


class OptionalConfig:
    def run(self, model_run, config: Queue | None = None, workspace_dir=None):
        assert config is None or config.name == "long"
        return start(model_run)


class AnyConfig:
    def run(self, model_run, config, workspace_dir):
        assert config.queue == config["queue"] == "long"
        assert not hasattr(config, "something else")
        return start(model_run)


class OldStyle:
    def __init__(self):
        self.calls = 0

    def run(self, run):  # the model run under another name
        self.calls += 1
        return start(run)


class InConstructor:
    def __init__(self, queue="short", *, nodes: int = 1):
        self.queue, self.nodes = queue, nodes

    def run(self, model_run, workspace_dir=None):
        assert (self.queue, self.nodes) == ("long", 4)
        return start(model_run)


class ConfigInConstructor:
    def __init__(self, config: Queue):
        self.config = config

    def run(self, model_run):
        assert self.config.name == "long"
        return start(model_run)


class Everywhere:
    def __init__(self, queue="short"):
        self.queue = queue

    def run(self, model_run, queue=None, **kwargs):
        assert self.queue == queue == "long"
        assert kwargs == {"other": 1}
        return start(model_run)


class Typed:
    def run(self, model_run, start_at: datetime, folder: Path = Path("a"), tags: set[str] = frozenset()):
        assert isinstance(start_at, datetime) and isinstance(folder, Path) and isinstance(tags, set)
        return start(model_run)


class Static:
    @staticmethod
    def run(model_run, queue="short"):
        return start(model_run)


class AsClass:
    @classmethod
    def run(cls, model_run, queue="short"):
        return start(model_run)


class NamedConfigClass:
    config_class = Queue

    def run(self, model_run, config, workspace_dir=None):
        assert isinstance(config, Queue)
        return start(model_run)


@dataclasses.dataclass
class Fields:
    queue: str = "short"
    tags: list[str] = dataclasses.field(default_factory=list)

    def run(self, model_run):
        assert self.queue == "long" and self.tags == []
        return start(model_run)


BACKENDS = [
    (Keywords, {"queue": "long"}),
    (WithoutWorkspace, {"name": "long"}),
    (AsRompyHasIt, {"name": "long"}),
    (ForCheckersOnly, {"timeout": "soon"}),
    (ParameterForCheckersOnly, {"timeout": "soon", "nodes": 4}),
    (OptionalConfig, {"name": "long"}),
    (OptionalConfig, {}),
    (AnyConfig, {"queue": "long"}),
    (OldStyle, {}),
    (OldStyle(), {}),
    (InConstructor, {"queue": "long", "nodes": 4}),
    (InConstructor("long", nodes=4), {}),
    (ConfigInConstructor, {"name": "long"}),
    (Everywhere, {"queue": "long", "other": 1}),
    (Typed, {"start_at": "2024-01-01T00:00:00", "folder": "b", "tags": ["x"]}),
    (Static, {"queue": "long"}),
    (AsClass, {"queue": "long"}),
    (NamedConfigClass, {"name": "long"}),
    (Fields, {"queue": "long"}),
]


@pytest.mark.parametrize(("backend", "settings"), BACKENDS)
def test_a_backend_with_this_signature_runs_the_model_with_its_settings(backend, settings, run):
    assert run.run(backend, **settings) is True, why(run)
    assert RunRecord.load(run.workspace).stages["run"].state == "completed"


@pytest.mark.parametrize(("backend", "settings"), [each for each in BACKENDS if isinstance(each[0], type)])
def test_a_backend_with_this_signature_works_in_the_pipeline(backend, settings, run):
    assert run.pipeline(run_backend=backend, run_kwargs=settings)["success"] is True, why(run)
    stored = RunRecord.load(run.workspace).run_backend
    assert stored["name"] == backend.__name__
    named = {"settings.name" if key == "name" else key: value for key, value in settings.items()}
    assert all(stored[key] == value for key, value in named.items())


@pytest.mark.parametrize(
    "backend",
    [WithoutWorkspace, AsRompyHasIt, OldStyle, InConstructor, Typed, Static, NamedConfigClass, Fields],
)
def test_a_setting_that_a_backend_does_not_have_is_rejected_before_anything_is_written(backend, run):
    settings = {"start_at": "2024-01-01"} if backend is Typed else {}
    with pytest.raises((ValueError, PluginError), match="nonsense"):
        run.run(backend, **settings, nonsense=1)
    assert not run.workspace.path.exists()


def test_a_missing_setting_is_reported_before_anything_is_written(run):
    with pytest.raises(ConfigError, match="start_at: Field required"):
        run.run(Typed)
    with pytest.raises(ConfigError, match=r"wants\.run needs a value for node"):

        class wants:  # noqa: N801
            def run(self, model_run, *, node):
                return True

        run.run(wants())
    assert not run.workspace.path.exists()


def backend_returning(value):
    class Returns:
        def run(self, model_run):
            start(model_run)
            return value() if callable(value) else value

    return Returns


@pytest.mark.parametrize("value", [True, numpy.True_])
def test_returning_true_is_a_success(value, run):
    assert run.run(backend_returning(value)) is True


@pytest.mark.parametrize("value", [False, numpy.False_])
def test_returning_false_is_a_failure(value, run):
    assert run.run(backend_returning(value)) is False
    assert "reported a failure" in why(run)


@pytest.mark.parametrize("value", [None, 0, 1, "ok", "", {}, {"success": True}, [], SimpleNamespace(a=1)])
def test_returning_neither_true_nor_false_is_an_error(value, run):
    assert run.run(backend_returning(value)) is False
    assert "cannot be determined" in why(run)
    assert RunRecord.load(run.workspace).state == "failed"


def test_returning_a_coroutine_is_an_error(run):
    class Asynchronous:
        async def run(self, model_run):
            await asyncio.sleep(0)
            return True

    assert run.run(Asynchronous) is False
    assert "a coroutine" in why(run)


def test_a_backend_that_returns_true_for_a_failed_script_has_failed(tmp_path):
    run = ModelRun(run_id="wild", output_dir=tmp_path, config=BaseConfig(commands="exit 3"))
    assert run.run(backend_returning(True)) is False
    assert "returned True, but run.sh exited with 3" in why(run)


def test_a_backend_that_returns_true_without_running_anything_fails_the_checks_of_the_model(run):
    class Liar:
        def run(self, model_run, **kwargs):
            return True

    assert run.run(Liar) is False
    assert "out.csv was not written" in why(run)


def test_the_error_of_a_backend_is_reported_with_its_name(run):
    class Raises:
        def run(self, model_run):
            raise KeyError("no such queue")

    assert run.run(Raises) is False
    assert "the run backend Raises failed: KeyError: 'no such queue'" in why(run)


def test_a_backend_that_cannot_be_constructed_is_reported_by_name(run):
    class Needs:
        def __init__(self):
            raise RuntimeError("no licence")

        def run(self, model_run):
            return True

    with pytest.raises(ConfigError, match="Needs cannot be constructed: RuntimeError: no licence"):
        run.run(Needs)


def test_a_timeout_error_of_a_backend_is_recorded_as_a_timeout_of_the_run(run):
    class Late:
        def run(self, model_run):
            raise TimeoutError("took 5 s")

    with pytest.raises(TimeoutError, match="took 5 s"):
        run.run(Late)
    assert RunRecord.load(run.workspace).state == "timed_out"


@pytest.mark.parametrize("nothing", [object(), SimpleNamespace(run=3), int, 3, {"run": 1}])
def test_an_object_without_a_run_method_is_rejected_as_a_backend(nothing, run):
    with pytest.raises((PluginError, ConfigError)):
        run.run(nothing)


class CommandBackend:
    """Like rompy's local backend: runs its own command, or else `run` of the model's configuration."""

    def run(self, model_run, config: Queue, workspace_dir=None):
        if not config.command:
            return True  # "nothing to execute"
        variables = {**os.environ, **config.env_vars}
        return subprocess.run(config.command, shell=True, cwd=workspace_dir, env=variables).returncode == 0


def test_a_backend_with_its_own_command_starts_the_script_of_the_model(run):
    assert run.run(CommandBackend) is True
    assert (run.workspace.path / "out.csv").exists()
    assert run.workspace.exit_code() == 0
    stored = {"name": "CommandBackend", "settings.name": "short", "command": None, "env_vars": {}}
    assert RunRecord.load(run.workspace).run_backend == stored


def test_secrets_of_the_model_reach_a_backend_that_accepts_variables(tmp_path):
    config = BaseConfig(commands="echo $API_TOKEN > token", env={"API_TOKEN": "hunter2"})
    run = ModelRun(run_id="wild", output_dir=tmp_path, config=config)
    assert run.run(CommandBackend) is True
    assert (run.workspace.path / "token").read_text() == "hunter2\n"
    assert "hunter2" not in run.workspace.record.read_text()


def test_a_backend_that_would_report_success_with_nothing_to_execute_is_not_started(tmp_path):
    run = ModelRun(run_id="wild", output_dir=tmp_path, config=BaseConfig())
    with pytest.raises(ConfigError, match="nothing to execute"):
        run.run(CommandBackend)
    by_intent = ModelRun(run_id="intent", output_dir=tmp_path, config=BaseConfig(needs_execution=False))
    assert by_intent.run(CommandBackend) is True


# Postprocessors


class Plot(NamedTuple):
    success: bool
    message: str


@dataclasses.dataclass(slots=True)
class Slotted:
    success: bool = True
    message: str = "slotted"
    metrics: dict = dataclasses.field(default_factory=lambda: {"a": 1})


class Report(BaseModel):
    success: bool = True
    message: str = "a model"


class Property:
    @property
    def success(self):
        return True


def processor(value):
    class Processor:
        def process(self, model_run):
            return value

    return Processor


GOOD_ANSWERS = [
    {"success": True, "message": "a dict"},
    {"success": numpy.True_},
    collections.OrderedDict(success=True),
    SimpleNamespace(success=True, message="an object"),
    Plot(True, "a tuple with names"),
    Slotted(),
    Report(),
    Property(),
    True,
]


@pytest.mark.parametrize("value", GOOD_ANSWERS)
def test_a_postprocessor_result_of_this_form_is_accepted(value, run):
    results = run.pipeline(processor=processor(value))
    assert results["success"] is True, results
    assert results["postprocess_results"]["success"] is True
    assert isinstance(results["postprocess_results"]["message"], str)


BAD_ANSWERS = [
    {"success": False, "message": "no"},
    False,
    Slotted(success=False),
    {"message": "success is missing"},
    {"success": "yes"},
    {"success": 1},
    {"success": None},
    {},
    None,
    "ok",
    [True],
    object(),
    SimpleNamespace(success=lambda: True),
]


@pytest.mark.parametrize("value", BAD_ANSWERS)
def test_a_postprocessor_result_of_this_form_is_a_failure(value, run):
    results = run.pipeline(processor=processor(value))
    assert results["success"] is False
    assert (results["stage"], results["run_success"]) == ("postprocess", True)
    assert RunRecord.load(run.workspace).state == "failed"


def test_a_postprocessor_gets_only_the_settings_that_it_declares(run):
    class Strict:
        def __init__(self):
            pass

        def process(self, model_run, threshold: float = 0.5):
            return {"success": True, "message": f"{threshold}"}

    assert run.pipeline(processor=Strict)["success"]
    assert run.postprocess(Strict, threshold="0.75")["message"] == "0.75"
    with pytest.raises(ConfigError, match=r"treshold: no such setting\. Did you mean 'threshold'"):
        run.postprocess(Strict, treshold=1)


def test_the_metrics_of_a_postprocessor_are_recorded(run):
    run.pipeline(processor=processor(Slotted(metrics={"n": numpy.float64(1.5), "k": numpy.int64(3)})))
    assert RunRecord.load(run.workspace).metrics == {"n": 1.5, "k": 3}


# Pipelines


def pipeline(value):
    class Pipeline:
        def execute(self, model_run, **kwargs):
            model_run.generate()
            model_run.run("local")
            return value

    return Pipeline


@pytest.mark.parametrize("value", [{"success": True}, SimpleNamespace(success=True), Report(), True])
def test_a_pipeline_result_of_this_form_is_accepted(value, run):
    results = run.pipeline(pipeline(value))
    assert (results["success"], results["run_id"]) == (True, "wild")


@pytest.mark.parametrize("value", [None, {}, {"success": "yes"}, "done", 0])
def test_a_pipeline_result_without_a_clear_success_is_an_error(value, run):
    with pytest.raises(PluginError, match=r"returned .* so whether it succeeded cannot be determined"):
        run.pipeline(pipeline(value))


def test_a_failure_without_a_reason_gets_a_default_reason(run):
    results = run.pipeline(pipeline({"success": False}))
    assert results["message"] == results["error"]
    assert results["message"] == "the pipeline Pipeline reported a failure and no reason"


def test_a_pipeline_that_reports_success_for_a_failed_run_has_failed(tmp_path):
    run = ModelRun(run_id="wild", output_dir=tmp_path, config=BaseConfig(commands="exit 3"))
    results = run.pipeline(pipeline({"success": True, "stages_completed": ["generate", "run"]}))
    assert results["success"] is False
    assert results["stage"] == "run"
    assert "reported success, but the run failed: base exited with 3" in results["message"]


def test_a_pipeline_that_continues_after_a_failed_postprocessor_has_failed(run):
    failed = {"success": False, "message": "no figure"}
    results = run.pipeline(pipeline({"success": True, "postprocess_results": failed}))
    assert (results["success"], results["stage"]) == (False, "postprocess")
    assert "no figure" in results["message"]


def test_settings_of_a_pipeline_are_passed_to_its_constructor_and_to_execute(run):
    class Careful:
        def __init__(self, attempts: int = 1):
            self.attempts = attempts

        def execute(self, model_run, run_backend="local", label="x"):
            return {"success": model_run.run(run_backend), "got": (self.attempts, label)}

    assert run.pipeline(Careful, attempts=3, label="y")["got"] == (3, "y")


# A configuration in the constructor, and settings of the method


class Mesh(BaseModel):
    token: str
    url: str = "https://mesh"
    dataset_name: str | None = None


class Upload:
    """As a postprocessor of rompy that uploads: rompy constructs it without a configuration."""

    def __init__(self, config: dict[str, Any] | Mesh | None = None):
        self.config = config

    def process(self, model_run, dataset_name: str | None = None, tags: list[str] | None = None, **kwargs):
        found = {"config": self.config, "dataset_name": dataset_name, "tags": tags, "more": kwargs}
        return {"success": True, "message": "uploaded", "found": found}


class Untyped:
    def __init__(self, config=None):
        assert config is None

    def process(self, model_run, token=None, **kwargs):
        return {"success": True, "message": "", "found": {"token": token, "more": kwargs}}


UPLOADS = [
    (Upload, {"dataset_name": "waves"}, {"dataset_name": "waves"}),
    (Upload, {"tags": ["a"], "region": "x"}, {"tags": ["a"], "more": {"region": "x"}}),
    # Without the required `token`, these are no configuration, and go where rompy passes them.
    (Upload, {"url": "https://b", "tags": []}, {"tags": [], "more": {"url": "https://b"}}),
    (
        Upload,
        {"token": "t", "dataset_name": "waves", "region": "x"},
        {"config": Mesh(token="t", dataset_name="waves"), "dataset_name": "waves", "more": {"region": "x"}},
    ),
    (Untyped, {"token": "t", "dataset_name": "waves"}, {"token": "t", "more": {"dataset_name": "waves"}}),
]


@pytest.mark.parametrize(("uploader", "settings", "expected"), UPLOADS)
def test_each_setting_reaches_the_configuration_or_the_method_that_has_it(
    uploader, settings, expected, run
):
    found = run.postprocess(uploader, **settings)["found"]
    nothing = {"config": None, "dataset_name": None, "tags": None, "more": {}}
    assert found == {key: value for key, value in (nothing | expected).items() if key in found}


def test_a_pipeline_with_an_optional_configuration_gets_the_settings_of_its_method(run):
    class Prax:
        def __init__(self, config: Optional[Mesh] = None):  # noqa: UP045
            self.config = config

        def execute(self, model_run, pipeline_name: str, wait: bool = False, **kwargs):
            return {"success": True, "found": [self.config, pipeline_name, wait]}

    assert run.pipeline(Prax, pipeline_name="swan", wait="yes")["found"] == [None, "swan", True]
    found = run.pipeline(Prax, pipeline_name="swan", token="t")["found"]
    assert found == [Mesh(token="t"), "swan", False]
    assert keys(Prax, "pipeline") == {"pipeline_name": "???", "wait": False}
    with pytest.raises(ConfigError, match="pipeline_name: Field required"):
        run.pipeline(Prax)


def test_settings_beside_a_required_configuration_are_checked_and_not_lost(run):
    class Strict:
        def __init__(self, config: Queue):
            self.config = config

        def run(self, model_run, nodes: int = 1):
            assert (self.config.name, nodes) == ("long", 4)
            return start(model_run)

    assert run.run(Strict, name="long", nodes="4") is True, why(run)
    assert keys(Strict, "run") == {"name": "short", "command": None, "env_vars": {}, "nodes": 1}
    with pytest.raises(ConfigError, match=r"nods: no such setting\. Did you mean 'nodes'"):
        run.run(Strict, nods=4)
    with pytest.raises(ConfigError, match="nodes: Input should be a valid integer"):
        run.run(Strict, nodes="many")


# Settings that are known before a plugin is constructed


def keys(found, category):
    return dict(defaults(settings_model(found, category), "???"))


def test_the_settings_of_each_signature_are_found_with_their_defaults():
    assert keys(WithoutWorkspace, "run") == {"name": "short", "command": None, "env_vars": {}}
    assert keys(ParameterForCheckersOnly, "run") == {"timeout": None, "nodes": 1}
    assert keys(InConstructor, "run") == {"queue": "short", "nodes": 1}
    assert keys(Typed, "run") == {"start_at": "???", "folder": "a", "tags": []}
    assert keys(Fields, "run") == {"queue": "short", "tags": []}
    assert keys(Keywords, "run") == {}
    assert keys(OldStyle, "run") == {}


def test_a_setting_whose_type_is_imported_only_for_type_checkers_is_not_validated(run):
    assert settings_model(ParameterForCheckersOnly, "run").model_fields["timeout"].annotation is Any
    assert keys(ForCheckersOnly, "run") == {}
    with pytest.raises(ConfigError, match="nodes: Input should be a valid integer"):
        run.run(ParameterForCheckersOnly, timeout="soon", nodes="many")


def test_defaults_of_none_and_defaults_that_contradict_their_types_are_accepted():
    class Loose:
        def process(self, model_run, output_dir: str = None, wait: timedelta = 5, count: int = "few"):  # noqa: RUF013
            return True

    model = settings_model(Loose, "postprocess")
    assert keys(Loose, "postprocess") == {"output_dir": None, "wait": 5, "count": "few"}
    model.model_validate(keys(Loose, "postprocess"))


def test_a_default_that_is_not_plain_data_is_left_to_the_plugin():
    class Special:
        def process(self, model_run, client=object(), array=numpy.zeros(3)):  # noqa: B008
            return True

    assert keys(Special, "postprocess") == {}
