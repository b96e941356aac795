"""The fast path of composing a point gives what Hydra's own composition gives."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st

from rompy_hydra.compose import grid_parser
from rompy_hydra.compose.composer import Composer, parser
from rompy_hydra.compose.override_parser import parse
from rompy_hydra.compose.point_composer import PointComposer
from rompy_hydra.errors import ConfigError
from rompy_hydra.sweep.config import SweepConfig

SWEEP = SweepConfig(name="test")
# Keys that are set by the sweep itself.
GIVEN = {"run_id", "output_dir", "sweep"}

MINE = {
    "model/interpolating.yaml": """
        _target_: rompy_hydra.models.TemplateModel
        template: somewhere
        parameters: {np: 2, depth: 10.0, deep: {er: [1, 2.0, null]}}
        commands: [[mpirun, -n, "${model.parameters.np}"], "./model ${model.parameters.deep}"]
        env: {HERE: "${oc.env:HOME}", CHOSEN: "${hydra:runtime.choices.model}"}
        outputs: ["${hydra:job.override_dirname}"]
        success: {must_exist: ["${.must_not_exist}"], must_not_exist: [x], log_file: "${log_level}.log"}
        """,
    "model/waiting.yaml": """
        _target_: rompy_hydra.models.TemplateModel
        template: ???
        commands: ["${model.parameters.program}"]
        parameters: {}
        """,
    "model/plain.yaml": r"""
        _target_: rompy_hydra.models.TemplateModel
        template: ???
        commands: [[run, "\\${not_an_interpolation}"], null]
        parameters: {number: 1, truth: true, whole: 1.0, nothing: null, 7: seven}
        """,
    "experiment/aliased.yaml": """
        # @package _global_
        alias: ${model.parameters}
        again: ["${alias.number}", "${period.start}"]
        defaults:
          - override /model: plain
        """,
    "experiment/both.yaml": """
        # @package _global_
        defaults:
          - override /model: plain
          - override /period: one_day
        model:
          parameters: {number: 2}
        """,
}


@pytest.fixture(scope="module")
def composer(tmp_path_factory):
    directory = tmp_path_factory.mktemp("configs")
    for name, text in MINE.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(re.sub(r"^ {8}", "", text.lstrip("\n"), flags=re.M))
    made = Composer(parser().parse_args(["--config-dir", str(directory)]))
    yield made
    made.close()


def typed(value: object) -> str:
    """A value in Hydra's grammar, written independently of the package's own code."""
    if isinstance(value, str):
        # Backslashes count only before a quote.
        return '"' + re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + ('\\"' if m[2] else ""), value) + '"'
    if isinstance(value, list):
        return "[" + ",".join(map(typed, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{typed(item)}" for key, item in value.items()) + "}"
    return "null" if value is None else str(value)


words = st.sampled_from(
    ["beach", "true", "null", "1", "1.0", "nan", "a,b", "a=b", "it's", 'say "so"', "", " "]
)
awkward = st.sampled_from(
    ["größe", "C:\\dir\\", "back\\'slash", "(x)", "[1,2]", "{a: 1}", "日本", "a\tb", "~"]
)
interpolations = st.sampled_from(
    [
        "${model.friction}",
        "${log_level}",
        "${model}",
        "${nowhere}",
        "\\${kept}",
        "a ${log_level} b",
        "${",
        "???",
    ]
)
numbers = st.integers(-(10**20), 10**20) | st.floats(width=64) | st.sampled_from([0.1, 1, 1.0, -0.0, 1e22])
scalars = st.none() | st.booleans() | numbers | words | awkward | interpolations | st.text(max_size=5)
names = st.sampled_from(["a", "must_exist", "X", "7", "depth"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)
existing = [
    "model.friction", "model.wave_height", "model.template", "model.commands", "model.parameters",
    "model.parameters.np", "model.parameters.number", "model.parameters.truth", "model.parameters.deep.er",
    "model.parameters.7", "model.env", "model.success", "model.success.must_exist", "model.outputs",
    "model.outputs.0", "model.commands.0.1", "period.start", "log_level", "allowed_targets", "period",
    "alias.number", "alias", "again",
]  # fmt: skip
new = [
    "model.new",
    "model.parameters.program",
    "model.env.NEW",
    "extra",
    "extra.deep.er",
    "model.friction.er",
    "alias.new",
]
keys = st.sampled_from(existing) | st.sampled_from(
    [f"{sign}{key}" for sign in ("+", "++") for key in [*existing, *new]] + new
)
assigned = st.tuples(keys, st.lists(values, min_size=1, max_size=2)).map(
    lambda pair: (pair[0], [f"{pair[0]}={typed(value)}" for value in pair[1]])
)
models = ["beach", "interpolating", "waiting", "plain", "template"]
groups = st.sampled_from(
    [
        *(("model", [f"model={name}"]) for name in models),
        ("model", ["model=plain", "model=interpolating"]),
        ("model", ["model={friction: 3}"]),
        ("experiment", ["experiment=both"]),
        ("experiment", ["experiment=both", "experiment=null"]),
        ("experiment", ["experiment=aliased"]),
        ("experiment", ["experiment=aliased"]),
        ("period", ["period=one_day"]),
        ("processor", ["processor=noop", "processor=none"]),
        ("+processor@processor.x", ["+processor@processor.x=noop"]),
        ("~processor", ["~processor"]),
        ("site", ["site=nowhere"]),
    ]
)
deletions = st.sampled_from(
    ["model.env", "model.success", "model.parameters.np", "model.nowhere", "extra", "period", "log_level"]
).map(lambda key: (f"~{key}", [f"~{key}"]))
commands = st.lists(assigned | assigned | groups | deletions, min_size=1, max_size=5)


def composed(make):
    """The composed configuration, or "refused" if it is invalid."""
    try:
        return {key: node for key, node in make().items() if key not in GIVEN}
    except ConfigError:
        return "refused"


def check(composer, command):
    lines = {}
    for key, alternatives in command:
        # If a key has two overrides, the last one counts, at its own position.
        lines.pop(key, None)
        lines[key] = alternatives
    # A swept key has only one override, with or without a plus sign.
    paths = [key.lstrip("+") for key in lines]
    assume(all(len(found) == 1 or paths.count(key.lstrip("+")) == 1 for key, found in lines.items()))
    assume(all(_is_grammar(line) for alternatives in lines.values() for line in alternatives))
    arguments = [_swept(alternatives) for alternatives in lines.values()]
    grid = grid_parser.grid(arguments, {}, SWEEP, composer.hydra.config_loader)
    points = PointComposer(composer, SWEEP, [])
    pairs = zip(grid, _products(list(lines.values())), strict=True)
    for point, reference in list(pairs)[:3]:
        # Typed again, the overrides have the same meaning.
        assert repr(meant(point.overrides)) == repr(meant(reference))
        expected = composed(lambda point=point: composer.compose(point.overrides).plain())
        found = composed(lambda point=point: points.plain(point))
        assert repr(found) == repr(expected), point.overrides


def meant(overrides):
    return [(each.get_key_element(), each.value()) for each in parse(list(overrides))]


def _is_grammar(line):
    try:
        return bool(parse([line]))
    except ConfigError:
        return False


def _swept(alternatives):
    first = alternatives[0]
    return first + "".join("," + line.split("=", 1)[1] for line in alternatives[1:])


def _products(axes_of_lines):
    if not axes_of_lines:
        yield []
        return
    for line in axes_of_lines[0]:
        for rest in _products(axes_of_lines[1:]):
            yield [line, *rest]


# Examples are already small, and composing is too slow to search for smaller ones.
common = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.explicit, Phase.generate],
}


# The first of two new keys stays first, even if only the second key is in all points.
NEW_KEYS = [("+model.b", ["+model.b=1", "+model.b=2"]), ("++model.a", ["++model.a=3"])]


@settings(max_examples=30, derandomize=True, **common)
@given(command=commands)
@example(command=NEW_KEYS)
def test_a_point_is_composed_as_in_hydra(composer, command):
    check(composer, command)


@pytest.mark.slow
@settings(max_examples=300, **common)
@given(command=commands)
def test_hundreds_of_random_points_are_composed_as_in_hydra(composer, command):
    check(composer, command)
