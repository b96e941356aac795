"""The postprocessor that only checks that the output directory exists."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from loguru import logger

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
        """See the class. As in the reference, unknown settings are ignored; a warning lists them."""
        workspace = outputs_of(model_run)
        unused = sorted(set(settings) - set(type(self).model_fields))
        if unused:
            logger.warning("the noop postprocessor ignores {}", ", ".join(unused))
        known = {key: value for key, value in settings.items() if key not in unused}
        return self.with_settings(known)._check(model_run.run_id, workspace)

    def _check(self, run_id: str, workspace: Workspace) -> Results:
        directory = (workspace if self.output_dir is None else Workspace(self.output_dir)).root
        facts: Results = {"run_id": run_id, "output_dir": directory}
        if self.validate_outputs and not os.path.exists(directory):
            return {"success": False, "message": f"Output directory not found: {directory}", **facts}
        message = "No postprocessing requested - validation only"
        return {"success": True, "message": message, "validated": self.validate_outputs, **facts}
