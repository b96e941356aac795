from __future__ import annotations

import pytest

from rompy_hydra.compose import grid_parser
from rompy_hydra.errors import ConfigError
from rompy_hydra.sweep.config import SweepConfig


def labels(*arguments, params=None, **settings):
    grid = grid_parser.grid(arguments, params or {}, SweepConfig(name="test", **settings), None)
    found = [point.label for point in grid]
    assert settings.get("filter") or grid.size == len(found)
    return found


def test_the_last_axis_of_a_grid_varies_first():
    assert labels("a=1,2", "b=x,y") == ["a=1,b=x", "a=1,b=y", "a=2,b=x", "a=2,b=y"]


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("a=range(1,4)", ["1", "2", "3"]),
        ("a=range(0.1,0.4,0.1)", ["0.1", "0.2", "0.3", "0.4"]),
        ("a=range(0.0,1.0,0.25)", ["0.0", "0.25", "0.5", "0.75"]),
        ("a=range(3,0,-1)", ["3", "2", "1"]),
        ("a=choice(x,y)", ["x", "y"]),
        ("a='x,y'", ["x_y~"]),
        ("a=[1,2]", ["1_2~"]),
        ("a=[1,2],[3,4]", ["1_2~", "3_4~"]),
        ("a=null,true", ["null", "true"]),
        ("a=sort(3,1,2)", ["1", "2", "3"]),
        ("a=tag(t,choice(1,2))", ["1", "2"]),
    ],
)
def test_the_ways_to_list_values_in_hydra_are_supported(override, values):
    found = [name.removeprefix("a=") for name in labels(override)]
    assert [name.partition("~")[0] for name in found] == [value.rstrip("~") for value in values]


def test_shuffled_values_keep_their_order_throughout_the_sweep():
    grid = grid_parser.grid(["a=shuffle(range(0,50))"], {}, SweepConfig(name="test"), None)
    assert [point.label for point in grid] == [point.label for point in grid]
    assert len(set(grid)) == 50


def test_ten_million_points_are_counted_without_being_created():
    grid = grid_parser.grid(
        ["a=range(0,10000000)", "b=range(0.0,1.0,0.00001)"], {}, SweepConfig(name="test"), None
    )
    assert grid.size == 10_000_000 * 100_000
    assert next(iter(grid)).label == "a=0,b=0.0"


@pytest.mark.parametrize("override", ["a=range(1,1)", "a=range(2,1)", "a=range(1.0,0.5,0.1)"])
def test_an_empty_axis_is_rejected(override):
    with pytest.raises(ConfigError, match="nothing to sweep over"):
        labels(override)


@pytest.mark.parametrize("override", ["a=range(0,1,0)", "a=range(0.0,1,0)"])
def test_a_range_without_a_step_is_rejected(override):
    with pytest.raises(ConfigError, match="the step must not be 0"):
        labels(override)


def test_the_last_of_two_values_of_a_key_is_used():
    assert labels("a=1", "a=2") == ["a=2"]


@pytest.mark.parametrize("second", ["a=3", "a=3,4", "+a=3,4", "a=interval(0,1)"])
def test_a_swept_key_that_is_specified_twice_is_rejected(second):
    with pytest.raises(ConfigError, match=r"'.?a' is given twice"):
        labels("a=1,2", second)


def test_sweeper_params_define_a_grid_that_the_command_line_overrides():
    params = {"a": "1,2", "b": "range(0,2)", "c": 5}
    assert labels(params=params) == [f"a={a},b={b},c=5" for a in (1, 2) for b in (0, 1)]
    assert labels("a=7", params=params) == ["a=7,b=0,c=5", "a=7,b=1,c=5"]
    assert labels("++b=7", params=params) == ["a=1,b=7,c=5", "a=2,b=7,c=5"]


def test_zipped_keys_vary_together():
    found = labels("a=1,2", "b=x,y", "c=0", zip=(("a", "b"),))
    assert found == ["a=1,b=x,c=0", "a=2,b=y,c=0"]


def test_two_zipped_groups_form_a_grid():
    found = labels("a=1,2", "b=1,2", "c=3,4", "d=3,4", zip=(("a", "b"), ("c", "d")))
    assert found == ["a=1,b=1,c=3,d=3", "a=1,b=1,c=4,d=4", "a=2,b=2,c=3,d=3", "a=2,b=2,c=4,d=4"]


def test_an_added_key_is_zipped_by_its_name():
    assert labels("+a=1,2", "b=x,y", zip=(("a", "b"),)) == ["a=1,b=x", "a=2,b=y"]


def test_lists_of_different_lengths_are_not_zipped():
    with pytest.raises(ConfigError, match="the lists differ in length: a has 2, b has 3"):
        labels("a=1,2", "b=1,2,3", zip=(("a", "b"),))


def test_a_zipped_key_that_is_not_swept_is_rejected_with_the_closest_one():
    with pytest.raises(ConfigError, match=r"'model.frictoin' is not swept. Did you mean 'model.friction'"):
        labels("model.friction=1,2", zip=(("model.frictoin",),))


@pytest.mark.parametrize("groups", [(("a", "a"),), (("a", "b"), ("b", "c"))])
def test_a_key_can_be_zipped_only_once(groups):
    with pytest.raises(ConfigError, match="is given twice"):
        labels("a=1,2", "b=1,2", "c=1,2", zip=groups)


def test_an_interval_requires_a_design():
    with pytest.raises(ConfigError, match=r"a=interval\(...\) needs a design"):
        labels("a=interval(0,1)")


@pytest.mark.parametrize("design", ["latin_hypercube", "sobol"])
def test_a_design_depends_only_on_its_seed_and_lies_within_its_bounds(design):
    pytest.importorskip("scipy")
    arguments = ["model.friction=interval(0.01,0.05)", "model.depth=int(interval(1,9))"]

    def points(seed):
        settings = SweepConfig(name="test", design=design, samples=8, seed=seed)
        return [point.parameters for point in grid_parser.grid(arguments, {}, settings, None)]

    assert points(1) == points(1) != points(2)
    assert len(points(1)) == 8
    for point in points(1):
        assert 0.01 <= point["model.friction"] <= 0.05
        assert point["model.depth"] in range(1, 10)


@pytest.mark.parametrize("design", ["latin_hypercube", "sobol"])
def test_a_design_does_not_depend_on_the_order_of_its_keys(design):
    pytest.importorskip("scipy")
    keys = ["+model.parameters.x=interval(0,1)", "model.friction=interval(0.01,0.05)"]
    assert labels(*keys, design=design, samples=4) == labels(*reversed(keys), design=design, samples=4)


def test_a_huge_design_is_counted_without_being_created():
    arguments = ["a=interval(0,1)"]
    settings = SweepConfig(name="test", design="sobol", samples=2**40)
    assert grid_parser.grid(arguments, {}, settings, None).size == 2**40


@pytest.mark.parametrize("key", ["run_id", "output_dir", "sweep.name", "hydra.launcher.workers"])
def test_settings_of_the_sweep_cannot_be_swept(key):
    with pytest.raises(ConfigError, match=f"hydra.sweeper.params: '{key}'"):
        labels("a=1,2", params={key: "x,y"})


def test_a_value_of_a_range_equals_the_value_as_typed():
    grid = grid_parser.grid(["a=range(0.1,0.9,0.1)"], {}, SweepConfig(name="test"), None)
    assert [point.parameters["a"] for point in grid][:4] == [0.1, 0.2, 0.3, 0.4]


def test_a_latin_hypercube_has_one_point_in_each_slice():
    pytest.importorskip("scipy")
    settings = SweepConfig(name="test", design="latin_hypercube", samples=10)
    grid = grid_parser.grid(["a=interval(0,10)", "b=interval(0,10)"], {}, settings, None)
    for key in ("a", "b"):
        assert sorted(int(point.parameters[key]) for point in grid) == list(range(10))


def test_a_design_can_be_combined_with_a_grid():
    pytest.importorskip("scipy")
    found = labels("a=x,y", "b=interval(0,1)", design="sobol", samples=4)
    assert len(set(found)) == 8


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (["a=1"], {"design": "sobol", "samples": 4}, "needs a key with an interval"),
        (["a=interval(2,1)"], {"design": "sobol", "samples": 4}, "the first must be below the second"),
        (["a=interval(0,1)"], {"design": "sobol", "samples": 6}, "take 4 or 8"),
    ],
)
def test_an_invalid_design_is_rejected(arguments, settings, message):
    pytest.importorskip("scipy")
    with pytest.raises(ConfigError, match=message):
        labels(*arguments, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"design": "sobol"},
        {"samples": 4},
        {"design": "random", "samples": 4},
        {"design": "sobol", "samples": 4, "seed": -1},
    ],
)
def test_a_design_requires_samples_and_samples_require_a_design(settings):
    with pytest.raises(ValueError, match=r"sweep.samples|goes with a design|Input should be"):
        SweepConfig(name="test", **settings)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b"])
def test_the_name_of_a_sweep_must_be_valid_for_one_directory(name):
    with pytest.raises(ValueError, match="must be the name of one directory"):
        SweepConfig(name=name)
