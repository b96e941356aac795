"""Every file in `conf/` matches its class, and follows one style."""

from __future__ import annotations

import inspect
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.utils import get_class
from pydantic import BaseModel

from rompy_hydra.compose import app
from rompy_hydra.compose.build import build_run
from rompy_hydra.plugins.signatures import settings_model

CONF = Path(__file__).parents[2] / "conf"
OPTIONS = sorted(path for path in CONF.rglob("*.yaml") if path.parent != CONF)
# Hydra's own groups: Hydra instantiates their options, or reads them directly.
HYDRAS = [path for path in OPTIONS if path.relative_to(CONF).parts[0] == "hydra"]
OURS = [path for path in OPTIONS if path not in HYDRAS]
# Values that the user must provide, and a model that uses the option.
_TEMPLATE = ["model.template=.", "model.commands=[ls]"]
REQUIRED = {"model=template": _TEMPLATE}
REQUIRED |= {f"period={name}": ["model=template", *_TEMPLATE] for name in ("one_day", "three_days")}
REQUIRED |= {"processor=transfer": ["processor.destination=archive"]}


def _selects(path: Path) -> str:
    """The override that selects an option: `model=beach`, or `hydra/launcher=rompy_hydra`."""
    return f"{path.parent.relative_to(CONF).as_posix()}={path.stem}"


def _values(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text()) or {}


with_class = pytest.mark.parametrize(
    "path", [path for path in OPTIONS if "_target_" in _values(path)], ids=_selects
)


@pytest.mark.parametrize("path", OURS, ids=_selects)
def test_an_option_composes_and_instantiates(path: Path) -> None:
    overrides = [_selects(path), *REQUIRED.get(_selects(path), [])]
    with app.opened(app.parser().parse_args(overrides)) as composer:
        assert build_run(composer.compose(overrides)).plan.stages


@with_class
def test_an_option_lists_exactly_the_fields_of_its_class(path: Path) -> None:
    values = _values(path)
    _assert_same_fields(values, values.pop("_target_"))


def _assert_same_fields(values: dict[str, Any], target: str) -> None:
    found = get_class(target)
    model = settings_model(found)
    if model is None or target.startswith("hydra_plugins."):
        assert set(values) == set(inspect.signature(found).parameters)
        return
    assert set(values) == set(model.model_fields)
    for key, value in values.items():
        inner = model.model_fields[key].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and isinstance(value, dict):
            assert set(value) == set(inner.model_fields), key


@with_class
def test_every_field_of_an_option_has_a_comment(path: Path) -> None:
    for line in path.read_text().splitlines():
        if re.match(r"\w+:", line) and not line.startswith("_target_"):
            assert re.search(r" # \S", line), line


@pytest.mark.parametrize("path", OPTIONS, ids=_selects)
def test_an_option_is_at_most_thirty_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 30


@pytest.mark.parametrize("path", OPTIONS, ids=_selects)
def test_an_option_starts_with_its_purpose_and_the_override_that_selects_it(path: Path) -> None:
    comments = [line for line in path.read_text().splitlines()[:2] if not line.startswith("# @package")]
    assert re.fullmatch(r"# [^@].{10,}", comments[0])
    if not _selects(path).endswith("_logging=rompy_hydra"):  # selected by the main file, not by users
        assert _selects(path) in comments[0] or f"-m {_selects(path)}" in comments[0]


def test_every_configuration_is_tracked_by_git() -> None:
    command = ["git", "-C", str(CONF), "ls-files", "--others", "--ignored", "--exclude-standard", "."]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        pytest.skip("not a git checkout")
    assert not answer.stdout.split(), "these files are ignored, so a clone has not got them"
