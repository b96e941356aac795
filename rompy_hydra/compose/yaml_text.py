"""Configurations as YAML, as OmegaConf writes and reads them, and ten times as quickly."""

from __future__ import annotations

import contextlib
from typing import Any

import yaml


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Quotes a text that OmegaConf would read as a number, such as '1e5', which is none in YAML 1.1."""


def _text(dumper: Any, text: str) -> Any:
    style = None
    with contextlib.suppress(ValueError):
        float(text)
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def yaml_text(value: Any) -> str:
    """Plain data as YAML, keys in their order.

    >>> yaml_text({"b": "1e5", "a": [1.0, None, "on"]})
    "b: '1e5'\\na:\\n- 1.0\\n- null\\n- 'on'\\n"
    """
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000))
