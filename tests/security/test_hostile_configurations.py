"""Looking at a stranger's configuration runs none of its code, writes nothing, and comes to an end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

# `{caught}` is a file that appears if the trap works; importing the module `evil` creates it.
LOGGING = {
    "version": 1,
    "handlers": {"file": {"class": "logging.FileHandler", "filename": "{caught}", "mode": "w"}},
    "root": {"level": "INFO", "handlers": ["file"]},
}
CALLING = {
    "version": 1,
    "handlers": {"x": {"()": "evil.Handler"}},
    "root": {"level": "INFO", "handlers": ["x"]},
}


def option(text: object) -> dict[str, object]:
    return {"conf/model/mine.yaml": text}


def model(**changed: object) -> dict[str, object]:
    return {
        "_target_": "rompy_hydra.models.TemplateModel",
        "template": "template",
        "commands": ["true"],
        **changed,
    }


def everywhere(**changed: object) -> dict[str, object]:
    """An option that reaches the whole configuration."""
    return option("# @package _global_\n" + json.dumps({"model": model(), **changed}))


def template(text: str, **changed: object) -> dict[str, object]:
    return {**option(model(**changed)), "template/INPUT": text}


ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)
PICKLE = "cbuiltins\\nopen\\n(V{caught}\\nVw\\ntR."

# Files of the stranger. The model is `mine`, the search path that of `--config-dir conf`.
CORPUS: dict[str, Mapping[str, object]] = {
    "a shell as a model": option({"_target_": "os.system", "command": "touch {caught}"}),
    "a shell by a detour": option(
        {"_target_": "rompy_hydra.process.command.os.system", "command": "touch {caught}"}
    ),
    "a shell as a nested target": option(
        model(parameters={"x": {"_target_": "os.system", "command": "touch {caught}"}})
    ),
    "a module to import": option({"_target_": "evil.Model"}),
    "a module that the file allows": everywhere(
        allowed_targets=["evil."], model={"_target_": "evil.Model"}
    ),
    "a partial call": option(
        {"_target_": "functools.partial", "_partial_": True, "_args_": ["evil.Model"]}
    ),
    "an object of YAML": option("!!python/object/apply:os.system ['touch {caught}']"),
    "a logging file": everywhere(hydra={"hydra_logging": LOGGING}),
    "a logging class": everywhere(hydra={"hydra_logging": CALLING}),
    "a job's logging file": everywhere(hydra={"job_logging": LOGGING}),
    "a job's logging class": everywhere(hydra={"job_logging": CALLING}),
    "a callback": everywhere(hydra={"callbacks": {"x": {"_target_": "evil.Callback"}}}),
    "a launcher": everywhere(hydra={"launcher": {"_target_": "evil.Launcher"}}),
    "a sweeper": everywhere(hydra={"sweeper": {"_target_": "evil.Sweeper"}}),
    "a shadowed launcher": {
        **option(model()),
        "conf/hydra/launcher/rompy_hydra.yaml": {"_target_": "evil.Launcher"},
    },
    "a shadowed sweeper": {
        **option(model()),
        "conf/hydra/sweeper/rompy_hydra.yaml": {"_target_": "evil.Sweeper"},
    },
    "shadowed logging": {**option(model()), "conf/hydra/hydra_logging/rompy_hydra.yaml": LOGGING},
    "shadowed help": {
        **option(model()),
        "conf/hydra/help/rompy_hydra.yaml": {"template": "${oc.env:HOME} \x1b[2J $CONFIG", "app_name": "x"},
    },
    "a package on the search path": {
        "conf/config.yaml": {"hydra": {"searchpath": ["pkg://evil"]}},
        **option(model()),
    },
    "a pickle in a template": template(
        "{{ run.period.parse_raw(model.data, content_type='pickle', allow_pickle=True) }}",
        parameters={"data": PICKLE},
    ),
    "a class of a template": template("{{ ''.__class__.__mro__[1].__subclasses__() }}"),
    "a global of a template": template("{{ cycler.__init__.__globals__.os.system('touch {caught}') }}"),
    "a template without an end": template("{% for a in range(99999) %}" * 5 + "{% endfor %}" * 5),
    "a long result of a template": template("{{ 'x' * 10 ** 12 }}"),
    "a name with a template": {**option(model()), "template/{{ run.__class__ }}": "x"},
    "many aliases": option(ALIASES),
    "deep lists": option("parameters: " + "[" * 20_000),
    "deep mappings": option("".join(f"{' ' * n}a:\n" for n in range(3000))),
    "a long value": option(model(parameters={"x": "x" * 20_000_000})),
    "an option that includes itself": option("defaults: [mine]\nx: 1\n"),
    "options that include each other": {
        **option("defaults: [other]\n"),
        "conf/model/other.yaml": "defaults: [mine]\n",
    },
    "options that include two others at each of 30 levels": {
        **option("defaults: [d0]\n"),
        **{
            f"conf/model/d{n}.yaml": f"defaults: [d{n + 1}@a, d{n + 1}@b]\n" if n < 30 else "x: 1\n"
            for n in range(31)
        },
    },
    "a number as a sweep": everywhere(sweep=5),
    "a list as hydra": everywhere(hydra=[1]),
    "a text as hydra": everywhere(hydra="x"),
    "a null byte": option('template: "a\\0b"\n'),
    "a null byte in the file": option("template: a\0b\n"),
    "half a pair": option('_target_: rompy_hydra.models.TemplateModel\ntemplate: "\\ud800"\n'),
    "half a pair as a parameter": template("{{ model.x }}", parameters={"x": "\ud800"}),
    "binary data": {"conf/model/mine.yaml": b"\xff\xfe\x00\x01\x80"},
    "an interpolation of itself": option(model(parameters={"x": "${model.parameters.x}"})),
    "an interpolation of everything": option(model(parameters={"x": "${model}"})),
    "a nested template of interpolations": option(model(parameters={"x": "${" * 3000})),
    "a period without an end": {
        **template("{{ run.period.times | length }}"),
        "conf/period/mine.yaml": {
            "_target_": "rompy_hydra.TimeRange",
            "start": "0001-01-01",
            "end": "9999-01-01",
            "interval": "1s",
        },
    },
    "a pipe as a template": {**option(model()), "template/pipe": None},
    "a pipe as an input": {**option(model(files=["pipe"])), "pipe": None},
    "a device as an input": option(model(files=["/dev/zero"])),
    "a pipe as an option": {"conf/model/mine.yaml": None},
    "a table of cases that is a pipe": {**option(model()), "pipe.csv": None},
    "a list of cases that is a pipe": {**option(model()), "pipe.yaml": None},
    "a table of cases that is a device": {**option(model()), "zero.csv": Path("/dev/zero")},
    "a list of cases with many aliases": {
        **option(model()),
        "cases.yaml": "- +model.parameters.z:\n" + "".join(f"    {x}\n" for x in ALIASES.splitlines()),
    },
    "a sweep whose file is a pipe": {**option(model()), "sweeps/mine/sweep.json": None},
    "a sweep whose lock is a pipe": {**option(model()), "sweeps/mine/.sweep.lock": None},
}
LOOKS: dict[str, list[str]] = {
    "check": ["check"],
    "a dry run": ["--dry-run"],
    "a check of a sweep": ["check", "-m", "+model.parameters.y=1,2"],
    "a dry run of a sweep": ["-m", "--dry-run", "+model.parameters.y=1,2"],
    "the configuration": ["--cfg", "all"],
    "the resolved configuration": ["--cfg", "job", "--resolve"],
    "help": ["--help"],
    "help on Hydra": ["--hydra-help"],
    "information": ["--info", "all"],
}


def write(directory: Path, files: Mapping[str, object], caught: Path) -> None:
    files = {"template/INPUT": "plain{% if model %}{% endif %}\n", **files}
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            os.mkfifo(path)
        elif isinstance(content, Path):
            path.symlink_to(content)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content)
            path.write_text(text.replace("{caught}", str(caught)), errors="surrogatepass")


def command(
    directory: Path, modules: Path, arguments: list[str], **environment: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "rompy_hydra", *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(modules), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def modules(tmp_path):
    """A directory on the path of Python with a module that must not be imported."""
    directory = tmp_path / "modules" / "evil"
    directory.mkdir(parents=True)
    (directory / "__init__.py").write_text(f"open({str(tmp_path / 'caught')!r}, 'w')\n")
    return directory.parent


def names_below(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


@pytest.mark.parametrize("name", CORPUS)
def test_looking_runs_and_writes_nothing_and_ends(name, tmp_path, modules):
    caught, directory = tmp_path / "caught", tmp_path / "project"
    write(directory, CORPUS[name], caught)
    before = names_below(directory)
    looks = LOOKS if "logging" in name or "search path" in name else ["check", "a dry run of a sweep"]
    arguments = ["--config-dir", "conf", "model=mine", "processor=noop"]
    if "search path" in name:
        arguments = ["--config-path", "conf", "--config-name", "config"]
    cases = {"pipe.csv", "pipe.yaml", "zero.csv", "cases.yaml"} & CORPUS[name].keys()
    arguments += [f"sweep.cases={each}" for each in cases]
    if "a sweep whose" in name:
        arguments.append("sweep.name=mine")
    if "conf/period/mine.yaml" in CORPUS[name]:
        arguments.append("period=mine")
    for look in looks:
        first, *rest = LOOKS[look]
        answer = command(directory, modules, [first, *arguments, *rest])
        shown = answer.stderr.decode(errors="replace")
        assert not caught.exists(), look
        assert names_below(directory) == before, look
        assert "Traceback" not in shown, (look, shown[-3000:])
        # 1: the state of an earlier sweep is damaged.
        assert answer.returncode in ((0, 1, 2) if "a sweep whose" in name else (0, 2)), (look, shown)
        assert b"\x1b" not in answer.stdout + answer.stderr


@pytest.mark.parametrize("kind", ["job_logging", "hydra_logging"])
@pytest.mark.parametrize("shadowed", ["launcher", "sweeper"])
def test_a_sweep_with_hydras_own_plugins_checks_the_composition_of_each_job(
    tmp_path, modules, kind, shadowed
):
    """The trap is in an option that only some points choose."""
    caught, directory = tmp_path / "caught", tmp_path / "project"
    files = {**option(model()), **everywhere(hydra={kind: CALLING})}
    files["conf/model/good.yaml"] = model()
    write(directory, files, caught)
    chosen = {
        "launcher": ["hydra/launcher=basic"],
        "sweeper": ["hydra/launcher=basic", "hydra/sweeper=basic"],
    }
    arguments = ["-m", "--config-dir", "conf", "model=good,mine", "processor=noop", *chosen[shadowed]]
    answer = command(directory, modules, arguments)
    assert answer.returncode == 2, answer
    assert not caught.exists()
    assert b"is not an allowed handler" in answer.stderr
    assert b"Traceback" not in answer.stderr


def test_a_package_on_the_search_path_is_used_if_the_command_line_names_it(tmp_path, modules):
    caught, directory = tmp_path / "caught", tmp_path / "project"
    write(directory, CORPUS["a package on the search path"], caught)
    answer = command(directory, modules, ["check", "processor=noop", "hydra.searchpath=[pkg://evil]"])
    assert answer.returncode == 0, answer.stderr
    assert caught.exists()


@pytest.mark.parametrize(
    "override",
    [
        "model.friction=range(0,1e308,1e-300)",
        "model.friction=shuffle(range(0,1e9))",
        "model.friction=shuffle(range(0,1000000000))",
        "model.friction=range(0,1000000000)",
        "model.friction=range(0,inf)",
        "model.friction=range(0,1,nan)",
        "+model.parameters.x=" + "[" * 3000 + "]" * 3000,
        "+model.parameters.x=" + "{a:" * 500 + "1" + "}" * 500,
        "model.friction=" + "9" * 10_000,
        "model.friction=1e999999999",
        "model.friction=" + "x" * 100_000,
    ],
)
def test_an_override_without_an_end_is_refused(tmp_path, modules, override):
    answer = command(tmp_path, modules, ["check", "-m", override, "processor=noop"])
    assert answer.returncode == 2, answer
    assert b"Traceback" not in answer.stderr, answer.stderr[-3000:]


WRONG: list[object] = [
    {"stages": 5},
    {"stages": {"generate": [], "run": {}, "postprocess": {}}},
    {"run_id": 5},
    {"identity": {"model": 5}},
    {"identity": 5},
    {"inputs": [5]},
    {"inputs": [{"path": 5, "size": "x", "sha256": None, "mtime_ns": {}}]},
    {"inputs": [{"path": "../../../etc/passwd", "size": 1, "sha256": "x", "mtime_ns": 1}]},
    {"outputs": [{"path": "a\0b", "size": 1, "sha256": "x", "mtime_ns": 1}]},
    {"outputs": [{"path": "\ud800", "size": 1, "sha256": "x", "mtime_ns": 1}]},
    {"state": "nothing"},
    {"state": "lost"},
    {"claim": -1},
    {"claim": 10**30},
    {"attempt": "x"},
    {"driver": {"pid": "x", "host": 5}},
    {"backend_facts": {"pid": "x"}},
    {"error": 5},
    {"error": {"message": 5}},
    {"parameters": {"x": {"y": [1]}}},
    {"overrides": [5]},
    {"config": {"model": 5}},
    {"metrics": {"x": {"y": 1}}},
    {"resources": {"cpu_seconds": "x"}},
    {"created": 5, "updated": 5},
    {"attempts": [5]},
    {"exit_code": "x"},
    {"found": [5]},
    {"products": [{"path": ["x"], "size": 1, "sha256": "x", "mtime_ns": 1}]},
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("finished")
    answer = command(
        directory, directory, ["-m", "model.friction=0.02,0.03", "processor=noop", "sweep.name=s"]
    )
    assert answer.returncode == 0, answer
    return directory


DEEP = {
    "lists": "[" * 200_000,
    "closed lists": "[" * 200_000 + "]" * 200_000,
    "mappings": '{"a":' * 200_000,
    "lists within the limit of Python": "[" * 900 + "]" * 900,
    "half a pair in lists": "[" * 900 + '"\\ud800"' + "]" * 900,
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
@pytest.mark.parametrize(
    "name",
    ["s/friction=0.02/run.json", "s/friction=0.02/claims/1.json", "s/sweep.json", "a field of run.json"],
)
def test_a_file_that_is_nested_without_an_end_ends_in_no_traceback(finished, name, text):
    path = finished / "sweeps" / name
    if "field" in name:
        path = finished / "sweeps" / "s" / "friction=0.02" / "run.json"
        text = f'{path.read_text().rstrip().removesuffix("}")}, "metrics": {text}}}'
    original = path.read_text()
    arguments = ["model.friction=0.02,0.03", "processor=noop", "sweep.name=s"]
    try:
        path.write_text(text)
        for command_line in (["check", "-m", *arguments], ["-m", *arguments]):
            answer = command(finished, finished, command_line)
            assert b"Traceback" not in answer.stderr, answer.stderr.decode()[-3000:]
            assert answer.returncode in (0, 1, 2)
            if "run.json" in name:
                assert b"run.json is damaged" in answer.stderr
            if "sweep.json" in name:
                assert b"sweep.json is damaged" in answer.stderr
    finally:
        path.write_text(original)


@pytest.mark.parametrize("changed", WRONG, ids=lambda changed: json.dumps(changed)[:50])
def test_a_record_that_somebody_changed_ends_in_no_traceback(finished, changed):
    path = finished / "sweeps" / "s" / "friction=0.02" / "run.json"
    original = path.read_text()
    try:
        path.write_text(json.dumps({**json.loads(original), **changed}))
        for arguments in (["check", "-m"], ["-m"]):
            answer = command(
                finished,
                finished,
                [*arguments, "model.friction=0.02,0.03", "processor=noop", "sweep.name=s"],
            )
            assert b"Traceback" not in answer.stderr, (arguments, answer.stderr.decode()[-3000:])
            assert answer.returncode in (0, 1, 2)
    finally:
        for extra in (finished / "sweeps" / "s").glob("*.old-*"):
            extra.rename(finished / f"{extra.name}-{len(list(finished.iterdir()))}")
        path.parent.mkdir(exist_ok=True)
        path.write_text(original)
