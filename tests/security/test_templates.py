"""A stranger's template sees plain data, changes nothing, calls no code and comes to an end."""

from __future__ import annotations

import datetime
import pickle
from collections.abc import Iterator
from types import BuiltinFunctionType, BuiltinMethodType, MethodDescriptorType, MethodWrapperType

import pytest

from rompy_hydra import TimeRange
from rompy_hydra.errors import GenerateError
from rompy_hydra.models import render
from rompy_hydra.models.base import BaseConfig
from rompy_hydra.models.inputs import RunFacts

FACTS = RunFacts("shoal", TimeRange(start="2024-01-01", duration="6h"), "/runs/shoal")
PLAIN = (str, int, float, bool, bytes, type(None), datetime.date, datetime.timedelta, datetime.timezone)
PLAIN += (datetime.time,)
# Methods of plain data, implemented in C: they compute, and neither open nor start anything.
METHODS = (BuiltinFunctionType, BuiltinMethodType, MethodDescriptorType, MethodWrapperType)


class Opening:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def rendered(directory, text, **model):
    (directory / "INPUT").write_text(text)
    [item] = render.render_directory(directory, {"run": FACTS, "model": model})
    return item.content.decode()


def refused(directory, text, **model):
    with pytest.raises(GenerateError) as error:
        rendered(directory, text, **model)
    return str(error.value)


def test_a_template_cannot_load_a_pickle_through_the_period(tmp_path):
    trap = tmp_path / "trap"
    data = pickle.dumps(Opening(trap), protocol=0).decode()
    template = tmp_path / "template"
    template.mkdir()
    call = "parse_raw(model.data, content_type='pickle', allow_pickle=True)"
    assert "no attribute 'parse_raw'" in refused(template, f"{{{{ run.period.{call} }}}}", data=data)
    assert not trap.exists()


@pytest.mark.parametrize(
    "expression",
    [
        "run.period.parse_file('/etc/passwd')",
        "run.period.model_construct()",
        "run.period.__class__",
        "run.__init__.__globals__",
        "run.period.times.__class__.__mro__",
        "run.period.start.__reduce__()",
        "'{0.__class__}'.format(run)",
        "'%s' | format(run.__class__)",
        "run | attr('__class__')",
        "cycler.__init__.__globals__.os.popen('id').read()",
        "lipsum.__globals__['os']",
        "joiner.__init__.__globals__",
        "self.__init__.__globals__",
    ],
)
def test_no_expression_leads_from_the_data_to_classes_or_files(tmp_path, expression):
    refused(tmp_path, f"{{{{ {expression} }}}}")


@pytest.mark.parametrize(
    "expression",
    [
        "model.levels.append(4)",
        "model.levels.clear()",
        "model.update({'x': 1})",
        "model.wave.pop('height')",
        "model.wave.setdefault('new', 1)",
    ],
)
def test_a_template_cannot_change_what_other_files_are_rendered_with(tmp_path, expression):
    model = {"levels": [1, 2, 3], "wave": {"height": 2.0}}
    assert "is unsafe" in refused(tmp_path, f"{{{{ {expression} }}}}", **model)
    assert model == {"levels": [1, 2, 3], "wave": {"height": 2.0}}


def reachable(value: object, name: str, seen: set[type]) -> Iterator[tuple[str, object]]:
    """All values that a template reaches from a value by attributes and items; each type once."""
    yield name, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from reachable(item, f"{name}.{key}", seen)
    if isinstance(value, list | tuple):
        for item in value[:1]:
            yield from reachable(item, f"{name}[0]", seen)
    if type(value) in seen:
        return
    seen.add(type(value))
    environment = render._environment("\n")
    for attribute in dir(value):
        found = getattr(value, attribute)
        if environment.is_safe_attribute(value, attribute, found):
            yield from reachable(found, f"{name}.{attribute}", seen)


def test_every_reachable_attribute_is_plain_data_or_a_method_of_plain_data():
    class Plugin(BaseConfig):
        when: TimeRange = FACTS.period

        def context(self):
            return {"when": self.when, "config": self, "facts": FACTS, "wave": {"heights": [1.0, 2.0]}}

    context = render.template_context({"run": FACTS, "model": Plugin().context()})
    found = list(reachable(context, "context", set()))
    names = {name for name, _ in found}
    assert {"context.run.period.start", "context.run.period.times", "context.model.wave"} <= names
    views = (render.TemplateRun, render.TemplatePeriod)
    odd = [
        (name, value)
        for name, value in found
        if not isinstance(value, (*PLAIN, *METHODS, *views, dict, list, tuple))
        and not isinstance(value, type)
    ]
    assert odd == []
    public = {type(v): {a for a in dir(v) if a[0] != "_"} for _, v in found if isinstance(v, views)}
    assert public == {
        render.TemplateRun: {"run_id", "period", "workspace"},
        render.TemplatePeriod: {"start", "end", "duration", "interval", "times"},
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{% for a in range(99999) %}" * 4 + "{% endfor %}" * 4, "iterations"),
        ("{% for a in model.ten %}" * 15 + "{% endfor %}" * 15, "iterations"),
        ("{% for a in model.nested recursive %}{{ loop(a) }}{{ loop(a) }}{% endfor %}", "iterations"),
        ("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{{ 'a' * 10 ** 11 }}", "too long"),
        ("{{ [0] * 10 ** 11 }}", "too long"),
        ("{{ 9 ** (9 ** 9) }}", "too large"),
        ("{{ range(10 ** 9) | list }}", "Range too big"),
        ("{% for a in range(99999) %}{{ model.long }}{% endfor %}", "output"),
    ],
)
def test_a_template_without_an_end_is_stopped(tmp_path, text, reason):
    nested: list = []
    for _ in range(60):
        nested = [nested]
    message = refused(tmp_path, text, ten=list(range(10)), nested=nested, long="x" * 100_000)
    assert message.startswith(f"{tmp_path}/INPUT, line 1: ")
    assert reason in message


@pytest.mark.parametrize(
    "text", ["{{ (" * 5000, "{% for a in [1] %}" * 40 + "{% endfor %}" * 40, "{{ 1" + "0" * 5000]
)
def test_a_template_that_cannot_be_compiled_is_reported(tmp_path, text):
    assert f"{tmp_path}/INPUT, line " in refused(tmp_path, text)


def test_loops_of_ordinary_templates_work_as_before(tmp_path):
    text = (
        "{% for t in run.period.times %}"
        "{{ loop.index }}/{{ loop.length }}{{ ',' if not loop.last }}{% endfor %}"
        " {% for k, v in model.wave.items() | sort %}{{ k }}={{ v }} {% else %}none{% endfor %}"
        "{% for x in model.empty %}{% else %}empty{% endfor %}"
        " {{ model.levels | map('string') | join('-') }} "
        "{% for x in model.levels if x > 1 %}{{ x * 2 ** 2 }};{% endfor %}{{ '=' * 3 }}"
    )
    found = rendered(tmp_path, text, wave={"b": 2, "a": 1}, empty=[], levels=[1, 2, 3])
    assert found == "1/7,2/7,3/7,4/7,5/7,6/7,7/7 a=1 b=2 empty 1-2-3 8;12;==="
