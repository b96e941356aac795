"""Carrying out a plan: the one way in which this package works on a run directory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from loguru import logger

from rompy_hydra.core import scope
from rompy_hydra.core.attempt import Attempt
from rompy_hydra.core.plan import RunPlan
from rompy_hydra.core.recovery import recover
from rompy_hydra.core.scope import Watch, ignore
from rompy_hydra.core.stages import STAGES
from rompy_hydra.core.status import RunStatus, inspect
from rompy_hydra.errors import Busy, ConfigError, GenerateError, RompyHydraError, TransferError
from rompy_hydra.models.inputs import Input
from rompy_hydra.models.success import SuccessChecks
from rompy_hydra.plugins.requirements import check_packages
from rompy_hydra.process import StopSignal
from rompy_hydra.run.handle import Waiting, drive
from rompy_hydra.run.programs import programs_of
from rompy_hydra.transfer.urls import remote_facts
from rompy_hydra.workspace import Workspace, lease
from rompy_hydra.workspace.lease import Owner, Snapshot
from rompy_hydra.workspace.record import LOST, RunRecord
from rompy_hydra.workspace.script import Command


def execute(
    plan: RunPlan, *, stop: StopSignal | None = None, watch: Watch = ignore, seen: Snapshot | None = None
) -> RunRecord:
    """Do what a run still lacks, and return its record.

    `stop` from another thread interrupts it; `watch` is called at each change of state; `seen` is
    what existed when this was decided: Busy if another driver has come since.

    Raises Busy if another living driver has the run, ConfigError if the directory holds another
    configuration, and the error of the first stage that fails, after it was recorded: see
    `attempt.record_of`.
    """
    return drive(steps(plan, stop=stop, watch=watch, seen=seen))


def steps(
    plan: RunPlan, *, stop: StopSignal | None = None, watch: Watch = ignore, seen: Snapshot | None = None
) -> Waiting[RunRecord]:
    """`execute` as a generator, which yields the handle of each submitted job that it waits for."""
    with os_errors(plan):
        plan = ask_servers(plan)
        status = opened(plan, seen)
        if status.record is not None and status.up_to_date:
            return status.record
        with acquire(status) as status, logger.contextualize(run_id=plan.spec.run_id):
            if status.record is not None and not status.stale:
                return status.record
            attempt = Attempt(status, stop, watch)
            with attempt.recording(next(iter(status.stale)), completes=False):
                recover(attempt)
            for stage in status.stale:
                with attempt.recording(stage), scope.executing(plan.workspace):
                    yield from STAGES[stage](attempt) or ()
            return attempt.finish()


def opened(plan: RunPlan, seen: Snapshot | None = None) -> RunStatus:
    """The status of a run, after what must not stay in its directory was moved aside; Busy as `execute`."""
    status = inspect(plan)
    if seen is not None and seen.is_outdated(status.seen):
        raise _busy(status)
    return set_aside(status) if status.must_replace else status


def ask_servers(plan: RunPlan) -> RunPlan:
    """The plan with what servers say of the inputs that are fetched without a checksum.

    A server that does not answer is taken to say what it said before, if the run was generated then.
    """
    unknown = [item for item in plan.inputs if item.url and not item.checksum]
    if not unknown or plan.remote is not None:
        return plan
    before = RunRecord.load(plan.workspace) if plan.workspace.exists() else None
    known = before.remote if before else {}
    found: dict[str, str] = {}
    for item in unknown:
        try:
            found[item.path] = remote_facts(item.url)
        except TransferError as error:
            if item.path not in known:
                continue  # reported by what fetches it
            logger.warning("{}; the file is taken to be the same as before", error)
            found[item.path] = known[item.path]
    return replace(plan, remote=found)


@contextlib.contextmanager
def acquire(status: RunStatus) -> Iterator[RunStatus]:
    """Own the next attempt; its status, which no other driver changes in this context. Else Busy."""
    plan, number = status.plan, status.seen.number + 1
    is_new = status.holder is None and plan.workspace.create()
    if status.holder is not None or not lease.claim(plan.workspace, number, status.seen.directory):
        raise _busy(status if status.holder else inspect(plan))
    used = False
    try:
        # Nothing can be in a directory that this process has just created.
        status = replace(status, seen=Snapshot(0, number)) if is_new else inspect(plan)
        used = bool(status.stale)
        yield status
    finally:
        lease.release(plan.workspace, number, unused=not used)


def _busy(status: RunStatus) -> Busy:
    path, holder = status.plan.workspace.path, status.holder
    if holder is None:
        return Busy(f"another driver has just worked on {path}; run the command again")
    return busy(status.plan.workspace, holder)


def busy(workspace: Workspace, holder: Owner) -> Busy:
    """The error about a run on which a living driver works."""
    return Busy(
        f"process {holder.pid} on {holder.host} is working on {workspace.path}; wait for it to finish, or "
        "stop it"
    )


def set_aside(status: RunStatus) -> RunStatus:
    """Move the directory away, for the reason in its status."""
    with acquire(status):
        reason, aside = status.must_replace, status.plan.workspace.set_aside()
        level = "WARNING" if status.state == LOST else "INFO"
        logger.log(level, "moved the earlier run aside to {}: {}", aside, reason)
    return inspect(status.plan)


@contextlib.contextmanager
def os_errors(plan: RunPlan) -> Iterator[None]:
    """Errors of the operating system about the directory of a run as errors of this package."""
    try:
        yield
    except RompyHydraError:
        raise
    except OSError as error:
        raise GenerateError(
            f"cannot work in the run directory {plan.workspace.path}: {error.strerror}. Free space or "
            "fix its permissions, or choose another one with output_dir=DIR"
        ) from error


def _check_executable(commands: Iterable[Command], files: Mapping[str, Input]) -> None:
    """ConfigError if a command starts an input file that will not be executable."""
    for command in commands:
        for program in programs_of(command):
            found = files.get(os.path.normpath(program)) if "/" in program else None
            if found is None or found.executable:
                continue
            if found.source is None or not os.access(found.source, os.X_OK):
                raise ConfigError(
                    f"the program '{program}' is an input file that is not executable (command: {command})"
                    ". Make its template executable: chmod +x, or start it with its interpreter, as in "
                    f"[sh, {program}]"
                )


def preflight(plan: RunPlan, looks: bool = False) -> RunStatus:
    """Find what is wrong with a plan before anything is done; nothing is changed. Its status.

    `looks`: nothing will run after this, so that nobody outside of this machine is asked.
    Raises ConfigError or GenerateError.
    """
    checks = plan.model.success
    # A model of another package may have checks of another type.
    if isinstance(checks, SuccessChecks) and checks.missing_package:
        raise ConfigError(checks.missing_package)
    files = {item.path: item for item in plan.inputs}
    if plan.backend and "run" in plan.stages and plan.executes:
        plan.backend.check_in(plan.model, set(files), plan.workspace.root)
        if not looks:
            plan.backend.check_outside(plan.model)
        _check_executable(plan.backend.commands(plan.model), files)
    with os_errors(plan):
        status = inspect(plan)
    if "postprocess" in status.stale or ("postprocess" in plan.stages and plan.overwrite):
        for processor in plan.processors:
            check_packages(f"the postprocessor {processor.plugin_name}", processor.required_packages())
    return status
