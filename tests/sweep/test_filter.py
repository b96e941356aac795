from __future__ import annotations

import pytest

from rompy_hydra.errors import ConfigError
from rompy_hydra.sweep.filter import compiled

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
    ],
)
def test_an_expression_keeps_or_leaves_out_a_point(expression, kept):
    assert compiled(expression)(POINT) is kept


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("friction <", "is no expression"),
        ("friction\0 < 1", "is no expression"),
        ("frictoin < 1", "'frictoin' is not swept. Did you mean 'friction'"),
        ("__import__('os').system('true')", "is not understood"),
        ("friction.real < 1", "'friction.real' is not swept"),
        ("(lambda: 1)()", "is not understood"),
        ("[x for x in (1, 2)]", "is not understood"),
        ("open('/etc/passwd')", "is not understood"),
        ("friction < 'a'", "not supported between"),
        ("1 / (wave_height - 3)", "division by zero"),
        ("friction & 1", "BitAnd is not understood"),
        ("min(friction, key=abs)", "is not understood"),
        ("'x'.upper() == 'X'", "is not understood"),
        ("9 ** 9 ** 9", "too large"),
        ("'a' * 10 ** 9", "only numbers can be multiplied"),
        ("0 ** -1", "negative power"),
        ("'%99999999999d' % 1 == ''", "only numbers can be multiplied"),
        ("b'a' * 10 ** 9 == b''", "is not understood"),
        ("round(7, -1000000000) == 0", "too many digits"),
        ("+".join(["1"] * 1500), "recursion"),
    ],
)
def test_what_is_no_arithmetic_is_refused(expression, message):
    with pytest.raises(ConfigError, match=message):
        compiled(expression)(POINT)


@pytest.mark.parametrize("order", [1, -1])
def test_a_last_part_that_several_keys_have_is_no_name(order):
    keys = ["model.parameters.depth", "model.parameters.other.depth"]
    point = dict(zip(keys[::order], (10, 20), strict=True)) | {"model.friction": 1}
    assert compiled("friction == 1 and model.parameters.depth > 5")(point)
    with pytest.raises(ConfigError, match=r"'depth' may be .*model\.parameters\.depth.*: write it whole"):
        compiled("depth > 5")(point)
