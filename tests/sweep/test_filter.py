from __future__ import annotations

import pytest

from rompy_hydra.errors import ConfigError
from rompy_hydra.sweep.filter import compile_filter

POINT = {"model.friction": 0.02, "model.wave_height": 3, "processor": "noop"}


@pytest.mark.parametrize(
    ("expression", "kept"),
    [
        ("friction < 0.05", True),
        ("friction * wave_height > 0.05", True),
        ("model.friction == 0.02 and not wave_height >= 3", False),
        ("0.01 < friction < 0.015", False),
        ("processor in ['noop', 'summary']", True),
        ("processor != 'noop' or wave_height % 2 == 1", True),
        ("max(friction, wave_height) - abs(-3) == 0", True),
        ("-wave_height ** 2 // 2 == -5", True),
        ("round(7, -1000000000) == 0", True),  # at once
        ("round(friction, 1) == 0 and 4 ** 0.5 == 2", True),
    ],
)
def test_an_expression_keeps_or_excludes_a_point(expression, kept):
    assert compile_filter(expression)(POINT) is kept


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("friction <", "is not a valid expression"),
        ("friction\0 < 1", "is not a valid expression"),
        ("frictoin < 1", "'frictoin' is not swept. Did you mean 'friction'"),
        ("__import__('os').system('true')", "is not supported"),
        ("friction.real < 1", "'friction.real' is not swept"),
        ("(lambda: 1)()", "is not supported"),
        ("[x for x in (1, 2)]", "is not supported"),
        ("open('/etc/passwd')", "is not supported"),
        ("friction < 'a'", "not supported between"),
        ("1 / (wave_height - 3)", "division by zero"),
        ("friction & 1", "BitAnd is not supported"),
        ("min(friction, key=abs)", "is not supported"),
        ("'x'.upper() == 'X'", "is not supported"),
        ("9 ** 9 ** 9", "math range error"),
        ("'a' * 10 ** 9", "only numbers can be multiplied"),
        ("0 ** -1", "math domain error"),
        ("'%99999999999d' % 1 == ''", "only numbers can be multiplied"),
        ("b'a' * 10 ** 9 == b''", "is not supported"),
        ("friction.real.imag < 1", "'friction.real.imag' is not swept"),
        ("round('a') == 0", "only numbers can be multiplied"),
        ("+".join(["1"] * 1500), "recursion"),
    ],
)
def test_anything_but_arithmetic_and_logic_is_rejected(expression, message):
    with pytest.raises(ConfigError, match=message):
        compile_filter(expression)(POINT)


@pytest.mark.parametrize("order", [1, -1])
def test_an_ambiguous_last_part_is_not_a_name(order):
    keys = ["model.parameters.depth", "model.parameters.other.depth"]
    point = dict(zip(keys[::order], (10, 20), strict=True)) | {"model.friction": 1}
    assert compile_filter("friction == 1 and model.parameters.depth > 5")(point)
    with pytest.raises(
        ConfigError, match=r"'depth' may be .*model\.parameters\.depth.*: write the full key"
    ):
        compile_filter("depth > 5")(point)
