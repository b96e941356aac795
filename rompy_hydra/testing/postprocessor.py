"""The contract of postprocessors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rompy_hydra import ModelRun
from rompy_hydra.adapters.resolve import resolve_processor
from rompy_hydra.errors import PostprocessError
from rompy_hydra.jsonable import plain
from rompy_hydra.postprocess.base import normalise_answer
from rompy_hydra.testing.base import OUTPUT, StageContract
from rompy_hydra.workspace.record import RunRecord


class PostprocessorContract(StageContract):
    """What every postprocessor keeps: it reports success or failure, always the same for the same outputs.

    Override `write_outputs` to write the outputs that it reads.
    """

    category: ClassVar[str] = "postprocess"
    group: ClassVar[str] = "processor"

    def write_outputs(self, directory: Path) -> None:
        """Write the outputs of a model: by default, a small table."""
        (directory / OUTPUT).write_text("x,y\n1,2\n3,5\n")

    @pytest.fixture
    def run(self, tmp_path: Path) -> ModelRun:
        """A run that has its outputs."""
        run = self.model_run(tmp_path)
        run.generate()
        self.write_outputs(run.workspace.path)
        return run

    def use(self, run: Any, **more: Any) -> dict[str, Any]:
        resolved = resolve_processor(self.plugin, {**self.settings, **more})
        return normalise_answer(resolved.plugin_name, resolved.process(run))

    def test_it_reports_success_and_a_message(self, run: ModelRun) -> None:
        results = self.use(run)
        assert results["success"] is True, results["message"]
        assert isinstance(results["message"], str)

    def test_its_metrics_can_be_recorded(self, run: ModelRun) -> None:
        results = self.use(run)
        metrics = results.get("metrics", {})
        assert isinstance(metrics, dict), f"metrics are {metrics!r}, not numbers by name"
        json.dumps(plain(metrics))

    def test_the_same_outputs_give_the_same_result(self, run: ModelRun) -> None:
        first, second = self.use(run), self.use(run)
        assert first.get("metrics") == second.get("metrics")
        assert first["success"] == second["success"]

    def test_a_run_without_outputs_gets_an_answer_or_an_error(self, tmp_path: Path) -> None:
        run = self.model_run(tmp_path)
        run.generate()
        try:
            results = self.use(run)
        except PostprocessError as error:
            assert "cannot be determined" not in str(error), str(error)
        except Exception:  # noqa: BLE001 - the engine records any of them as an error of the run
            return
        else:
            assert results["success"] in (True, False)

    def test_it_works_in_a_pipeline(self, tmp_path: Path) -> None:
        run = self.model_run(tmp_path, "true", needs_execution=False, success={})
        run.generate()
        self.write_outputs(run.workspace.path)
        results = run.pipeline(processor=self.plugin, process_kwargs=dict(self.settings))
        assert results["success"] is True, results.get("message")
        record = RunRecord.load(run.workspace)
        assert record is not None and record.state == "completed"
