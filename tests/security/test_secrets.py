"""Secrets by many ways into real commands: none leaves its value in a file, a name or on the terminal."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from loguru import logger

from rompy_hydra import BaseConfig, LocalConfig, ModelRun
from rompy_hydra.errors import PluginError

NAMES = ["DB_PASSWORD", "PASSPHRASE", "DB_PASS", "MYSQL_PWD", "KEY", "API_KEY", "SECRET_KEY", "COOKIE"]
NAMES += ["SESSION_COOKIES", "JWT", "DATABASE_URL", "REDIS_URI", "SENTRY_DSN", "GITHUB_TOKEN", "AUTH"]
NAMES += [
    "AWS_SECRET_ACCESS_KEY",
    "credentials",
    "sshKey",
    "dbPassword",
    "APIKEY",
    "PGPASSWORD",
    "authToken",
]
NAMES += ["Authorization", "WIFI_PSK", "SLACK_WEBHOOK", "connection-string", "OTP", "pwd", "bearer"]
VARIABLES = [name for name in NAMES if name.replace("_", "").isalnum()]

MODEL = ["model=template", "processor=noop", "run_id=guarded"]
# Files in which a secret must stand, and who may read them.
ONLY_OWNER = {"run.secrets"}


@dataclass
class Way:
    """A command, and the secrets that it gets, by name."""

    arguments: list[str]
    secrets: Mapping[str, str]
    files: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    code: int = 0
    # What the command must have done, so that hiding everything is no way out.
    leaves: str = ""


def secret(name: str, what: str = "") -> str:
    return f"Zq{what}{NAMES.index(name):02}opensesame"


def number(name: str) -> str:
    return str(48151600 + NAMES.index(name))


SECRETS = {name: secret(name) for name in NAMES}
NUMBERS = {name: number(name) for name in NAMES}
IN_ENVIRONMENT = {name: secret(name) for name in VARIABLES}
RUN = "runs/guarded/run.json"


def parameters(**changed: object) -> dict[str, object]:
    return {
        "_target_": "rompy_hydra.models.TemplateModel",
        "template": "template",
        "commands": ["true"],
        **changed,
    }


def option(node: object) -> dict[str, object]:
    """A model of the user's own, which `model=mine` selects."""
    return {"conf/model/mine.yaml": node}


MINE = ["--config-dir", "conf", "model=mine", "processor=noop", "run_id=guarded"]
URLS = {
    "database": "postgresql://ada:Zq-opensesame-1@host/db",
    "broker": "amqp://:Zq-opensesame-2@host",
    "inside": "see https://ada:Zq-opensesame-3@host:80/x?y=1 for it",
    "odd": "ftp://a:Zq:opensesame%4@host",
}
URL_PASSWORDS = {
    "database": "Zq-opensesame-1",
    "broker": "Zq-opensesame-2",
    "inside": "Zq-opensesame-3",
    "odd": "Zq:opensesame%4",
}
FROM_ENVIRONMENT = {f"station_{name}": f"${{oc.env:{name}}}" for name in VARIABLES}


def typed(prefix: str, values: Mapping[str, str]) -> list[str]:
    return [f"+{prefix}.{name}={value}" for name, value in values.items()]


WAYS: dict[str, Callable[[], Way]] = {
    "variables of the backend": lambda: Way(
        [*MODEL, *typed("run_backend.env_vars", IN_ENVIRONMENT)], IN_ENVIRONMENT, leaves=RUN
    ),
    "numbers as variables": lambda: Way(
        [*MODEL, *typed("run_backend.env_vars", {n: number(n) for n in VARIABLES})], NUMBERS, leaves=RUN
    ),
    "variables of the model": lambda: Way(
        [*MODEL, *typed("model.env", IN_ENVIRONMENT)], IN_ENVIRONMENT, leaves=RUN
    ),
    "parameters": lambda: Way([*MODEL, *typed("model.parameters", SECRETS)], SECRETS, leaves=RUN),
    "numbers as parameters": lambda: Way(
        [*MODEL, *typed("model.parameters", NUMBERS)], NUMBERS, leaves=RUN
    ),
    "a mapping": lambda: Way(
        [*MODEL, "+model.parameters.db={" + ",".join(f"{n}:{v}" for n, v in SECRETS.items()) + "}"],
        SECRETS,
        leaves=RUN,
    ),
    "a mapping below each": lambda: Way(
        [*MODEL, *(f"+model.parameters.{n}={{user:{v},other:[{v}x]}}" for n, v in SECRETS.items())],
        SECRETS,
        leaves=RUN,
    ),
    "a list below each": lambda: Way(
        [*MODEL, *(f"+model.parameters.{n}=[{v},{{x:{v}}}]" for n, v in SECRETS.items())],
        SECRETS,
        leaves=RUN,
    ),
    "a file": lambda: Way(MINE, SECRETS, option(parameters(parameters=SECRETS)), leaves=RUN),
    "numbers in a file": lambda: Way(
        MINE,
        NUMBERS,
        option(parameters(parameters={n: int(v) for n, v in NUMBERS.items()})),
        leaves=RUN,
    ),
    "lists in a file": lambda: Way(
        MINE,
        SECRETS,
        option(parameters(parameters={n: [v, [v], {"a": v}] for n, v in SECRETS.items()})),
        leaves=RUN,
    ),
    "keys above in a file": lambda: Way(
        MINE,
        SECRETS,
        option(parameters(parameters={"x": [{n: {"user": {"name": v}}} for n, v in SECRETS.items()]})),
        leaves=RUN,
    ),
    "other keys from the environment": lambda: Way(
        MINE, IN_ENVIRONMENT, option(parameters(parameters=FROM_ENVIRONMENT)), IN_ENVIRONMENT, leaves=RUN
    ),
    "numbers from the environment": lambda: Way(
        MINE,
        {n: number(n) for n in VARIABLES},
        option(parameters(parameters={f"x{n}": f"${{oc.decode:${{oc.env:{n}}}}}" for n in VARIABLES})),
        {n: number(n) for n in VARIABLES},
        leaves=RUN,
    ),
    "defaults of the environment": lambda: Way(
        MINE,
        IN_ENVIRONMENT,
        option(parameters(parameters={f"x{n}": f"${{oc.env:{n},{v}}}" for n, v in IN_ENVIRONMENT.items()})),
        leaves=RUN,
    ),
    "ordinary variables from the environment": lambda: Way(
        MINE,
        IN_ENVIRONMENT,
        option(parameters(env={f"STATION{i}": v for i, v in enumerate(FROM_ENVIRONMENT.values())})),
        IN_ENVIRONMENT,
        leaves=RUN,
    ),
    "references": lambda: Way(
        MINE,
        SECRETS,
        option(
            parameters(
                parameters={
                    **SECRETS,
                    **{f"copy{i}": f"${{model.parameters.{n}}}" for i, n in enumerate(SECRETS)},
                }
            )
        ),
        leaves=RUN,
    ),
    "commands": lambda: Way(
        MINE,
        IN_ENVIRONMENT,
        option(
            parameters(
                commands=[
                    *(f"echo ${{oc.env:{name}}} >/dev/null" for name in VARIABLES[:10]),
                    *(["true", f"--x=${{oc.env:{name}}}"] for name in VARIABLES[10:]),
                    "echo done",
                ]
            )
        ),
        IN_ENVIRONMENT,
        leaves=RUN,
    ),
    "a command that fails": lambda: Way(
        MINE,
        IN_ENVIRONMENT,
        option(parameters(commands=[" ".join(f"${{oc.env:{name}}}" for name in VARIABLES)])),
        IN_ENVIRONMENT,
        code=2,  # the program was not found
    ),
    "a model that prints them and fails": lambda: Way(
        MINE,
        {"API_KEY": secret("API_KEY")},
        option(parameters(env={"API_KEY": "${oc.env:API_KEY}"}, commands=["echo $API_KEY; exit 3"])),
        {"API_KEY": secret("API_KEY")},
        code=1,
        leaves=RUN,
    ),
    "addresses": lambda: Way(MINE, URL_PASSWORDS, option(parameters(parameters=URLS)), leaves=RUN),
    "addresses as overrides": lambda: Way(
        [*MODEL, *(f"+model.parameters.{n}='{v}'" for n, v in URLS.items())], URL_PASSWORDS, leaves=RUN
    ),
    "addresses in commands": lambda: Way(
        MINE,
        URL_PASSWORDS,
        option(parameters(commands=[["true", url] for url in URLS.values()])),
        leaves=RUN,
    ),
    "names of runs": lambda: Way(
        ["model=template", "processor=noop", *(f"+model.parameters.{n}='{v}'" for n, v in URLS.items())],
        URL_PASSWORDS,
    ),
    "names of runs from nested values": lambda: Way(
        [
            "model=template",
            "processor=noop",
            f"+model.parameters.db={{DB_PASSWORD:{secret('DB_PASSWORD')}}}",
        ],
        SECRETS,
    ),
    "a name of a run": lambda: Way(
        ["model=template", "processor=noop", "run_id=x-${oc.env:DB_PASSWORD}"],
        IN_ENVIRONMENT,
        environment=IN_ENVIRONMENT,
        code=2,
    ),
    "a name of a directory": lambda: Way(
        ["model=template", "processor=noop", "output_dir=x-${oc.env:DB_PASSWORD}"],
        IN_ENVIRONMENT,
        environment=IN_ENVIRONMENT,
        code=2,
    ),
    "a name of an input": lambda: Way(
        [*MODEL, f"+model.parameters.password={secret('DB_PASSWORD')}"],
        SECRETS,
        {"template/{{ model.password }}": "x"},
        code=2,
    ),
    "validation": lambda: Way(["check", *MINE], SECRETS, option(parameters(parameters=SECRETS))),
    "a dry run": lambda: Way(["--dry-run", *MINE], SECRETS, option(parameters(parameters=SECRETS))),
    "the configuration": lambda: Way(
        ["--cfg", "job", *MINE], SECRETS, option(parameters(parameters=SECRETS))
    ),
    "the configuration of overrides": lambda: Way(
        ["--cfg", "job", *MODEL, *typed("model.parameters", SECRETS)], SECRETS
    ),
    "all of the configuration": lambda: Way(
        ["--cfg", "all", *MODEL, *typed("model.parameters", NUMBERS)], NUMBERS
    ),
    "Hydra's configuration": lambda: Way(
        [
            "--cfg",
            "hydra",
            *MODEL,
            *typed("model.parameters", SECRETS),
            "+hydra.job.env_set.API_KEY=Zqx-opensesame",
        ],
        {**SECRETS, "x": "Zqx-opensesame"},
    ),
    "the resolved configuration": lambda: Way(
        ["--cfg", "job", "--resolve", *MINE],
        IN_ENVIRONMENT,
        option(parameters(parameters={**FROM_ENVIRONMENT, **{n: f"${{oc.env:{n}}}" for n in VARIABLES}})),
        IN_ENVIRONMENT,
    ),
    "secrets from other variables": lambda: Way(
        ["--cfg", "job", "--resolve", *MINE],
        {"password": "Zq-opensesame"},
        option(
            parameters(parameters={"password": "${oc.env:PLAIN}", "again": "${model.parameters.password}"})
        ),
        {"PLAIN": "Zq-opensesame"},
    ),
    "a part of the configuration": lambda: Way(
        ["--cfg", "job", "--package", "model.parameters.DB_PASSWORD", *MINE],
        SECRETS,
        option(parameters(parameters=SECRETS)),
    ),
    "defaults in the configuration": lambda: Way(
        ["--cfg", "job", *MINE],
        IN_ENVIRONMENT,
        option(parameters(parameters={f"x{n}": f"${{oc.env:{n},{v}}}" for n, v in IN_ENVIRONMENT.items()})),
    ),
    "help": lambda: Way(["--help", *MINE], SECRETS, option(parameters(parameters=SECRETS))),
    "help on Hydra": lambda: Way(
        ["--hydra-help", *typed("hydra.job.env_set", IN_ENVIRONMENT)], IN_ENVIRONMENT
    ),
    "information": lambda: Way(["--info", "all", *MINE], SECRETS, option(parameters(parameters=SECRETS))),
    "completion": lambda: Way(
        ["--shell-completion", "query=bash"],
        SECRETS,
        {**option(parameters(parameters=SECRETS))},
        {
            "COMP_LINE": "rompy-hydra --config-dir conf model=mine model.parameters.DB_PASSWORD=",
            "COMP_POINT": "76",
        },
    ),
    "a wrong neighbour": lambda: Way(
        MINE, SECRETS, option(parameters(parameters=SECRETS, outputs={"a": SECRETS})), code=2
    ),
    "a wrong value": lambda: Way(
        [*MODEL, *(f"+model.files=[{{source:x,{n}:{v}}}]" for n, v in list(SECRETS.items())[:1])],
        SECRETS,
        code=2,
    ),
    "a wrong kind of mapping": lambda: Way(
        MINE, SECRETS, option(parameters(commands={"a": SECRETS}, parameters=SECRETS)), code=2
    ),
    "an option without a target": lambda: Way(
        ["--config-dir", "conf", "run_backend=mine", *MODEL],
        SECRETS,
        {"conf/run_backend/mine.yaml": {"env_vars": SECRETS}},
        code=2,
    ),
    "a model without a target": lambda: Way(
        MINE, SECRETS, option({"env": SECRETS, "template": "x"}), code=2
    ),
    "an unknown key beside it": lambda: Way(
        [*MODEL, *typed("model.parameters", SECRETS), "model.nothing=1"], SECRETS, code=2
    ),
    "an unknown key": lambda: Way([*MODEL, f"model.db.password={secret('DB_PASSWORD')}"], SECRETS, code=2),
    "a syntax error": lambda: Way(
        [*MODEL, f"+model.parameters.password={secret('DB_PASSWORD')}{{x"], SECRETS, code=2
    ),
    "a syntax error in a mapping": lambda: Way(
        [*MODEL, f"+model.parameters.db={{password: {secret('DB_PASSWORD')}"], SECRETS, code=2
    ),
    "a syntax error with a traceback": lambda: Way(
        ["--debug", *MODEL, f"+model.parameters.password={secret('DB_PASSWORD')}{{x"], SECRETS, code=2
    ),
    "an error with a traceback": lambda: Way(
        ["--debug", *MINE], SECRETS, option(parameters(commands={"a": SECRETS})), code=2
    ),
    "a template that fails": lambda: Way(
        [*MODEL, f"+model.parameters.password={secret('DB_PASSWORD')}"],
        SECRETS,
        {"template/INPUT": "{{ model[model.password] }} {{ model.password + 1 }}"},
        code=2,
    ),
    "a sweep over them": lambda: Way(
        [
            "-m",
            "model=template",
            "processor=noop",
            f"+run_backend.env_vars.DB_PASSWORD={secret('DB_PASSWORD')},x",
        ],
        SECRETS,
        code=2,  # two points have the same label
    ),
    "a sweep with them": lambda: Way(
        [
            "-m",
            "model=template",
            "processor=noop",
            "+model.parameters.x=1,2",
            *typed("model.parameters", SECRETS),
        ],
        SECRETS,
        leaves="sweeps/template/results.csv",
    ),
    "a sweep with numbers": lambda: Way(
        [
            "-m",
            "model=template",
            "processor=noop",
            "+model.parameters.x=1,2",
            *typed("model.parameters", NUMBERS),
        ],
        NUMBERS,
        leaves="sweeps/template/results.csv",
    ),
    "a sweep over addresses": lambda: Way(
        [
            *("-m", "model=template", "processor=noop"),
            "+model.parameters.url=" + ",".join(f"'{url}'" for url in URLS.values()),
        ],
        URL_PASSWORDS,
        leaves="sweeps/template/results.csv",
    ),
    "a sweep of a file": lambda: Way(
        ["-m", "--config-dir", "conf", "model=mine", "processor=noop", "+model.parameters.x=1,2"],
        IN_ENVIRONMENT,
        option(parameters(parameters=FROM_ENVIRONMENT)),
        IN_ENVIRONMENT,
        leaves="sweeps/mine/results.csv",
    ),
    "a sweep that fails": lambda: Way(
        ["-m", "--config-dir", "conf", "model=mine", "processor=noop", "+model.parameters.x=1,2"],
        IN_ENVIRONMENT,
        option(parameters(parameters=FROM_ENVIRONMENT, commands=["echo ${oc.env:API_KEY}; exit 3"])),
        IN_ENVIRONMENT,
        code=1,
        leaves="sweeps/mine/results.csv",
    ),
    "a sweep with wrong points": lambda: Way(
        [
            "-m",
            *MODEL[:2],
            "+model.parameters.x=1,2",
            *typed("model.parameters", SECRETS),
            "+model.files={a:1}",
        ],
        SECRETS,
        code=2,
    ),
    "a table of cases": lambda: Way(
        ["-m", "model=template", "processor=noop", "sweep.cases=cases.csv"],
        SECRETS,
        {
            "cases.csv": "+model.parameters.x,+model.parameters.DB_PASSWORD\n"
            f"1,{secret('DB_PASSWORD')}\n2,y\n"
        },
        leaves="sweeps/template/results.csv",
    ),
    "Hydra's launcher": lambda: Way(
        [
            "-m",
            *MODEL[:2],
            "hydra/launcher=basic",
            "+model.parameters.x=1,2",
            *typed("model.parameters", SECRETS),
        ],
        SECRETS,
        leaves="sweeps/template/x=1/run.json",
    ),
    "joblib's launcher": lambda: Way(
        [
            "-m",
            *MODEL[:2],
            "hydra/launcher=joblib",
            "+model.parameters.x=1,2",
            *typed("model.parameters", SECRETS),
        ],
        SECRETS,
        leaves="sweeps/template/x=1/run.json",
    ),
    "Hydra's sweeper": lambda: Way(
        [
            "-m",
            *MODEL[:2],
            "hydra/sweeper=basic",
            "hydra/launcher=basic",
            *typed("model.parameters", SECRETS),
        ],
        SECRETS,
        code=2,
    ),
    "Hydra's launcher and the environment": lambda: Way(
        [
            *("-m", "--config-dir", "conf", "model=mine", "processor=noop", "hydra/sweeper=basic"),
            *("hydra/launcher=basic", "+model.parameters.x=1,2"),
        ],
        IN_ENVIRONMENT,
        option(parameters(parameters=FROM_ENVIRONMENT)),
        IN_ENVIRONMENT,
    ),
}


def run(way: Way, directory: Path) -> subprocess.CompletedProcess[str]:
    files = {"template/INPUT": "plain{% if model %}{% endif %}\n", **way.files}
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    arguments = [*way.arguments]
    if "model=template" in arguments:
        arguments += ["model.template=template", "model.commands=['true']"]
    clean = {name: value for name, value in os.environ.items() if name not in NAMES}
    return subprocess.run(
        [sys.executable, "-P", "-m", "rompy_hydra", *arguments],
        cwd=directory,
        env={**clean, **way.environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", WAYS)
def test_no_secret_is_left_in_a_file_a_name_or_on_the_terminal(name, tmp_path):
    way = WAYS[name]()
    answer = run(way, tmp_path)
    shown = answer.stdout + answer.stderr
    assert answer.returncode == way.code, shown
    assert not way.leaves or (tmp_path / way.leaves).exists(), shown
    texts = {"the terminal": shown}
    for path in tmp_path.rglob("*"):
        relative = path.relative_to(tmp_path)
        if relative.parts[0] in ("conf", "template", "cases.csv"):
            continue  # the user's own
        texts[f"the name {relative}"] = str(relative)
        if path.is_file() and path.name != "run.log":  # the model's output
            if path.name in ONLY_OWNER:
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
            else:
                texts[str(relative)] = path.read_text(errors="replace")
    leaks = {
        (where, key) for where, text in texts.items() for key, value in way.secrets.items() if value in text
    }
    assert not leaks, f"{sorted(leaks)}\n{shown}"


SECRET = "Zq-opensesame-9"
WRONG_OBJECTS = {
    "run backend": lambda run: run.run({"env_vars": {"API_TOKEN": SECRET}}),
    "run backend's value": lambda run: run.run(LocalConfig(env_vars={"API_TOKEN": [SECRET]})),
    "postprocessor": lambda run: run.postprocess({"token": SECRET}),
    "pipeline": lambda run: run.pipeline({"token": SECRET}),
    "backend in a pipeline": lambda run: run.pipeline(backend_config={"env_vars": {"API_TOKEN": SECRET}}),
    "postprocessor in a pipeline": lambda run: run.pipeline(processor=[{"password": SECRET}]),
    "model": lambda run: ModelRun(config={"env": {"API_TOKEN": SECRET}}),
    "model's value": lambda run: ModelRun(config={"model_type": "beach", "env": {"API_TOKEN": [SECRET]}}),
    "model object": lambda run: BaseConfig(env={"API_TOKEN": [SECRET]}),
    "setting of a run": lambda run: ModelRun(env={"API_TOKEN": SECRET}),
    "answer of a backend": lambda run: run.run(type("B", (), {"run": lambda *_, **__: {"token": SECRET}})),
}


@pytest.mark.parametrize("what", WRONG_OBJECTS)
def test_an_error_of_the_python_api_shows_no_secret_of_the_wrong_object(what, tmp_path, capfd):
    logger.remove()
    logger.add(sys.stderr)
    run = ModelRun(run_id="guarded", output_dir=tmp_path, config=BaseConfig(commands="true"))
    try:
        shown = str(WRONG_OBJECTS[what](run))
    except (ValueError, PluginError) as error:
        shown = str(error)
    record = run.workspace.record
    shown += "".join(capfd.readouterr()) + (record.read_text() if record.exists() else "")
    assert SECRET not in shown
    assert shown
