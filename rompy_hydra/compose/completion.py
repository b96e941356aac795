"""The words with which Hydra completes an override: groups, their options, keys and values."""

from __future__ import annotations

import argparse
import contextlib

from hydra.errors import HydraException
from hydra.plugins.completion_plugin import DefaultCompletionPlugin
from omegaconf.errors import OmegaConfBaseException

from rompy_hydra.compose.composer import Composer
from rompy_hydra.compose.override_parser import in_hydra_grammar
from rompy_hydra.errors import RompyHydraError


def words_of_configuration(arguments: argparse.Namespace, word: str) -> list[str]:
    """What may stand in place of `word` behind these arguments; nothing if they cannot be composed."""
    with contextlib.suppress(HydraException, OmegaConfBaseException, RompyHydraError, ValueError):
        # Hydra splits the line again at spaces; a value with spaces decides about no completion.
        arguments.overrides = [line for line in in_hydra_grammar(arguments.overrides) if " " not in line]
        with contextlib.closing(Composer(arguments)) as composer:
            composer.loader.shown_resolved = True
            several = ["--multirun"] if arguments.multirun else []
            line = " ".join([*several, *arguments.overrides, word])
            plugin = DefaultCompletionPlugin(composer.hydra.config_loader)
            return [str(each) for each in plugin._query(composer.config_name, line)]
    return []
