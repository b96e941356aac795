"""What all pipeline backends share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from rompy_hydra.model_run import ModelRun

Results = dict[str, object]


class BasePipeline(BaseModel, ABC):
    """In which order the stages are done, and what happens on a failure.

    `execute` answers a dict with `success`, `run_id` and `stages_completed`, and on a failure also
    `stage`, `message` and `error`.
    """

    # Its validator is made when it is first used: most programs use few of its kind.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: ClassVar[str]

    @abstractmethod
    def execute(self, model_run: ModelRun, **settings: object) -> Results:
        """Carry out the pipeline. Raises ValueError for arguments that make no sense."""
