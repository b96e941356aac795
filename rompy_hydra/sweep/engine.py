"""Driving a sweep: several runs at once, resumable, and never the same one twice."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from loguru import logger

from rompy_hydra import process
from rompy_hydra.core.plan import Progress, Task
from rompy_hydra.errors import RompyHydraError, SweepError
from rompy_hydra.sweep.gil_turns import Turn
from rompy_hydra.sweep.plan import Plan, Ready, Watcher
from rompy_hydra.sweep.points import Point
from rompy_hydra.sweep.preflight import ELSEWHERE, LEAVE, SKIP, Preflight, decide
from rompy_hydra.sweep.results_table import ResultsTable, Row
from rompy_hydra.sweep.signals import Interrupts
from rompy_hydra.sweep.summary import Summary
from rompy_hydra.sweep.trying import row_of_try
from rompy_hydra.workspace.lease import Snapshot
from rompy_hydra.workspace.record import FAILED, TIMED_OUT

_LOOK_AGAIN_SECONDS = 0.5
_FAILURES = (FAILED, TIMED_OUT)


@dataclass(frozen=True)
class _Order:
    """A run for a worker, and what was there of it when it was judged."""

    point: Point
    ready: Ready
    seen: Snapshot


class Engine:
    """Carries out a plan with `workers` threads; each model is a process of its own."""

    def __init__(self, plan: Plan, forecast: Preflight, watcher: Watcher, results: ResultsTable) -> None:
        self._plan = plan
        self._forecast = forecast
        self._watcher = watcher
        self._results = results
        self.summary = Summary(total=forecast.size)
        self._stop = process.StopSignal()
        # Set by the last worker. Waited for without a lock, into which a signal could come.
        self._over = process.StopSignal()
        # Whoever is free composes the next run: one at a time, since Hydra's configuration is global.
        self._composing = threading.Lock()
        self._orders = self._all_orders()
        self._turns = threading.Lock()
        # Guards all that follows, and tells when something of it changed.
        self._change = threading.Condition()
        self._workers = 0
        self._under_way = 0
        self._failures = 0
        self._running: dict[str, str] = {}
        self._elsewhere: list[Point] = []

    def run(self) -> Summary:
        """Run what is missing; Ctrl-C once ends the running models cleanly, twice kills them."""
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

    def _end(self) -> None:
        """Leave the terminal as it was and the table complete, also while a key is held down."""
        with contextlib.suppress(OSError, ValueError):
            self._watcher.end()
        try:
            self._results.complete()
        except SweepError as error:
            self.summary.problem = self.summary.problem or str(error)

    def _run(self, interrupts: Interrupts) -> None:
        try:
            self._show(lambda: self._watcher.begin(self._plan, self._forecast))
            with self._change:  # the first ones may end before the last one starts
                for number in range(self._plan.workers):
                    worker = threading.Thread(target=self._work, name=f"worker-{number}", daemon=True)
                    worker.start()
                    self._workers += 1
            interrupts.wait_for(self._over, self._stop)
            if self.summary.interrupted:
                self._show(self._watcher.stopping)
        except BaseException:
            self._stop.set()
            raise
        finally:
            with self._change:
                self._change.notify_all()
                if not self._workers:
                    self._over.set()
            interrupts.wait_for(self._over)

    def _all_orders(self) -> Iterator[_Order]:
        yield from self._to_do()
        while (points := self._of_others()) is not None:
            yield from self._taken_over(points)

    def _to_do(self) -> Iterator[_Order]:
        for index, point in enumerate(self._plan.grid):
            decision = self._forecast.decision(index)
            if decision == ELSEWHERE:
                with self._change:
                    self._elsewhere.append(point)
            elif decision not in (SKIP, LEAVE):
                with self._failing(point):
                    yield _Order(point, self._plan.build(point), self._forecast.seen(index))

    def _of_others(self) -> list[Point] | None:
        """Runs that another driver has or had, after a while; None when nothing is left to do."""
        with self._change:
            self._change.wait_for(
                lambda: self._elsewhere or not self._under_way or self._enough(), timeout=None
            )
            if not self._elsewhere or self._enough():
                return None
            points, self._elsewhere = self._elsewhere, []
            return points

    def _taken_over(self, points: list[Point]) -> Iterator[_Order]:
        """Those runs of others whose driver died; the ended ones are told, the others looked at again."""
        still: list[Point] = []
        for point in points:
            with self._failing(point):
                ready = self._plan.build(point)
                # What another driver saw fail is not tried again at once.
                verdict = decide(ready.task, "lost")
                if verdict.decision == ELSEWHERE:
                    still.append(point)
                elif verdict.row is not None:
                    self._finished(verdict.row)
                else:
                    yield _Order(point, ready, verdict.seen)
        with self._change:
            self._elsewhere += still
        if still:
            self._stop.wait(_LOOK_AGAIN_SECONDS)

    @contextlib.contextmanager
    def _failing(self, point: Point) -> Iterator[None]:
        """What goes wrong with a point that was sound when it was looked at is its own failure."""
        try:
            yield
        except (RompyHydraError, OSError) as error:
            self._finished(Row(point.label, FAILED, point.parameters, error=str(error)), own=True)

    def _enough(self) -> bool:
        limit = self._plan.config.max_failures
        with self._change:
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

    def _work(self) -> None:
        try:
            while (order := self._next()) is not None:
                try:
                    with self._failing(order.point), Turn(self._turns) as turn:
                        self._one(order, turn)
                finally:
                    with self._change:
                        self._under_way -= 1
                        self._change.notify_all()
        except BaseException as error:  # noqa: BLE001 - a worker that dies would leave all waiting
            self._give_up(error)
        finally:
            with self._change:
                self._workers -= 1
                if not self._workers:
                    self._over.set()

    def _next(self) -> _Order | None:
        """The next run to do, as soon as there is one; None when nothing is left, or it is enough."""
        with self._composing:
            order = None if self._enough() else next(self._orders, None)
            if order is not None:
                with self._change:
                    self._under_way += 1
            return order

    def _give_up(self, error: BaseException) -> None:
        logger.opt(exception=error).debug("the sweep cannot go on")
        with self._change:
            text = f"the sweep was stopped by an error of its own: {type(error).__name__}: {error}"
            self.summary.problem = self.summary.problem or text
            self._change.notify_all()

    def _one(self, order: _Order, turn: Turn) -> None:
        task, label = order.ready.task, order.point.label
        with self._change:
            self._running[label] = task.workspace.root
        row: Row | None = None
        try:
            for number in range(self._plan.config.attempts):
                row = self._attempt(order, replace(task, progress=Progress()) if number else task, turn)
                if row is None or row.state not in _FAILURES or self._stop.is_set():
                    break
        finally:
            with self._change:
                self._running.pop(label, None)
        if row is None:
            with self._change:
                self._elsewhere.append(order.point)
        else:
            self._finished(row, own=True)

    def _attempt(self, order: _Order, task: Task, turn: Turn) -> Row | None:
        """One try; None if another driver has the run."""
        task.stop = self._stop
        task.seen = order.seen if task is order.ready.task else None
        task.again = self._plan.config.retry == "all"
        task.watch = functools.partial(self._at_border, order.point.label, turn)
        return row_of_try(order.point, task, order.ready.carry_out)

    def _at_border(self, label: str, turn: Turn, state: str) -> None:
        turn.at(state)
        if self._watcher.live:
            self._show(lambda: self._watcher.state(label, state))

    def _finished(self, row: Row, own: bool = False) -> None:
        self._results.add(row)
        with self._change:
            self.summary.add(row)
            self._failures += own and row.state in _FAILURES
            self._change.notify_all()
        self._show(lambda: self._watcher.finished(row))
        self._results.refresh()

    def _show(self, what: Callable[[], None]) -> None:
        # Whoever reads our output may go away; the runs go on.
        with self._change, contextlib.suppress(OSError, ValueError):
            what()


def run_sweep(plan: Plan, forecast: Preflight, watcher: Watcher, results: ResultsTable) -> Summary:
    """Carry out a plan that was looked at, and leave `results.csv` complete."""
    engine = Engine(plan, forecast, watcher, results)
    engine.summary.skipped = forecast.count(SKIP)
    engine.summary.left = dict(forecast.left)
    return engine.run()
