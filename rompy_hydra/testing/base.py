"""What the contracts of all plugins share."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rompy_hydra import BaseConfig, ModelRun, SuccessChecks
from rompy_hydra.compose.entry_points import node_of
from rompy_hydra.compose.validate import problems
from rompy_hydra.errors import PluginError
from rompy_hydra.jsonable import to_plain
from rompy_hydra.plugins import registry
from rompy_hydra.plugins.answers import as_bool
from rompy_hydra.plugins.signatures import settings_model

# What a model of these tests writes, and the least that it does.
OUTPUT = "out.csv"
WRITES = f"printf 'x,y\\n1,2\\n3,5\\n' > {OUTPUT}"


class PluginContract:
    """What every plugin keeps.

    `plugin` is the class; `settings` are those that it needs. With `name`, the name of its entry
    point, the tests also check that the installed package registers it.
    """

    category: ClassVar[str]
    group: ClassVar[str]

    plugin: ClassVar[Any]
    settings: ClassVar[Mapping[str, Any]] = {}
    name: ClassVar[str | None] = None

    def model_run(
        self, directory: Path, *commands: str, run_id: str = "contract", **fields: Any
    ) -> ModelRun:
        """A run of shell commands in a directory."""
        checks = SuccessChecks(must_exist=(OUTPUT,))
        config = BaseConfig(commands=commands or (WRITES,), **{"success": checks, **fields})
        return ModelRun(run_id=run_id, output_dir=directory, config=config)

    @pytest.fixture
    def entry_point(self) -> str:
        if self.name is None:
            pytest.skip("no name is given: name = '...' is the name of the entry point")
        return self.name

    def test_the_package_registers_it_under_its_name(self, entry_point: str) -> None:
        found = registry.find(self.category, entry_point).load()
        assert found is self.plugin, f"the entry point {entry_point} is {found!r}"

    def test_it_is_an_option_with_its_settings_as_keys(self, entry_point: str) -> None:
        node = {**node_of(self.category, entry_point), **self.settings}
        wrong = problems({self.group: node}, [])
        assert not wrong, "; ".join(map(str, wrong))

    def test_its_settings_are_plain_data(self) -> None:
        json.dumps(to_plain(dict(self.settings)), allow_nan=False)

    @pytest.fixture
    def run(self, tmp_path: Path) -> ModelRun:
        """A run that the plugin can work on."""
        return self.model_run(tmp_path)

    def use(self, run: Any, **more: Any) -> Any:
        """Use the plugin with its settings and `more` settings."""
        raise NotImplementedError

    def test_it_does_not_change_the_program_that_calls_it(self, run: ModelRun) -> None:
        # The runs of a sweep share the working directory and the environment.
        directory, environment = os.getcwd(), dict(os.environ)
        self.use(run)
        assert os.getcwd() == directory, f"the working directory was changed to {os.getcwd()}"
        assert dict(os.environ) == environment, "the environment of the program was changed"

    def test_an_unknown_setting_is_refused(self, run: ModelRun) -> None:
        model = settings_model(self.plugin, self.category)
        if model is None or model.model_config.get("extra") != "forbid":
            pytest.skip("it accepts any setting")
        with pytest.raises((ValueError, PluginError), match="no_such_setting"):
            self.use(run, no_such_setting=1)


class StageContract(PluginContract):
    """What the plugins that work on a model run share."""

    def answer_without_run(self) -> object:
        """What the plugin answers if its model run is None."""
        return self.use(None)

    def test_without_a_model_run_it_does_not_succeed(self) -> None:
        try:
            answer = self.answer_without_run()
        except Exception:  # noqa: BLE001 - any error is an honest answer
            return
        success = answer["success"] if isinstance(answer, dict) else as_bool(answer)
        assert success is False, f"without a model run it answered {answer!r}"
