"""The contract of pipeline backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from rompy_hydra import ModelRun
from rompy_hydra.testing.base import WRITES, PluginContract, left_alone


class PipelineContract(PluginContract):
    """What every pipeline backend keeps: a dict that says how far it came, and never a false success.

    `settings` go to `execute`.
    """

    category: ClassVar[str] = "pipeline"
    group: ClassVar[str] = "pipeline"

    def _results(self, run: ModelRun) -> dict[str, Any]:
        return run.pipeline(self.plugin, **{"run_backend": "local", "processor": "noop", **self.settings})

    def test_a_run_that_goes_well_is_a_success(self, tmp_path: Path) -> None:
        run = self.model_run(tmp_path)
        results = self._results(run)
        assert results["success"] is True, results.get("message")
        assert results["run_id"] == run.run_id
        stages = results["stages_completed"]
        assert isinstance(stages, list) and stages, "stages_completed must name what was done"
        assert run.workspace.path.is_dir(), "nothing was generated"

    def test_a_model_that_fails_is_a_failure_with_a_reason(self, tmp_path: Path) -> None:
        run = self.model_run(tmp_path, f"{WRITES}; exit 3")
        results = self._results(run)
        assert results["success"] is False, "a model that exits with 3 has failed"
        assert results["run_id"] == run.run_id
        assert results.get("message") and results.get("error"), "a failure needs a message and an error"
        assert "postprocess" not in results["stages_completed"], "the outputs of a failed model"

    def test_inputs_that_cannot_be_made_are_a_failure_with_a_reason(self, tmp_path: Path) -> None:
        run = self.model_run(tmp_path, files=[str(tmp_path / "there is no such file")])
        results = self._results(run)
        assert results["success"] is False
        assert results["stages_completed"] == []
        assert results.get("message") and results.get("error")

    def test_it_leaves_the_program_that_calls_it_as_it_was(self, tmp_path: Path) -> None:
        with left_alone():
            self._results(self.model_run(tmp_path))

    def test_what_is_no_model_run_is_no_success(self) -> None:
        pipeline = self.plugin() if isinstance(self.plugin, type) else self.plugin
        try:
            results = pipeline.execute(None, **self.settings)
        except Exception:  # noqa: BLE001 - any error is an honest answer
            return
        assert results["success"] is False, f"execute(None) answered {results!r}"
