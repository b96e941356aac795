"""The postprocessor that processes nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from loguru import logger

from rompy_hydra.postprocess.base import BasePostprocessor, HasOutputs, Results, outputs_of
from rompy_hydra.workspace import Workspace


class NoopPostprocessor(BasePostprocessor):
    """Checks that there are outputs, if `validate_outputs`, and does nothing else.

    `output_dir` is looked at instead of the run directory.
    """

    name: ClassVar[str] = "noop"
    instant: ClassVar[bool] = True

    validate_outputs: bool = True
    output_dir: Path | None = None

    def process(self, model_run: HasOutputs, **settings: object) -> Results:
        """See the class. Unknown settings are not used, as the reference has it, and a warning says so."""
        workspace = outputs_of(model_run)
        unused = sorted(set(settings) - set(type(self).model_fields))
        if unused:
            logger.warning("the noop postprocessor does not use {}", ", ".join(unused))
        known = {key: value for key, value in settings.items() if key not in unused}
        return self.with_settings(known)._check(model_run, workspace)

    def _check(self, model_run: HasOutputs, workspace: Workspace) -> Results:
        if self.output_dir is not None:
            workspace = Workspace(self.output_dir)
        directory = workspace.root
        facts: Results = {"run_id": model_run.run_id, "output_dir": directory}
        if self.validate_outputs and not os.path.exists(directory):
            return {
                "success": False,
                "message": f"Output directory not found: {directory}",
                **facts,
            }
        return {
            "success": True,
            "message": "No postprocessing requested - validation only",
            "validated": self.validate_outputs,
            **facts,
        }
