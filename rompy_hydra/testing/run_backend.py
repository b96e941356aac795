"""The contract of run backends."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rompy_hydra.plugins.answers import as_bool
from rompy_hydra.plugins.signatures import check_arguments, instantiate
from rompy_hydra.run.base import BaseRunBackend
from rompy_hydra.testing.base import OUTPUT, UNKNOWN, WRITES, PluginContract, left_alone, refused
from rompy_hydra.workspace.record import COMPLETED, FAILED, RunRecord


class RunBackendContract(PluginContract):
    """What every run backend keeps: it runs a model's commands, and says honestly how they ended."""

    category: ClassVar[str] = "run"
    group: ClassVar[str] = "run_backend"

    def test_a_model_that_does_its_work_succeeds(self, tmp_path: Path) -> None:
        run = self.model_run(tmp_path)
        assert run.run(self.plugin, **self.settings) is True, _why(tmp_path)
        assert (run.workspace.path / OUTPUT).is_file(), f"the model's {OUTPUT} is not in the run directory"
        record = RunRecord.load(run.workspace)
        assert record is not None and record.stages["run"].state == COMPLETED

    def test_a_model_that_fails_is_no_success(self, tmp_path: Path) -> None:
        run = self.model_run(tmp_path, f"{WRITES}; exit 3")
        assert run.run(self.plugin, **self.settings) is False, "a model that exits with 3 has failed"
        record = RunRecord.load(run.workspace)
        assert record is not None and record.state == FAILED

    def test_a_model_that_does_not_write_what_it_must_has_failed(self, tmp_path: Path) -> None:
        run = self.model_run(tmp_path, "true")
        assert run.run(self.plugin, **self.settings) is False, f"the model wrote no {OUTPUT}"

    def test_it_works_in_a_pipeline(self, tmp_path: Path) -> None:
        run = self.model_run(tmp_path)
        results = run.pipeline(run_backend=self.plugin, run_kwargs=dict(self.settings))
        assert results["success"] is True, results.get("message")
        assert results["stages_completed"] == ["generate", "run", "postprocess"]

    def test_two_runs_at_once_do_not_meet(self, tmp_path: Path) -> None:
        runs = [
            self.model_run(tmp_path, f"echo {number} > {OUTPUT}", run_id=f"run {number}")
            for number in range(2)
        ]
        answers: dict[str, bool] = {}

        def work(number: int) -> None:
            answers[runs[number].run_id] = runs[number].run(self.plugin, **self.settings)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == {"run 0": True, "run 1": True}
        for number, run in enumerate(runs):
            assert (run.workspace.path / OUTPUT).read_text() == f"{number}\n"

    def test_it_leaves_the_program_that_calls_it_as_it_was(self, tmp_path: Path) -> None:
        with left_alone():
            self.model_run(tmp_path).run(self.plugin, **self.settings)

    def test_what_is_no_model_run_is_no_success(self) -> None:
        backend: Any
        arguments: dict[str, object] = {}
        if isinstance(self.plugin, type) and issubclass(self.plugin, BaseRunBackend):
            backend = self.plugin(None, **self.settings)
        else:
            backend, arguments = instantiate(self.plugin, self.settings, "run")
        try:
            returned = backend.run(None, **check_arguments(backend.run, arguments))
        except Exception:  # noqa: BLE001 - any error is an honest answer
            return
        assert as_bool(returned) is False, f"run(None) returned {returned!r}"

    def test_a_setting_that_it_does_not_have_is_refused(self, tmp_path: Path) -> None:
        if not self._refuses_unknown_settings():
            pytest.skip("it takes any setting")
        with refused():
            self.model_run(tmp_path).run(self.plugin, **{**self.settings, UNKNOWN: 1})


def _why(directory: Path) -> str:
    records = [RunRecord.read(path) for path in directory.glob("*/run.json")]
    return "; ".join(str((record.error or {}).get("message")) for record in records if record)
