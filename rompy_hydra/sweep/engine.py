"""Driving a sweep: several runs at once, resumable, and never the same one twice."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from rompy_hydra import process
from rompy_hydra.provenance import Json
from rompy_hydra.record import COMPLETED, FAILED, INTERRUPTED, RunRecord
from rompy_hydra.sweep.config import SweepConfig
from rompy_hydra.sweep.forecast import ELSEWHERE, LEAVE, SKIP, Forecast, judged
from rompy_hydra.sweep.points import Grid, Point
from rompy_hydra.sweep.results import Results, Row, earlier_rows, row_of
from rompy_hydra.task import Task

_LOOK_AGAIN_SECONDS = 0.5


@dataclass(frozen=True)
class Ready:
    """A run of a sweep that can start: its task, and the pipeline that carries it out."""

    task: Task
    carry_out: Callable[[Task], Mapping[str, object]]


@dataclass(frozen=True)
class Plan:
    """A whole sweep: its settings, its points, and how a point becomes a run."""

    config: SweepConfig
    grid: Grid
    build: Callable[[Point], Ready]
    workers: int
    command: Mapping[str, Json] = field(default_factory=dict)

    def task(self, point: Point) -> Task:
        return self.build(point).task


class Watcher(Protocol):
    """Whoever shows the progress of a sweep. Called from several threads, one at a time."""

    def begin(self, plan: Plan, forecast: Forecast) -> None: ...
    def state(self, label: str, state: str) -> None: ...
    def finished(self, row: Row) -> None: ...
    def end(self) -> None: ...


@dataclass
class Summary:
    """What came of a sweep."""

    total: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    seconds: float = 0.0
    slowest: list[tuple[float, str]] = field(default_factory=list)
    # Failures by their kind: how many, an example's label, its whole message.
    failures: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    interrupted: bool = False
    stopped_early: bool = False

    @property
    def failed(self) -> int:
        return sum(count for state, count in self.counts.items() if state != COMPLETED)


class Engine:
    """Carries out a plan with `workers` threads; each model is a process of its own."""

    def __init__(self, plan: Plan, forecast: Forecast, watcher: Watcher, results: Results) -> None:
        self._plan = plan
        self._forecast = forecast
        self._watcher = watcher
        self._results = results
        self._summary = Summary(total=forecast.size)
        self._stop = process.StopSignal()
        # Bounded, so that composing goes on only as far ahead as the workers need.
        self._queue: queue.Queue[tuple[Point, Ready] | None] = queue.Queue(plan.workers)
        self._lock = threading.Lock()
        self._running: dict[str, str] = {}
        self._elsewhere: list[Point] = []

    def run(self) -> Summary:
        """Run what is missing; Ctrl-C once ends the running models cleanly, twice kills them."""
        begin = time.monotonic()
        workers = [
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True)
            for number in range(self._plan.workers)
        ]
        for worker in workers:
            worker.start()
        try:
            self._feed()
            self._finish(workers)
            self._wait_for_others()
        except KeyboardInterrupt:
            self._interrupt(workers)
        finally:
            self._stop.close()
        self._summary.seconds = time.monotonic() - begin
        return self._summary

    def _feed(self) -> None:
        for index, point in enumerate(self._plan.grid):
            if self._enough():
                return
            decision = self._forecast.decision(index)
            if decision in (SKIP, LEAVE):
                self._count(decision)
            elif decision == ELSEWHERE:
                self._elsewhere.append(point)
            else:
                self._queue.put((point, self._plan.build(point)))

    def _count(self, decision: str) -> None:
        with self._lock:
            if decision == SKIP:
                self._summary.skipped += 1
            else:
                self._summary.counts["left"] = self._summary.counts.get("left", 0) + 1

    def _enough(self) -> bool:
        limit = self._plan.config.max_failures
        with self._lock:
            if limit is not None and self._summary.failed >= limit:
                self._summary.stopped_early = True
        return self._summary.stopped_early or self._stop.is_set()

    def _finish(self, workers: list[threading.Thread]) -> None:
        for _ in workers:
            self._queue.put(None)
        for worker in workers:
            worker.join()

    def _interrupt(self, workers: list[threading.Thread]) -> None:
        """No new runs; the running ones are ended. A second interrupt kills, a third leaves at once."""
        self._summary.interrupted = True
        self._stop.set()
        for kill in (True, False):
            try:
                while True:
                    try:
                        self._queue.get_nowait()
                    except queue.Empty:
                        break
                self._finish(workers)
                return
            except KeyboardInterrupt:
                if not kill:
                    os._exit(130)
                with self._lock:
                    marks = list(self._running.values())
                for mark in marks:
                    process.kill_marked(mark)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._stop.is_set() or self._summary.stopped_early:
                continue
            point, ready = item
            try:
                self._one(point, ready)
            except Exception as error:  # noqa: BLE001 - one run must never end the others
                self._finished(Row(point.label, FAILED, point.parameters, error=str(error)))

    def _one(self, point: Point, ready: Ready) -> None:
        label = point.label
        with self._lock:
            self._running[label] = str(ready.task.workspace.path)
        try:
            for attempt in range(1, self._plan.config.attempts + 1):
                if attempt > 1:
                    ready = self._plan.build(point)
                row = self._attempt(label, point, ready)
                if row is None or row.state in (COMPLETED, INTERRUPTED) or self._stop.is_set():
                    break
        finally:
            with self._lock:
                self._running.pop(label, None)
        if row is None:
            with self._lock:
                self._elsewhere.append(point)
        else:
            self._finished(row)

    def _attempt(self, label: str, point: Point, ready: Ready) -> Row | None:
        """One try; None if another driver has the run."""
        task = ready.task
        task.stop = self._stop
        task.again = self._plan.config.retry == "all"
        task.watch = lambda state: self._told(label, state)
        try:
            results = ready.carry_out(task)
        except KeyboardInterrupt:
            results = {"success": False, "error": "interrupted"}
            if task.progress.record is None:
                return Row(label, INTERRUPTED, point.parameters, error="interrupted")
        if results.get("error_type") == "Busy":
            return None
        record = task.progress.record or RunRecord.load(task.workspace)
        if record is None:
            success = results.get("success") is True
            error = "" if success else str(results.get("error") or results.get("message"))
            return Row(label, COMPLETED if success else FAILED, point.parameters, error=error)
        if not record.ended and results.get("success") is not True:
            return replace(row_of(label, record, FAILED), error=str(results.get("error")))
        return row_of(label, record)

    def _told(self, label: str, state: str) -> None:
        with self._lock:
            self._watcher.state(label, state)

    def _finished(self, row: Row) -> None:
        self._results.add(row)
        with self._lock:
            summary = self._summary
            summary.counts[row.state] = summary.counts.get(row.state, 0) + 1
            if row.seconds is not None:
                summary.slowest = sorted([*summary.slowest, (row.seconds, row.label)])[-3:]
            if row.state != COMPLETED:
                kind = kind_of(row)
                count, label, message = summary.failures.get(kind, (0, row.label, row.error))
                summary.failures[kind] = (count + 1, label, message)
            self._watcher.finished(row)
            self._results.refresh()

    def _wait_for_others(self) -> None:
        """Wait for the runs that another driver has, and take over those whose driver dies."""
        while self._elsewhere and not self._enough():
            still: list[Point] = []
            for point in self._elsewhere:
                ready = self._plan.build(point)
                verdict = judged(ready.task, replace_retry(self._plan.config))
                if verdict.decision == ELSEWHERE:
                    still.append(point)
                elif verdict.decision in (SKIP, LEAVE):
                    assert verdict.row is not None
                    self._finished(verdict.row)
                else:
                    before = len(self._elsewhere)
                    self._one(point, ready)
                    still += self._elsewhere[before:]
                    del self._elsewhere[before:]
            self._elsewhere = still
            if still:
                self._stop.wait(_LOOK_AGAIN_SECONDS)


def replace_retry(config: SweepConfig) -> SweepConfig:
    """The policy for runs of another driver: what it saw fail is not tried again at once."""
    return config.model_copy(update={"retry": "lost"})


def kind_of(row: Row) -> str:
    """A failure's kind: its message's first line without what differs from run to run."""
    from rompy_hydra.sweep.forecast import _general

    first = row.error.splitlines()[0] if row.error else row.state
    return f"{row.state}: {_general(first.replace(row.label, '#'))}"


def run_sweep(plan: Plan, forecast: Forecast, watcher: Watcher, results: Results) -> Summary:
    """Carry out a plan that was looked at, and leave `results.csv` complete."""
    watcher.begin(plan, forecast)
    try:
        summary = Engine(plan, forecast, watcher, results).run()
    finally:
        watcher.end()
    for row in earlier_rows(plan.config.path, results.labels()):
        results.add(row)
    results.write()
    return summary
