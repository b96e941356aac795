"""The contract of pipeline backends, and how one carries out a composed plan."""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from rompy_hydra.core import scope
from rompy_hydra.core.attempt import Attempt, record_of
from rompy_hydra.core.execute import acquire, opened, os_errors
from rompy_hydra.core.plan import RunPlan
from rompy_hydra.core.scope import Watch, ignore
from rompy_hydra.core.spec import RunSpec
from rompy_hydra.core.stages import take_over
from rompy_hydra.core.status import RunStatus, inspect, stages_of_pipeline
from rompy_hydra.errors import Busy, ConfigError, PipelineFailed, RompyHydraError
from rompy_hydra.jsonable import Json, plain, to_plain
from rompy_hydra.plugins.configured import Configured
from rompy_hydra.postprocess.base import Results
from rompy_hydra.process import StopSignal
from rompy_hydra.redaction import redacted
from rompy_hydra.run.handle import Waiting
from rompy_hydra.workspace.lease import Snapshot
from rompy_hydra.workspace.record import COMPLETED, STAGES, RunRecord

# The keys of a pipeline's result that say how it ended.
_CONTRACT = {"success", "run_id", "stages_completed", "stage", "message", "error"}


class BasePipeline(Configured, BaseModel, ABC):
    """In which order the stages are done, and what happens on a failure.

    `execute` returns a dict with `success`, `run_id` and `stages_completed`, and on a failure also
    `stage`, `message` and `error`.
    """

    # The validator is built on first use: most programs use few classes of this kind.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    category: ClassVar[str] = "pipeline"

    @abstractmethod
    def execute(self, model_run: RunSpec, **settings: object) -> Results:
        """Carry out the pipeline. Raises ValueError for arguments that make no sense."""

    @property
    def plugin_settings(self) -> Mapping[str, Json]:
        return plain(self.model_dump(mode="json"))

    def stages_of(self) -> tuple[str, ...]:
        """The stages that it carries out."""
        return tuple(getattr(self, "stages", STAGES))

    @property
    def result_key(self) -> str:
        """A hash of the settings that change the result of a stage that it does by itself."""
        return self.result_hash

    def check(self, plan: RunPlan) -> None:
        """ConfigError if it would ignore a choice of the plan."""

    def choices(self, plan: RunPlan) -> dict[str, object]:
        """The arguments of `execute` that tell it the backend and the postprocessors of a plan."""
        processors = plan.processors
        chosen: dict[str, object] = {
            "processor": ",".join(p.plugin_name for p in processors) or "noop",
        }
        if plan.backend is not None:
            chosen["run_backend"] = plan.backend.plugin_name
            chosen["run_kwargs"] = dict(plan.backend.plugin_settings)
        if len(processors) == 1:
            chosen["process_kwargs"] = dict(processors[0].plugin_settings)
        return chosen

    def call(self, plan: RunPlan) -> Results:
        """`execute` from Python, where each call does what it says. How it ended is recorded as well.

        Nothing is recorded of a run without a record: none of its methods was called.
        """
        run = plan.spec
        if scope.current() is not None or not self.result_key:
            return self.execute(run)
        results: Results = {}
        try:
            with self.recording(plan) as settle:
                results = self.execute(run)
                if results.get("success") is not True:
                    raise _failure(results)
                settle(results)
        except RompyHydraError as error:
            if results.get("success") is True:
                message = f"the pipeline {self.plugin_name} reported success, but {error}"
                return {**results, "success": False, "stage": "run", "message": message, "error": message}
            if not results:
                raise
        return results

    def steps(
        self,
        plan: RunPlan,
        *,
        stop: StopSignal | None = None,
        watch: Watch = ignore,
        seen: Snapshot | None = None,
    ) -> Waiting[RunRecord | None]:
        """Carry out a composed plan, see `core.execute.steps`; its record.

        Here: `execute` is called, and the methods of its model run are steps of the plan. What it
        does without them is recorded with its result. PipelineFailed if it reports a failure.
        """
        with os_errors(plan):
            status = opened(plan, seen)
        if status.up_to_date:
            return status.record
        # What must be moved aside has been; the rest of the plan is about what is made now.
        plan = replace(plan, overwrite=False, rerun=False) if plan.overwrite or plan.rerun else plan
        with self.recording(plan, watch) as settle:
            with scope.entered(plan, stop, watch):
                results = self.execute(plan.spec, **self.choices(plan))
            if results.get("success") is not True:
                raise _failure(results)
            return settle(results)
        yield

    @contextlib.contextmanager
    def recording(
        self, plan: RunPlan, watch: Watch = ignore
    ) -> Iterator[Callable[[Mapping[str, object]], RunRecord | None]]:
        """A context in which `execute` is called; it gives the function that records a success.

        That function raises ModelFailed if the run does not pass the success checks of its model. A
        failure in the context is recorded, unless a stage has recorded it, or nothing was begun.
        """
        # What is to be overwritten is left as it is until it is moved aside.
        status = None if plan.overwrite else _inspected(plan)
        plan = replace(plan, overwrite=False) if plan.overwrite else plan
        before = status.record.updated if status and status.record else ""
        if status is not None:
            _archive_own_stages(status)
        begin = time.monotonic()
        try:
            yield lambda results: self._settle(plan, results, time.monotonic() - begin, watch)
        except (ConfigError, Busy):
            raise
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            failure: BaseException = error
            if isinstance(error, Exception) and not isinstance(error, RompyHydraError):
                message = f"the pipeline {self.plugin_name} failed: {type(error).__name__}: {error}"
                failure = PipelineFailed(message)
            if record_of(failure) is None:
                self._fail(plan, failure, before, watch)
            if failure is error:
                raise
            raise failure from error

    def _settle(
        self, plan: RunPlan, results: Mapping[str, object], seconds: float, watch: Watch
    ) -> RunRecord | None:
        """Record a success: the stages that the pipeline did by itself are done."""
        status = inspect(plan)
        left = _open_stages(status)
        if not left or not _may_record(status):
            return status.record
        with os_errors(plan), acquire(status) as status:
            attempt = _attempt(status, watch)
            attempt.reset_from(left[0])
            attempt.ran_before = seconds
            attempt.stale = dict.fromkeys(left, f"left to the pipeline {self.plugin_name}")
            attempt.record.pipeline = {
                **self._facts(left),
                "stages_completed": to_plain(results.get("stages_completed", [])),
                "results": redacted(_more_results(results)),
            }
            for stage in left:
                with attempt.recording(stage):
                    take_over(attempt, stage)
            return attempt.finish()

    def _fail(self, plan: RunPlan, error: BaseException, before: str, watch: Watch) -> None:
        """Record a failure, unless the record was updated with one since `before`."""
        with os_errors(plan):
            status = inspect(plan)
            record = status.record
            if (
                record is not None
                and record.ended
                and record.state != COMPLETED
                and record.updated != before
            ):
                return
            named = getattr(error, "run_stage", None)
            stage = named if named in STAGES else next(iter(_open_stages(status)), plan.stages[-1])
            with acquire(status) as status:
                attempt = _attempt(status, watch)
                attempt.record.pipeline = self._facts([stage])
                with contextlib.suppress(type(error)), attempt.recording(stage):
                    raise error

    def _facts(self, stages: Sequence[str]) -> dict[str, Json]:
        return {**self.redacted, "key": self.result_key, "stages": list(stages)}


def _failure(results: Mapping[str, object]) -> PipelineFailed:
    message = str(results.get("error") or results.get("message"))
    return PipelineFailed(message, str(results.get("stage") or "pipeline"))


def _inspected(plan: RunPlan) -> RunStatus | None:
    """The status of a run; None where its inputs or its directory are not in order."""
    with contextlib.suppress(RompyHydraError, OSError):
        return inspect(plan)
    return None


def _may_record(status: RunStatus) -> bool:
    """Not from Python, where there is no backend, if no method of the run has made a record."""
    return status.record is not None or status.plan.backend is not None


def failed_since(record: RunRecord, before: str) -> bool:
    """Whether a record says that its run failed, and was written after it said `before`."""
    return record.ended and record.state != COMPLETED and record.updated != before


def _archive_own_stages(status: RunStatus) -> None:
    """Begin another attempt where a pipeline is to repeat a stage that one has done by itself."""
    record = status.record
    again = set(_open_stages(status)).intersection(stages_of_pipeline(record)) if record else ()
    if again and record is not None and record.ended:
        with os_errors(status.plan), acquire(status) as status:
            attempt = _attempt(status, ignore)
            attempt.archive()
            attempt.reset_from(next(stage for stage in STAGES if stage in again))
            attempt.finish()


def _attempt(status: RunStatus, watch: Watch) -> Attempt:
    attempt = Attempt(status, None, watch)
    if attempt.plan.backend is not None:  # otherwise the record has what its stages have used
        attempt.prepare()
    return attempt


def _open_stages(status: RunStatus) -> list[str]:
    """The stages to do. A plan without a backend cannot say whether completed ones are outdated."""
    record = status.record
    if record is None or status.plan.backend is not None:
        return list(status.stale)
    return [stage for stage in status.stale if record.stages[stage].state != COMPLETED]


def _more_results(results: Mapping[str, object]) -> dict[str, Json]:
    """What a pipeline returns besides the keys of its contract, as plain data."""
    data = to_plain({key: value for key, value in results.items() if key not in _CONTRACT})
    return data if isinstance(data, dict) else {}
