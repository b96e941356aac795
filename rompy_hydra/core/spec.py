"""Which run: its name, its period, its directory and its model configuration. Pure data."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    ModelWrapValidatorHandler,
    PrivateAttr,
    model_validator,
)

from rompy_hydra.jsonable import json_text, to_plain
from rompy_hydra.models.base import BaseConfig
from rompy_hydra.models.success import SuccessChecks
from rompy_hydra.time_range import TimeRange
from rompy_hydra.workspace import Workspace, directory_of

_RUN_ID = re.compile(r"[^/\\\x00-\x1f\x7f]{1,200}")


def check_run_id(run_id: str) -> str:
    """`run_id` itself if it can name one directory below `output_dir`; ValueError if not."""
    valid = _RUN_ID.fullmatch(run_id) and run_id not in {".", ".."} and run_id == run_id.strip()
    try:
        size = len(run_id.encode())
    except UnicodeEncodeError:  # bytes that are not valid text
        size = 0
    if not valid or not 0 < size <= 200:
        above, _, name = run_id.rpartition("/")
        hint = f". Add the directory {above!r} to output_dir, and call the run {name!r}"
        raise ValueError(
            f"run_id {run_id!r} must be the name of one directory: 1 to 200 bytes, no '/', "
            f"no '..', no control characters, no blank at its ends{hint if above and name else ''}"
        )
    return run_id


def _default_period() -> TimeRange:
    return TimeRange.model_validate({"start": datetime(2020, 2, 21, 4), "duration": "3d"})


class RunSpec(BaseModel):
    """One run of one model configuration, in the directory `output_dir/run_id`.

    `ModelRun` adds the methods that work on it.
    """

    model_config = ConfigDict(
        extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True, protected_namespaces=()
    )

    # As rompy's runs have it, in files and in what they dump.
    model_type: Literal["modelrun"] = "modelrun"
    run_id: Annotated[str, AfterValidator(check_run_id)] = "run_id"
    period: TimeRange = Field(default_factory=_default_period)
    output_dir: Path = Path("runs")
    # A `BaseConfig`, or any object in the shape of rompy's model configurations.
    config: InstanceOf[object] = Field(default_factory=BaseConfig)
    # Whether the first call that works on the directory moves an earlier run there aside.
    overwrite: bool = False
    # rompy's name for it. Nothing is deleted.
    delete_existing: bool = False
    # False: the directory is `output_dir` itself.
    run_id_subdir: bool = True
    # Success checks besides those of the configuration, which may be one of another package.
    success: SuccessChecks | None = None

    _given: dict[str, object] = PrivateAttr(default_factory=dict)
    _place: tuple[tuple[Path, str, bool], Workspace] | None = PrivateAttr(default=None)

    @model_validator(mode="wrap")
    @classmethod
    def _remember_inputs(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        made = handler(data)
        if isinstance(data, dict):
            made._given = dict(data)
        return made

    def dump_inputs_dict(self) -> dict[str, object]:
        """The fields as they were given, without those that have their default; as in rompy."""
        return dict(self._given)

    def dump_inputs_json(self) -> str:
        """The same as JSON."""
        return json_text(to_plain(self._given))

    @property
    def workspace(self) -> Workspace:
        """The run's directory; reading this property creates and deletes nothing.

        It stays where it is when this process changes its working directory.
        """
        place = (self.output_dir, self.run_id, self.run_id_subdir)
        if self._place is None or self._place[0] != place:
            self._place = place, Workspace(directory_of(self))
        return self._place[1]

    @property
    def staging_dir(self) -> Path:
        """The same as a path, under the name that rompy's plugins know."""
        return self.workspace.path
