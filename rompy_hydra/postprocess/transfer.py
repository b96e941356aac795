"""The postprocessor that copies the outputs of a run to a directory or URL."""

from __future__ import annotations

from typing import Annotated, ClassVar

from loguru import logger
from pydantic import AfterValidator, Field

from rompy_hydra.errors import PostprocessError, TransferError
from rompy_hydra.hashing import hash_file
from rompy_hydra.jsonable import Json, json_text, read_json
from rompy_hydra.postprocess.base import BasePostprocessor, HasOutputs, Results, outputs_of
from rompy_hydra.postprocess.outputs import find_outputs
from rompy_hydra.redaction import public_url, remembered_url
from rompy_hydra.transfer.urls import RETRIES, Store, check_url, is_url, packages_for
from rompy_hydra.workspace import Glob, Workspace

MANIFEST = "manifest.json"


def _check_destination(value: str) -> str:
    if not value.strip():
        raise ValueError("destination must be a directory or a URL")
    if is_url(value):
        check_url(remembered_url(value))
        if value.lower().startswith("http"):
            raise ValueError(
                f"{public_url(value)} cannot be written to; choose s3, gs, sftp or a directory"
            )
    return value


class TransferPostprocessor(BasePostprocessor):
    """Copies the outputs to `destination/RUN_ID`, with a `manifest.json` of their sizes and SHA-256.

    The manifest says `complete: true` when all files are there. A transfer that was interrupted continues.
    Files that this run did not write are not replaced without `overwrite`.
    """

    name: ClassVar[str] = "transfer"

    destination: Annotated[str, AfterValidator(_check_destination)]
    # Paths or globs inside the run directory; empty: all outputs.
    files: tuple[Glob, ...] = ()
    # How often the transfer of a file is tried again.
    retries: int = Field(default=RETRIES, ge=0, le=20)
    overwrite: bool = False

    def required_packages(self) -> dict[str, str]:
        return packages_for(self.destination)

    def process(self, model_run: HasOutputs, **settings: object) -> Results:
        """See the class. PostprocessError if a file cannot be stored, or would replace another one."""
        used = self.with_settings(settings)
        workspace = outputs_of(model_run)
        names = [name for name in find_outputs(workspace, used.files) if name != MANIFEST]
        if not names:
            raise PostprocessError(f"there is no output in {workspace.path} to transfer (processor.files)")
        place = f"{used.destination.rstrip('/')}/{model_run.run_id}"
        try:
            stored, size = used._store(workspace, names, Store(place, used.retries), model_run.run_id)
        except TransferError as error:
            raise PostprocessError(str(error)) from error
        except OSError as error:
            raise PostprocessError(f"cannot read {error.filename}: {error.strerror}") from error
        message = f"{stored} of {len(names)} files copied to {public_url(place)}, the others were there"
        if stored == len(names):
            message = f"{stored} file{'s' * (stored != 1)} copied to {public_url(place)}"
        metrics = {"transferred_files": len(names), "transferred_bytes": size}
        return {"success": True, "message": message, "run_id": model_run.run_id, "metrics": metrics}

    def _store(self, workspace: Workspace, names: list[str], store: Store, run_id: str) -> tuple[int, int]:
        """Copy files; how many were not there before, and the bytes of all."""
        facts: dict[str, Json] = {}
        total = 0
        for name in names:
            path = workspace.at(name)
            size = workspace.path.joinpath(name).stat().st_size
            facts[name] = {"size": size, "sha256": hash_file(path)}
            total += size
        earlier = self._earlier(store, run_id)
        there = {name: store.size_of(name) for name in names}
        if (
            earlier is None
            and not self.overwrite
            and (taken := [name for name in names if there[name] is not None])
        ):
            raise PostprocessError(
                f"{public_url(store.place_of(taken[0]))} exists, and this run did not write it. Choose "
                "another destination, or set processor.overwrite=true to replace it"
            )
        known = earlier or {}
        missing = [
            name for name in names if known.get(name) != facts[name] or there[name] != _size(facts[name])
        ]
        done: dict[str, Json] = {name: facts[name] for name in names if name not in missing}
        # Before the first file: from now on, they are this run's.
        store.write(MANIFEST, _manifest(run_id, done, complete=False))
        for name in missing:
            store.upload(workspace.at(name), name)
            logger.info("copied {} to {}", name, public_url(store.place_of(name)))
            done[name] = facts[name]
        store.write(MANIFEST, _manifest(run_id, {name: facts[name] for name in names}, complete=True))
        return len(missing), total

    def _earlier(self, store: Store, run_id: str) -> dict[str, Json] | None:
        """The files that an earlier transfer of this run has stored; None if there was none."""
        content = store.read(MANIFEST)
        if content is None:
            return None
        try:
            found = read_json(content)
        except ValueError:
            found = None
        files = found.get("files") if isinstance(found, dict) else None
        if not isinstance(found, dict) or found.get("run_id") != run_id or not isinstance(files, dict):
            if self.overwrite:
                return None
            raise PostprocessError(
                f"{public_url(store.place_of(MANIFEST))} is not the manifest of this run. Choose another "
                "destination, or set processor.overwrite=true to replace it"
            )
        return files


def _size(fact: Json) -> Json:
    return fact["size"] if isinstance(fact, dict) else None


def _manifest(run_id: str, files: dict[str, Json], complete: bool) -> bytes:
    return (json_text({"run_id": run_id, "complete": complete, "files": files}, indent=2) + "\n").encode()
