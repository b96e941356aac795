"""Images are built once per version of their sources, and pulled as configured."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rompy_hydra import DockerConfig, DockerRunBackend, RunRecord
from rompy_hydra.errors import ConfigError, RunError
from rompy_hydra.process import StopSignal
from rompy_hydra.run.docker.engine import get_engine
from rompy_hydra.run.docker.image import Build
from tests.conftest import Driver, wait_until
from tests.run.conftest import BUSYBOX

pytestmark = pytest.mark.docker


class Source:
    """A directory to build images from; the images are removed at the end of the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self.write("Dockerfile", f"FROM {BUSYBOX}\nCOPY . /src\n")
        self.tags: set[str] = set()

    def write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    @property
    def dockerfile(self) -> str:
        return str(self.directory / "Dockerfile")

    def tag(self, **fields: Any) -> str:
        tag = Build(DockerConfig(dockerfile=self.dockerfile, **fields)).tag()
        self.tags.add(tag)
        return tag

    def key(self, **fields: Any) -> str:
        key = DockerRunBackend(dockerfile=self.dockerfile, **fields).image_key(None)
        assert key is not None
        return key


@pytest.fixture
def source(docker_engine: Any, tmp_path: Path) -> Iterator[Source]:
    from docker.errors import ImageNotFound

    source = Source(tmp_path / "my source")
    yield source
    for tag in source.tags:
        with contextlib.suppress(ImageNotFound):
            docker_engine.remove_image(tag, force=True)


def test_the_image_key_changes_with_every_byte_that_the_build_can_read(source: Source) -> None:
    source.write("model.f90", "end\n")
    source.write("deep/er/file", "1")
    names = [source.key()]

    def changes(edit: Callable[[], object]) -> bool:
        edit()
        names.append(source.key())
        return names[-1] not in names[:-1]

    assert source.key() == names[0]
    assert changes(lambda: source.write("model.f90", "END\n"))
    assert changes(lambda: source.write("deep/er/other", ""))
    assert changes(lambda: (source.directory / "model.f90").chmod(0o755))
    assert changes(lambda: (source.directory / "empty").mkdir())
    assert changes(lambda: (source.directory / "link").symlink_to("model.f90"))
    assert changes(lambda: source.write("Dockerfile", f"FROM {BUSYBOX}\n"))
    assert changes(lambda: (source.directory / "deep" / "er" / "file").rename(source.directory / "file"))
    assert source.key(build_args={"A": "1"}) not in names
    assert source.key(build_args={"A": "1"}) != source.key(build_args={"A": "2"})


def test_files_excluded_by_dockerignore_do_not_change_the_image_key(source: Source) -> None:
    source.write(".dockerignore", "# outputs\n*.nc\n\nruns\n!keep.nc\n")
    before = source.key()
    source.write("large.nc", "x")
    source.write("runs/shoal/run.json", "x")
    assert source.key() == before
    source.write("keep.nc", "x")
    assert source.key() != before


def test_a_built_image_contains_the_files_of_the_context(source: Source, in_container: Any) -> None:
    source.write("model.sh", "echo first")
    source.write("ignored", "x")
    source.write(".dockerignore", "ignored\n")
    run = in_container("sh /src/model.sh; ls -A /src", image=None)
    source.tag()
    outcome = run.execute(dockerfile=source.dockerfile)
    assert run.log.split() == ["first", ".dockerignore", "Dockerfile", "model.sh"]
    assert outcome.facts["image"] == source.tag()
    assert " : COPY . /src\n" in (run.workspace.path / "build.log").read_text()
    source.write("model.sh", "echo second")
    source.tag()
    run.execute(dockerfile=source.dockerfile)
    assert "second" in run.log


def test_the_image_of_an_unchanged_source_is_found_within_a_fifth_of_a_second(
    source: Source, in_container: Any
) -> None:
    for number in range(200):
        source.write(f"src/module{number}.f90", f"! {number}\n" * 500)
    run = in_container("true", image=None)
    source.tag()
    run.execute(dockerfile=source.dockerfile)
    (run.workspace.path / "build.log").unlink()
    from rompy_hydra.run.docker.image import prepare_image

    config = DockerConfig(dockerfile=source.dockerfile)
    job = run.job(run.backend())
    seconds = []
    for _ in range(5):
        begin = time.monotonic()
        prepare_image(get_engine(), config, job, set())
        seconds.append(time.monotonic() - begin)
    assert min(seconds) < 0.2
    assert not (run.workspace.path / "build.log").exists()


def test_build_arguments_are_passed_and_the_dockerfile_may_be_outside_the_context(
    source: Source, in_container: Any, tmp_path: Path
) -> None:
    outside = tmp_path / "Dockerfile.release"
    outside.write_text(f"FROM {BUSYBOX}\nARG VERSION\nCOPY . /src\nRUN echo $VERSION > /version\n")
    source.write("here", "x")
    run = in_container("cat /version; ls -A /src", image=None)
    fields = {
        "dockerfile": str(outside),
        "build_context": str(source.directory),
        "build_args": {"VERSION": "41.45"},
    }
    source.tags.add(Build(DockerConfig(**fields)).tag())
    run.execute(**fields)
    assert run.log.split() == ["41.45", "Dockerfile", "here"]


def test_build_network_sets_the_network_of_the_build(source: Source, in_container: Any) -> None:
    source.write("Dockerfile", f"FROM {BUSYBOX}\nARG N\nRUN ls /sys/class/net > /networks\n")
    counts = []
    for network in ("none", "host"):
        run = in_container("cat /networks", image=None, run_id=network)
        source.tag(build_args={"N": network})
        run.execute(dockerfile=source.dockerfile, build_args={"N": network}, build_network=network)
        counts.append(len(run.log.split()))
    assert counts[0] < counts[1]


def test_a_failed_build_shows_its_last_lines_and_leaves_no_container(
    source: Source, in_container: Any, docker_engine: Any
) -> None:
    source.write(
        "Dockerfile", f"FROM {BUSYBOX}\nRUN echo compiling; echo 'no such module: tides' >&2; exit 3\n"
    )
    run = in_container("true", image=None)
    before = {c["Id"] for c in docker_engine.containers(all=True)}
    with pytest.raises(RunError) as error:
        run.execute(dockerfile=source.dockerfile)
    message = str(error.value)
    assert "could not be built" in message
    assert "non-zero code: 3" in message
    assert "no such module: tides" in message
    assert f"Last lines of {run.workspace.path}/build.log" in message
    assert "\x1b" not in message
    assert {c["Id"] for c in docker_engine.containers(all=True)} <= before
    assert run.model_run.run(DockerConfig(dockerfile=source.dockerfile)) is False
    record = RunRecord.load(run.workspace)
    assert record is not None and record.error is not None
    assert "no such module: tides" in str(record.error["message"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("FROM no/such/base:1\n", "no/such/base"),
        ("FRMO busybox\n", "FRMO"),
        (f"FROM {BUSYBOX}\nCOPY missing /\n", "missing"),
    ],
)
def test_an_invalid_dockerfile_is_reported(
    text: str, reason: str, source: Source, in_container: Any
) -> None:
    source.write("Dockerfile", text)
    with pytest.raises(RunError, match=r"(?s)could not be built: .*" + reason):
        in_container("true", image=None).execute(dockerfile=source.dockerfile)


def test_a_missing_base_image_is_reported_before_the_run_if_it_may_not_be_pulled(source: Source) -> None:
    source.write("Dockerfile", f"FROM {BUSYBOX} AS tools\nFROM --platform=x no/such/base:1\nFROM tools\n")
    backend = DockerRunBackend(dockerfile=source.dockerfile, pull="never")
    with pytest.raises(
        ConfigError, match=r"is based on no/such/base:1: the engine has no image .*pull=never"
    ):
        backend.preflight(("true",), set(), None)


def test_a_run_directory_in_the_build_context_is_rejected(
    source: Source, in_container: Any, tmp_path: Path
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {BUSYBOX}\n")
    run = in_container("true", image=None)
    fields = {"dockerfile": str(tmp_path / "Dockerfile")}
    with pytest.raises(RunError, match=r"is in the build context .* Add runs to .*\.dockerignore"):
        run.execute(**fields)
    (tmp_path / ".dockerignore").write_text("runs\n")
    source.tags.add(Build(DockerConfig(**fields)).tag())
    assert run.execute(**fields).exit_code == 0


def test_two_drivers_with_two_threads_each_build_an_image_once(
    source: Source, docker_engine: Any, tmp_path: Path, start_driver: Callable[..., Driver]
) -> None:
    """Each build of this image would write a different random number into it."""
    source.write(
        "Dockerfile", f"FROM {BUSYBOX}\nRUN head -c 16 /dev/urandom | sha256sum > /number; sleep 0.5\n"
    )
    source.tag()
    code = """
import threading
from rompy_hydra import DockerRunBackend
config = BaseConfig(commands=("cat /number",))
backend = DockerRunBackend(dockerfile=sys.argv[3])
runs = [ModelRun(run_id=f"{sys.argv[2]}-{n}", output_dir=sys.argv[1], config=config) for n in range(2)]
for run in runs:
    run.generate()
say("ready")
while not Path(sys.argv[4]).exists():
    pass
threads = [threading.Thread(target=backend.run, args=(run, None, run.workspace.path)) for run in runs]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
    go = tmp_path / "go"
    drivers = [start_driver(code, tmp_path / "runs", name, source.dockerfile, go) for name in "ab"]
    for driver in drivers:
        wait_until(lambda driver=driver: "ready" in driver.output or driver.process.poll() is not None)  # type: ignore[misc]
    go.touch()
    for driver in drivers:
        assert driver.wait() == 0, driver.output
    logs = sorted((tmp_path / "runs").glob("*/run.log"))
    assert len(logs) == 4, [driver.output for driver in drivers]
    assert len({log.read_text() for log in logs}) == 1
    assert len(list((tmp_path / "runs").glob("*/build.log"))) == 1


def test_an_interrupt_cancels_a_build(source: Source, in_container: Any, docker_engine: Any) -> None:
    source.write("Dockerfile", f"FROM {BUSYBOX}\nRUN echo begun; sleep 600\n")
    run = in_container("true", image=None)
    stop = StopSignal()
    ended: list[str] = []

    def work() -> None:
        try:
            run.execute(stop, dockerfile=source.dockerfile)
        except KeyboardInterrupt:
            ended.append("interrupted")

    before = {c["Id"] for c in docker_engine.containers(all=True)}
    worker = threading.Thread(target=work)
    worker.start()
    log = run.workspace.path / "build.log"
    wait_until(lambda: log.exists() and "\nbegun" in log.read_text())
    stop.set()
    worker.join()
    stop.close()
    assert ended == ["interrupted"]
    wait_until(lambda: {c["Id"] for c in docker_engine.containers(all=True)} <= before)


class Registry:
    """A minimal image registry for an engine to pull from, with one image: busybox."""

    def __init__(self, archive: bytes) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.requests: list[str] = []
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            read = lambda name: tar.extractfile(name).read()  # type: ignore[union-attr] # noqa: E731
            content = json.loads(read("manifest.json"))[0]
            self._config = json.loads(read(content["Config"]))
            self._layers = [self._put(gzip.compress(read(layer), 1)) for layer in content["Layers"]]
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.split("?")[0].strip("/")
                if path == "v2":
                    return self.answer(b"{}", "application/json")
                kind, name = path.split("/")[-2:]
                data = (registry.manifests if kind == "manifests" else registry.blobs).get(name)
                if kind == "manifests":
                    registry.requests.append(name)
                if data is None:
                    self.send_error(404)
                    return None
                mime = "application/vnd.docker.distribution.manifest.v2+json"
                return self.answer(data, mime if kind == "manifests" else "application/octet-stream")

            do_HEAD = do_GET  # noqa: N815

            def answer(self, data: bytes, kind: str) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Docker-Content-Digest", f"sha256:{hashlib.sha256(data).hexdigest()}")
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                return None

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def publish(self, tag: str, greeting: str) -> str:
        """Publish the image with its own GREETING under a tag, and return its digest."""
        config = dict(self._config)
        config["config"] = {**config["config"], "Env": ["PATH=/bin", f"GREETING={greeting}"]}
        data = json.dumps(config).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": self._put(data) | {"mediaType": "application/vnd.docker.container.image.v1+json"},
            "layers": self._layers,
        }
        text = json.dumps(manifest).encode()
        digest = f"sha256:{hashlib.sha256(text).hexdigest()}"
        self.manifests[tag] = self.manifests[digest] = text
        return digest

    def _put(self, data: bytes) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[digest] = data
        kind = "application/vnd.docker.image.rootfs.diff.tar.gzip"
        return {"mediaType": kind, "size": len(data), "digest": digest}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def registry(docker_engine: Any) -> Iterator[Registry]:
    from docker.errors import ImageNotFound

    registry = Registry(b"".join(docker_engine.get_image(BUSYBOX)))
    yield registry
    registry.close()
    for image in docker_engine.images(all=True):
        names = [*(image["RepoTags"] or ()), *(image["RepoDigests"] or ())]
        for name in names:
            if name.startswith(registry.host) and "<none>" not in name:
                with contextlib.suppress(ImageNotFound):
                    docker_engine.remove_image(name, force=True)


def test_a_missing_image_is_pulled_once_and_then_reused(registry: Registry, in_container: Any) -> None:
    registry.publish("1", "hello")
    name = f"{registry.host}/model:1"
    run = in_container("echo $GREETING")
    backend = run.backend(image=name)
    assert backend.image_key(None) == name
    backend.preflight(("true",), set(), None)
    outcome = run.execute(image=name)
    assert run.log == "hello\n"
    assert (
        outcome.facts["image_digest"]
        == f"{registry.host}/model@{outcome.facts['image_digest'].split('@')[1]}"
    )
    requests = len(registry.requests)
    registry.publish("1", "changed")
    run.execute(image=name)
    assert run.log == "hello\nhello\n"
    assert len(registry.requests) == requests
    assert backend.image_key(None) == outcome.facts["image_id"]


def test_a_completed_run_that_pulled_its_image_is_skipped(registry: Registry, in_container: Any) -> None:
    registry.publish("1", "hello")
    run = in_container("echo $GREETING")
    backend = run.backend(image=f"{registry.host}/model:1")
    for _ in range(2):
        assert run.model_run.pipeline(run_backend=backend, processor="noop")["success"]
    assert run.log == "hello\n"
    record = RunRecord.load(run.workspace)
    assert record is not None and record.attempt == 1


def test_pull_always_uses_the_newest_image(registry: Registry, in_container: Any) -> None:
    registry.publish("1", "hello")
    name = f"{registry.host}/model:1"
    run = in_container("echo $GREETING")
    run.execute(image=name)
    registry.publish("1", "changed")
    backend = run.backend(image=name, pull="always")
    backend.execute(run.job(backend))
    assert run.log == "hello\nchanged\n"
    requests = len(registry.requests)
    backend.execute(run.job(backend))
    assert len(registry.requests) == requests, "a backend pulls an image only once, also in a sweep"


def test_an_image_can_be_selected_by_its_digest(registry: Registry, in_container: Any) -> None:
    digest = registry.publish("1", "pinned")
    registry.publish("1", "newer")
    name = f"{registry.host}/model@{digest}"
    run = in_container("echo $GREETING")
    run.execute(image=name)
    assert run.log == "pinned\n"
    backend = run.backend(image=name)
    assert backend.image_key(None) == name
    run.execute(image=f"{registry.host}/model:1@{digest}", pull="never")
    assert run.log == "pinned\npinned\n"


def test_pull_never_sends_no_request_to_the_registry(registry: Registry, in_container: Any) -> None:
    registry.publish("1", "hello")
    with pytest.raises(RunError, match=r"has no image .*pull=never"):
        in_container("true").execute(image=f"{registry.host}/model:1", pull="never")
    assert registry.requests == []


def test_an_image_that_the_registry_does_not_have_is_reported(
    registry: Registry, in_container: Any
) -> None:
    run = in_container("true")
    backend = run.backend(image=f"{registry.host}/model:none")
    with pytest.raises(ConfigError, match="cannot pull it"):
        backend.check_outside(run.model_run.config)
    with pytest.raises(RunError, match="cannot pull the image"):
        backend.execute(run.job(backend))
