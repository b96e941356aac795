"""The postprocessor that only checks that the output directory exists."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from rompy_hydra.postprocess.base import BasePostprocessor, HasOutputs, Results, outputs_of
from rompy_hydra.workspace import Workspace


class NoopPostprocessor(BasePostprocessor):
    """Only checks that the output directory exists, if `validate_outputs` is set.

    Checks `output_dir` instead of the run directory if it is given.
    """

    name: ClassVar[str] = "noop"
    instant: ClassVar[bool] = True

    validate_outputs: bool = True
    output_dir: Path | None = None

    def process(self, model_run: HasOutputs, **settings: object) -> Results:
        """See the class. Invalid values are reported in the result, unknown settings raise ConfigError."""
        workspace = outputs_of(model_run)
        self.check_names(settings)
        try:
            used = self.with_settings(settings)
            directory = (workspace if used.output_dir is None else Workspace(used.output_dir)).root
            exists = os.path.exists(directory)
        except (ValueError, OSError) as error:
            message = f"Error in postprocessor: {error}"
            return {"success": False, "message": message, "run_id": model_run.run_id, "error": str(error)}
        facts: Results = {"run_id": model_run.run_id, "output_dir": directory}
        if used.validate_outputs and not exists:
            return {"success": False, "message": f"Output directory not found: {directory}", **facts}
        message = "No postprocessing requested - validation only"
        return {"success": True, "message": message, "validated": used.validate_outputs, **facts}
