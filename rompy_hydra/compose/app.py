"""The Hydra application: one run, a sweep, or one of Hydra's own flags."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from rompy_hydra.compose.build import Built, build_run
from rompy_hydra.compose.composer import Composed, Composer, parser
from rompy_hydra.compose.config_files import files_setting
from rompy_hydra.compose.hydra_errors import readable_errors
from rompy_hydra.compose.hydra_node import check_hydra_settings
from rompy_hydra.compose.override_parser import in_hydra_grammar, parse, remember_overrides
from rompy_hydra.compose.validate import option_as_text, problems
from rompy_hydra.core.execute import preflight
from rompy_hydra.errors import ConfigError, GenerateError, InvalidConfig, ModelFailed
from rompy_hydra.redaction import printable, redacted, redacted_overrides
from rompy_hydra.run.handle import drive
from rompy_hydra.workspace.workspace import place_problem


def opened(arguments: argparse.Namespace) -> contextlib.closing[Composer]:
    """The composer for a command line; its overrides are rewritten to Hydra's grammar."""
    arguments.overrides = in_hydra_grammar(arguments.overrides)
    arguments.rompy = rompy_files(arguments)
    remember_overrides(arguments.overrides)
    composer = Composer(arguments)
    arguments.overrides = composer.without_plus(arguments.overrides)
    return contextlib.closing(composer)


def rompy_files(arguments: argparse.Namespace) -> list[Any]:
    """The files of `--rompy`; the overrides that select them are put before the others."""
    if not arguments.rompy:
        if arguments.rompy_include:
            raise ConfigError("--rompy-include goes with --rompy FILE")
        return []
    from rompy_hydra.compose import rompy_files

    files = rompy_files.load(arguments.rompy, arguments.rompy_include or ())
    arguments.overrides = [*rompy_files.overrides(files, arguments.overrides), *arguments.overrides]
    return files


def notes(arguments: argparse.Namespace) -> list[str]:
    """What a user should know of how the files of `--rompy` were understood."""
    return [f"rompy      {file.path}: {note}" for file in arguments.rompy for note in file.notes]


def delegate(composer: Composer, arguments: argparse.Namespace) -> bool:
    """`--cfg`, `--info`, `--help` and `--hydra-help`, as Hydra does them; else False."""
    if not (arguments.help or arguments.hydra_help) and arguments.cfg is None and arguments.info is None:
        return False
    with _without_secrets(composer, arguments.resolve):
        _delegate(composer, arguments)
    return True


@contextlib.contextmanager
def _without_secrets(composer: Composer, resolved: bool) -> Iterator[None]:
    """A context in which compositions are only shown, and nothing that Hydra prints contains a secret."""
    composer.loader.shown_resolved = bool(resolved)
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            yield
    finally:
        composer.loader.shown_resolved = None
        sys.stdout.write(printable(output.getvalue()))


def _delegate(composer: Composer, arguments: argparse.Namespace) -> None:
    hydra, name, overrides = composer.hydra, composer.config_name, arguments.overrides
    if arguments.resolve and arguments.cfg is None and not arguments.help:
        raise ConfigError("--resolve goes with --cfg or --help")
    if arguments.cfg is not None or arguments.info is not None:
        flag = "--cfg" if arguments.cfg is not None else "--info"
        # Hydra would advise --multirun, which may have been given and does not help here.
        for key in (each.get_key_element() for each in parse(overrides) if each.is_sweep_override()):
            raise ConfigError(
                f"{key} has several values, and {flag} shows one configuration. Give it one: {key}=VALUE "
                f"(a list is {key}=[1,2]). What a sweep would run is listed by -m --dry-run"
            )
    with readable_errors(composer, overrides):
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


def composed_run(composer: Composer, overrides: Sequence[str]) -> Composed | None:
    """The configuration of one run; None if it asks for a sweep itself, by `hydra.mode: MULTIRUN`."""
    # Compared as text: composing parses the overrides anyway.
    of_sweep = [line for line in overrides if line.lstrip("+~").startswith("sweep.")]
    try:
        composed = composer.compose(overrides)
    except ConfigError:
        # Such as several values of a key, which only a sweep may have.
        if any(each.is_sweep_override() for each in parse(overrides)) and composer.asks_for_sweep(
            overrides
        ):
            return None
        if of_sweep:
            raise ConfigError(f"'{of_sweep[0]}' is a setting of a sweep: add -m") from None
        raise
    if composed.config.hydra.mode is RunMode.MULTIRUN:
        return None
    if of_sweep:
        raise ConfigError(f"'{of_sweep[0]}' is a setting of a sweep: add -m")
    check_hydra_settings(composed.config, composed.files, is_sweep=False)
    _check_is_one_run(composed)
    return composed


def _check_is_one_run(composed: Composed) -> None:
    """InvalidConfig for wrong settings of a sweep in a file, ConfigError if they make this a sweep."""
    sets_sweep = any(name != "config" for name, _ in files_setting(composed.files, "sweep"))
    node = composed.resolved("sweep") if sets_sweep else {}
    if problem := option_as_text("sweep", node):
        raise InvalidConfig([problem])
    if found := problems({"sweep": node}, []):
        raise InvalidConfig(found)
    if composed.config.hydra.mode is RunMode.RUN:
        return
    given = {"hydra.sweeper.params": composed.config.hydra.sweeper.get("params")}
    given |= {f"sweep.{name}": node.get(name) for name in ("cases", "design")}
    if makes := next((name for name, value in given.items() if value), None):
        raise ConfigError(
            f"this is a sweep ({makes}): add -m. For one run with the other values, add hydra.mode=RUN"
        )


def prepared(composer: Composer, composed: Composed, looks: bool = False) -> Built:
    """One run, checked and built; nothing on disk is changed. `looks`: it will not run."""
    built = build_run(composed, composer.trusted)
    built = _with_composition(built, composed)
    _check(built, looks)
    return built


def _with_composition(built: Built, composed: Composed) -> Built:
    """A run that keeps the composed configuration and the overrides in its directory, without secrets."""
    config: Any = OmegaConf.to_container(composed.without_hydra())
    files = {
        "config.yaml": yaml_text(redacted(config)),
        "overrides.yaml": yaml_text(redacted_overrides(composed.overrides)),
    }
    origin = replace(built.plan.origin, composed=files)
    return replace(built, plan=replace(built.plan, origin=origin))


def _check(built: Built, looks: bool = False) -> None:
    if problem := place_problem(built.plan.workspace.path):
        raise ConfigError(f"output_dir: {problem} with output_dir=DIR")
    try:
        preflight(built.plan, looks)
    except GenerateError as error:
        # Before anything is written, an input that cannot be made is a fault of the configuration.
        raise ConfigError(str(error)) from error


def stock_point(config: DictConfig, trusted: Sequence[str] = ()) -> object:
    """One job of one of Hydra's own launchers; ModelFailed if the run failed.

    Returns the record, or the metrics that `sweep.objective` names.
    """
    hydra = HydraConfig.get()
    directory = Path(hydra.runtime.output_dir)
    # Together with Hydra's part of the configuration, which the launcher has removed.
    config = config.copy()
    OmegaConf.set_struct(config, False)
    config["hydra"] = HydraConfig.instance().cfg.hydra  # type: ignore[union-attr]
    overrides: Any = OmegaConf.to_container(hydra.overrides.task)
    composed = Composed(config, tuple(overrides))
    built = _with_composition(build_run(composed, trusted), composed)
    # Before anything is computed from them.
    built.plan.spec.output_dir = directory.parent
    built.plan.spec.run_id = directory.name
    _check(built)
    try:
        record = drive(built.pipeline.steps(built.plan))
    except Exception as error:
        raise ModelFailed(f"{directory}: {error}") from error
    settings: Any = OmegaConf.to_container(config.sweep)
    objective = settings.get("objective")
    if objective is None or record is None:
        return record
    from rompy_hydra.compose.sweeper import objective_of

    return objective_of(record, objective)


class _SlowDumper(yaml.SafeDumper):
    """Quotes strings that OmegaConf, unlike YAML 1.1, reads as numbers, such as '1e5'."""


def _represent_str(dumper: Any, text: str) -> Any:
    style = None
    with contextlib.suppress(ValueError):
        float(text)
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """The same in C; only the other one escapes text that is not valid Unicode."""


_SlowDumper.add_representer(str, _represent_str)
_Dumper.add_representer(str, _represent_str)


def yaml_text(value: Any) -> str:
    """Plain data as YAML, with keys in their original order.

    >>> yaml_text({"b": "1e5", "a": [1.0, None, "on"]})
    "b: '1e5'\\na:\\n- 1.0\\n- null\\n- 'on'\\n"
    """
    how: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 1000}
    try:
        return str(yaml.dump(value, Dumper=_Dumper, **how))
    except UnicodeError:
        return str(yaml.dump(value, Dumper=_SlowDumper, **how))
