"""The image of a run: which one it is, whether the engine has it, and how the engine gets it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loguru import logger

from rompy_hydra.errors import ConfigError, RunError
from rompy_hydra.process import StopSignal
from rompy_hydra.run.base import Job
from rompy_hydra.run.docker.build import Build, build_image, lock
from rompy_hydra.run.docker.config import DockerConfig, check_image
from rompy_hydra.run.docker.engine import Engine, engine_errors, error_text, get_engine

# How long a registry's answer is valid, seconds: it is not asked for every point of a sweep.
_REGISTRY_CACHE_SECONDS = 10.0


@dataclass(frozen=True)
class Image:
    """An image that the engine has. `digest` is that in a registry, if known; `env` its own variables."""

    name: str
    id: str
    digest: str | None
    env: Mapping[str, str]


def image_name(config: DockerConfig, model_image: str | None) -> str:
    """The image of a run without a Dockerfile; ConfigError if nothing names a valid one."""
    name = config.image or model_image
    if not name:
        raise ConfigError(
            "no image to run in: the model names none. Give run_backend.image=NAME or "
            "run_backend.dockerfile=PATH"
        )
    try:
        return check_image(name)
    except ValueError as error:
        raise ConfigError(f"the image of the model: {error}") from error


def image_key(config: DockerConfig, model_image: str | None) -> str | None:
    """What identifies the image's content in a run's status: its id, or its name if the id is unknown."""
    if config.dockerfile:
        return Build(config).tag()
    name = config.image or model_image
    if not name or "@" in name:
        return name  # a digest identifies the content wherever the image is
    try:
        found = get_engine().image(name)
    except engine_errors():
        found = None
    return str(found["Id"]) if found else name


def check_available(engine: Engine, config: DockerConfig, model_image: str | None) -> None:
    """ConfigError if the engine neither has the image nor can get it; builds and pulls nothing."""
    if config.dockerfile:
        build = Build(config)
        for base in build.bases() if config.pull == "never" else ():
            if engine.image(base) is None:
                raise ConfigError(f"{build.dockerfile} is based on {base}: {_not_pulled(base)}")
        return
    name = image_name(config, model_image)
    if engine.image(name) is not None:
        return
    if config.pull == "never":
        raise ConfigError(_not_pulled(name))
    problem = engine.cached(
        ("registry", name), lambda: _registry_problem(engine, name), _REGISTRY_CACHE_SECONDS
    )
    if problem:
        raise ConfigError(
            f"the engine has no image {name} and cannot pull it: {problem}. Correct the name, log in "
            "(docker login), load the image by hand, or build it: run_backend.dockerfile=PATH"
        )


def _not_pulled(name: str) -> str:
    return (
        f"the engine has no image {name}, and run_backend.pull=never. Pull or load it "
        f"(docker pull {name}), or set run_backend.pull=missing"
    )


def _registry_problem(engine: Engine, name: str) -> str | None:
    """Why the registry does not provide an image; None if it does, or if the engine cannot ask it."""
    from docker.errors import APIError, NotFound

    try:
        engine.api.inspect_distribution(name)  # type: ignore[no-untyped-call]
    except NotFound as error:
        # Podman does not implement this request.
        return None if error_text(error).lower() in ("not found", "page not found") else error_text(error)
    except APIError as error:
        return error_text(error)
    return None


def prepare_image(engine: Engine, config: DockerConfig, job: Job, pulled: set[str]) -> Image:
    """The image of a job, built or pulled if necessary; RunError if that fails.

    `pulled` holds the names that this backend has pulled: `pull=always` pulls once per sweep.
    """
    always = config.pull == "always"
    if config.dockerfile:
        name = build_image(engine, Build(config), job.workspace, always, job.stop)
    else:
        name = image_name(config, job.image)
    found = engine.image(name, fresh=True)
    if not config.dockerfile and (found is None or always):
        found = _pull(engine, name, config, pulled, job.stop)
    if found is None:
        raise RunError(f"the image {name} was removed while the run was starting; rerun the command")
    digest = next(iter(found.get("RepoDigests") or ()), None)
    variables = (entry.partition("=") for entry in (found.get("Config") or {}).get("Env") or ())
    return Image(name, found["Id"], digest, {variable: value for variable, _, value in variables})


def _pull(
    engine: Engine, name: str, config: DockerConfig, pulled: set[str], stop: StopSignal | None
) -> Mapping[str, Any] | None:
    """Pull an image, once even if several threads need it, and return the engine's description of it."""
    from docker.utils import parse_repository_tag

    if config.pull == "never":
        raise RunError(_not_pulled(name))
    with lock(f"pull-{hashlib.sha256(name.encode()).hexdigest()}", stop):
        found = engine.image(name, fresh=True)
        if found is not None and (config.pull == "missing" or name in pulled):
            return found
        logger.info("pulling {}", name)
        repository, tag = parse_repository_tag(name)
        if "@" in name:  # `tag` is a digest, and the image may have a tag as well
            repository, _ = parse_repository_tag(repository)
        try:
            engine.stream(lambda api: api.pull(repository, tag or "latest", stream=True, decode=True), stop)
        except engine_errors() as error:
            raise RunError(
                f"cannot pull the image {name}: {error_text(error)}. Correct the name, log in (docker "
                "login), or load the image by hand and set run_backend.pull=missing"
            ) from error
        pulled.add(name)
        engine.clear_cache()
        return engine.image(name, fresh=True)
