"""Driving a sweep: several runs in parallel, resumable, and never the same one twice.

A few worker threads execute the runs. A run whose backend submits its job to a queue leaves its worker
as soon as it waits, and one more thread polls for all such jobs together: thousands of them do not need
a thread each.
"""

from __future__ import annotations

import contextvars
import functools
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Protocol, cast

from loguru import logger

from rompy_hydra import process
from rompy_hydra.core.attempt import record_of
from rompy_hydra.core.scope import ignore
from rompy_hydra.core.status import inspect
from rompy_hydra.errors import Busy, DamagedRecord, RompyHydraError, SweepError
from rompy_hydra.run.handle import Handle, Update, Waiting, updates
from rompy_hydra.sweep.config import Ready, SweepPlan
from rompy_hydra.sweep.preflight import AGAIN, ELSEWHERE, RETRY, RUN, SKIP, Preflight, decide
from rompy_hydra.sweep.results_table import ResultsTable, Row, row_of
from rompy_hydra.sweep.signals import Interrupts
from rompy_hydra.sweep.spool import Spool, StoredPoint
from rompy_hydra.sweep.summary import Summary
from rompy_hydra.workspace.lease import Snapshot
from rompy_hydra.workspace.record import COMPLETED, FAILED, INTERRUPTED, TIMED_OUT, RunRecord

# How often runs of other drivers are checked.
_ELSEWHERE_SECONDS = 0.5
_FAILURES = (FAILED, TIMED_OUT)
_DONE = "done"  # the decision about a point that another driver had


class Watcher(Protocol):
    """Displays the progress of a sweep. Called from several threads, one at a time."""

    # Whether `state` is called for every state of every run.
    live: bool

    def begin(self, plan: SweepPlan, preflight: Preflight) -> None: ...
    def state(self, label: str, state: str) -> None: ...
    def finished(self, row: Row) -> None: ...
    def stopping(self) -> None: ...
    def end(self) -> None: ...


@dataclass(eq=False)
class _Run:
    """A run under way, in one thread after the other: it executes until it ends or waits for a job."""

    index: int
    label: str
    ready: Ready
    # What its directory held when it was decided to run.
    seen: Snapshot | None
    attempt: int = 1
    steps: Waiting[RunRecord | None] | None = None
    # The context variables of its steps, such as the name of the run in log lines.
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    # The answer to what it waited for; None before the first step.
    update: Update | KeyboardInterrupt | None = None

    def resume(self) -> Handle:
        """Execute up to the next job that it waits for; StopIteration has the record at the end."""
        assert self.steps is not None
        update, self.update = self.update, None
        if isinstance(update, KeyboardInterrupt):
            return self.context.run(self.steps.throw, update)
        return self.context.run(self.steps.send, cast("Update", update))


class Engine:
    """Executes a plan with `workers` threads; each model runs in a separate process.

    The points have been validated. It leaves `results.csv` complete.
    """

    def __init__(
        self, plan: SweepPlan, preflight: Preflight, spool: Spool, watcher: Watcher, table: ResultsTable
    ) -> None:
        self._plan = plan
        self._preflight = preflight
        self._spool = spool
        self._watcher = watcher
        self._table = table
        self.summary = Summary(preflight.size, skipped=preflight.count(SKIP), left=preflight.left.copy())
        self._stop = process.StopSignal()
        # Set when the last thread ends. Waiting for it takes no lock, which a signal handler could need.
        self._over = process.StopSignal()
        self._points = self._all_points()
        # Guards everything below, and notifies of its changes.
        self._change = threading.Condition()
        self._threads = 0
        self._taking = False
        self._all_taken = False
        self._next_check = 0.0
        self._failures = 0
        # Runs that have started and not ended: their directories, by label.
        self._running: dict[str, str] = {}
        self._waiting: dict[Handle, _Run] = {}
        self._resumable: deque[_Run] = deque()
        self._polling = False

    def run(self) -> Summary:
        """Run what is missing; Ctrl-C once stops the running models cleanly, twice kills them."""
        begin = time.monotonic()
        with closing(self._stop), closing(self._over), Interrupts(self._interrupt, self._kill) as signals:
            try:
                self._run(signals)
            finally:
                # Restore the terminal and complete the table, even while Ctrl-C is held down.
                self.summary.seconds = time.monotonic() - begin
                with suppress(OSError, ValueError):
                    self._watcher.end()
                try:
                    self._table.complete()
                except SweepError as error:
                    self.summary.problem = self.summary.problem or str(error)
        return self.summary

    def _run(self, signals: Interrupts) -> None:
        try:
            self._show(self._watcher.begin, self._plan, self._preflight)
            with self._change:  # the first threads may end before the last one starts
                for number in range(self._plan.workers):
                    self._start(self._work, f"worker-{number}")
            signals.wait_for(self._over, self._stop)
            if self.summary.interrupted:
                self._show(self._watcher.stopping)
        except BaseException:
            self._stop.set()
            raise
        finally:
            with self._change:
                self._change.notify_all()
                if not self._threads:
                    self._over.set()
            signals.wait_for(self._over)

    def _start(self, target: Callable[[], None], name: str) -> None:
        """Start a thread whose failure ends the sweep, and does not leave the others waiting."""

        def guarded() -> None:
            try:
                target()
            except BaseException as error:  # noqa: BLE001
                logger.opt(exception=error).debug("the sweep cannot continue")
                with self._change:
                    text = f"the sweep was stopped by an internal error: {type(error).__name__}: {error}"
                    self.summary.problem = self.summary.problem or text
            finally:
                with self._change:
                    self._threads -= 1
                    self._change.notify_all()
                    if not self._threads:
                        self._over.set()

        self._threads += 1
        threading.Thread(target=guarded, name=name, daemon=True).start()

    def _work(self) -> None:
        while (run := self._next()) is not None:
            self._advance(run)

    def _next(self) -> _Run | None:
        """The next run to start or to resume, as soon as there is one; None when all have ended."""
        while True:
            with self._change:
                if self._resumable:
                    return self._resumable.popleft()
                if self._taking:
                    self._change.wait()
                    continue
                over = (self._all_taken and not self._spool.count(ELSEWHERE)) or self._enough()
                if over and not self._running:
                    return None
                pause = self._next_check - time.monotonic()
                if over or pause > 0:  # only runs under way, or those of other drivers, are left
                    self._change.wait(None if over else pause)
                    continue
                self._taking = True  # one at a time: Hydra's configuration is global
            run = None
            try:
                run = next(self._points)
            finally:
                with self._change:
                    self._taking = False
                    if run is None:
                        self._next_check = time.monotonic() + _ELSEWHERE_SECONDS
                    else:
                        self._running[run.label] = run.ready.plan.workspace.root
                    self._change.notify_all()
            if run is not None:
                return run

    def _all_points(self) -> Iterator[_Run | None]:
        """Runs to start, one after the other; None while there is nothing to start."""
        decisions: tuple[str, ...] = (RUN, RETRY, AGAIN)
        while True:
            for stored in self._spool.points(*decisions):
                try:
                    run = self._run_of(stored)
                except (RompyHydraError, OSError) as error:
                    # It was valid at the preflight: from now on that is a failure of this run only.
                    if stored.decision == ELSEWHERE:
                        self._spool.mark(stored.index, _DONE)
                    self._finished(Row(stored.label, FAILED, error=str(error)), own=True)
                    continue
                if run is not None:
                    yield run
            decisions = (ELSEWHERE,)
            self._all_taken = True
            yield None

    def _run_of(self, stored: StoredPoint) -> _Run | None:
        """A run to start; None for one that another driver still works on, or has completed."""
        ready = self._plan.build(pickle.loads(stored.payload))
        seen = stored.seen
        if stored.decision == ELSEWHERE:
            # What another driver saw fail is not retried immediately.
            decision = decide(inspect(ready.plan), "lost")
            if decision.action == ELSEWHERE:
                return None
            self._spool.mark(stored.index, _DONE)
            if decision.row is not None:
                self._finished(decision.row)
                return None
            seen = decision.seen
        return _Run(stored.index, stored.label, ready, seen)

    def _enough(self) -> bool:
        """Whether to start no more runs."""
        limit = self._plan.config.max_failures
        self.summary.stopped_early = limit is not None and self._failures >= limit
        return self.summary.stopped_early or bool(self.summary.problem) or self._stop.is_set()

    def _interrupt(self) -> None:
        self.summary.interrupted = True
        self._stop.set()

    def _kill(self) -> None:
        with self._change:
            directories = list(self._running.values())
        for directory in directories:
            process.kill_marked(directory)

    def _advance(self, run: _Run) -> None:
        """Execute a run in this thread until it ends, or waits for a submitted job."""
        while True:
            row: Row | None
            try:
                run.steps = run.steps or self._steps(run)
                handle = run.resume()
            except StopIteration as ended:
                row = Row(run.label, COMPLETED, run.ready.plan.origin.parameters)
                if ended.value is not None:  # a foreign pipeline may leave no record
                    row = row_of(run.label, ended.value)
            except Busy:
                row = None
            except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - one run must never end the others
                row = _failed_row(run, error)
            else:
                with self._change:
                    self._waiting[handle] = run
                    if not self._polling:
                        self._polling = True
                        self._start(self._poll, "poll")
                return
            again = row is not None and row.state in _FAILURES and not self._stop.is_set()
            if again and run.attempt < self._plan.config.attempts:
                run.attempt, run.steps, run.seen = run.attempt + 1, None, None
                continue
            with self._change:
                del self._running[run.label]
                if row is None:
                    self._spool.mark(run.index, ELSEWHERE)
                self._change.notify_all()
            if row is not None:
                self._finished(row, own=True)
            return

    def _steps(self, run: _Run) -> Waiting[RunRecord | None]:
        plan, watch = run.ready.plan, functools.partial(self._show, self._watcher.state, run.label)
        if self._plan.config.retry == "all":
            plan = replace(plan, rerun=True)
        watched = watch if self._watcher.live else ignore
        return run.ready.pipeline.steps(plan, stop=self._stop, watch=watched, seen=run.seen)

    def _finished(self, row: Row, own: bool = False) -> None:
        self._table.add(row)
        with self._change:
            self.summary.add(row)
            self._failures += own and row.state in _FAILURES
            self._change.notify_all()
        self._show(self._watcher.finished, row)
        self._table.refresh()

    def _show(self, what: Callable[..., None], *arguments: object) -> None:
        # The runs continue if nobody reads the output any more.
        with self._change, suppress(OSError, ValueError):
            what(*arguments)

    def _poll(self) -> None:
        """Poll for all submitted jobs until none is left; runs whose job has an update are resumed."""
        try:
            self._poll_jobs()
        except BaseException:
            # Nobody would resume them.
            self._stop.set()
            with self._change:
                for run in self._waiting.values():
                    run.update = KeyboardInterrupt()
                    self._resumable.append(run)
                self._waiting.clear()
            raise

    def _poll_jobs(self) -> None:
        while True:
            with self._change:
                handles = sorted(self._waiting, key=lambda handle: id(handle.backend))
                self._polling = bool(handles)
                if not handles:
                    return
            stopped = self._stop.wait(min(handle.backend.poll_seconds for handle in handles))
            for _, group in groupby(handles, key=lambda handle: id(handle.backend)):
                asked = list(group)
                found = {} if stopped else updates(asked)
                with self._change:
                    for handle in asked if stopped else found:
                        run = self._waiting.pop(handle)
                        run.update = found.get(handle, KeyboardInterrupt())
                        self._resumable.append(run)
                    self._change.notify_all()


def _failed_row(run: _Run, error: BaseException) -> Row:
    """The row of a run that ended with an error."""
    interrupted = isinstance(error, KeyboardInterrupt)
    message = "interrupted" if interrupted else str(error) or type(error).__name__
    record = record_of(error)
    if record is None and not interrupted:
        with suppress(DamagedRecord, OSError):
            record = RunRecord.load(run.ready.plan.workspace)
    if record is None:
        state = INTERRUPTED if interrupted else FAILED
        return Row(run.label, state, run.ready.plan.origin.parameters, error=message)
    if not record.ended or record.state == COMPLETED:
        # The record does not contain this failure, such as a full disk.
        return replace(row_of(run.label, record, FAILED), error=message)
    return row_of(run.label, record)
