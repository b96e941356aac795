"""Parameters that a YAML file declares with limits, separated when the file is read.

What is merged over the file afterwards, an experiment or an override, then replaces a plain value, and the
limits stay.
"""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from rompy_hydra.errors import ConfigError, InvalidValues
from rompy_hydra.models.parameters import separate

_GROUP = "model"


def separate_limits(config: DictConfig, config_path: str) -> None:
    """Turn `parameters: {h: {value: 2, min: 0}}` of a file into a plain value and `parameter_limits`."""
    name = config_path.removesuffix(".yaml")
    if name.startswith(f"{_GROUP}/"):
        _separate(config, name)
    # In a file for the whole configuration, such as an experiment.
    _separate(_child(config, _GROUP), name)


def _child(node: Any, key: str) -> Any:
    if not isinstance(node, DictConfig) or _is_special(node):
        return None
    return node._get_node(key, validate_access=False)


def _is_special(node: DictConfig) -> bool:
    return bool(node._is_none() or node._is_missing() or node._is_interpolation())


def _separate(node: Any, file: str) -> None:
    parameters = _child(node, "parameters")
    if not isinstance(parameters, DictConfig) or _is_special(parameters):
        return
    try:
        plain = OmegaConf.to_container(parameters, resolve=False)
        assert isinstance(plain, dict)
        values, limits = separate({str(key): value for key, value in plain.items()})
    except InvalidValues as error:
        (name, reason), *_ = error.reasons.items()
        raise ConfigError(f"model.parameters.{name}: {reason} (in {file}.yaml)") from error
    if limits:
        node["parameters"] = values
        known = _child(node, "parameter_limits")
        node["parameter_limits"] = OmegaConf.merge(limits, known if isinstance(known, DictConfig) else {})
