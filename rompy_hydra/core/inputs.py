"""The input files of a run before they are written: rendered in memory, and checked."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from rompy_hydra.errors import GenerateError
from rompy_hydra.hashing import hash_file
from rompy_hydra.models.base import BaseConfig
from rompy_hydra.models.inputs import Input, RunFacts
from rompy_hydra.workspace import (
    ATTEMPTS,
    BUILD_LOG,
    CLAIMS,
    COMPOSED,
    EXIT_CODE,
    LOG,
    METRICS,
    RECORD,
    SCRIPT,
    Workspace,
)

if TYPE_CHECKING:
    from rompy_hydra.model_run import ModelRun

_RESERVED = {RECORD, SCRIPT, LOG, EXIT_CODE, METRICS, COMPOSED, ATTEMPTS, CLAIMS, BUILD_LOG}


def planned_inputs(model_run: ModelRun, workspace: Workspace | None = None) -> tuple[Input, ...]:
    """The input files of a run, rendered in memory and checked; GenerateError if there is a fault."""
    config = model_run.config
    if not isinstance(config, BaseConfig):
        return ()
    workspace = workspace or model_run.workspace
    facts = RunFacts(model_run.run_id, model_run.period, workspace.root)
    # One spelling of a path, so that it is found again among the files of the directory.
    inputs = tuple(
        i if i.path == (path := os.path.normpath(i.path)) else replace(i, path=path)
        for i in config.inputs(facts)
    )
    seen: set[str] = set()
    for item in inputs:
        try:
            workspace.inside(item.path)
        except ValueError as error:
            raise GenerateError(f"{error} (a file of the model's template)") from error
        if item.path.split("/")[0] in _RESERVED:
            raise GenerateError(f"the input '{item.path}' has the name of a file of the engine; rename it")
        if item.path in seen:
            raise GenerateError(f"two inputs have the same path '{item.path}'; rename one of them")
        seen.add(item.path)
    return inputs


def content_hash(item: Input) -> str:
    """SHA-256 of what an input will be."""
    if item.content is not None:
        return hashlib.sha256(item.content).hexdigest()
    assert item.source is not None
    return hash_file(item.source)
