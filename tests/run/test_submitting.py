"""Run backends that submit jobs to a queue, and are polled."""

from __future__ import annotations

import os
import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from rompy_hydra import BackendConfig, BaseConfig, BaseRunBackend, LocalPipelineBackend, ModelRun, RunRecord
from rompy_hydra.core.execute import execute
from rompy_hydra.errors import RunError
from rompy_hydra.jsonable import read_json
from rompy_hydra.plugins import registry
from rompy_hydra.process import StopSignal
from rompy_hydra.run.base import Handle, Job, Outcome, Update
from rompy_hydra.sweep.config import SweepConfig, SweepPlan
from rompy_hydra.sweep.engine import Engine
from rompy_hydra.sweep.points import Assignment, Grid
from rompy_hydra.sweep.preflight import inspect_points
from rompy_hydra.sweep.results_table import ResultsTable
from rompy_hydra.sweep.spool import Spool
from tests.conftest import LIMIT, wait_until
from tests.plans import plan_of
from tests.run.contract import Place, RunBackendContract
from tests.run.queue_backend import QueueConfig

ROOT = Path(__file__).parents[2]


@pytest.fixture
def registered_queue(tmp_path_factory, monkeypatch):
    """Register the queue backend as an installed package would."""
    site = tmp_path_factory.mktemp("site")
    metadata = site / "queue_backend-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: queue-backend\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[rompy.run]\nqueue = tests.run.queue_backend:QueueBackend\n"
    )
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{ROOT}")
    caches = (registry._groups, registry.plugins, registry.registered_targets)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


class TestASubmittingBackendKeepsTheContract(RunBackendContract):
    @pytest.fixture
    def place(self, registered_queue):
        return Place("queue", QueueConfig)


def queued_run(directory: Path, *commands: str, run_id: str = "queued") -> ModelRun:
    return ModelRun(run_id=run_id, output_dir=directory, config=BaseConfig(commands=commands))


def test_a_submitted_run_is_queued_and_then_running(tmp_path):
    run = queued_run(tmp_path, "sleep 0.5")
    states: list[str] = []

    def watch(state):
        states.append(state)
        if state in ("queued", "running"):
            assert RunRecord.load(run.workspace).state == state

    record = execute(plan_of(run, backend=QueueConfig(queued=0.2)), watch=watch)
    assert record.state == "completed"
    assert states[:4] == ["generating", "queued", "running", "checking"]


def test_an_interrupt_cancels_a_queued_job(tmp_path):
    run = queued_run(tmp_path, "touch ran")
    stop = StopSignal()
    ended: list[str] = []

    def work():
        try:
            execute(plan_of(run, backend=QueueConfig(queued=3600)), stop=stop)
        except KeyboardInterrupt:
            ended.append("interrupted")

    worker = threading.Thread(target=work)
    worker.start()
    wait_until(lambda: run.workspace.record.exists() and RunRecord.load(run.workspace).backend_facts)
    stop.set()
    worker.join(LIMIT)
    stop.close()
    assert ended == ["interrupted"]
    assert RunRecord.load(run.workspace).state == "interrupted"


class HeldBackend(BaseRunBackend):
    """Holds all jobs until `count` of them have been submitted; then all finish."""

    name: ClassVar[str] = "held"
    config_class = BackendConfig
    poll_seconds = 0.01

    def __init__(self, count: int) -> None:
        super().__init__(BackendConfig())
        self.count = count
        self.most_held = 0
        self.most_threads = 0
        self.refusals = 3

    def submit(self, job: Job) -> Handle:
        return Handle(self, job, {"job": job.run_id})

    def poll(self, handles: Sequence[Handle]) -> Mapping[Handle, Update]:
        self.most_held = max(self.most_held, len(handles))
        self.most_threads = max(self.most_threads, threading.active_count())
        if self.refusals:
            self.refusals -= 1
            raise RunError("the controller does not answer")
        ready = self.most_held == self.count
        return {handle: Outcome(0, 1.0) for handle in handles} if ready else {}

    def cancel(self, handle: Handle) -> None:
        raise AssertionError("nothing is to be cancelled here")


class Silent:
    live = False

    def begin(self, plan, preflight): ...
    def state(self, label, state): ...
    def finished(self, row): ...
    def stopping(self): ...
    def end(self): ...


def test_a_sweep_holds_5000_submitted_runs_with_fewer_than_ten_threads(tmp_path):
    count = 5000
    backend = HeldBackend(count)
    axis = [(Assignment("x", number, f"x={number}"),) for number in range(count)]

    def build(label: object) -> SimpleNamespace:
        run = queued_run(tmp_path / "sweep", "true", run_id=str(label))
        pipeline = LocalPipelineBackend(stages=("generate", "run"))
        return SimpleNamespace(plan=plan_of(run, backend=backend), pipeline=pipeline)

    config = SweepConfig(name="sweep", directory=tmp_path)
    plan = SweepPlan(config, Grid((axis,)), lambda point: point.label, build, workers=2)
    before = threading.active_count()
    spool = Spool()
    preflight = inspect_points(plan, spool)
    config.path.mkdir()
    summary = Engine(plan, preflight, spool, Silent(), ResultsTable(config.path, spool)).run()
    spool.close()
    assert backend.most_held == count
    assert backend.most_threads - before < 10
    assert summary.counts == {"completed": count}
    last = read_json((config.path / f"x={count - 1}" / "run.json").read_bytes())
    assert last["stages"]["run"]["state"] == "completed"
    assert last["backend_facts"] == {"job": f"x={count - 1}"}


class DefectiveBackend(BaseRunBackend):
    """Submits nothing; its methods return and raise what a test gives them."""

    name: ClassVar[str] = "defective"
    config_class = BackendConfig
    poll_seconds = 0.01

    def __init__(self, submitted=None, polled=None, cancel_error=None, timeout=None):
        super().__init__(BackendConfig(timeout=timeout))
        self.submitted, self.polled, self.cancel_error = submitted, polled, cancel_error
        self.polls = 0

    def submit(self, job):
        return self.submitted or Handle(self, job, {"job": job.run_id})

    def poll(self, handles):
        self.polls += 1
        return self.polled(handles)

    def cancel(self, handle):
        if self.cancel_error:
            raise self.cancel_error


class ReturningBackend(BaseRunBackend):
    """Executes nothing, and returns what a test gives it."""

    name: ClassVar[str] = "returning"
    config_class = BackendConfig

    def __init__(self, answer):
        super().__init__(BackendConfig())
        self.answer = answer

    def execute(self, job):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def sweep_with(backend: BaseRunBackend, directory: Path, count: int = 3) -> tuple[Counter[str], str]:
    """The states of the runs of a sweep, and the error of the first, in a thread that must end."""
    axis = [(Assignment("x", number, f"x={number}"),) for number in range(count)]

    def build(label: object) -> SimpleNamespace:
        run = queued_run(directory / "sweep", "true", run_id=str(label))
        return SimpleNamespace(plan=plan_of(run, backend=backend), pipeline=LocalPipelineBackend())

    config = SweepConfig(name="sweep", directory=directory)
    plan = SweepPlan(config, Grid((axis,)), lambda point: point.label, build, workers=2)
    spool = Spool()
    preflight = inspect_points(plan, spool)
    config.path.mkdir()
    found: list[Counter[str]] = []

    def work():
        found.append(
            Engine(plan, preflight, spool, Silent(), ResultsTable(config.path, spool)).run().counts
        )

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(LIMIT)
    assert not thread.is_alive(), "the sweep does not end"
    spool.close()
    record = RunRecord.load(queued_run(directory / "sweep", "true", run_id="x=0").workspace)
    return found[0], str(record.error["message"]) if record.error else ""


def all_are(answer):
    return lambda handles: dict.fromkeys(handles, answer)


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        (lambda: ReturningBackend(None), r"execute\(\) returned None: it must return Outcome\(...\)"),
        (lambda: ReturningBackend(0), "returned 0: it must return Outcome"),
        (lambda: ReturningBackend(Outcome(None, 0.0)), "the exit code None: it must be a number"),
        (lambda: ReturningBackend(SystemExit(2)), "a plugin ended the stage run with SystemExit"),
        (
            lambda: DefectiveBackend(submitted="job 7"),
            r"submit\(\) returned 'job 7'",
        ),
        (
            lambda: DefectiveBackend(submitted=Handle(None, None, {"process": object()})),
            "facts that .* must be plain data",
        ),
        (
            lambda: DefectiveBackend(polled=lambda handles: dict.fromkeys(handles, 0)),
            r"poll\(\) .* returned 0",
        ),
        (lambda: DefectiveBackend(polled=all_are(True)), "returned True"),
        (
            lambda: DefectiveBackend(polled=lambda handles: dict.fromkeys(handles, "completed")),
            "'completed'",
        ),
        (lambda: DefectiveBackend(polled=lambda handles: 1 / 0), "ZeroDivisionError"),
    ],
)
def test_a_defect_of_a_backend_fails_its_runs_and_ends_the_sweep(tmp_path, backend, message):
    counts, error = sweep_with(backend(), tmp_path)
    assert counts == {"failed": 3}
    assert re.search(message, error), error


def test_a_job_that_cannot_be_cancelled_at_its_time_limit_has_timed_out(tmp_path):
    backend = DefectiveBackend(
        polled=all_are("running"),
        cancel_error=RunError("scancel failed"),
        timeout=0.05,
    )
    counts, error = sweep_with(backend, tmp_path)
    assert counts == {"timed_out": 3}
    assert "but it could not be cancelled and may still be running: RunError: scancel failed" in error


def test_answers_about_other_jobs_and_queued_ones_are_ignored(tmp_path):
    def polled(handles):
        if backend.polls < 5:
            return {object(): Outcome(0, 1.0), **dict.fromkeys(handles, "queued")}
        return dict.fromkeys(handles, Outcome(0, 1.0))

    backend = DefectiveBackend(polled=polled)
    run = queued_run(tmp_path, "true")
    assert execute(plan_of(run, "generate", "run", backend=backend)).state == "completed"
    assert backend.polls == 5
