"""The contract of model configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from rompy_hydra import BaseConfig, ModelRun
from rompy_hydra.adapters.model import resolve_model
from rompy_hydra.testing.base import PluginContract
from rompy_hydra.workspace import Workspace
from rompy_hydra.workspace.record import RunRecord


class ModelContract(PluginContract):
    """What every model configuration keeps: the same parameters generate the same inputs, and it runs.

    With `executes = False` the tests do not run it, for machines without the model's program.
    """

    category: ClassVar[str] = "config"
    group: ClassVar[str] = "model"
    executes: ClassVar[bool] = True

    def config(self) -> Any:
        return self.plugin(**self.settings)

    def use(self, run: Any, **more: Any) -> Any:
        return self.plugin(**self.settings, **more)

    def _run(self, directory: Path, run_id: str = "contract") -> ModelRun:
        return ModelRun(run_id=run_id, output_dir=directory, config=self.config())

    def test_it_is_plain_data_and_the_same_each_time(self) -> None:
        assert resolve_model(self.config()).plain_data() == resolve_model(self.config()).plain_data()

    def test_it_generates_its_inputs_and_does_not_change_itself(self, tmp_path: Path) -> None:
        run = self._run(tmp_path)
        before = resolve_model(run.config).plain_data()
        run.generate()
        assert resolve_model(run.config).plain_data() == before
        assert _inputs(run.workspace), "no input file was generated"

    def test_the_same_parameters_generate_the_same_inputs(self, tmp_path: Path) -> None:
        runs = [self._run(tmp_path / name) for name in ("one", "two")]
        for run in runs:
            run.generate()
        names = [_inputs(run.workspace) for run in runs]
        assert names[0] == names[1]
        if isinstance(self.config(), BaseConfig):  # others may write the time into their inputs
            for name in names[0]:
                contents = [(run.workspace.path / name).read_bytes() for run in runs]
                assert contents[0] == contents[1], f"{name} differs"

    def test_it_runs_and_its_outputs_pass_its_own_checks(self, tmp_path: Path) -> None:
        if not self.executes:
            pytest.skip("executes = False: the model's program is not available")
        results = self._run(tmp_path).pipeline(run_backend="local", processor="noop")
        assert results["success"] is True, results.get("message")


def _inputs(workspace: Workspace) -> list[str]:
    record = RunRecord.load(workspace)
    return [fact.path for fact in record.inputs] if record else []
