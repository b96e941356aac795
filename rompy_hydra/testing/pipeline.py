"""The contract of pipeline backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from rompy_hydra import ModelRun
from rompy_hydra.testing.base import WRITES, StageContract


class PipelineContract(StageContract):
    """What every pipeline backend keeps: it reports which stages it completed, and never a false success.

    `settings` go to `execute`.
    """

    category: ClassVar[str] = "pipeline"
    group: ClassVar[str] = "pipeline"
    # A pipeline hands unknown settings on.
    test_an_unknown_setting_is_refused = None  # type: ignore[assignment]

    def use(self, run: Any, **more: Any) -> dict[str, Any]:
        settings = {"run_backend": "local", "processor": "noop", **self.settings, **more}
        results: dict[str, Any] = run.pipeline(self.plugin, **settings)
        return results

    def answer_without_run(self) -> object:
        pipeline = self.plugin() if isinstance(self.plugin, type) else self.plugin
        return pipeline.execute(None, **self.settings)

    def test_a_run_without_errors_is_a_success(self, run: ModelRun) -> None:
        results = self.use(run)
        assert results["success"] is True, results.get("message")
        assert results["run_id"] == run.run_id
        stages = results["stages_completed"]
        assert isinstance(stages, list) and stages, "stages_completed must name what was done"
        assert run.workspace.path.is_dir(), "nothing was generated"

    def test_a_model_that_fails_is_a_failure_with_a_reason(self, tmp_path: Path) -> None:
        run = self.model_run(tmp_path, f"{WRITES}; exit 3")
        results = self.use(run)
        assert results["success"] is False, "a model that exits with 3 has failed"
        assert results["run_id"] == run.run_id
        assert results.get("message") and results.get("error"), "a failure needs a message and an error"
        assert "postprocess" not in results["stages_completed"], "the outputs of a failed model"

    def test_inputs_that_cannot_be_generated_are_a_failure_with_a_reason(self, tmp_path: Path) -> None:
        run = self.model_run(tmp_path, files=[str(tmp_path / "missing")])
        results = self.use(run)
        assert results["success"] is False
        assert results["stages_completed"] == []
        assert results.get("message") and results.get("error")
