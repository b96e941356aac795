"""What the contracts of all plugins share."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rompy_hydra import BaseConfig, ModelRun, SuccessChecks
from rompy_hydra.compose.entry_points import node_of
from rompy_hydra.compose.validate import problems
from rompy_hydra.errors import PluginError
from rompy_hydra.jsonable import to_plain
from rompy_hydra.plugins import registry
from rompy_hydra.plugins.signatures import settings_model

# What a model of these tests writes, and the least that it does.
OUTPUT = "out.csv"
WRITES = f"printf 'x,y\\n1,2\\n3,5\\n' > {OUTPUT}"
# A setting that no plugin has.
UNKNOWN = "no_such_setting"


class PluginContract:
    """What every plugin keeps.

    `plugin` is the class; `settings` are those that it needs. With `name`, the name of its entry
    point, the tests also look whether the installed package registers it.
    """

    category: ClassVar[str]
    group: ClassVar[str]

    plugin: ClassVar[Any]
    settings: ClassVar[Mapping[str, Any]] = {}
    name: ClassVar[str | None] = None

    def model_run(
        self, directory: Path, *commands: str, run_id: str = "contract", **fields: Any
    ) -> ModelRun:
        """A run of shell lines in a directory."""
        checks = SuccessChecks(must_exist=(OUTPUT,))
        config = BaseConfig(commands=commands or (WRITES,), **{"success": checks, **fields})
        return ModelRun(run_id=run_id, output_dir=directory, config=config)

    def test_the_package_registers_it_under_its_name(self) -> None:
        if self.name is None:
            pytest.skip("no name is given: name = '...' is the name of the entry point")
        found = registry.find(self.category, self.name).load()
        assert found is self.plugin, f"the entry point {self.name} is {found!r}"

    def test_it_is_an_option_with_its_settings_as_keys(self) -> None:
        if self.name is None:
            pytest.skip("no name is given: name = '...' is the name of the entry point")
        node = {**node_of(self.category, self.name), **self.settings}
        wrong = problems({self.group: node}, [])
        assert not wrong, "; ".join(map(str, wrong))

    def test_its_settings_are_plain_data(self) -> None:
        json.dumps(to_plain(dict(self.settings)), allow_nan=False)

    def _refuses_unknown_settings(self) -> bool:
        model = settings_model(self.plugin, self.category)
        return model is not None and model.model_config.get("extra") == "forbid"


@contextlib.contextmanager
def left_alone() -> Iterator[None]:
    """A context that must not change the working directory and the environment of the program.

    Several runs of a sweep share both.
    """
    before = os.getcwd(), dict(os.environ)
    yield
    assert os.getcwd() == before[0], f"the working directory was changed to {os.getcwd()}"
    assert dict(os.environ) == before[1], "the environment of the program was changed"


def refused() -> Any:
    """A context in which a setting is refused by name."""
    return pytest.raises((ValueError, PluginError), match=UNKNOWN)
