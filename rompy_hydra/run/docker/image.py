"""Which image a run takes, whether it is there, and how it comes here."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loguru import logger

from rompy_hydra.errors import ConfigError, RunError
from rompy_hydra.process import StopSignal
from rompy_hydra.run.base import Job
from rompy_hydra.run.docker.build import Build, built
from rompy_hydra.run.docker.config import DockerConfig, check_image
from rompy_hydra.run.docker.engine import Engine, engine, engine_errors, error_text

# A registry is not asked for every point of a sweep, seconds.
_REGISTRY_SECONDS = 10.0

_pulling = threading.Lock()


@dataclass(frozen=True)
class Image:
    """An image that is there: the name that was asked for, its id, its digest in a registry if known."""

    name: str
    id: str
    digest: str | None
    env: Mapping[str, str]


def chosen(config: DockerConfig, model_image: str | None) -> str:
    """The name of the image of a run without a Dockerfile; ConfigError if nobody names one."""
    name = config.image or model_image
    if not name:
        raise ConfigError(
            "no image to run in: the model names none, so give run_backend.image=NAME or "
            "run_backend.dockerfile=PATH"
        )
    try:
        return check_image(name)
    except ValueError as error:
        raise ConfigError(f"the image of the model: {error}") from error


def key(config: DockerConfig, model_image: str | None) -> str | None:
    """What stands for the image in a run's memory: its content as far as that is known here."""
    if config.dockerfile:
        build = Build.of(config)
        build.check()
        return build.tag()
    name = config.image or model_image
    if not name or "@" in name:
        return name  # a digest says it all, wherever the image is
    try:
        found = engine().image(name)
    except engine_errors():
        found = None
    return str(found["Id"]) if found else name


def check(engine: Engine, config: DockerConfig, model_image: str | None) -> None:
    """ConfigError if the image is not there and cannot come; nothing is built or pulled."""
    if config.dockerfile:
        build = Build.of(config)
        build.check()
        for base in build.bases() if config.pull == "never" else ():
            if engine.image(base) is None:
                raise ConfigError(
                    f"{build.dockerfile} begins from {base}, which the engine does not have, and "
                    f"run_backend.pull=never. Pull it (docker pull {base}), or allow pull=missing"
                )
        return
    name = chosen(config, model_image)
    if engine.image(name) is not None:
        return
    if config.pull == "never":
        raise ConfigError(
            f"the engine has no image {name}, and run_backend.pull=never. Pull or load it "
            f"(docker pull {name}), or allow pull=missing"
        )
    refusal = engine.known(("registry", name), lambda: _refusal(engine, name), _REGISTRY_SECONDS)
    if refusal:
        raise ConfigError(
            f"the engine has no image {name} and cannot pull it: {refusal}. Correct the name, log in "
            "(docker login), load the image by hand, or build it: run_backend.dockerfile=PATH"
        )


def _refusal(engine: Engine, name: str) -> str | None:
    """Why a registry does not hand out an image, or None if it does, or cannot be asked."""
    from docker.errors import APIError, NotFound

    try:
        engine.api.inspect_distribution(name)  # type: ignore[no-untyped-call]
    except NotFound as error:
        # Podman knows no such question.
        return None if error_text(error).lower() in ("not found", "page not found") else error_text(error)
    except APIError as error:
        return error_text(error)
    return None


def ready(engine: Engine, config: DockerConfig, job: Job, pulled: set[str]) -> Image:
    """The image of a job, built or pulled if need be; RunError if that fails.

    `pulled` are the names that were pulled for this backend: once is enough for a sweep.
    """
    always = config.pull == "always"
    if config.dockerfile:
        name = built(engine, Build.of(config), job.workspace, always, job.stop)
    else:
        name = chosen(config, job.image)
    found = engine.image(name, fresh=True)
    if not config.dockerfile and (found is None or always):
        found = _pull(engine, name, config, pulled, job.stop)
    if found is None:
        raise RunError(f"the engine lost the image {name} while the run began; run the same command again")
    digests = [str(digest) for digest in found.get("RepoDigests") or ()]
    variables = (entry.partition("=") for entry in (found.get("Config") or {}).get("Env") or ())
    return Image(
        name=name,
        id=str(found["Id"]),
        digest=digests[0] if digests else None,
        env={variable: value for variable, _, value in variables},
    )


def _pull(
    engine: Engine, name: str, config: DockerConfig, pulled: set[str], stop: StopSignal | None
) -> Mapping[str, Any] | None:
    """Pull an image once, however many threads need it."""
    if config.pull == "never":
        raise RunError(
            f"the engine has no image {name}, and run_backend.pull=never. Pull or load it "
            f"(docker pull {name}), or allow pull=missing"
        )
    while not _pulling.acquire(timeout=0.1):
        if stop is not None and stop.is_set():
            raise KeyboardInterrupt
    try:
        found = engine.image(name, fresh=True)
        if found is not None and (config.pull == "missing" or name in pulled):
            return found
        logger.info("pulling {}", name)
        failures: list[str] = []

        def each(event: Mapping[str, Any]) -> None:
            if "error" in event:
                failures.append(str(event["error"]))

        repository, tag = _parts(name)
        try:
            engine.stream(lambda api: api.pull(repository, tag=tag, stream=True, decode=True), each, stop)
        except engine_errors() as error:
            failures.append(error_text(error))
        if failures:
            raise RunError(
                f"cannot pull the image {name}: {failures[-1]}. Correct the name, log in (docker "
                "login), or load the image by hand and say run_backend.pull=missing"
            )
        pulled.add(name)
        engine.forget()
        return engine.image(name, fresh=True)
    finally:
        _pulling.release()


def _parts(name: str) -> tuple[str, str]:
    """Repository, and tag or digest, as a pull takes them; without either the engine pulls all tags."""
    if "@" in name:
        repository, _, digest = name.partition("@")
        head, colon, tag = repository.rpartition(":")
        return (head if colon and "/" not in tag else repository), digest
    head, colon, tag = name.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (name, "latest")
