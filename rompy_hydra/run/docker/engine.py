"""The container engine: one client per process, cached answers, and calls that can be interrupted."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from select import POLLIN, poll
from typing import TYPE_CHECKING, Any, TypeVar

from rompy_hydra.errors import EngineUnavailable
from rompy_hydra.process import StopSignal

if TYPE_CHECKING:
    from docker import APIClient

T = TypeVar("T")

# How long a cached answer is valid, seconds: many points of a sweep are checked within this time, and
# an image that is created meanwhile is still noticed soon.
CACHE_SECONDS = 1.0


def get_engine() -> Engine:
    """The engine that DOCKER_HOST and related variables select; EngineUnavailable if it does not answer."""
    names = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_CONTEXT")
    engine = _connect(os.getpid(), tuple(os.environ.get(name) for name in names))
    engine.cached("ping", engine.api.ping)
    return engine


@functools.cache
def _connect(_process: int, _environment: tuple[str | None, ...]) -> Engine:
    return Engine()


def engine_errors() -> tuple[type[Exception], ...]:
    """The exceptions raised when the engine does not answer, or rejects a request."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    return (DockerException, RequestException, EngineUnavailable)


def error_text(error: BaseException) -> str:
    """The engine's own message, on one line."""
    return " ".join(str(getattr(error, "explanation", None) or error).split())[:500]


def _client(timeout: float | None) -> APIClient:
    """A client, with a timeout for its requests after the first one (seconds)."""
    import docker

    api = docker.from_env(timeout=10, max_pool_size=64).api
    api.timeout = timeout  # type: ignore[assignment]
    return api


class Engine:
    """A connected engine. Its answers about images and networks are cached for `CACHE_SECONDS`."""

    def __init__(self) -> None:
        try:
            self.api = _client(60)
        except engine_errors() as error:
            raise _unavailable(error) from error
        self.cache: dict[object, tuple[float, object]] = {}

    def cached(self, key: object, request: Callable[[], T], seconds: float = CACHE_SECONDS) -> T:
        """The answer to a request, from the cache unless it is older than `seconds`."""
        now = time.monotonic()
        entry = self.cache.get(key)
        if entry is not None and now - entry[0] < seconds:
            return entry[1]  # type: ignore[return-value]
        answer = self.call(request)
        self.cache[key] = (now, answer)
        return answer

    def call(self, request: Callable[[], T]) -> T:
        """The answer to a request.

        EngineUnavailable if the engine does not answer; docker's APIError if it rejects the request.
        """
        from docker.errors import APIError
        from requests.exceptions import RequestException

        try:
            return request()
        except APIError:
            raise
        except RequestException as error:
            raise _unavailable(error) from error

    @functools.cached_property
    def info(self) -> Mapping[str, Any]:
        """What `docker info` reports."""
        return self.call(self.api.info)

    @property
    def version(self) -> str:
        return str(self.info.get("ServerVersion", "unknown"))

    @property
    def is_local(self) -> bool:
        """Whether it is connected through a socket of this machine, so that it sees the same files."""
        return self.api.base_url.startswith("http+docker://localhost")

    @property
    def socket(self) -> str | None:
        """The path of its socket; None if it is on another machine."""
        address = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        return address.removeprefix("unix://") if self.is_local and address.startswith("unix://") else None

    @property
    def rootless(self) -> bool:
        """Whether user 0 of a container is the user who runs the engine."""
        options = self.info.get("SecurityOptions") or ()
        # Podman reports it in a separate field.
        return bool(self.info.get("Rootless")) or any("rootless" in option for option in options)

    def image(self, name: str, fresh: bool = False) -> Mapping[str, Any] | None:
        """The engine's description of an image, None if there is no such image; `fresh` skips the cache."""
        from docker.errors import ImageNotFound

        def inspect() -> Mapping[str, Any] | None:
            try:
                found: Mapping[str, Any] = self.api.inspect_image(name)  # type: ignore[no-untyped-call]
            except ImageNotFound:
                return None
            return found

        return self.cached(("image", name), inspect, 0 if fresh else CACHE_SECONDS)

    def stream(
        self,
        start: Callable[[APIClient], Iterable[Mapping[str, Any]]],
        stop: StopSignal | None,
        on_event: Callable[[Mapping[str, Any]], None] = lambda event: None,
    ) -> None:
        """Pass each event of a build or a pull to `on_event`; an interrupt cancels it at the engine.

        Raises docker's DockerException if the engine reports an error.
        """
        from docker.errors import DockerException
        from docker.types import CancellableStream

        api = _client(None)  # a build step may print nothing for hours
        responses: list[Any] = []
        api.hooks["response"].append(lambda response, **_: responses.append(response))

        def consume() -> None:
            error = None
            for event in start(api):  # to its end, even after an error, so that the connection is closed
                error = event.get("error", error)
                on_event(event)
            if error is not None:
                raise DockerException(str(error))

        try:
            in_background(consume, stop)
        except BaseException:
            for response in responses:
                with contextlib.suppress(Exception):
                    CancellableStream(iter(()), response).close()
            raise
        finally:
            api.close()


def _unavailable(error: BaseException) -> EngineUnavailable:
    """The error for an engine that does not answer: why not, and what to do."""
    host = os.environ.get("DOCKER_HOST")
    where = f"DOCKER_HOST={host}" if host else "its default socket"
    text = str(error)
    what = f"{error_text(error)}. Start the engine, or set DOCKER_HOST"
    if "PermissionError" in text:
        what = (
            "this user may not use its socket. Join the group docker, or set DOCKER_HOST to another engine"
        )
    elif "FileNotFoundError" in text or "ConnectionRefused" in text:
        what = "nothing listens there. Start the engine (systemctl start docker), or set DOCKER_HOST"
    elif "bind address" in text or "Invalid" in text:
        what = (
            "this is not a valid address. Write unix:///path/to/socket, tcp://host:port or ssh://user@host"
        )
    return EngineUnavailable(f"the container engine cannot be reached ({where}): {what}")


def pause(seconds: float, stop: StopSignal | None) -> None:
    """Wait; KeyboardInterrupt as soon as `stop` is set."""
    if stop is None:
        time.sleep(seconds)
    elif stop.wait(seconds):
        raise KeyboardInterrupt


def in_background(
    call: Callable[[], T],
    stop: StopSignal | None = None,
    deadline: float | None = None,
    on_poll: Callable[[], None] | None = None,
) -> T:
    """The result of a blocking call, made in another thread so that waiting for it can be interrupted.

    KeyboardInterrupt as soon as `stop` is set, TimeoutError at the `deadline` (monotonic). `on_poll` is
    called while waiting, at intervals that grow from 0.05 s to 2 s.
    """
    ended = StopSignal()
    result: Future[T] = Future()

    def work() -> None:
        try:
            result.set_result(call())
        except BaseException as error:  # noqa: BLE001 - the waiting thread raises it again
            result.set_exception(error)
        ended.set()

    thread = threading.Thread(target=work, daemon=True, name="container engine")
    waiting = poll()
    for signal in (ended, stop) if stop else (ended,):
        waiting.register(signal.fileno(), POLLIN)
    interval = 0.05 if on_poll else math.inf
    thread.start()
    try:
        while not ended.is_set():
            if stop is not None and stop.is_set():
                raise KeyboardInterrupt
            left = math.inf if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            # Rounded up, so that the last millisecond is not a busy loop.
            woken = waiting.poll(min(min(left, interval) * 1000 + 1, 2**30))
            if on_poll and not woken:
                on_poll()
                interval = min(interval * 1.5, 2.0)
    finally:
        thread.join(timeout=None if ended.is_set() else 0)
        if not thread.is_alive():
            ended.close()
    return result.result()
