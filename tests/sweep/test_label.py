from __future__ import annotations

import itertools
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rompy_hydra.core.spec import check_run_id
from rompy_hydra.sweep.label import is_named, join_pairs, label

values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=2)
)
keys = st.sampled_from(
    ["model.friction", "model.depth", "+model.parameters.depth", "run_backend", "~model.env"]
)


def test_the_label_does_not_depend_on_the_order_of_the_overrides():
    overrides = [("model.friction", 0.03), ("model.depth", 10), ("processor", "noop")]
    labels = {label(order) for order in itertools.permutations(overrides)}
    assert labels == {"depth=10,friction=0.03,processor=noop"}


def test_settings_that_do_not_affect_results_are_not_part_of_a_label():
    kept = [("model.friction", 1)]
    more = [
        ("site", "cluster"),
        ("log_level", "DEBUG"),
        ("overwrite", True),
        ("pipeline.stages", ["generate"]),
    ]
    assert label([*kept, *more]) == label(kept) == "friction=1"


def test_secrets_are_not_part_of_a_label():
    assert label([("+model.env.API_TOKEN", "hush"), ("model.friction", 1)]) == "friction=1"
    assert not is_named("run_backend.env_vars.PASSWORD")


def test_a_label_shows_numeric_environment_variables_and_hashes_texts():
    key = "+run_backend.env_vars.OMP_NUM_THREADS"
    assert label([(key, 4)]) == "OMP_NUM_THREADS=4"
    texts = {label([(key, text)]) for text in ("close", "spread")}
    assert len(texts) == 2
    assert all(re.fullmatch("OMP_NUM_THREADS=~[0-9a-f]{10}", text) for text in texts)


def test_keys_with_the_same_last_part_are_distinguished():
    assert label([("model.depth", 1), ("processor.depth", 2)]) == "model.depth=1,processor.depth=2"


def test_adding_and_changing_a_key_give_the_same_label():
    assert label([("+model.depth", 1)]) == label([("++model.depth", 1)]) == label([("model.depth", 1)])


def test_a_deletion_differs_from_a_change_to_null():
    assert label([("~model.env", None)]) == "~env"
    assert label([("model.env", None)]) == "env=null"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (0.10, "0.1"),
        (1e-5, "1e-05"),
        (True, "true"),
        (None, "null"),
        ("größe", "größe"),
        (-3, "-3"),
    ],
)
def test_a_plain_value_is_shown_unchanged(value, text):
    assert label([("x", value)]) == f"x={text}"


@pytest.mark.parametrize(
    "value", ["a/b", "a b", "", "x=1,y=2", "../..", "\n", "C:\\x", "v" * 300, [1, 2], {"a": 1}]
)
def test_a_value_with_special_characters_is_shortened_and_distinguished_by_a_hash(value):
    name = label([("x", value)])
    assert "~" in name
    assert "/" not in name
    assert name != label([("x", str(value) + "!")])


def test_values_truncated_to_the_same_prefix_are_distinguished():
    paths = [f"/very/long/path/to/some/bathymetry/file-{number}.nc" for number in range(10_000)]
    assert len({label([("model.bathymetry", path)]) for path in paths}) == len(paths)


def test_the_order_of_a_mappings_keys_does_not_matter():
    assert label([("x", {"a": 1, "b": 2})]) == label([("x", {"b": 2, "a": 1})])


@given(st.lists(st.tuples(keys, values), min_size=1, max_size=20, unique_by=lambda pair: pair[0]))
def test_any_label_can_name_a_run_and_a_directory(pairs):
    name = label(pairs)
    assert check_run_id(name) == name
    assert len(os.fsencode(f"{name}.old-1000")) < 255


def test_a_label_of_many_overrides_is_truncated_and_distinguished():
    many = [(f"model.parameters.a_rather_long_name_{number}", number) for number in range(20)]
    first, second = label(many), label([*many[:-1], (many[-1][0], 99)])
    assert first != second
    assert len(first) == len(second) == 160


def test_a_key_that_resembles_an_omitted_one_is_shown_in_full():
    pair = ("processor.summary.dry_depth", "0.01")
    assert join_pairs([pair]) == "dry_depth=0.01"
    assert join_pairs([pair], ["processor.map.dry_depth"]) == "processor.summary.dry_depth=0.01"
    assert join_pairs([pair], ["processor.summary.dry_depth"]) == "dry_depth=0.01"
