"""Driving a sweep: several runs in parallel, resumable, and never the same one twice.

A few worker threads carry runs out. A run whose backend submits its job to a queue leaves its worker
as soon as it waits, and one more thread polls for all such jobs together: thousands of them need no
thread each.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Protocol

from loguru import logger

from rompy_hydra import process
from rompy_hydra.core.attempt import record_of
from rompy_hydra.core.status import inspect
from rompy_hydra.errors import Busy, DamagedRecord, RompyHydraError, SweepError
from rompy_hydra.run.handle import Handle, Update, Waiting, updates
from rompy_hydra.sweep.plan import Ready, SweepPlan
from rompy_hydra.sweep.preflight import (
    AGAIN,
    ELSEWHERE,
    RETRY,
    RUN,
    SKIP,
    Preflight,
    decide,
)
from rompy_hydra.sweep.results_table import ResultsTable, Row, row_of
from rompy_hydra.sweep.signals import Interrupts
from rompy_hydra.sweep.spool import Spool, StoredPoint
from rompy_hydra.sweep.summary import Summary
from rompy_hydra.workspace.lease import Snapshot
from rompy_hydra.workspace.record import COMPLETED, FAILED, INTERRUPTED, TIMED_OUT, RunRecord

_LOOK_AGAIN_SECONDS = 0.5
_FAILURES = (FAILED, TIMED_OUT)
_DONE = "done"  # of a point that another driver had


class Watcher(Protocol):
    """Whoever shows the progress of a sweep. Called from several threads, one at a time."""

    # Whether it is told every state of every run.
    live: bool

    def begin(self, plan: SweepPlan, preflight: Preflight) -> None: ...
    def state(self, label: str, state: str) -> None: ...
    def finished(self, row: Row) -> None: ...
    def stopping(self) -> None: ...
    def end(self) -> None: ...


@dataclass(eq=False)
class _Run:
    """A run under way, in whichever thread: it goes on until it ends, or waits for a submitted job."""

    index: int
    label: str
    ready: Ready
    # What was there of it when it was decided to run.
    seen: Snapshot | None
    attempt: int = 1
    steps: Waiting[RunRecord | None] | None = None
    # What a step finds in context variables, such as the name of the run in log lines, goes with it.
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    # What it has waited for.
    update: Update | KeyboardInterrupt | None = None

    def resume(self) -> Handle:
        """Go on to the next job that it waits for; StopIteration holds the record when it has ended."""
        assert self.steps is not None
        update, self.update = self.update, None
        if update is None:
            return self.context.run(next, self.steps)
        if isinstance(update, KeyboardInterrupt):
            return self.context.run(self.steps.throw, update)
        return self.context.run(self.steps.send, update)


class Engine:
    """Carries out a plan with `workers` threads; each model is a process of its own."""

    def __init__(
        self, plan: SweepPlan, preflight: Preflight, spool: Spool, watcher: Watcher, table: ResultsTable
    ) -> None:
        self._plan = plan
        self._preflight = preflight
        self._spool = spool
        self._watcher = watcher
        self._table = table
        self.summary = Summary(
            total=preflight.size, skipped=preflight.count(SKIP), left=dict(preflight.left)
        )
        self._stop = process.StopSignal()
        # Set when the last thread ends. Waited for without a lock, into which a signal could come.
        self._over = process.StopSignal()
        self._points = self._all_points()
        # Guards all that follows, and tells when something of it changed.
        self._change = threading.Condition()
        self._threads = 0
        self._taking = False
        self._all_taken = False
        self._look_again = 0.0
        self._elsewhere = preflight.count(ELSEWHERE)
        self._under_way = 0
        self._failures = 0
        self._running: dict[str, str] = {}
        self._waiting: dict[Handle, _Run] = {}
        self._resumable: deque[_Run] = deque()
        self._polling = False

    def run(self) -> Summary:
        """Run what is missing; Ctrl-C once stops the running models cleanly, twice kills them."""
        begin = time.monotonic()
        try:
            with Interrupts(self._stopped, self._kill) as interrupts:
                try:
                    self._run(interrupts)
                finally:
                    self.summary.seconds = time.monotonic() - begin
                    self._end()
        finally:
            self._stop.close()
            self._over.close()
        return self.summary

    def _run(self, interrupts: Interrupts) -> None:
        try:
            self._show(lambda: self._watcher.begin(self._plan, self._preflight))
            with self._change:  # the first ones may end before the last one starts
                for number in range(self._plan.workers):
                    self._start(self._work, f"worker-{number}")
            interrupts.wait_for(self._over, self._stop)
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
            interrupts.wait_for(self._over)

    def _end(self) -> None:
        """Leave the terminal as it was and the table complete, also while a key is held down."""
        with contextlib.suppress(OSError, ValueError):
            self._watcher.end()
        try:
            self._table.complete()
        except SweepError as error:
            self.summary.problem = self.summary.problem or str(error)

    def _start(self, target: Callable[[], None], name: str) -> None:
        """Start a thread whose death ends the sweep, and does not leave the others waiting."""

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

    # What to do next

    def _work(self) -> None:
        while (run := self._next()) is not None:
            if not self._advance(run):
                with self._change:
                    self._under_way -= 1
                    self._change.notify_all()

    def _next(self) -> _Run | None:
        """The next run to start or to resume, as soon as there is one; None when all have ended."""
        while True:
            with self._change:
                if self._resumable:
                    return self._resumable.popleft()
                if self._taking:
                    self._change.wait()
                    continue
                over = (self._all_taken and not self._elsewhere) or self._enough()
                if over and not self._under_way:
                    return None
                pause = self._look_again - time.monotonic()
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
                    self._under_way += run is not None
                    if run is None:
                        self._look_again = time.monotonic() + _LOOK_AGAIN_SECONDS
                    self._change.notify_all()
            if run is not None:
                return run

    def _all_points(self) -> Iterator[_Run | None]:
        """Runs to start, one after the other; None where there is nothing to start now."""
        for stored in self._spool.points(RUN, RETRY, AGAIN):
            with self._failing(stored):
                seen = Snapshot(stored.directory, stored.number)
                yield _Run(stored.index, stored.label, self._plan.build(pickle.loads(stored.payload)), seen)
        with self._change:
            self._all_taken = True
        while True:
            yield None
            for stored in self._spool.points(ELSEWHERE):
                with self._failing(stored):
                    if (run := self._taken_over(stored)) is not None:
                        yield run

    def _taken_over(self, stored: StoredPoint) -> _Run | None:
        """A run of another driver that died; None if that one still works on it, or has ended it."""
        ready = self._plan.build(pickle.loads(stored.payload))
        # What another driver saw fail is not tried again at once.
        decision = decide(inspect(ready.plan), "lost")
        if decision.action == ELSEWHERE:
            return None
        self._mark(stored.index, _DONE)
        if decision.row is not None:
            self._finished(decision.row)
            return None
        return _Run(stored.index, stored.label, ready, decision.seen)

    def _mark(self, index: int, action: str) -> None:
        """Say of a point that another driver has it, or has it no more."""
        self._spool.mark(index, action)
        with self._change:
            self._elsewhere += 1 if action == ELSEWHERE else -1

    @contextlib.contextmanager
    def _failing(self, stored: StoredPoint) -> Iterator[None]:
        """What goes wrong with a point that was valid at the preflight is its own failure."""
        try:
            yield
        except (RompyHydraError, OSError) as error:
            if stored.decision == ELSEWHERE:
                self._mark(stored.index, _DONE)
            self._finished(Row(stored.label, FAILED, error=str(error)), own=True)

    def _enough(self) -> bool:
        """Whether no more runs are to be started. The caller holds the lock."""
        limit = self._plan.config.max_failures
        self.summary.stopped_early = limit is not None and self._failures >= limit
        return self.summary.stopped_early or bool(self.summary.problem) or self._stop.is_set()

    def _stopped(self) -> None:
        """No new runs; the running ones are asked to end."""
        self.summary.interrupted = True
        self._stop.set()

    def _kill(self) -> None:
        with self._change:
            marks = list(self._running.values())
        for mark in marks:
            process.kill_marked(mark)

    # One run

    def _advance(self, run: _Run) -> bool:
        """Carry on with a run in this thread; True if it now waits for a submitted job."""
        while True:
            row: Row | None
            try:
                if run.steps is None:
                    self._begin(run)
                handle = run.resume()
            except StopIteration as ended:
                row = _row(run, ended.value)
            except Busy:
                row = None
            except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - one run must never end the others
                row = _failed_row(run, error)
            else:
                self._wait_for(handle, run)
                return True
            again = row is not None and row.state in _FAILURES and not self._stop.is_set()
            if again and run.attempt < self._plan.config.attempts:
                run.attempt, run.steps, run.seen = run.attempt + 1, None, None
                continue
            with self._change:
                self._running.pop(run.label, None)
            if row is None:
                self._mark(run.index, ELSEWHERE)
            else:
                self._finished(row, own=True)
            return False

    def _begin(self, run: _Run) -> None:
        plan = run.ready.plan
        if self._plan.config.retry == "all":
            plan = replace(plan, rerun=True)
        with self._change:
            self._running[run.label] = plan.workspace.root
        watch = functools.partial(self._state, run.label)
        run.steps = run.ready.pipeline.steps(plan, stop=self._stop, watch=watch, seen=run.seen)

    def _state(self, label: str, state: str) -> None:
        if self._watcher.live:
            self._show(lambda: self._watcher.state(label, state))

    def _finished(self, row: Row, own: bool = False) -> None:
        self._table.add(row)
        with self._change:
            self.summary.add(row)
            self._failures += own and row.state in _FAILURES
            self._change.notify_all()
        self._show(lambda: self._watcher.finished(row))
        self._table.refresh()

    def _show(self, what: Callable[[], None]) -> None:
        # Whoever reads our output may go away; the runs go on.
        with self._change, contextlib.suppress(OSError, ValueError):
            what()

    # Submitted jobs

    def _wait_for(self, handle: Handle, run: _Run) -> None:
        """Let a run wait for its submitted job, without a thread."""
        with self._change:
            self._waiting[handle] = run
            if not self._polling:
                self._polling = True
                self._start(self._poll, "poll")

    def _poll(self) -> None:
        """Poll for all submitted jobs until there is none left, and hand on what is new about them."""
        while True:
            with self._change:
                handles = sorted(self._waiting, key=lambda handle: id(handle.backend))
                self._polling = bool(handles)
                if not handles:
                    return
            if self._stop.wait(min(handle.backend.poll_seconds for handle in handles)):
                self._resume({handle: KeyboardInterrupt() for handle in handles})
                continue
            for _, group in groupby(handles, key=lambda handle: id(handle.backend)):
                self._resume(updates(list(group)))

    def _resume(self, found: dict[Handle, Update] | dict[Handle, KeyboardInterrupt]) -> None:
        with self._change:
            for handle, update in found.items():
                run = self._waiting.pop(handle)
                run.update = update
                self._resumable.append(run)
            self._change.notify_all()


def run_sweep(
    plan: SweepPlan, preflight: Preflight, spool: Spool, watcher: Watcher, table: ResultsTable
) -> Summary:
    """Carry out a plan whose points were validated, and leave `results.csv` complete."""
    return Engine(plan, preflight, spool, watcher, table).run()


def _row(run: _Run, record: RunRecord | None) -> Row:
    """The row of a run that ended well; of a foreign pipeline there may be no record."""
    if record is None:
        return Row(run.label, COMPLETED, run.ready.plan.origin.parameters)
    return row_of(run.label, record)


def _failed_row(run: _Run, error: BaseException) -> Row:
    """The row of a run that ended with an error."""
    interrupted = isinstance(error, KeyboardInterrupt)
    message = "interrupted" if interrupted else str(error) or type(error).__name__
    record = record_of(error)
    if record is None and not interrupted:
        with contextlib.suppress(DamagedRecord, OSError):
            record = RunRecord.load(run.ready.plan.workspace)
    if record is None:
        state = INTERRUPTED if interrupted else FAILED
        return Row(run.label, state, run.ready.plan.origin.parameters, error=message)
    if not record.ended or record.state == COMPLETED:
        # It failed outside of what its record tells, such as on a full disk.
        return replace(row_of(run.label, record, FAILED), error=message)
    return row_of(run.label, record)
