"""What a run directory remembers: which stages are done, and whose they are."""

from __future__ import annotations

import os

from rompy_hydra.core.plan import Task
from rompy_hydra.errors import ConfigError, DamagedRecord
from rompy_hydra.hashing import hash_file
from rompy_hydra.models.base import BaseConfig
from rompy_hydra.workspace import EVERYTHING, Workspace, lease
from rompy_hydra.workspace import record as rec
from rompy_hydra.workspace.config_diff import describe_difference
from rompy_hydra.workspace.record import RunRecord


def stale_stages(task: Task, record: RunRecord | None) -> dict[str, str]:
    """The stages of a task that must be done, each with the reason; the others are remembered."""
    reasons: dict[str, str] = {}
    workspace = task.workspace
    for stage in task.stages:
        old = record.stages.get(stage) if record else None
        key = getattr(task, f"{stage}_key") if stage != "run" or task.backend else ""
        if reasons and stage != "generate":
            reasons[stage] = f"{next(reversed(reasons))} is done again"
        elif old is None or old.state == rec.PENDING:
            reasons[stage] = "not done yet"
        elif old.state != rec.COMPLETED:
            reasons[stage] = f"was {old.state} before"
        elif (task.imperative or task.again) and stage != "generate":
            reasons[stage] = "asked for"
        elif old.key != key:
            reasons[stage] = _what_changed(stage)
        else:
            assert record is not None
            kept = {"generate": record.inputs, "run": record.outputs}.get(stage, record.products)
            damaged = next((f.path for f in kept if not f.is_intact(workspace)), None)
            if damaged:
                reasons[stage] = f"{damaged} is missing or was changed"
    return reasons


def _what_changed(stage: str) -> str:
    return {
        "generate": "a template or a staged file changed",
        "run": "the commands, the backend or its image changed",
        "postprocess": "the postprocessor or its settings changed",
    }[stage]


def state_of(workspace: Workspace, record: RunRecord) -> str:
    """What to say of a run: the state in its record, or `lost` if nobody works on it any more."""
    if record.ended or record.state == rec.PENDING:
        return record.state
    return record.state if lease.holder(workspace, lease.latest(workspace)) else rec.LOST


def load_own_record(task: Task) -> RunRecord | None:
    """The record in the run directory if it is of this very run; ConfigError if it is of another."""
    workspace = task.workspace
    try:
        record = RunRecord.load(workspace)
        if record is None and not task.overwrite and (stranger := _stranger(task)):
            # Another driver may have begun this run since the record was not there.
            record = RunRecord.load(workspace)
            if record is None:
                raise ConfigError(stranger)
    except DamagedRecord as error:
        if task.overwrite:
            return None
        raise ConfigError(str(error)) from error
    if record is None:
        return None
    differs = [
        part
        for part, value in task.identity.items()
        if value and record.identity.get(part) not in (None, "", value)
    ]
    if differs and not task.overwrite:
        raise ConfigError(
            f"{workspace.path} holds another configuration "
            f"({describe_difference(record.config, task.stored_config())}). Choose "
            "another run_id or output_dir, or say overwrite=true: it moves the old directory aside"
        )
    return record


def _stranger(task: Task) -> str:
    """Which file a run would replace that no run of ours has made, and what to do; '' for none."""
    if not task.workspace.is_taken():
        return ""
    leftovers = task.workspace.leftover_files()
    if leftovers:
        return (
            f"{task.workspace.path} has no run.json, but {', '.join(leftovers)} that a run would replace. "
            "Choose another run_id or output_dir, or say overwrite=true: it moves the directory aside"
        )
    for item in task.inputs:
        path = task.workspace.path / item.path
        if os.path.lexists(path) and (not path.is_file() or hash_file(path) != task.hashes[item.path]):
            return (
                f"{path} is there already and differs from what the run would write. Choose another "
                "run_id or output_dir, or say overwrite=true: it moves the directory aside"
            )
    inputs = {item.path for item in task.inputs}
    for name in task.workspace.conflicting_paths(_made_by(task.model_run.config)):
        if name not in inputs:
            return (
                f"{task.workspace.path / name} is there already, and the model would replace it "
                "(model.outputs, model.success). Choose another run_id or output_dir, or say "
                "overwrite=true: it moves the directory aside"
            )
    return ""


def _made_by(config: object) -> list[str]:
    """The files that a model makes as far as its configuration names them; globs."""
    if not isinstance(config, BaseConfig):
        return []
    named = [*config.outputs, *config.success.must_exist, config.success.log_file]
    return [glob for glob in named if glob != EVERYTHING]
