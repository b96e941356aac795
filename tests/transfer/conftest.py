"""Real servers on this machine: HTTP with faults on demand, and S3."""

from __future__ import annotations

import hashlib
import http.server
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import wait_until
from tests.plugins.packaging import Program


@dataclass
class Web:
    """An HTTP server: its files, its faults, and the requests that it got."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    # How many of the next downloads break off in the middle, or are refused with this status.
    broken: int = 0
    refused: list[int] = field(default_factory=list)
    # The status of the next answers to any request.
    failing: list[int] = field(default_factory=list)
    has_facts: bool = True
    requests: list[str] = field(default_factory=list)

    @property
    def downloads(self) -> int:
        return sum(line.startswith("GET") for line in self.requests)


@pytest.fixture
def web() -> Iterator[Web]:
    state = Web()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, with_body: bool) -> None:
            state.requests.append(f"{self.command} {self.path}")
            content = state.files.get(self.path.partition("?")[0])
            if state.failing:
                self.send_error(state.failing.pop(0))
                return
            if with_body and state.refused:
                self.send_error(state.refused.pop(0))
                return
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            if state.has_facts:
                self.send_header("ETag", f'"{hashlib.md5(content).hexdigest()}"')
            self.end_headers()
            if not with_body:
                return
            if state.broken:
                state.broken -= 1
                content = content[: len(content) // 2]
                self.close_connection = True
            self.wfile.write(content)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass(frozen=True)
class Bucket:
    """A bucket of an S3 server, and the variables of the environment with which it is reached."""

    variables: dict[str, str]

    def call(self, code: str) -> str:
        """What Python code prints that has `s3`, a client of the server."""
        head = "import boto3; s3 = boto3.client('s3')\n"
        answer = subprocess.run(
            [sys.executable, "-c", head + code],
            env={"PATH": "/usr/bin:/bin", **self.variables},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.strip()


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path_factory.mktemp("s3") / "log").open("w")
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
    )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            return False
        return True

    wait_until(answers)
    variables = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "opensesame-s3",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    found = Bucket(variables)
    found.call("s3.create_bucket(Bucket='ocean')")
    yield found
    server.terminate()
    server.wait()
    log.close()


class Runs:
    """The program in a directory with a small model, with a cache of its own."""

    def __init__(self, directory: Path) -> None:
        self.here = directory / "here"
        self.here.mkdir()
        (self.here / "tpl").mkdir()
        (self.here / "tpl" / "settings.txt").write_text("{{ model.x }} {{ model.y | default(0) }}\n")
        self.cache = directory / "cache"
        self._program = Program(Path(), self.here)

    def __call__(self, *arguments: str, code: int = 0, **variables: str) -> str:
        head = arguments[:1] if arguments[0] == "check" else ()
        model = ("model=template", "model.template=tpl", "+model.parameters.x=1", "processor=noop")
        command = "model.commands=['cat tide.nc > out.txt']"
        answer = self._program(
            *head, *model, command, *arguments[len(head) :], XDG_CACHE_HOME=str(self.cache), **variables
        )
        out = answer.stdout + answer.stderr
        assert answer.returncode == code, out
        assert "Traceback" not in out, out
        return out

    def leftovers(self) -> list[Path]:
        """Files that are parts of others."""
        return [path for path in self.here.parent.rglob("*.part*") if path.is_file()]


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)
