"""The container engine that the environment names: one client a process, and how to wait for it."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from rompy_hydra.errors import EngineUnavailable
from rompy_hydra.process import StopSignal

if TYPE_CHECKING:
    from docker import APIClient

T = TypeVar("T")

# How long an answer of the engine is taken as true, seconds: many points of a sweep are checked at
# once, and yet an image that was made meanwhile is seen.
KNOWN_SECONDS = 1.0
_FIRST_ANSWER_SECONDS = 10
_ANSWER_SECONDS = 60
# Shown of what an engine says.
_SAID = 500


def engine() -> Engine:
    """The engine that DOCKER_HOST and its kin name; EngineUnavailable says why it does not answer."""
    names = ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_CONTEXT")
    return _connected(os.getpid(), tuple(os.environ.get(name) for name in names))


@functools.cache
def _connected(_process: int, _environment: tuple[str | None, ...]) -> Engine:
    return Engine()


def engine_errors() -> tuple[type[Exception], ...]:
    """What is raised when the engine does not answer, or refuses."""
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    return (DockerException, RequestException, EngineUnavailable)


def error_text(error: BaseException) -> str:
    """What the engine itself said, in one line."""
    text = str(getattr(error, "explanation", None) or error)
    return " ".join(text.split())[:_SAID]


def _client() -> APIClient:
    import docker

    return docker.from_env(timeout=_FIRST_ANSWER_SECONDS, max_pool_size=64).api


class Engine:
    """One connected engine. Its answers about images and networks are kept for a moment."""

    def __init__(self) -> None:
        try:
            self.api = _client()
        except engine_errors() as error:
            raise away(error) from error
        self.api.timeout = _ANSWER_SECONDS
        self._known: dict[object, tuple[float, object]] = {}

    def ping(self) -> None:
        """EngineUnavailable if it does not answer now."""
        self.known("ping", self.api.ping)

    def known(self, key: object, ask: Callable[[], T], seconds: float = KNOWN_SECONDS) -> T:
        """An answer that is not older than `seconds`; EngineUnavailable if the engine cannot be reached."""
        now = time.monotonic()
        kept = self._known.get(key)
        if kept is not None and now - kept[0] < seconds:
            return kept[1]  # type: ignore[return-value]
        answer = self.ask(ask)
        self._known[key] = (now, answer)
        return answer

    def forget(self) -> None:
        """Take no earlier answer as true any more."""
        self._known.clear()

    def ask(self, ask: Callable[[], T]) -> T:
        """An answer of the engine; EngineUnavailable if there is none. The caller reports a refusal."""
        from docker.errors import APIError
        from requests.exceptions import RequestException

        try:
            return ask()
        except APIError:
            raise
        except RequestException as error:
            raise away(error) from error

    @functools.cached_property
    def facts(self) -> Mapping[str, Any]:
        return self.ask(self.api.info)

    @property
    def version(self) -> str:
        return str(self.facts.get("ServerVersion", "unknown"))

    @property
    def is_here(self) -> bool:
        """Whether it is reached by a socket of this machine, so that it sees the same files."""
        return self.api.base_url.startswith("http+docker://localhost")

    @property
    def rootless(self) -> bool:
        """Whether user 0 of a container is the user who runs the engine."""
        options = self.facts.get("SecurityOptions") or ()
        # Podman has a word of its own for it.
        return bool(self.facts.get("Rootless")) or any("rootless" in option for option in options)

    def image(self, name: str, fresh: bool = False) -> Mapping[str, Any] | None:
        """What the engine knows of an image, or None if it has none of this name."""
        from docker.errors import ImageNotFound

        def ask() -> Mapping[str, Any] | None:
            try:
                found: Mapping[str, Any] = self.api.inspect_image(name)  # type: ignore[no-untyped-call]
            except ImageNotFound:
                return None
            return found

        return self.known(("image", name), ask, 0 if fresh else KNOWN_SECONDS)

    def stream(
        self,
        call: Callable[[APIClient], Iterable[Mapping[str, Any]]],
        each: Callable[[Mapping[str, Any]], None],
        stop: StopSignal | None,
    ) -> None:
        """Give each event of a build or a pull to `each`; an interrupt breaks it off at the engine."""
        from docker.types import CancellableStream

        api = _client()
        api.timeout = None  # type: ignore[assignment]  # a step of a build may say nothing for hours
        responses: list[Any] = []
        api.hooks["response"].append(lambda response, **_: responses.append(response))

        def consume() -> None:
            for event in call(api):
                each(event)

        try:
            in_background(consume, stop)
        except BaseException:
            for response in responses:
                with contextlib.suppress(Exception):
                    CancellableStream(iter(()), response).close()
            raise
        finally:
            api.close()


def away(error: BaseException) -> EngineUnavailable:
    """Why there is no answer, and what to do."""
    host = os.environ.get("DOCKER_HOST")
    where = f"DOCKER_HOST={host}" if host else "its default socket"
    text = str(error)
    if "PermissionError" in text:
        what = (
            "this user may not use its socket. Join the group docker, or set DOCKER_HOST to another engine"
        )
    elif "FileNotFoundError" in text or "ConnectionRefused" in text:
        what = "nothing listens there. Start it (systemctl start docker), or set DOCKER_HOST"
    elif "bind address" in text or "Invalid" in text:
        what = "this is no address. Write unix:///path/to/socket, tcp://host:port or ssh://user@host"
    else:
        what = f"{error_text(error)}. Start it, or set DOCKER_HOST"
    return EngineUnavailable(f"the container engine cannot be reached ({where}): {what}")


def in_background(
    call: Callable[[], T],
    stop: StopSignal | None = None,
    deadline: float | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> T:
    """What `call` answers, from a thread, so that this one can be woken.

    KeyboardInterrupt if `stop` is set first, TimeoutError at the `deadline` (monotonic). `meanwhile` is
    called from time to time, ever less often.
    """
    from select import POLLIN, poll

    ended = StopSignal()
    answers: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            answers.append(call())
        except BaseException as error:  # noqa: BLE001 - it is raised again by the caller's thread
            errors.append(error)
        ended.set()

    thread = threading.Thread(target=work, daemon=True, name="container engine")
    waiting = poll()
    waiting.register(ended.fileno(), POLLIN)
    if stop is not None:
        waiting.register(stop.fileno(), POLLIN)
    look_after = 0.05
    thread.start()
    try:
        while not ended.is_set():
            if stop is not None and stop.is_set():
                raise KeyboardInterrupt
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError
            wait = left
            if meanwhile is not None:
                wait = look_after if left is None else min(left, look_after)
                look_after = min(look_after * 1.5, 2.0)
            # Rounded up, lest the last millisecond be a busy loop.
            if not waiting.poll(None if wait is None else min(wait * 1000 + 1, 2**30)) and meanwhile:
                meanwhile()
    finally:
        thread.join(timeout=None if ended.is_set() else 0)
        if not thread.is_alive():
            ended.close()
    if errors:
        raise errors[0]
    return answers[0]
