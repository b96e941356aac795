"""One container of one run: made, waited for, ended, taken away."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from loguru import logger

from rompy_hydra.errors import EngineUnavailable, RunError, RunLost
from rompy_hydra.process import StopSignal
from rompy_hydra.process.memory import PeakMemory
from rompy_hydra.run.docker.engine import Engine, away, engine_errors, error_text, in_background
from rompy_hydra.run.docker.labels import WORKSPACE_LABEL, name_of, own_containers
from rompy_hydra.workspace import Workspace

# How long to look for an engine that went away, seconds: one that is only restarted comes back.
_RETURN_SECONDS = 5.0
# How long the engine may take to tell that a container ended which it was told to end, seconds.
_REMOVE_SECONDS = 30.0

# Starts `run.sh` ($0) with its output in `run.log` ($1). On SIGTERM all processes of the container get
# it, and have until SIGKILL: the container would end with its first process. `times` tells the CPU time.
STARTER = """\
trap 'stop=1; kill -TERM -1' TERM
/bin/sh "$0" </dev/null >>"$1" 2>&1 &
wait "$!"
code=$?
if [ -n "$stop" ]; then
  wait "$!"
  code=$?
  while kill -0 -1 2>/dev/null; do sleep 0.1 2>/dev/null || :; done
fi
times
exit "$code"
"""


class Container:
    """A container that exists at the engine, running or not."""

    def __init__(self, engine: Engine, id: str) -> None:
        self._engine = engine
        self.id = id
        self._memory = PeakMemory()
        self.engine_went_away = False

    @classmethod
    def left_in(cls, engine: Engine, workspace: Workspace) -> list[Container]:
        """What a dead driver left of a run directory; containers that were kept are none of it."""
        labels = [f"{WORKSPACE_LABEL}={workspace.path}"]
        found = engine.ask(lambda: engine.api.containers(all=True, filters={"label": labels}))
        # The engine takes a name as a pattern, and a kept container has another one.
        ending = name_of(workspace, "").rpartition("-")[2]
        return [
            cls(engine, str(each["Id"]))
            for each in found
            if any(name.endswith(f"-{ending}") for name in each.get("Names") or ())
        ]

    def facts(self) -> Mapping[str, Any]:
        """What the engine knows of it; EngineUnavailable if it does not answer."""
        return self._engine.ask(lambda: self._engine.api.inspect_container(self.id))

    def start(self) -> None:
        self._engine.ask(lambda: self._engine.api.start(self.id))

    def wait(self, deadline: float | None, stop: StopSignal | None) -> Mapping[str, Any]:
        """Wait for its end and return its facts.

        TimeoutError at the `deadline` (monotonic), KeyboardInterrupt on `stop`; EngineUnavailable if the
        engine went away and did not come back.
        """
        facts = self._facts_again(stop)
        process = int(facts["State"].get("Pid") or 0)
        look = (lambda: self._memory.sample(process)) if self._is_here(process) else None
        while True:
            try:
                in_background(
                    lambda: self._engine.api.wait(self.id, timeout=None),
                    stop,
                    deadline,
                    look,
                )
            except engine_errors() as error:
                facts = self._found_again(error, stop)
            else:
                facts = self._facts_again(stop)
            if facts["State"]["Status"] == "created":
                raise RunError(f"the engine did not start {self.id[:12]}; run the same command again")
            if facts["State"]["Status"] not in ("running", "paused", "restarting", "stopping"):
                return facts

    def _facts_again(self, stop: StopSignal | None) -> Mapping[str, Any]:
        try:
            return self.facts()
        except engine_errors() as error:
            return self._found_again(error, stop)

    def _found_again(self, cause: Exception, stop: StopSignal | None) -> Mapping[str, Any]:
        """Its facts, once the engine is back; EngineUnavailable after some seconds, or if it is gone."""
        from docker.errors import NotFound

        deadline = time.monotonic() + _RETURN_SECONDS
        while True:
            try:
                return self.facts()
            except NotFound as error:
                raise RunError(
                    f"the container {self.id[:12]} was removed from outside while the model ran; run "
                    "the same command again"
                ) from error
            except engine_errors() as error:
                if time.monotonic() > deadline:
                    reason = error if isinstance(error, EngineUnavailable) else away(error)
                    raise RunLost(
                        f"the engine went away while the model ran in the container {self.id[:12]}. "
                        "Start it again, then run the same command: if the container still runs or "
                        "ended properly its result is taken over, otherwise the run begins anew "
                        f"({reason})"
                    ) from cause
            self.engine_went_away = True
            if stop is None:
                time.sleep(0.2)
            elif stop.wait(0.2):
                raise KeyboardInterrupt

    def _is_here(self, process: int) -> bool:
        """Whether its first process is one of this machine, and not of the engine's own."""
        try:
            with open(f"/proc/{process}/cgroup") as file:
                return process > 0 and self.id in file.read()
        except OSError:
            return False

    @property
    def peak_memory_bytes(self) -> int | None:
        """The largest process that was seen, bytes."""
        return self._memory.peak(0)

    def output(self, errors: bool) -> str:
        """What the starter itself said, not the model: its times, or what went wrong with it."""
        try:
            text = self._engine.api.logs(self.id, stdout=not errors, stderr=errors, tail=20)
        except engine_errors():
            return ""
        return bytes(text).decode(errors="replace")

    def end(self, grace: float) -> None:
        """SIGTERM to all of its processes, and SIGKILL to those that are left after `grace` seconds.

        Another Ctrl-C ends them at once.
        """
        deadline = time.monotonic() + grace
        with contextlib.suppress(TimeoutError, KeyboardInterrupt, *engine_errors()):
            self._engine.api.kill(self.id, "SIGTERM")
            in_background(lambda: self._engine.api.wait(self.id, timeout=None), deadline=deadline)
            return
        # Not running any more, or not willing to end.
        with contextlib.suppress(*engine_errors()):
            self._engine.api.kill(self.id, "SIGKILL")

    def remove(self) -> None:
        """Take it away, running or not; what cannot be removed now is by the next start."""
        from docker.errors import APIError, NotFound

        own_containers.discard(self.id)
        deadline = time.monotonic() + _REMOVE_SECONDS
        interrupts = 0
        while True:
            try:
                self._engine.api.remove_container(self.id, v=True, force=True)
                return
            except NotFound:
                return
            except KeyboardInterrupt:
                interrupts += 1
                if interrupts > 2:  # an engine that does not answer must not hold anybody
                    raise
            except engine_errors() as error:
                busy = isinstance(error, APIError) and error.status_code == 409
                if busy and time.monotonic() < deadline:
                    time.sleep(0.1)
                    continue
                logger.warning(
                    "the container {} could not be removed: {}. The next start of this run does it",
                    self.id[:12],
                    error_text(error),
                )
                return

    def keep(self) -> None:
        """Leave it for whoever wants to look, under a name that no later run takes for its own."""
        own_containers.discard(self.id)
        facts = self.facts()
        if facts["State"]["Status"] == "created":
            self.remove()
            return
        name = str(facts["Name"]).lstrip("/")
        self._engine.ask(lambda: self._engine.api.rename(self.id, f"{name}-{self.id[:8]}"))
