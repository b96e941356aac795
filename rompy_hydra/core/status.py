"""In what state a run is, and what has to be done: the only place that decides either.

Execution, the preflight of a sweep, dry runs and tables of results all call `inspect` or
`recorded_state`. A stage is skipped if its state is `completed`, its key is that of the plan and its
files are intact; `RunStatus.stale` names every other stage with the reason.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from rompy_hydra import process
from rompy_hydra.core.plan import RunPlan
from rompy_hydra.errors import ConfigError, DamagedRecord, PluginError, RunLost
from rompy_hydra.hashing import hash_file
from rompy_hydra.jsonable import Json
from rompy_hydra.plugins import registry
from rompy_hydra.regular_files import first_link
from rompy_hydra.run.base import BaseRunBackend
from rompy_hydra.run.programs import starts_script
from rompy_hydra.workspace import BUILD_LOG, COMPOSED, EVERYTHING, SCRIPT, Workspace, lease
from rompy_hydra.workspace import record as rec
from rompy_hydra.workspace.config_diff import describe_difference
from rompy_hydra.workspace.lease import Owner, Snapshot
from rompy_hydra.workspace.record import RunRecord

BUSY = "busy"  # said of a run on which a living driver works, whatever its record says

# What to do about a directory that is another run's.
WAY_OUT = "Choose another run_id or output_dir, or set overwrite=true, which moves the directory aside"


@dataclass(frozen=True)
class RunStatus:
    """The state of a run, and which of the plan's stages have to be done."""

    plan: RunPlan
    # The directory and its newest lease as they were when the rest was read.
    seen: Snapshot
    record: RunRecord | None
    # The stages to do, in order, each with the reason.
    stale: Mapping[str, str]
    # Why the present directory has to be moved aside first; empty if it stays.
    must_replace: str

    @functools.cached_property
    def holder(self) -> Owner | None:
        """The living driver that works on the run."""
        taken_later = self.seen.number > (self.record.claim if self.record else 0)
        if taken_later or (self.record is not None and not _is_over(self.record)):
            return lease.holder(self.plan.workspace, self.seen.number)
        return None

    @property
    def state(self) -> str:
        """The state in the record, `busy` if a driver works on it, or `lost` if its driver died."""
        if self.holder is not None:
            return BUSY
        if self.record is None:
            return rec.PENDING
        return self.record.state if _is_over(self.record) else rec.LOST

    @property
    def up_to_date(self) -> bool:
        """Whether there is nothing to do."""
        if self.record is None or self.stale or self.must_replace:
            return False
        # A completed run that needs nothing is nobody's, whoever works on it.
        return self.record.ended or self.holder is None

    @functools.cached_property
    def recovery_outlook(self) -> str:
        """What happens to a lost run whose model is not started again; '' if it is.

        It looks at this machine and the run directory: the container engine is not asked.
        """
        record, backend = self.record, self.plan.backend
        if record is None or self.state != rec.LOST:
            return ""
        run = record.stages["run"]
        if "run" not in self.stale:
            return "its model has ended: only the rest is done" if run.state == rec.COMPLETED else ""
        if backend is None or not may_reattach(record, self.plan, self.stale):
            return ""
        if self.plan.workspace.exit_code() is not None:
            return "its model has ended: its results are used"
        pid = record.backend_facts.get("pid")
        if not process.find_leader(self.plan.workspace.root, pid if isinstance(pid, int) else None):
            return ""
        if backend.reattaches:
            return "its model is still running and will be waited for"
        return "its model is still running and will be stopped: the backend cannot wait for it"


def inspect(plan: RunPlan) -> RunStatus:
    """The status of a run; nothing is changed.

    ConfigError if the directory holds another configuration, files that the run would replace, or
    a damaged record. GenerateError if the inputs cannot be rendered.
    """
    _check_commands(plan)
    # Rendered first: a fault in them changes nothing on disk.
    inputs = {item.path for item in plan.inputs}
    # In this order: a driver that takes a lease after this makes ours fail.
    seen = lease.snapshot(plan.workspace)
    record = _record_in(plan, inputs) if seen.directory else None
    if record is not None and not plan.overwrite:
        plan = _as_recorded(plan, record)
        _check_identity(plan, record)
    stale = _stale_stages(plan, record)
    reason = _reason_to_replace(plan, record, stale)
    return RunStatus(plan, seen, record, stale, reason if reason and plan.workspace.is_taken() else "")


def recorded_state(workspace: Workspace, record: RunRecord) -> str:
    """The state of a run of which nothing but its record is known; `lost` if its driver died."""
    if _is_over(record) or lease.holder(workspace, lease.latest(workspace)):
        return record.state
    return rec.LOST


def may_reattach(record: RunRecord, plan: RunPlan, stale: Mapping[str, str]) -> bool:
    """Whether the model of an unfinished attempt was started with the inputs and settings of the plan."""
    run = record.stages["run"]
    started = record.ended or run.state in (rec.QUEUED, rec.RUNNING)
    return "generate" not in stale and started and run.key == plan.key("run")


def _check_commands(plan: RunPlan) -> None:
    """ConfigError if a command starts the script that is written to run it."""
    backend, model = plan.backend, plan.model
    # A model that writes its inputs by itself may write a `run.sh` of its own.
    if backend is None or model.renders_itself or backend.working_dir() is not None:
        return
    for command in filter(starts_script, backend.commands(model)):
        raise ConfigError(
            f"the command '{command if isinstance(command, str) else ' '.join(command)}' starts {SCRIPT}, "
            "the script that is written to run it, which would start itself. Give the model's own program"
        )


def _is_over(record: RunRecord) -> bool:
    return record.ended or record.state == rec.PENDING


def _stale_stages(plan: RunPlan, record: RunRecord | None) -> dict[str, str]:
    stale: dict[str, str] = {}
    run_key = None
    for stage in plan.stages:
        old = record.stages.get(stage) if record else None
        if stale and stage != "generate":
            stale[stage] = f"{next(reversed(stale))} is done again"
        elif record is None or old is None or old.state == rec.PENDING:
            stale[stage] = "not done yet"
        elif old.state != rec.COMPLETED:
            stale[stage] = f"was {old.state} before"
        elif stage in stages_of_pipeline(record) and record.pipeline.get("key") != plan.pipeline_key:
            stale[stage] = "the pipeline that did it, or its settings, changed"
        elif plan.rerun and stage != "generate":
            stale[stage] = "asked for"
        elif old.key is None:
            stale[stage] = "its outputs could not be recorded"
        elif old.key != (key := plan.key(stage, run_key)):
            stale[stage] = _CHANGES[stage]
        else:
            run_key = key if stage == "run" else None
            files = {"generate": record.inputs, "run": record.outputs}.get(stage, record.products)
            damaged = next((f.path for f in files if not f.is_intact(plan.workspace)), None)
            if damaged:
                stale[stage] = f"{damaged} is missing or was changed"
    return stale


def stages_of_pipeline(record: RunRecord) -> list[Json]:
    """The stages that a pipeline plugin did by itself."""
    stages = record.pipeline.get("stages")
    return stages if isinstance(stages, list) else []


_CHANGES = {
    "generate": "a template or a staged file changed",
    "run": "the commands, the backend or its image changed",
    "postprocess": "the postprocessor or its settings changed",
}


def _reason_to_replace(plan: RunPlan, record: RunRecord | None, stale: Mapping[str, str]) -> str:
    """Why the directory of a run has to be moved aside before anything is done in it; '' if it stays."""
    if plan.overwrite:
        return "asked for"
    if record is None or not stale:
        return ""
    run, generated = record.stages["run"], record.stages["generate"]
    if run.state == rec.COMPLETED:
        other = "generate" in stale and generated.key != plan.key("generate")
        return "its outputs are those of other inputs" if other else ""
    if not may_be_running(record) or plan.workspace.exit_code() is not None:
        return ""
    owner = lease.owner_of(plan.workspace, record.claim)
    if owner is None or owner.host == lease.me().host:
        return ""
    # That host cannot be asked: whatever its model still writes must not get into the next attempt.
    name, backend = record.run_backend.get("name"), plan.backend
    if backend is None or backend.name != name:
        earlier = backend_named(name)
        backend = earlier() if earlier else None
    if backend is not None and backend.finds_jobs_of_other_hosts(plan.workspace):
        return ""
    return f"its model may still be running on {owner.host}, which cannot be asked"


def may_be_running(record: RunRecord) -> bool:
    """Whether the driver of the last attempt died or lost sight of its model after it was started."""
    if record.ended:
        return (record.error or {}).get("type") == RunLost.__name__
    return record.stages["run"].state in (rec.QUEUED, rec.RUNNING)


def backend_named(name: object) -> type[BaseRunBackend] | None:
    """The backend that an earlier attempt used, if it is one of this package's base type."""
    try:
        found = registry.find("run", name).load() if isinstance(name, str) else None
    except PluginError:
        return None
    return found if isinstance(found, type) and issubclass(found, BaseRunBackend) else None


def _record_in(plan: RunPlan, inputs: set[str]) -> RunRecord | None:
    """The record in the run directory; ConfigError if it is damaged, or if the run would replace files."""
    try:
        record = RunRecord.load(plan.workspace)
        if record is None and not plan.overwrite and (conflict := _conflict(plan, inputs)):
            # Another driver may have begun this run since the record was not there.
            record = RunRecord.load(plan.workspace)
            if record is None:
                raise ConfigError(conflict)
    except DamagedRecord as error:
        if plan.overwrite:
            return None
        raise ConfigError(str(error)) from error
    return record


def _as_recorded(plan: RunPlan, record: RunRecord) -> RunPlan:
    """The plan with the identity that version 0.1.0 would have given it, if the record has that one.

    Servers that were not asked for their files are assumed to say what they said before.
    """
    if plan.remote is None and record.remote:
        plan = replace(plan, remote=record.remote)
    recorded = record.identity.get("model")
    if plan.model.depends_on_period or recorded in (None, "", plan.identity["model"]):
        return plan
    older = replace(plan, recorded_period=record.config.get("period"))
    return older if older.identity["model"] == recorded else plan


def _check_identity(plan: RunPlan, record: RunRecord) -> None:
    """ConfigError if the record is that of another configuration."""
    failed = record.ended and record.stages["run"].state != rec.COMPLETED
    if failed and _same_apart_from_execution(record, plan):
        return
    for part, value in plan.identity.items():
        if part == "run_backend" and record.stages["run"].state == rec.PENDING:
            continue  # only the inputs exist, and they are the same for every backend
        if value and record.identity.get(part) not in (None, "", value):
            differences = describe_difference(record.config, plan.stored_config())
            raise ConfigError(
                f"{plan.workspace.path} holds another configuration ({differences}). {WAY_OUT}"
            )


# What may be corrected after a failure, in the same directory: how a model is run and checked, but not what
# is simulated.
_CORRECTABLE = {"commands", "env", "success", "outputs", "directories", "image"}


def _same_apart_from_execution(record: RunRecord, plan: RunPlan) -> bool:
    """Whether the plan is for the run in the record, except for how it is run and checked."""
    models = []
    for config in (record.config, plan.stored_config()):
        model = config.get("model")
        if not isinstance(model, dict):
            return False
        simulated = {key: value for key, value in model.items() if key not in _CORRECTABLE}
        models.append((simulated, config.get("period") if plan.model.depends_on_period else None))
    return models[0] == models[1]


def _conflict(plan: RunPlan, inputs: set[str]) -> str:
    """Which file in a directory without a record the run would replace; '' for none."""
    workspace = plan.workspace
    if not workspace.is_taken():
        return ""
    paths = [COMPOSED, BUILD_LOG, *plan.model.directories, *(item.path for item in plan.inputs)]
    links = {item.path for item in plan.inputs if item.link}
    for name in paths:
        link = first_link(workspace.root, os.path.dirname(name) if name in links else name)
        if link:
            return f"{link} is a symbolic link, and a run writes through none. {WAY_OUT}"
    leftover = workspace.leftover_files()
    if leftover:
        return (
            f"{workspace.path} has no run.json, but {', '.join(leftover)} that a run would replace. "
            f"{WAY_OUT}"
        )
    for item in plan.inputs:
        path = workspace.path / item.path
        if os.path.lexists(path) and (not path.is_file() or hash_file(path) != plan.hashes[item.path]):
            return f"{path} already exists and differs from what the run would write. {WAY_OUT}"
    # The files that the model writes, as far as its configuration names them.
    success = plan.model.success
    globs = [*plan.model.outputs, *success.must_exist, success.log_file]
    for name in workspace.conflicting_paths([glob for glob in globs if glob != EVERYTHING]):
        if name not in inputs:
            return (
                f"{workspace.path / name} already exists, and the model would replace it "
                f"(model.outputs, model.success). {WAY_OUT}"
            )
    return ""
