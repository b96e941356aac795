"""Which parameters a template may read: decided by its syntax, so that a misspelt one is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from rompy_hydra.models.template_reads import parameters_read


def read_by(directory: Path, text: str) -> set[str] | None:
    (directory / "in.txt").write_text(text)
    found = parameters_read(directory)
    return None if found is None else {".".join(path) for path in found}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("plain text", set()),
        ("{{ model.depth }}", {"depth"}),
        ("{{ model['depth'] + 1 }}", {"depth"}),
        ("{{ model.grid.dx * model.grid['dy'] }}", {"grid.dx", "grid.dy"}),
        ("{{ model.name.upper() }}", {"name.upper"}),
        ("{{ model.depths[0] }}{{ model.widths[run.n] }}", {"depths", "widths"}),
        ("{% for name, value in model.tides.items() %}{{ value }}{% endfor %}", {"tides"}),
        ("{% if model.wind is defined %}{{ model.get('gust', 3) }}{% endif %}", {"wind", "gust"}),
        ("{% macro line(m) %}{{ m }}{{ model.a }}{% endmacro %}{{ line(model.b) }}", {"a", "b"}),
        ("{% set grid = model.grid %}{{ grid.dx }}", {"grid"}),
        ("{# {{ model.comment }} #}{% raw %}{{ model.raw }}{% endraw %}", set()),
        ("{{ other.model.depth }}{{ run.model }}", set()),
    ],
)
def test_parameters_are_found_by_their_names(tmp_path, text, names):
    assert read_by(tmp_path, text) == names


@pytest.mark.parametrize(
    "text",
    [
        "{{ model | tojson }}",
        "{% for name in model %}{{ name }}{% endfor %}",
        "{{ model[run.run_id] }}",
        "{{ model['d' ~ 1] }}",
        "{{ model.get(run.run_id) }}",
        "{{ model | attr('depth') }}",
        "{% set m = model %}{{ m.depth }}",
        "{{ model.items() | list }}",
        "{{ dict(model, depth=3) }}",
        "{% include 'other' %}",
        "{% import 'other' as other %}",
        "{{ a template with an error",
    ],
)
def test_a_template_that_may_read_any_parameter_is_recognised(tmp_path, text):
    assert read_by(tmp_path, text) is None


def test_names_of_files_and_directories_count(tmp_path):
    (tmp_path / "{{ model.site }}").mkdir()
    (tmp_path / "{{ model.site }}" / "bed{{ model.depth }}.dat").write_bytes(b"\0{{ model.binary }}")
    assert parameters_read(tmp_path) == {("site",), ("depth",)}


def test_a_directory_that_cannot_be_read_may_read_anything(tmp_path):
    assert parameters_read(tmp_path / "missing") is None


def test_an_edited_template_is_read_again(tmp_path):
    assert read_by(tmp_path, "{{ model.depth }}") == {"depth"}
    assert read_by(tmp_path, "{{ model.width }} ") == {"width"}
