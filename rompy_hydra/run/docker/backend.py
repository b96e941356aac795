"""Run a model in a container."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from loguru import logger

from rompy_hydra.errors import ConfigError, EngineUnavailable, RunError, RunLost
from rompy_hydra.jsonable import Json
from rompy_hydra.run.base import BackendConfig, BaseRunBackend, Job, Outcome
from rompy_hydra.run.docker import image as docker_image
from rompy_hydra.run.docker.config import DockerConfig
from rompy_hydra.run.docker.container import Container
from rompy_hydra.run.docker.create import create
from rompy_hydra.run.docker.engine import KNOWN_SECONDS, Engine, engine, engine_errors, error_text
from rompy_hydra.run.docker.labels import SCRIPT_LABEL, own_containers, script_hash
from rompy_hydra.run.docker.outcome import outcome_of, ran_seconds
from rompy_hydra.run.docker.refusal import refused
from rompy_hydra.run.handle import timed_out
from rompy_hydra.run.programs import missing_program
from rompy_hydra.workspace import Workspace
from rompy_hydra.workspace.script import Command

__all__ = ["DockerConfig", "DockerRunBackend"]

# Networks that every engine has.
_NETWORKS = {"none", "host", "bridge", "default"}


class DockerRunBackend(BaseRunBackend):
    """Runs `run.sh` in a container that sees the run directory at its own place, and little else."""

    name: ClassVar[str] = "docker"
    config_class: ClassVar[type[DockerConfig]] = DockerConfig
    config: DockerConfig

    def __init__(self, config: BackendConfig | None = None, **fields: object) -> None:
        super().__init__(config, **fields)
        self._pulled: set[str] = set()
        # The key of what is built, and when it was made: the points of a sweep share it.
        self._built: tuple[float, str | None] | None = None

    def commands(self, model: object) -> tuple[Command, ...]:
        config = self.config
        if config.executable is None:
            return super().commands(model)
        if config.mpiexec is None:
            return (config.executable,)
        return (f"{config.mpiexec} -n {config.cpu:.0f} {config.executable}",)

    def image_key(self, image: str | None) -> str | None:
        """What stands for the image in the memory of a run; asking for it needs no network."""
        if self.config.dockerfile is None:
            # The engine keeps its answers, and forgets them when an image comes, whoever asked for it.
            return docker_image.key(self.config, image)
        now = time.monotonic()
        if self._built is None or now - self._built[0] > KNOWN_SECONDS:
            self._built = (now, docker_image.key(self.config, image))
        return self._built[1]

    def preflight(self, commands: tuple[Command, ...], files: set[str], image: str | None) -> None:
        try:
            here = engine()
            here.ping()
            problems = [*self._absent_programs(commands, files), *self._unfit_settings(here)]
            try:
                docker_image.check(here, self.config, image)
            except ConfigError as error:
                problems.append(str(error))
        except EngineUnavailable as error:
            raise ConfigError(str(error)) from error
        if problems:
            raise ConfigError("\n".join(problems))

    def _absent_programs(self, commands: tuple[Command, ...], files: set[str]) -> list[str]:
        """Programs that should be among the run's files and are not; those of the image are unknown."""
        found = []
        for command in commands if self.config.working_dir is None else ():
            program = missing_program(command, files, "")
            if program and "/" in program and not program.startswith("/"):
                found.append(
                    f"the program '{program}' is not among the run's files (command: {command}). Give "
                    "its full path in the image, or add it to model.files"
                )
        return found

    def _unfit_settings(self, here: Engine) -> list[str]:
        from docker.errors import NotFound

        config = self.config
        found = []
        for volume in config.mounts:
            path = Path(volume.host).expanduser().absolute()
            if here.is_here and not os.path.exists(path):
                found.append(
                    f"run_backend.volumes: the host path {path} does not exist; make it, or correct "
                    "the volume"
                )
        cores = int(here.facts.get("NCPU") or 0)
        if config.cpu and cores and config.cpu > cores:
            found.append(f"run_backend.cpu={config.cpu:g}: the engine has {cores} cores; ask for fewer")
        name = config.network
        if name not in _NETWORKS and not name.startswith("container:"):
            try:
                here.known(("network", name), lambda: here.api.inspect_network(name))
            except NotFound:
                found.append(
                    f"run_backend.network={name}: the engine has no such network. Take none or host, or "
                    f"make it (docker network create {name})"
                )
        return found

    def execute(self, job: Job) -> Outcome:
        here = engine()
        here.ping()
        if problems := self._unfit_settings(here):
            raise RunError("\n".join(problems))
        image = docker_image.ready(here, self.config, job, self._pulled)
        job.workspace.forget_exit_code()
        facts: dict[str, Json] = {
            "image": image.name,
            "image_id": image.id,
            "image_digest": image.digest,
            "engine": here.version,
        }
        container = create(here, job, self.config, image)
        try:
            facts["container"] = container.id
            job.report(facts)
            begin = time.monotonic()
            try:
                container.start()
            except EngineUnavailable as error:
                logger.warning("{}", error)  # it may have started it: waiting will tell
            except engine_errors() as error:
                raise refused(job, self.config, image.name, error_text(error)) from error
            deadline = None if job.timeout is None else begin + job.timeout
            outcome = self._attended(job, container, deadline, facts)
            return replace(outcome, seconds=time.monotonic() - begin)
        finally:
            self._let_go(container)

    def reattach(self, job: Job, facts: Mapping[str, Json]) -> Outcome | None:
        """The outcome of a container that a dead driver of this same job left, None if there is nothing.

        It is waited for if it still runs. One that was killed, and so has no result, is taken away.
        """
        try:
            here = engine()
            left = Container.left_in(here, job.workspace)
        except EngineUnavailable as error:
            raise RunLost(f"nobody can tell what became of {job.run_id}: {error}") from error
        for container in left:
            seen = container.facts()
            state, labels = seen["State"], seen["Config"]["Labels"] or {}
            over = state["Status"] in ("created", "exited", "dead", "removing")
            result = not over or state.get("OOMKilled") or job.workspace.exit_code() is not None
            if not result or labels.get(SCRIPT_LABEL) != script_hash(job.workspace):
                logger.warning("removing the container {}: it has no result of this run", container.id[:12])
                container.end(self.config.kill_grace)
                container.remove()
                continue
            logger.info("taking over the container {} ({})", container.id[:12], state["Status"])
            own_containers.add(container.id)
            found: dict[str, Json] = {
                "image": str(labels.get("rompy_hydra.image", seen["Image"])),
                "image_id": str(seen["Image"]),
                "container": container.id,
                "engine": here.version,
                "adopted": True,
            }
            try:
                job.report(found)
                deadline = None
                if job.timeout is not None:
                    deadline = time.monotonic() + job.timeout - (ran_seconds(state) or 0.0)
                return self._attended(job, container, deadline, found)
            finally:
                self._let_go(container)
        # Its driver may have died after it was gone, and before that was written down.
        return self.left_outcome(job)

    def clean_up(self, workspace: Workspace) -> None:
        """End and remove what a dead driver left of a run directory; RunError if nobody can know."""
        try:
            left = Container.left_in(engine(), workspace)
        except EngineUnavailable as error:
            raise RunLost(f"a container may still work in {workspace.path}: {error}") from error
        for container in left:
            logger.warning("removing the container {} of a dead driver", container.id[:12])
            container.end(self.config.kill_grace)
            container.remove()

    def _attended(
        self, job: Job, container: Container, deadline: float | None, facts: Mapping[str, Json]
    ) -> Outcome:
        """Wait for a container's end and tell how it was; end it when its time is up, or on Ctrl-C."""
        try:
            ended = container.wait(deadline, job.stop)
        except TimeoutError:
            container.end(self.config.kill_grace)
            raise timed_out(job) from None
        except KeyboardInterrupt:
            container.end(self.config.kill_grace)
            raise
        outcome = outcome_of(container, ended, job, self.config)
        return replace(outcome, facts={**facts, **outcome.facts})

    def _let_go(self, container: Container) -> None:
        """Remove a container, or keep it if that is asked for."""
        if self.config.remove_container:
            container.remove()
            return
        try:
            container.keep()
        except engine_errors() as error:
            logger.warning("the container {} keeps its name: {}", container.id[:12], error_text(error))
