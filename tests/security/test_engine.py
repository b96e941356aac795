"""Looking at a configuration for a container shows what it would do, and asks only the engine."""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

IMAGE = "registry.invalid:5000/beacon:1"
HERE = "here/model:1"
ANSWERS = {
    "/_ping": (200, "OK"),
    "/version": (200, {"ApiVersion": "1.43", "Version": "24"}),
    "/info": (200, {"NCPU": 4, "ServerVersion": "24", "SecurityOptions": []}),
    f"/images/{HERE}/json": (200, {"Id": "sha256:0"}),
}


class Engine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """An engine that has one image and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, directory: Path) -> None:
        self.asked: list[str] = []
        self.socket_path = directory / "engine.sock"
        super().__init__(str(self.socket_path), Asked)


class Asked(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Engine

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        found: tuple[int, object] = (404, {"message": "No such image"})
        for path, answer in ANSWERS.items():
            found = answer if self.path.endswith(path) else found
        code, content = found
        body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Api-Version", "1.43")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def address_string(self) -> str:
        return ""

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    server = Engine(tmp_path)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with a model; beside it a credential helper that leaves a trace, and is to be used."""
    directory = tmp_path / "project"
    (directory / "template").mkdir(parents=True)
    (directory / "template" / "INPUT").write_text("plain\n")
    helper = tmp_path / "bin" / "docker-credential-trap"
    helper.parent.mkdir()
    answer = json.dumps({"Username": "a", "Secret": "b"})
    helper.write_text(f"#!/bin/sh\ntouch {tmp_path / 'caught'}\necho '{answer}'\n")
    helper.chmod(0o755)
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "config.json").write_text(json.dumps({"credsStore": "trap"}))
    return directory


def look(
    engine: Engine, project: Path, command: list[str], *settings: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    bases = ["model=template", "model.template=template"]
    if not any(each.startswith("model.commands=") for each in settings):
        bases.append("model.commands=['rm -rf /data/important']")
    docker = ["run_backend=docker", "processor=noop", *settings]
    return subprocess.run(
        [sys.executable, "-P", "-m", "rompy_hydra", *command, *bases, *docker],
        cwd=project,
        env={
            **os.environ,
            "DOCKER_HOST": f"unix://{engine.socket_path}",
            "DOCKER_CONFIG": str(project.parent / "docker"),
            "PATH": f"{project.parent / 'bin'}:{os.environ['PATH']}",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


LOOKS = [["check"], ["--dry-run"], ["check", "-m"], ["-m", "--dry-run"]]
FENCES = {
    "run_backend.user=root": "run_backend.user=root",
    "run_backend.network=host": "run_backend.network=host",
    "run_backend.cap_add=[SYS_ADMIN]": "run_backend.cap_add=[SYS_ADMIN]",
    "run_backend.no_new_privileges=false": "run_backend.no_new_privileges=false",
    "run_backend.pids_limit=null": "run_backend.pids_limit=null",
    "run_backend.gpus=all": "run_backend.gpus=all",
    "run_backend.volumes=['/etc:/host:ro']": "run_backend.volumes: /etc as /host, read only",
    f"run_backend.image={IMAGE}": f"the image {IMAGE} would be pulled from its registry",
}


@pytest.mark.parametrize("command", LOOKS, ids=" ".join)
def test_looking_shows_the_commands_and_everything_that_is_open_to_them(engine, project, command):
    answer = look(engine, project, command, *FENCES)
    assert answer.returncode == 0, answer
    assert "rm -rf /data/important" in answer.stdout
    for shown in FENCES.values():
        assert f"exposed    {shown}\n" in answer.stdout


@pytest.mark.parametrize("command", LOOKS, ids=" ".join)
def test_looking_asks_no_registry_and_runs_no_credential_helper(engine, project, command):
    answer = look(engine, project, command, f"run_backend.image={IMAGE}")
    assert answer.returncode == 0, answer
    assert [path for path in engine.asked if f"/images/{IMAGE}/json" in path]
    assert not [path for path in engine.asked if "/distribution/" in path or "/create" in path]
    assert not (project.parent / "caught").exists()


def test_a_run_asks_the_registry_before_it_changes_anything(engine, project):
    answer = look(engine, project, [], f"run_backend.image={IMAGE}")
    assert answer.returncode == 2, answer
    assert "cannot pull it" in answer.stderr
    assert [path for path in engine.asked if "/distribution/" in path]
    assert not (project / "runs").exists()


def test_a_closed_container_shows_its_commands_only(engine, project):
    answer = look(engine, project, ["check"], f"run_backend.image={HERE}")
    assert answer.returncode == 0, answer
    assert "command    rm -rf /data/important\n" in answer.stdout
    assert "exposed" not in answer.stdout


def test_the_commands_of_all_points_are_shown_but_not_without_end(engine, project):
    commands = ",".join(f"['echo {number}']" for number in range(20))
    answer = look(
        engine, project, ["-m", "--dry-run"], f"run_backend.image={HERE}", f"model.commands={commands}"
    )
    assert answer.returncode == 0, answer
    assert answer.stdout.count("command    echo ") == 6
    assert "and more in 14 points" in answer.stdout


@pytest.mark.parametrize("command", [*LOOKS, [], ["-m"]], ids=" ".join)
@pytest.mark.parametrize(
    "volume",
    ["{socket}:/x.sock", "{link}:/x.sock:ro", "{directory}:/x", "/:/host", "/var/run/docker.sock:/x"],
)
def test_the_socket_of_an_engine_cannot_be_a_volume(engine, project, command, volume):
    link = project / "link"
    link.symlink_to(engine.socket_path)
    names = {"socket": engine.socket_path, "link": link, "directory": engine.socket_path.parent}
    setting = f"run_backend.volumes=['{volume.format_map(names)}']"
    answer = look(engine, project, command, f"run_backend.image={HERE}", setting)
    assert answer.returncode == 2, answer
    assert "the socket of a container engine" in answer.stderr
    assert not [path for path in engine.asked if "/create" in path]


def test_the_environment_of_the_user_allows_the_socket_and_a_file_does_not(engine, project):
    setting = f"run_backend.volumes=['{engine.socket_path}:/x.sock']"
    allowed = {"ROMPY_HYDRA_ALLOW_ENGINE_SOCKET": "1"}
    answer = look(engine, project, ["check"], f"run_backend.image={HERE}", setting, **allowed)
    assert answer.returncode == 0, answer
    assert f"exposed    run_backend.volumes: {engine.socket_path} as /x.sock, writable\n" in answer.stdout
    answer = look(engine, project, ["check"], f"run_backend.image={HERE}", setting, "+vars.allowed=1")
    assert answer.returncode == 2
