from __future__ import annotations

import pytest

from rompy_hydra.workspace.config_diff import describe_difference


@pytest.mark.parametrize(
    ("stored", "wanted", "text"),
    [
        ({"a": 1}, {"a": 2}, "a: 1 there, 2 here"),
        ({"model": {"a": {"b": "x"}}}, {"model": {"a": {"b": "y"}}}, 'model.a.b: "x" there, "y" here'),
        ({}, {"a": True}, "a: nothing there, true here"),
        ({"a": [1, 2]}, {}, "a: [1, 2] there, nothing here"),
        ({"a": None}, {"a": 0}, "a: nothing there, 0 here"),
        ({"a": {"b": 1}}, {"a": 5}, "a: nothing there, 5 here; a.b: 1 there, nothing here"),
    ],
)
def test_a_changed_setting_is_shown_with_both_values(stored, wanted, text):
    assert describe_difference(stored, wanted) == text


def test_three_settings_are_shown_in_alphabetical_order_and_the_others_counted():
    stored, wanted = dict.fromkeys("cadb", 1), dict.fromkeys("cadbe", 2)
    text = "a: 1 there, 2 here; b: 1 there, 2 here; c: 1 there, 2 here and 2 more"
    assert describe_difference(stored, wanted) == text


def test_settings_that_are_not_part_of_the_identity_are_left_out():
    stored = {"output_dir": "runs", "processor": [{"name": "noop"}], "model": {"depth": 1}}
    wanted = {"output_dir": "elsewhere", "processor": [{"name": "map"}], "model": {"depth": 2}}
    assert describe_difference(stored, wanted) == "model.depth: 1 there, 2 here"


def test_equal_configurations_differ_in_values_that_are_not_stored():
    same = {"model": {"env": {"A": "<not stored>"}}, "tags": {}}
    assert describe_difference(same, {"model": same["model"]}) == "values that are not stored differ"
