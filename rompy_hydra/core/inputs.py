"""The input files of a run before they are written: rendered in memory, and checked."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace

from rompy_hydra.errors import GenerateError
from rompy_hydra.hashing import hash_file, hash_list
from rompy_hydra.models.base import BaseConfig
from rompy_hydra.models.inputs import Input, RunFacts
from rompy_hydra.redaction import holds_secret, public_url
from rompy_hydra.workspace import METRICS, Workspace


def rendered_inputs(model: BaseConfig, run: RunFacts, workspace: Workspace) -> tuple[Input, ...]:
    """The input files of a run, rendered in memory and checked; GenerateError if one cannot be made."""
    # One spelling of a path, so that it is found again among the files of the directory.
    inputs = tuple(
        item if item.path == (path := os.path.normpath(item.path)) else replace(item, path=path)
        for item in model.inputs(run)
    )
    seen: set[str] = set()
    for item in inputs:
        try:
            workspace.inside(item.path)
        except ValueError as error:
            raise GenerateError(f"{error} (a file of the model's template)") from error
        if workspace.is_own(item.path) or item.path.split("/")[0] == METRICS:
            raise GenerateError(f"the input '{item.path}' has the name of a file of the engine; rename it")
        if holds_secret(item.path):
            raise GenerateError("the name of an input file contains a secret; rename it (model.template)")
        if item.path in seen:
            raise GenerateError(f"two inputs have the same path '{item.path}'; rename one of them")
        seen.add(item.path)
    return inputs


def content_hash(item: Input, facts: str = "") -> str:
    """SHA-256 of what an input will be.

    Of one that is fetched, it is that of its checksum, or else of its URL and what the server says of it.
    """
    if item.url:
        kind, _, digits = item.checksum.partition(":")
        return digits if kind == "sha256" else hash_list(public_url(item.url), item.checksum or facts)
    if item.content is not None:
        return hashlib.sha256(item.content).hexdigest()
    assert item.source is not None
    return hash_file(item.source)
