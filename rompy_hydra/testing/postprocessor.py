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
from rompy_hydra.testing.base import OUTPUT, UNKNOWN, PluginContract, left_alone, refused
from rompy_hydra.workspace.record import RunRecord


class PostprocessorContract(PluginContract):
    """What every postprocessor keeps: it answers in a way that can be judged, and says the same again.

    Override `write_outputs` with the outputs that it reads.
    """

    category: ClassVar[str] = "postprocess"
    group: ClassVar[str] = "processor"

    def write_outputs(self, directory: Path) -> None:
        """Write what a model would have left: by default, a small table."""
        (directory / OUTPUT).write_text("x,y\n1,2\n3,5\n")

    @pytest.fixture
    def outputs(self, tmp_path: Path) -> ModelRun:
        """A run that has its outputs."""
        run = self.model_run(tmp_path)
        run.generate()
        self.write_outputs(run.workspace.path)
        return run

    def _answer(self, run: Any) -> dict[str, Any]:
        resolved = resolve_processor(self.plugin, self.settings)
        return normalise_answer(resolved.plugin_name, resolved.process(run))

    def test_it_says_that_it_succeeded_and_what_it_found(self, outputs: ModelRun) -> None:
        results = self._answer(outputs)
        assert results["success"] is True, results["message"]
        assert isinstance(results["message"], str)

    def test_what_it_says_can_be_written_down(self, outputs: ModelRun) -> None:
        results = self._answer(outputs)
        metrics = results.get("metrics", {})
        assert isinstance(metrics, dict), f"metrics are {metrics!r}, and not numbers by name"
        json.dumps(plain(metrics))

    def test_the_same_outputs_say_the_same_again(self, outputs: ModelRun) -> None:
        first, second = self._answer(outputs), self._answer(outputs)
        assert first.get("metrics") == second.get("metrics")
        assert first["success"] == second["success"]

    def test_a_run_without_outputs_is_answered_or_refused(self, tmp_path: Path) -> None:
        run = self.model_run(tmp_path)
        run.generate()
        try:
            results = self._answer(run)
        except PostprocessError as error:
            assert "cannot be determined" not in str(error), str(error)
        except Exception:  # noqa: BLE001 - the engine makes an error of the run of any of them
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

    def test_it_leaves_the_program_that_calls_it_as_it_was(self, outputs: ModelRun) -> None:
        with left_alone():
            self._answer(outputs)

    def test_what_is_no_model_run_is_no_success(self) -> None:
        try:
            results = self._answer(None)
        except Exception:  # noqa: BLE001 - any error is an honest answer
            return
        assert results["success"] is False, f"process(None) answered {results!r}"

    def test_a_setting_that_it_does_not_have_is_refused(self, outputs: ModelRun) -> None:
        if not self._refuses_unknown_settings():
            pytest.skip("it takes any setting")
        with refused():
            outputs.postprocess(self.plugin, **self.settings, **{UNKNOWN: 1})
