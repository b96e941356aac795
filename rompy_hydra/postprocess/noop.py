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
        if unused := sorted(set(settings) - set(type(self).model_fields)):
            logger.warning("the noop postprocessor ignores {}", ", ".join(unused))
        used = self.with_settings({key: settings[key] for key in settings if key not in unused})
        directory = (workspace if used.output_dir is None else Workspace(used.output_dir)).root
        facts: Results = {"run_id": model_run.run_id, "output_dir": directory}
        if used.validate_outputs and not os.path.exists(directory):
            return {"success": False, "message": f"Output directory not found: {directory}", **facts}
        message = "No postprocessing requested - validation only"
        return {"success": True, "message": message, "validated": used.validate_outputs, **facts}
