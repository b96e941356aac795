"""`rompy-hydra plugins`: the installed plugins, their states and settings."""

from __future__ import annotations

import json

from tests.plugins.packaging import Program


def rows(text):
    """The rows of the table by group, name and distribution."""
    cells = (line.split(maxsplit=2) for line in text.splitlines() if line.count("  "))
    return {(group, name, rest.split("  ")[0]): rest for group, name, rest in cells}


def test_the_table_shows_the_distribution_and_state_of_every_plugin_even_if_some_are_broken(program):
    answer = program("plugins")
    assert answer.returncode == 0, answer.stderr
    found = rows(answer.stdout)
    state = {key: " ".join(rest.split()) for key, rest in found.items()}
    assert state["run_backend", "local", "rompy-hydra 0.2.0"] == "rompy-hydra 0.2.0 ok"
    assert state["run_backend", "local", "thief 1.0"].endswith(
        "shadowed: by that of rompy-hydra; choose thief:local"
    )
    broken = state["run_backend", "broken", "Broken.Plugin 0.3"]
    assert "broken: ModuleNotFoundError: No module named 'there_is_no_such_module'" in broken
    assert "it has no method run()" in state["run_backend", "nothing", "Broken.Plugin 0.3"]
    assert "broken: SystemExit: goodbye" in state["processor", "quitting", "Broken.Plugin 0.3"]
    twins = [rest for (_, name, _), rest in found.items() if name == "twin"]
    assert len(twins) == 2
    assert all("ambiguous: choose twin-1:twin or twin-2:twin" in rest for rest in twins)
    slow = state["run_backend", "slow", "slow-plugin 1.0"]
    assert "ok, but takes 2." in slow and slow.endswith("s to import")
    assert state["configs", "good", "good-plugins 1.0"].endswith("ok")
    assert "imported at last" not in answer.stdout  # what a plugin prints is not in the table


def test_the_settings_of_a_plugin_are_shown_with_types_defaults_and_meanings(program):
    one, built_in, qualified, broken, unknown, group = program.run_all(
        ["plugins", "run_backend", "with_config"],
        ["plugins", "run", "local"],
        ["plugins", "processor", "thief:noop"],
        ["plugins", "run-backend", "broken"],
        ["plugins", "processor", "summery"],
        ["plugins", "models"],
    )
    assert "run_backend=with_config" in one.stdout
    assert "good-plugins 1.0, good_plugins:WithConfig" in one.stdout
    assert "Takes a config of its own class" in one.stdout
    lines = {line.split()[0]: line for line in one.stdout.splitlines() if line.startswith("run_backend.")}
    assert lines["run_backend.nodes"].split(maxsplit=1)[1].split("  ")[0] == "int, ≥ 1"
    assert "how many nodes" in lines["run_backend.nodes"]
    assert "'short' | 'long'" in lines["run_backend.queue"]
    assert "s; null: no limit" in built_in.stdout
    assert (qualified.returncode, broken.returncode, unknown.returncode, group.returncode) == (2, 2, 2, 2)
    assert "broken: PluginError" in qualified.stdout or "it has no method process()" in qualified.stdout
    assert "broken of Broken.Plugin 0.3 is broken" in broken.stderr
    assert "Did you mean 'summary'?" in unknown.stderr
    assert "there is no group 'models' of plugins. Did you mean 'model'?" in group.stderr


def test_json_contains_the_same_information(program):
    answer = program("plugins", "--json")
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    one = next(each for each in found if each["name"] == "with_settings")
    assert one["settings"] == [
        {"name": "nodes", "type": "int", "default": 1, "required": False, "meaning": ""},
        {"name": "queue", "type": "str", "default": "short", "required": False, "meaning": ""},
    ]
    assert {each["state"] for each in found} == {"ok", "broken", "shadowed", "ambiguous"}
    assert {each["group"] for each in found} == {"run_backend", "processor", "pipeline", "model"}
    needed = next(each for each in found if each["name"] == "template")["settings"]
    assert [each["name"] for each in needed if each["required"]] == ["template"]


def test_all_plugins_of_this_package_are_ok_and_their_settings_have_meanings(tmp_path):
    answer = Program(tmp_path, tmp_path)("plugins", "--json")
    own = [each for each in json.loads(answer.stdout) if each["distribution"] == "rompy-hydra"]
    assert {each["state"] for each in own} == {"ok"}
    assert {"local", "docker", "summary", "map", "noop", "beach", "template"} <= {
        each["name"] for each in own
    }
    for each in own:
        # The meanings come from the comments of the YAML files.
        assert all(setting["meaning"] for setting in each["settings"]), each["name"]


def test_an_unknown_command_is_reported(program):
    answer = program("plugin")
    assert answer.returncode == 2
    assert "there is no command 'plugin'. Did you mean 'plugins'?" in answer.stderr


def test_a_command_after_an_option_is_rejected_with_the_right_order(program):
    answer = program("--config-dir", "conf", "plugins")
    assert answer.returncode == 2
    assert "write the command first: rompy-hydra plugins" in answer.stderr
