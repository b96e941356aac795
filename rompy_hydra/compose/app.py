"""The Hydra application: one run, a sweep, or one of Hydra's own flags."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rompy_hydra.compose.build import Built, build_run
from rompy_hydra.compose.composer import Composed, Composer, parser
from rompy_hydra.compose.overrides import lists_of_options
from rompy_hydra.errors import ConfigError, GenerateError, RompyHydraError
from rompy_hydra.pipeline.base import BasePipeline
from rompy_hydra.pipeline.local import LocalPipelineBackend
from rompy_hydra.stages import preflight
from rompy_hydra.task import Task

__all__ = ["carry_out", "delegate", "is_hydras_own", "multirun", "opened", "parser", "prepared"]


@contextlib.contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[Composer]:
    """The composer for a command line; its overrides are rewritten for what Hydra does not know."""
    arguments.overrides = lists_of_options(arguments.overrides)
    composer = Composer(arguments)
    try:
        yield composer
    finally:
        composer.close()


def is_hydras_own(arguments: argparse.Namespace) -> bool:
    """Whether the command line asks for something that Hydra does by itself."""
    flags = (arguments.help, arguments.hydra_help, arguments.shell_completion)
    return any(flags) or arguments.cfg is not None or arguments.info is not None


def delegate(composer: Composer, arguments: argparse.Namespace) -> int:
    """`--cfg`, `--info`, `--help`, `--hydra-help` and completion, as Hydra does them."""
    hydra, name, overrides = composer.hydra, composer.config_name, arguments.overrides
    if arguments.resolve and arguments.cfg is None and not arguments.help:
        raise ConfigError("--resolve goes with --cfg or --help")
    if arguments.shell_completion:
        hydra.shell_completion(config_name=name, overrides=overrides)
        return 0
    with composer.explained(overrides):
        if arguments.help:
            hydra.app_help(config_name=name, args_parser=parser(), args=arguments)
        elif arguments.hydra_help:
            hydra.hydra_help(config_name=name, args_parser=parser(), args=arguments)
        elif arguments.cfg is not None:
            hydra.show_cfg(
                config_name=name,
                overrides=overrides,
                cfg_type=arguments.cfg,
                package=arguments.package,
                resolve=arguments.resolve,
            )
        else:
            hydra.show_info(arguments.info, config_name=name, overrides=overrides)
    return 0


def prepared(composer: Composer, overrides: Sequence[str]) -> Built:
    """One run, composed, checked, built and preflighted; nothing on disk is changed."""
    composed = composer.compose(overrides)
    built = build_run(composed)
    try:
        preflight(built.task)
    except GenerateError as error:
        # Before anything was written, an input that cannot be made is a fault of the configuration.
        raise ConfigError(str(error)) from error
    return replace(built, task=_with_composed(built.task, composed))


def _with_composed(task: Task, composed: Composed) -> Task:
    files = {
        "config.yaml": composed.without_hydra(),
        "overrides.yaml": OmegaConf.to_yaml(OmegaConf.create(list(composed.overrides))),
    }
    return replace(task, origin=replace(task.origin, composed=files))


def carry_out(built: Built, task: Task) -> dict[str, Any]:
    """Run a prepared task with its pipeline; the pipeline's answer."""
    pipeline = built.pipeline
    if isinstance(pipeline, LocalPipelineBackend):
        return pipeline.carry_out(task)
    if isinstance(pipeline, BasePipeline) or callable(getattr(pipeline, "execute", None)):
        assert task.backend is not None
        return dict(
            task.model_run.pipeline(
                pipeline,
                run_backend=task.backend.name,
                processor=task.processors[0].name if task.processors else "noop",
                run_kwargs=dict(task.backend.settings),
                process_kwargs=dict(task.processors[0].settings) if task.processors else {},
            )
        )
    raise ConfigError(f"pipeline: {pipeline!r} has no execute()")


def multirun(composer: Composer, overrides: Sequence[str]) -> int:
    """A sweep with the sweeper and the launcher that the configuration chooses."""
    failed: list[str] = []

    def run_point(config: DictConfig) -> dict[str, Any]:
        hydra = HydraConfig.get()
        directory = Path(hydra.runtime.output_dir)
        composed = Composed(_with_hydra(config), tuple(hydra.overrides.task))
        built = build_run(composed)
        preflight(built.task)
        model_run = built.task.model_run.model_copy(
            update={"output_dir": directory.parent, "run_id": directory.name}
        )
        results = carry_out(built, replace(built.task, model_run=model_run))
        if results.get("success") is not True:
            failed.append(directory.name)
            sys.stderr.write(f"{directory.name}: {results.get('message')}\n")
        else:
            sys.stdout.write(f"completed  {directory}\n")
        return results

    try:
        with composer.explained(overrides):
            composer.hydra.multirun(composer.config_name, run_point, list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(str(error)) from error
    if failed:
        raise RompyHydraError(f"{len(failed)} runs failed: {', '.join(failed[:10])}")
    return 0


def _with_hydra(config: DictConfig) -> DictConfig:
    """A job's configuration together with the part of Hydra's that its launcher has taken away."""
    whole = config.copy()
    OmegaConf.set_struct(whole, False)
    whole["hydra"] = HydraConfig.instance().cfg.hydra  # type: ignore[union-attr]
    return whole
