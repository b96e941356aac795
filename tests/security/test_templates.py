"""A stranger's template sees plain data, changes nothing, calls no code and comes to an end."""

from __future__ import annotations

import datetime
import pickle
import resource
import time
from collections.abc import Iterator
from types import BuiltinFunctionType, BuiltinMethodType, MethodDescriptorType, MethodWrapperType

import pytest

from rompy_hydra import TimeRange
from rompy_hydra.errors import GenerateError
from rompy_hydra.models import render, sandbox
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
    environment = sandbox.environment("\n", lambda value: value)
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


LONG = "{% set ns = namespace(a='x' * 1000000, l=[1]) %}"


@pytest.mark.parametrize(
    "text",
    [
        LONG + "{% for i in range(40) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}",
        LONG + "{% for i in range(40) %}{% set ns.a = ns.a + ns.a %}{% endfor %}",
        LONG + "{% for i in range(999) %}{% set ns.l = ns.l + [ns.a ~ i] %}{% endfor %}",
        LONG + "{% for i in range(40) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
        LONG + "{% for i in range(40) %}{% set ns.l = (ns.l, ns.l) %}{% endfor %}{{ ns.l == ns.l }}",
        LONG + "{% for i in range(40) %}{% set ns.l = {1: ns.l, 2: ns.l} %}{% endfor %}{{ ns.l }}",
        LONG + "{% macro f() %}{% set ns.l = varargs %}{% endmacro %}"
        "{% for i in range(40) %}{{ f(ns.l, ns.l) }}{% endfor %}{{ ns.l }}",
        LONG + "{% macro f(n) %}{{ f(n - 1) ~ f(n - 1) if n else 'xxxxxxxx' }}{% endmacro %}{{ f(60) }}",
        LONG + "{% for i in range(999) %}{% set ns.l = ns.l + [ns.a[1:]] %}{% endfor %}",
        LONG + "{{ (ns.a * 10)|wordwrap(1) }}",
        LONG + "{{ (ns.a * 10)|wordwrap(3, wrapstring=ns.a) }}",
        LONG + "{{ ns.a | replace('x', ns.a) }}",
        LONG + "{{ ns.a.replace('x', ns.a) }}",
        LONG + "{{ ns.a.replace('', ns.a) }}",
        LONG + "{{ range(1000) | join(ns.a) }}",
        LONG + "{{ range(1000) | map('string') | join(ns.a) }}",
        LONG + "{{ ns.a.join(range(1000) | map('string')) }}",
        LONG + "{{ ([[1] * 1000000] * 1000) | sum(start=[]) | length }}",
        LONG + "{{ ('%s' * 1000 ) % ((ns.a,) * 1000) }}",
        LONG + "{{ ('{0}' * 10000 ).format(ns.a) }}",
        LONG + "{{ ('{a}' * 10000 ).format_map({'a': ns.a}) }}",
        LONG + "{{ ('%(a)s' * 10000 ) | format(a=ns.a) }}",
        LONG + "{{ ns.a.translate({120: ns.a}) }}",
        LONG + "{{ ns.a.replace('x', '\\n') | indent(10000) }}",
        LONG + "{{ ns.a.replace('x', '\\n') | indent(ns.a) }}",
        LONG + "{{ ns.a.replace('x', '\\t').expandtabs(9999) }}",
        LONG
        + "{% for i in range(99999) %}{% for j in range(9) %}{{ 'y' in ns.a }}{% endfor %}{% endfor %}",
        "{{ 'x'.ljust(2000000000) }}",
        "{{ 'x'.zfill(2000000000) }}",
        "{{ 'x'.center(width=2000000000) }}",
        "{{ 'x' | center(2000000000) }}",
        "{{ ['x'] | map('center', 2000000000) | list }}",
        "{{ 'a\nb' | indent(2000000000) }}",
        "{{ '%2000000000d' % 1 }}",
        "{{ '%*d' % (2000000000, 1) }}",
        "{{ '%2000000000d' | format(1) }}",
        "{{ '{:2000000000}'.format(1) }}",
        "{{ '{:{}}'.format(1, 2000000000) }}",
        "{{ '{:{a}}'.format(1, a=2000000000) }}",
        "{{ run.period.start.strftime('%2000000000d') }}",
        "{{ '{:%2000000000d}'.format(run.period.start) }}",
        "{{ [[[1]]] | tojson(indent=2000000000) }}",
        "{{ [1] | batch(2000000000, 0) | list }}",
        "{{ [1] | slice(2000000000) | list }}",
        "{{ 1.5 | round(2000000000, 'ceil') }}",
        "{{ (1).to_bytes(2000000000) }}",
        "{{ ('f' * 9000000) | int(base=16) // 3 }}",
        "{{ lipsum(n=100000) }}",
        "{{ 'x' | urlize }}",
    ],
)
def test_a_template_that_would_take_all_memory_or_time_is_stopped(tmp_path, monkeypatch, text):
    monkeypatch.setattr(sandbox, "_MOST_SECONDS", 2.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.thread_time()
    refused(tmp_path, text)
    assert time.thread_time() - start < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_500_000  # kB


def test_filters_and_methods_of_ordinary_templates_work_as_before(tmp_path):
    text = (
        (
            "{{ '%8.3f' % model.x }}|{{ '%-5s%03d' % ('ab', 7) }}|{{ '{:>8.2f}'.format(model.x) }}|"
            "{{ model.x | round(2) }}|{{ 'a' ~ 1 ~ model.x }}|{{ 'ab'.ljust(4) }}|{{ 'x' | center(5) }}|"
            "{{ [1, 2] + [model.x] }}|{{ {'a': [model.x]} | tojson }}|{{ [1, 2, 3] | batch(2) | list }}|"
            "{{ 'a b c' | replace(' ', ', ') }}|{{ '-'.join(['a', 'b']) }}|"
            "{{ [1, 2] | sum(start=model.x) }}|"
            "{{ 'a\nb' | indent(2) }}|{{ [3, 1] | sort | join(' ') }}|{{ model.none | default(2000000) }}|"
            "{{ [{'a': 1}, {'a': 2}] | map(attribute='a') | join(d='+') }}|{{ 'abcdef'[1:3] }}|"
            "{{ run.period.start.strftime('%Y%m%d.%H%M%S') }}|{{ '%d' | format(20000000) }}|"
            "{{ 'one two' | wordwrap(4) }}|{{ '%(a)s' | format(a=1) }}|{{ [[1, 2], [3]] | sum(start=[]) }}"
        )
        .replace("| default(", "is defined or model.x * 0 + ")
        .replace("2000000)", "2000000")
    )
    expected = (
        "   1.500|ab   007|    1.50|1.5|a11.5|ab  |  x  |[1, 2, 1.5]|"
        '{"a": [1.5]}|[[1, 2], [3]]|a, b, c|a-b|4.5|a\n  b|1 3|2000000.0|1+2|bc|20240101.000000|20000000|'
        "one\ntwo|1|[1, 2, 3]"
    )
    assert rendered(tmp_path, text, x=1.5) == expected


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
