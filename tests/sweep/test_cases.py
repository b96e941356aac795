from __future__ import annotations

import pytest

from rompy_hydra.compose import grid_parser
from rompy_hydra.errors import ConfigError
from rompy_hydra.sweep.config import SweepConfig


@pytest.fixture
def cases(tmp_path):
    def read(text, *arguments, name="cases.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        grid = grid_parser.grid(arguments, {}, SweepConfig(name="test", cases=path), None)
        return [point.parameters for point in grid]

    return read


def test_each_row_of_a_csv_file_is_a_point(cases):
    text = "model.friction,processor\n0.01,noop\n0.02,summary\n"
    assert cases(text) == [
        {"model.friction": 0.01, "processor": "noop"},
        {"model.friction": 0.02, "processor": "summary"},
    ]


def test_values_of_a_csv_file_have_the_types_that_hydra_gives_them(cases):
    text = 'a,b,c,d,e,f\n1,1.5,true,null,word,"[1, 2]"\n'
    assert cases(text) == [{"a": 1, "b": 1.5, "c": True, "d": None, "e": "word", "f": [1, 2]}]


@pytest.mark.parametrize(
    "value", ["a, b", "range(1,3)", "it's", "C:\\dir\\", "a=b,c", "(", "größe", "x\ny", '{"open":', "1,2"]
)
def test_a_value_that_hydra_would_not_parse_as_one_value_is_text(cases, value):
    quoted = value.replace('"', '""')
    assert cases(f'a\n"{quoted}"\n') == [{"a": value}]


def test_a_csv_file_from_a_spreadsheet_is_read(cases):
    text = b'\xef\xbb\xbfmodel.friction , "model.depth"\r\n0.01,"2"\r\n\r\n 0.02 ,3\r\n'
    assert cases(text.replace(b' , "', b',"')) == [
        {"model.friction": 0.01, "model.depth": 2},
        {"model.friction": 0.02, "model.depth": 3},
    ]


def test_an_empty_cell_is_an_empty_string(cases):
    assert cases("a,b\n1,\n") == [{"a": 1, "b": ""}]


def test_each_mapping_of_a_yaml_list_is_a_point(cases):
    text = "- {model.friction: 0.01, model.name: '1'}\n- {model.friction: 0.02, model.name: a b}\n"
    assert cases(text, name="cases.yaml") == [
        {"model.friction": 0.01, "model.name": "1"},
        {"model.friction": 0.02, "model.name": "a b"},
    ]


def test_a_time_in_yaml_is_not_converted(cases):
    text = "- {period.start: 2020-01-01}\n- {period.start: 2020-01-01T12:00:00}\n"
    assert cases(text, name="cases.yml") == [
        {"period.start": "2020-01-01"},
        {"period.start": "2020-01-01T12:00:00"},
    ]


def test_cases_are_combined_with_a_grid(cases):
    assert len(cases("a\n1\n2\n", "b=x,y,z")) == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3\n", "line 3 has 1 values, but the header has 2 columns"),
        ("a,b\n1,2,3\n", "line 2 has 3 values"),
        ("a,b\n1,2\n3,4\n1,2\n", "line 4 repeats line 2"),
        ("a,b\n0.1,x\n0.10,x\n", "line 3 repeats line 2"),
        ("", "each column needs a configuration key as its header"),
        ("a,,b\n1,2,3\n", "each column needs a configuration key"),
        ("a,b\n", "has no cases"),
        ("a,a\n1,2\n", "has the column 'a' twice"),
        ("model.friction;model.depth\n1;2\n", "is not a configuration key.*separated by commas"),
        ("sweep.name,a\nx,1\ny,2\n", "'sweep.name' is a setting of the sweep: it has one value"),
        ("run_id,a\nx,1\ny,2\n", "'run_id': a sweep names its runs by their overrides"),
        ("~a\n1\n", "'~a' is not a configuration key"),
        ('a\n"open\n', "line 2: unexpected end of data"),
        (b"a\n\xff\n", "cannot read .*cases.csv: 'utf-8' codec"),
        (b"PK\x03\x04\x00\x00", "is not a configuration key|line contains NUL"),
    ],
)
def test_an_invalid_csv_file_is_rejected_with_the_line(cases, text, message):
    with pytest.raises(ConfigError, match=message):
        cases(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no cases"),
        ("[]", "has no cases"),
        ("a: 1", "must be a list of mappings"),
        ("- 1", "must be a list of mappings"),
        ("- {a: 1}\n- {b: 1}", "item 2 has the keys b, but the first has a"),
        ("- {a: 1}\n- {a: 1}", "item 2 repeats item 1"),
        ("- {1: 1}", "'1' is not a configuration key"),
        ("- {a: !!binary aGVsbG8=}", "a value of the type bytes"),
        ("- {a: [", "is not valid YAML"),
        ("- {b: 1}\n- {a: 1, a: 2}", "line 2 has the key 'a' twice"),
        ("- {}", "each column needs a configuration key"),
    ],
)
def test_an_invalid_yaml_file_is_rejected(cases, text, message):
    with pytest.raises(ConfigError, match=message):
        cases(text, name="cases.yaml")


def test_a_missing_file_or_one_of_another_type_is_rejected(cases, tmp_path):
    with pytest.raises(ConfigError, match=r"must end in .csv, .yaml or .yml"):
        cases("a\n1\n", name="cases.xlsx")
    with pytest.raises(ConfigError, match="No such file"):
        grid_parser.grid([], {}, SweepConfig(name="test", cases=tmp_path / "none.csv"), None)
    (tmp_path / "dir.csv").mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        grid_parser.grid([], {}, SweepConfig(name="test", cases=tmp_path / "dir.csv"), None)


@pytest.mark.parametrize("override", ["a=5", "a=1,2", "+a=5"])
def test_a_key_may_be_specified_in_only_one_place(cases, override):
    with pytest.raises(ConfigError, match="'a' is given on the command line and in"):
        cases("a\n1\n", override)
