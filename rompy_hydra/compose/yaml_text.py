"""YAML text as OmegaConf writes and reads it, but ten times faster."""

from __future__ import annotations

import contextlib
from typing import Any

import yaml


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Quotes strings that OmegaConf, unlike YAML 1.1, reads as numbers, such as '1e5'."""


def _represent_str(dumper: Any, text: str) -> Any:
    style = None
    with contextlib.suppress(ValueError):
        float(text)
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_str)


def yaml_text(value: Any) -> str:
    """Plain data as YAML, with keys in their original order.

    >>> yaml_text({"b": "1e5", "a": [1.0, None, "on"]})
    "b: '1e5'\\na:\\n- 1.0\\n- null\\n- 'on'\\n"
    """
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000))
