from __future__ import annotations

import os
from pathlib import Path

import pytest

from rompy_hydra import TimeRange
from rompy_hydra.errors import GenerateError
from rompy_hydra.models.inputs import RunFacts
from rompy_hydra.models.render import render_directory

FACTS = RunFacts("shoal", TimeRange(start="2024-01-01", duration="6h"), "/runs/shoal")
PARAMETERS = {"friction": 0.02, "name": "it's 1 > 0 & größe", "wave": {"height": 2.0}, "list": [1, 2]}


@pytest.fixture
def template(tmp_path):
    directory = tmp_path / "my template"
    directory.mkdir()
    return directory


def rendered(template: Path, **model) -> dict[str, bytes | Path]:
    """Names with contents, or with the source for copied files."""
    inputs = render_directory(template, {"run": FACTS, "model": PARAMETERS | model})
    return {item.path: item.source if item.content is None else item.content for item in inputs}


def error_message(template: Path) -> str:
    with pytest.raises(GenerateError) as error:
        rendered(template)
    return str(error.value)


def test_contents_are_rendered_with_the_run_and_the_parameters(template):
    (template / "INPUT").write_text(
        "f={{ model.friction }} H={{ model.wave.height }} {{ model.name }}\n"
        "{{ run.run_id }} {{ run.workspace }} {{ run.period.start.strftime('%Y%m%d.%H%M') }}\n"
        "{% for n in model.list %}{{ n }};{% endfor %} {{ run.period.duration.total_seconds() | int }}\n"
    )
    assert rendered(template)["INPUT"].decode() == (
        "f=0.02 H=2.0 it's 1 > 0 & größe\nshoal /runs/shoal 20240101.0000\n1;2; 21600\n"
    )


def test_names_of_files_and_directories_are_rendered_without_the_template_suffix(template):
    (template / "{{ run.run_id }}").mkdir()
    (template / "{{ run.run_id }}" / "f{{ model.friction }}.nml.j2").write_text("x")
    (template / "plain.j2").write_text("y")
    assert sorted(rendered(template)) == ["plain", "shoal/f0.02.nml"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"no line end",
        b"two\n\n\n",
        b"dos\r\nlines\r\n",
        b"old\rmac\r",
        b"\xef\xbb\xbfmark",
        b"{ } % #\n",
    ],
)
def test_a_text_without_template_syntax_is_copied_byte_for_byte(template, content):
    (template / "file").write_bytes(content)
    assert rendered(template)["file"] == content


def test_a_rendered_text_keeps_its_line_endings(template):
    (template / "dos").write_bytes(b"{{ model.friction }}\r\nend\r\n")
    (template / "unix").write_bytes(b"{{ model.friction }}\nend\n\n")
    (template / "none").write_bytes(b"{{ model.friction }}")
    assert rendered(template) == {"dos": b"0.02\r\nend\r\n", "unix": b"0.02\nend\n\n", "none": b"0.02"}


@pytest.mark.parametrize("content", [b"CDF\x01\0\0{{ x }}", b"\xff\xfe{{ x }}", bytes(range(256))])
def test_a_binary_file_is_copied_and_not_rendered(template, content):
    (template / "grid{{ model.friction }}.nc").write_bytes(content)
    assert rendered(template) == {"grid0.02.nc": template / "grid{{ model.friction }}.nc"}


def test_execute_permission_is_preserved(template):
    for name, mode, content in [("tool", 0o755, "x"), ("data", 0o644, "x"), ("binary", 0o755, "\0")]:
        (template / name).write_text(content)
        (template / name).chmod(mode)
    inputs = render_directory(template, {"run": FACTS, "model": {}})
    assert {item.path: item.executable for item in inputs} == {"tool": True, "data": False, "binary": True}


def test_caches_and_repositories_of_tools_are_not_inputs(template):
    for name in (
        "__pycache__/a.pyc",
        ".git/config",
        ".ipynb_checkpoints/x",
        "sub/.pytest_cache/x",
        "sub/input",
    ):
        (template / name).parent.mkdir(parents=True, exist_ok=True)
        (template / name).write_text("x")
    assert list(rendered(template)) == ["sub/input"]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a\nb\n{{ model.frction }}\n", 3, "Did you mean 'model.friction'?"),
        ("{{ model.wave.hight }}", 1, "Did you mean 'model.wave.height'?"),
        ("\n{{ run.runid }}", 2, "Did you mean 'run.run_id'?"),
        ("{{ run.period.begin }}", 1, "run.period.start"),
        ("\n\n\n{{ frction }}", 4, "Choices: model, run."),
        ("{{ modell.friction }}", 1, "Did you mean 'model'?"),
        ("a\n{% if x %}\n", 2, "Unexpected end of template"),
        ("a\n{{ 1 + }}", 2, "unexpected 'end of print statement'"),
        ("a\n\n{{ model.friction | nofilter }}", 3, "No filter named 'nofilter'"),
        ("a\n{{ 1 / 0 }}", 2, "ZeroDivisionError: division by zero"),
        ("{{ model.friction + 'x' }}", 1, "TypeError"),
        ("{% include 'other' %}", 1, "no loader"),
        ("{% for i in [1] %}\n{{ i.nothing.more }}{% endfor %}", 2, "nothing"),
    ],
)
def test_an_error_is_reported_with_file_line_and_closest_name(template, text, line, reason):
    (template / "INPUT.j2").write_text(text)
    message = error_message(template)
    assert f"{template}/INPUT.j2, line {line}: " in message
    assert reason in message


def test_an_error_in_a_file_name_is_reported_with_the_file(template):
    (template / "{{ model.frction }}.txt").write_text("x")
    message = error_message(template)
    assert "{{ model.frction }}.txt, line 1: " in message
    assert "Did you mean 'model.friction'?" in message


def test_a_missing_template_directory_is_reported(template):
    assert "does not exist (model.template)" in error_message(template / "missing")
    (template / "file").write_text("x")
    assert "file is a file, and model.template must be a directory" in error_message(template / "file")


def test_dangling_links_and_pipes_in_a_template_are_reported(template):
    (template / "dangling").symlink_to("nowhere")
    assert "cannot read the template" in error_message(template)
    (template / "dangling").unlink()
    os.mkfifo(template / "pipe")
    assert "not a regular file" in error_message(template)


def test_links_to_files_and_directories_are_followed_and_cycles_are_rejected(template, tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "grid").write_text("{{ model.friction }}")
    (template / "common").symlink_to(tmp_path / "shared")
    (template / "alias").symlink_to(tmp_path / "shared" / "grid")
    assert rendered(template) == {"common/grid": b"0.02", "alias": b"0.02"}
    (template / "cycle").symlink_to(template)
    assert "is a link to a directory that contains it" in error_message(template)


def test_an_edited_template_is_rendered_again(template):
    path = template / "INPUT"
    path.write_text("{{ model.friction }} one")
    assert rendered(template)["INPUT"] == b"0.02 one"
    path.write_text("{{ model.friction }} two")
    assert rendered(template)["INPUT"] == b"0.02 two"
    assert rendered(template, friction=0.5)["INPUT"] == b"0.5 two"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "a\n{{ model.d }}",
            "line 2: model.d has no value (null). Give it one, or write a default into the template: "
            "{{ model.d or 0 }}",
        ),
        ("{{ model['g'] }}", "model.g is a mapping: write one of its values, such as model.g.dx"),
        ("{{ model }}", "model is a mapping: write one of its values"),
        ("{% for x in [none] %}{{ x }}{% endfor %}", "an expression has no value (null)"),
        ("{{ {'a': 1} }}", "an expression is a mapping"),
        ("{{ run.period }}", "run.period is not a text: write run.period.start"),
        ("{{ run }}", "run is not a text: write run.run_id"),
        ("{{ run.period.begin }}", "run.period has no attribute 'begin'"),
        ("{{ run.period.times.first }}", "'tuple object' has no attribute 'first'"),
    ],
)
def test_a_value_that_is_no_text_of_a_model_is_not_written(template, text, reason):
    (template / "INPUT").write_text(text)
    with pytest.raises(GenerateError) as error:
        rendered(template, d=None, g={"dx": 3})
    assert f"{template}/INPUT, line " in str(error.value)
    assert reason in str(error.value)
    assert "rompy_hydra.models" not in str(error.value)


def test_a_missing_value_may_be_tested_for_and_replaced(template):
    text = (
        "{% if model.d is none %}no{% endif %} {{ model.d or 5 }} {{ model.g | tojson }} {{ model.list }}"
    )
    (template / "INPUT").write_text(text)
    assert rendered(template, d=None, g={"dx": 3})["INPUT"] == b'no 5 {"dx": 3} [1, 2]'


def test_the_error_about_a_period_that_a_model_does_not_use_names_the_setting(template):
    (template / "INPUT").write_text("{{ run.period.start }}")
    facts = RunFacts("shoal", None, "/runs/shoal")
    with pytest.raises(GenerateError, match=r"run\.period\.start is not available.* uses_period: true"):
        list(render_directory(template, {"run": facts, "model": {}}))
