"""The contract of run backends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from rompy_hydra import ModelRun
from rompy_hydra.plugins.signatures import check_arguments, instantiate
from rompy_hydra.run.base import BaseRunBackend
from rompy_hydra.testing.base import OUTPUT, WRITES, StageContract
from rompy_hydra.workspace.record import COMPLETED, FAILED, RunRecord


class RunBackendContract(StageContract):
    """What every run backend keeps: it runs a model's commands, and reports correctly how they ended."""

    category: ClassVar[str] = "run"
    group: ClassVar[str] = "run_backend"

    def use(self, run: Any, **more: Any) -> bool:
        succeeded: bool = run.run(self.plugin, **self.settings, **more)
        return succeeded

    def answer_without_run(self) -> object:
        backend: Any
        if isinstance(self.plugin, type) and issubclass(self.plugin, BaseRunBackend):
            backend = self.plugin(None, **self.settings)
            return backend.run(None)
        backend, arguments = instantiate(self.plugin, self.settings, "run")
        return backend.run(None, **check_arguments(backend.run, arguments))

    def test_a_model_that_writes_its_output_succeeds(self, run: ModelRun) -> None:
        succeeded = self.use(run)
        record = RunRecord.load(run.workspace)
        assert succeeded is True, record and record.error
        assert (run.workspace.path / OUTPUT).is_file(), f"the model's {OUTPUT} is not in the run directory"
        assert record is not None and record.stages["run"].state == COMPLETED

    def test_a_model_that_exits_with_an_error_has_failed(self, tmp_path: Path) -> None:
        run = self.model_run(tmp_path, f"{WRITES}; exit 3")
        assert self.use(run) is False, "a model that exits with 3 has failed"
        record = RunRecord.load(run.workspace)
        assert record is not None and record.state == FAILED

    def test_a_model_that_does_not_write_its_output_has_failed(self, tmp_path: Path) -> None:
        run = self.model_run(tmp_path, "true")
        assert self.use(run) is False, f"the model wrote no {OUTPUT}"

    def test_it_works_in_a_pipeline(self, run: ModelRun) -> None:
        results = run.pipeline(run_backend=self.plugin, run_kwargs=dict(self.settings))
        assert results["success"] is True, results.get("message")
        assert results["stages_completed"] == ["generate", "run", "postprocess"]

    def test_two_runs_in_parallel_do_not_interfere(self, tmp_path: Path) -> None:
        runs = [
            self.model_run(tmp_path, f"echo {number} > {OUTPUT}", run_id=f"run {number}")
            for number in range(2)
        ]
        with ThreadPoolExecutor() as threads:
            assert list(threads.map(self.use, runs)) == [True, True]
        for number, run in enumerate(runs):
            assert (run.workspace.path / OUTPUT).read_text() == f"{number}\n"
