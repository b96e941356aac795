"""Submitted jobs: how a backend is asked about them, and how somebody waits for them.

A backend that submits (to a batch system, say) implements `submit` and `poll`. Whoever needs the
outcome is a generator that yields the job's `Handle` and gets back an `Update`. `drive` waits for one
such generator; a sweep holds thousands of them and asks for all their handles at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias, TypeVar

from loguru import logger

from rompy_hydra.errors import ModelTimedOut, RompyHydraError, RunError, RunLost
from rompy_hydra.jsonable import Json
from rompy_hydra.run.job import Job
from rompy_hydra.run.outcome import Outcome, error_with_log

# What is new about a submitted job: it has started, it has ended, or its outcome cannot be had.
Update: TypeAlias = Outcome | RompyHydraError | Literal["running"]
T = TypeVar("T")
Waiting: TypeAlias = "Generator[Handle, Update, T]"


class Submits(Protocol):
    """The part of a run backend that deals with submitted jobs."""

    poll_seconds: float

    def poll(self, handles: Sequence[Handle]) -> Mapping[Handle, Update]: ...
    def cancel(self, handle: Handle) -> None: ...


@dataclass(eq=False)
class Handle:
    """A submitted job. `facts` are what a later driver needs to find it again."""

    backend: Submits
    job: Job
    facts: Mapping[str, Json] = field(default_factory=dict)
    # When it was first seen running, by `time.monotonic`; None while it is queued.
    running_since: float | None = None


def updates(handles: Sequence[Handle]) -> dict[Handle, Update]:
    """What is new about submitted jobs of one backend; time limits are applied.

    A backend that cannot answer now (RunError) is asked again later: that is not a failed job.
    """
    backend = handles[0].backend
    try:
        answers = dict(backend.poll(handles))
    except RunError as error:
        logger.warning("{}; the jobs are polled again", error)
        answers = {}
    except Exception as error:  # noqa: BLE001 - a defect of a plugin must not hang a sweep
        lost = RunLost(f"poll() of {type(backend).__name__} failed: {type(error).__name__}: {error}")
        return dict.fromkeys(handles, lost)
    now = time.monotonic()
    found: dict[Handle, Update] = {}
    for handle in handles:
        answer: object = answers.get(handle)
        if isinstance(answer, str) and answer == "running":
            if handle.running_since is None:
                handle.running_since = now
                found[handle] = "running"
        elif isinstance(answer, Outcome | RompyHydraError):
            found[handle] = answer
        elif answer is not None and answer != "queued":
            found[handle] = RunLost(
                f"poll() of {type(backend).__name__} returned {answer!r} for the job of "
                f"{handle.job.run_id}: it must return 'running', an Outcome or an error of this package"
            )
        limit, since = handle.job.timeout, handle.running_since
        if limit is not None and since is not None and now - since > limit and handle not in found:
            found[handle] = timed_out(handle.job, _cancel(handle))
    return found


def _cancel(handle: Handle) -> str:
    """Cancel a job; why that failed, or ''."""
    try:
        handle.backend.cancel(handle)
    except Exception as error:  # noqa: BLE001 - a defect of a plugin must not hang a sweep
        return f"it could not be cancelled and may still be running: {type(error).__name__}: {error}"
    return ""


def timed_out(job: Job, problem: str = "") -> RompyHydraError:
    """The error of a model whose time limit was reached; `problem` says why it could not be stopped."""
    ended = f", but {problem}" if problem else " and was stopped"
    return error_with_log(
        ModelTimedOut,
        job.workspace,
        f"the model exceeded its time limit of {job.timeout:g} s (run_backend.timeout){ended}",
    )


def outcome_of(handle: Handle, on_running: Callable[[], None] = lambda: None) -> Waiting[Outcome]:
    """Wait for a submitted job to end; cancel it if the wait is interrupted."""
    try:
        while True:
            update = yield handle
            if isinstance(update, Outcome):
                return update
            if isinstance(update, RompyHydraError):
                raise update
            on_running()
    except KeyboardInterrupt:
        if problem := _cancel(handle):
            logger.error("{}: {}", handle.job.run_id, problem)
        raise


def drive(steps: Waiting[T]) -> T:
    """Run a generator to its end in this thread, polling for each job that it waits for."""
    try:
        handle = next(steps)
        while True:
            try:
                update = _next_update(handle)
            except BaseException as error:  # noqa: BLE001 - the generator answers it
                handle = steps.throw(error)
            else:
                handle = steps.send(update)
    except StopIteration as done:
        result: T = done.value
        return result


def _next_update(handle: Handle) -> Update:
    pause, stop = handle.backend.poll_seconds, handle.job.stop
    while True:
        found = updates([handle])
        if handle in found:
            return found[handle]
        if stop is None:
            time.sleep(pause)
        elif stop.wait(pause):
            raise KeyboardInterrupt
