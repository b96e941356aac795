"""The Hydra application: one run, a sweep, or one of Hydra's own flags."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from rompy_hydra.compose.build import Built, build_run
from rompy_hydra.compose.composer import Composed, Composer, parser
from rompy_hydra.compose.override_parser import in_hydras_terms, parse
from rompy_hydra.compose.yaml_text import yaml_text
from rompy_hydra.core.execute import preflight
from rompy_hydra.core.scope import Watch, ignore
from rompy_hydra.errors import ConfigError, GenerateError, ModelFailed
from rompy_hydra.redaction import redacted, redacted_override
from rompy_hydra.run.handle import drive
from rompy_hydra.workspace.record import RunRecord


@contextlib.contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[Composer]:
    """The composer for a command line; its overrides are rewritten for what Hydra does not know."""
    arguments.overrides = in_hydras_terms(arguments.overrides)
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
    if arguments.cfg is not None or arguments.info is not None:
        _refuse_several("--cfg" if arguments.cfg is not None else "--info", overrides)
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


def _refuse_several(flag: str, overrides: Sequence[str]) -> None:
    """Hydra would advise --multirun, which may have been given and does not help here."""
    for each in parse(overrides):
        if each.is_sweep_override():
            key = each.get_key_element()
            raise ConfigError(
                f"{key} has several values, and {flag} shows one configuration. Give it one: {key}=VALUE "
                f"(a list is {key}=[1,2]). What a sweep would run is listed by -m --dry-run"
            )


def prepared(composer: Composer, overrides: Sequence[str]) -> Built:
    """One run, composed, checked and built; nothing on disk is changed."""
    # Compared as text: composing parses the overrides anyway.
    for line in overrides:
        if line.lstrip("+~").startswith("sweep."):
            raise ConfigError(f"'{line}' is a setting of a sweep: add -m")
    composed = composer.compose(overrides)
    built = build_run(composed, composer.trusted)
    kept = [redacted_override(line) for line in composed.overrides]
    files = {
        "config.yaml": yaml_text(redacted(composed.without_hydra())),
        "overrides.yaml": yaml_text(list(kept)),
    }
    origin = replace(built.plan.origin, composed=files)
    built = replace(built, plan=replace(built.plan, origin=origin))
    _check(built)
    return built


def _check(built: Built) -> None:
    """ConfigError tells what is wrong with a run before anything is written."""
    try:
        preflight(built.plan)
    except GenerateError as error:
        # Before anything was written, an input that cannot be made is a fault of the configuration.
        raise ConfigError(str(error)) from error


def carry_out(built: Built, watch: Watch = ignore) -> RunRecord | None:
    """Run a prepared plan with its pipeline: the record, or the error of the stage that failed."""
    return drive(built.pipeline.steps(built.plan, watch=watch))


def stock_point(config: DictConfig, trusted: Sequence[str] = ()) -> RunRecord | None:
    """One job of one of Hydra's own launchers; ModelFailed if the run failed."""
    hydra = HydraConfig.get()
    directory = Path(hydra.runtime.output_dir)
    overrides = OmegaConf.to_container(hydra.overrides.task)
    assert isinstance(overrides, list)
    composed = Composed(_with_hydra(config), tuple(map(str, overrides)))
    built = build_run(composed, trusted)
    # Before anything is computed from them.
    built.plan.spec.output_dir = directory.parent
    built.plan.spec.run_id = directory.name
    _check(built)
    try:
        return carry_out(built)
    except Exception as error:
        raise ModelFailed(f"{directory}: {error}") from error


def _with_hydra(config: DictConfig) -> DictConfig:
    """A job's configuration together with the part of Hydra's that its launcher has taken away."""
    whole = config.copy()
    OmegaConf.set_struct(whole, False)
    whole["hydra"] = HydraConfig.instance().cfg.hydra  # type: ignore[union-attr]
    return whole
