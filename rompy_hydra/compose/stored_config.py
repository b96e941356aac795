"""Running a stored configuration again: `--config-path RUN/.hydra --config-name config`.

It has the composed values of one run, without groups and without Hydra's part.
"""

from __future__ import annotations

import os
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from rompy_hydra.compose.validate import walk
from rompy_hydra.errors import NO_VALUE, InvalidConfig, Problem
from rompy_hydra.redaction import NOT_STORED

_DIRECTORY = ".hydra"
_GROUPS = ("job_logging", "hydra_logging", "help", "launcher", "sweeper")
# What `conf/config.yaml` sets of Hydra.
HYDRA_OVERRIDES = [
    *(f"hydra/{group}=rompy_hydra" for group in _GROUPS),
    "hydra.job.name=rompy_hydra",
    "hydra.run.dir='${output_dir}/${run_id}'",
    "hydra.sweep.dir='${sweep.directory}/${sweep.name}'",
    "hydra.sweep.subdir='${point_label:}'",
]


def is_stored(config_path: str | None) -> bool:
    """Whether a directory of configurations is the one that a run has stored its own in."""
    return config_path is not None and os.path.basename(os.path.abspath(config_path)) == _DIRECTORY


def name_of(config_path: str, config_name: str) -> str:
    """The name of a run of a main configuration without groups: that of the run that stored it."""
    return Path(config_path).parent.name if is_stored(config_path) else config_name


def check_complete(config: DictConfig) -> None:
    """InvalidConfig for values that were hidden when the configuration was stored."""
    found = [
        Problem(path, NO_VALUE, "its value was not stored", f"Give it with {path}=VALUE")
        for key in config
        if key != "hydra"
        for path, value in walk(OmegaConf.to_container(config)[key], str(key))  # type: ignore[index]
        if value == NOT_STORED
    ]
    if found:
        raise InvalidConfig(found)
