"""Files by URL, with fsspec: fetch inputs, store results.

A file that is not whole never has its final name: it is transferred under another one, compared with the
size that the server states and with a checksum, and then renamed. fsspec is imported when a file is
transferred; nothing else here connects to a server.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from loguru import logger

from rompy_hydra.errors import TransferError
from rompy_hydra.hashing import hash_file, hash_text
from rompy_hydra.jsonable import Json, canonical_json, read_json
from rompy_hydra.plugins.requirements import check_packages
from rompy_hydra.redaction import hide, public_url
from rompy_hydra.regular_files import create_new
from rompy_hydra.workspace.atomic import copy_atomic, replacing

# What each scheme needs besides fsspec.
SCHEMES = {
    "file": "",
    "http": "aiohttp",
    "https": "aiohttp",
    "s3": "s3fs",
    "gs": "gcsfs",
    "sftp": "paramiko",
}
EXTRA = "rompy-hydra[transfer]"
# How often a transfer is tried again, and the first pause in seconds, which doubles each time.
RETRIES = 3
_PAUSE = 0.5
# Seconds without any data after which a connection is given up; a file may take as long as it needs.
_SILENCE = 120.0
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)(?:://|::)")
_CHECKSUM = re.compile(r"(?P<kind>sha256|sha512|md5):(?P<digits>[0-9a-fA-F]+)")
_DIGITS = {"sha256": 64, "sha512": 128, "md5": 32}
# What servers call the version of a file.
_FACTS = {
    "etag": ("ETag", "etag"),
    "size": ("size",),
    "modified": ("LastModified", "last_modified", "Last-Modified", "mtime", "updated"),
}
_DENIED = PermissionError | IsADirectoryError | NotADirectoryError

T = TypeVar("T")


def is_url(text: str) -> bool:
    """Whether a source is a URL, and not a path."""
    return bool(_URL.match(text))


def check_url(url: str) -> str:
    """The URL itself; ValueError if files cannot be transferred by it."""
    found = _URL.match(url)
    if found is None or found["scheme"].lower() not in SCHEMES or "://" not in found[0]:
        raise ValueError(f"'{public_url(url)}' is not a URL of {', '.join(SCHEMES)}")
    return url


def check_checksum(text: str) -> str:
    """A checksum in lower case; ValueError if it is not such as `sha256:` and 64 digits."""
    found = _CHECKSUM.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"'{text}' is not a checksum: write sha256: and 64 hexadecimal digits")
    if len(found["digits"]) != _DIGITS[found["kind"]]:
        raise ValueError(f"'{text}' must have {_DIGITS[found['kind']]} digits after {found['kind']}:")
    return found[0].lower()


def name_of(url: str) -> str:
    """The name of the file that a URL leads to; '' if it has none."""
    from urllib.parse import unquote, urlsplit

    return unquote(urlsplit(url).path.rpartition("/")[2])


def local_path(url: str) -> Path | None:
    """The path of a `file://` URL; None for another one."""
    if _scheme(url) != "file" or not is_url(url):
        return None
    from urllib.parse import unquote, urlsplit

    return Path(unquote(urlsplit(url).path))


def check_installed(url: str) -> None:
    """ConfigError if a package that the URL needs is not installed."""
    check_packages(public_url(url), packages_for(url))


def packages_for(url: str) -> dict[str, str]:
    """The modules that a URL or path needs, each with what to install."""
    more = SCHEMES[_scheme(url)]
    return {"fsspec": EXTRA, **({more: EXTRA} if more else {})}


def remote_facts(url: str) -> str:
    """What a server says about the version of a file: its ETag, size and time of change, as JSON.

    '' if it says nothing. TransferError if it does not answer or has no such file. The points of a sweep
    ask once a minute.
    """
    return _facts_now(url, int(time.monotonic() // 60))


@functools.lru_cache(maxsize=256)
def _facts_now(url: str, minute: int) -> str:
    with _errors("find", url), _opened(url) as (system, path):
        return _facts_of(_info(system, path))


def fetch(url: str, target: str, checksum: str = "", facts: str = "") -> None:
    """Copy a file to `target`, completely or not at all; TransferError if that is not possible.

    A file whose version is known, by its checksum or `remote_facts`, is fetched once into the user's cache
    directory, and copied from there afterwards.
    """
    if not (checksum or facts):
        _download(url, target, checksum)
        return
    entry = _cached(url, checksum or facts)
    try:
        os.makedirs(os.path.dirname(entry), mode=0o700, exist_ok=True)
    except OSError:  # without a cache it takes longer
        _download(url, target, checksum)
        return
    with open(f"{entry}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_whole(entry, checksum, facts):
            _download(url, entry, checksum)
        copy_atomic(Path(entry), target)


def check_file(path: str | Path, checksum: str, what: str) -> None:
    """TransferError if a file has another checksum."""
    kind, _, wanted = checksum.partition(":")
    if kind == "sha256":
        found = hash_file(path)
    else:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, kind).hexdigest()
    if found != wanted:
        raise TransferError(
            f"{what} has the checksum {kind}:{found}, and {kind}:{wanted} is expected. It is another file "
            "than the one that the configuration means: check where it comes from, or correct the checksum"
        )


class Store:
    """A directory at a URL, or of this machine, into which files are written."""

    def __init__(self, url: str, retries: int = RETRIES) -> None:
        self.url, self._retries = url.rstrip("/"), retries

    def place_of(self, name: str) -> str:
        return f"{self.url}/{name}"

    def read(self, name: str) -> bytes | None:
        """The content of a small file; None if there is none."""
        with _errors("read", self.place_of(name)), _opened(self.place_of(name)) as (system, path):
            return _retried(lambda: system.cat_file(path) if system.exists(path) else None, self._retries)

    def size_of(self, name: str) -> int | None:
        """Bytes of a file; None if there is none."""
        with _errors("find", self.place_of(name)), _opened(self.place_of(name)) as (system, path):
            return _retried(
                lambda: int(system.info(path)["size"]) if system.exists(path) else None, self._retries
            )

    def write(self, name: str, content: bytes) -> None:
        """Write a small file, so that readers see either the old or the new content."""
        self._put(name, lambda system, part: system.pipe_file(part, content), len(content))

    def upload(self, source: str, name: str) -> None:
        """Copy a file of this machine, completely or not at all."""
        size = os.path.getsize(source)
        self._put(name, lambda system, part: system.put_file(source, part), size)

    def _put(self, name: str, put: Callable[[Any, str], object], size: int) -> None:
        with _errors("write", self.place_of(name)), _opened(self.place_of(name)) as (system, path):
            # Object stores show a file when it is whole; in a file system, renaming does that.
            renames = SCHEMES[_scheme(self.url)] in ("", "paramiko")
            part = f"{path}.part" if renames else path

            def attempt() -> None:
                if renames:
                    system.makedirs(path.rpartition("/")[0], exist_ok=True)
                put(system, part)
                system.invalidate_cache()
                if (found := int(system.info(part)["size"])) != size:
                    raise OSError(f"{found} of {size} bytes arrived")
                if renames:
                    if system.exists(path):
                        system.rm_file(path)
                    system.mv(part, path)

            _retried(attempt, self._retries)


def _scheme(url: str) -> str:
    """The scheme of a URL; that of a path is `file`."""
    found = _URL.match(url)
    return found["scheme"].lower() if found else "file"


def _download(url: str, target: str, checksum: str) -> None:
    def attempt() -> None:
        with _opened(url) as (system, path), replacing(target) as part:
            size = _info(system, path).get("size")
            os.close(create_new(part))
            system.get_file(path, part)
            found = os.path.getsize(part)
            if isinstance(size, int) and size != found:
                raise OSError(f"{found} of {size} bytes arrived")
            if checksum:
                check_file(part, checksum, public_url(url))

    with _errors("fetch", url):
        logger.info("fetching {}", public_url(url))
        _retried(attempt, RETRIES)


def _retried(attempt: Callable[[], T], retries: int) -> T:
    for number in range(retries):
        try:
            return attempt()
        except Exception as error:
            reason = _reason(error)
            # A client's mistake stays one; 408 and 429 ask to try again.
            status = getattr(reason, "status", None) or 0
            is_mistake = 400 <= status < 500 and status not in (408, 429)
            if is_mistake or isinstance(reason, TransferError | FileNotFoundError | _DENIED):
                raise
            logger.warning("trying again: {}: {}", type(reason).__name__, hide(str(reason)))
            time.sleep(_PAUSE * 2**number)
    return attempt()


def _reason(error: Exception) -> Exception:
    """What really failed: fsspec says of each failure of HTTP that the file does not exist."""
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and isinstance(cause, Exception):
        return error if getattr(cause, "status", None) in (404, 410) else cause
    return error


@contextlib.contextmanager
def _errors(verb: str, url: str) -> Iterator[None]:
    """A context in which anything that a transfer raises is a TransferError with the URL."""
    try:
        yield
    except TransferError:
        raise
    except Exception as error:  # each kind of server has exceptions of its own
        cause = _reason(error)
        if isinstance(cause, FileNotFoundError):
            raise TransferError(f"cannot {verb} {public_url(url)}: it does not exist") from error
        if status := getattr(cause, "status", None):
            reason = f"the server answers {status} {getattr(cause, 'message', '')}".rstrip()
        else:
            reason = hide(" ".join(str(cause).split())) or type(cause).__name__
        raise TransferError(
            f"cannot {verb} {public_url(url)}: {reason[:300]}. Check the URL, the network and the "
            "credentials in the environment, then rerun the command"
        ) from error


@contextlib.contextmanager
def _opened(url: str) -> Iterator[tuple[Any, str]]:
    """A file system of fsspec, and the path of a URL in it."""
    import fsspec

    options: dict[str, Any] = {}
    scheme = _scheme(url)
    if scheme in ("http", "https"):
        import aiohttp

        # By default, a file that takes longer than five minutes fails.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_SILENCE, sock_read=_SILENCE)
        options["client_kwargs"] = {"timeout": timeout}
    system, path = fsspec.core.url_to_fs(url if is_url(url) else os.path.abspath(url), **options)
    system.invalidate_cache()
    yield system, path


def _info(system: Any, path: str) -> dict[str, Any]:
    found: dict[str, Any] = system.info(path)
    return found


def _facts_of(info: dict[str, Any]) -> str:
    known: dict[str, Json] = {}
    for key, names in _FACTS.items():
        value = next((info[name] for name in names if info.get(name) is not None), None)
        if value is not None:
            known[key] = value if isinstance(value, int) else str(value)
    return canonical_json(known) if known else ""


def _cached(url: str, version: str) -> str:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    # A checksum says all about a file, wherever it comes from.
    name = hash_text(version if _CHECKSUM.fullmatch(version) else f"{public_url(url)}\0{version}")
    return os.path.join(cache, "rompy-hydra", "files", name[:32])


def _is_whole(entry: str, checksum: str, facts: str) -> bool:
    """Whether a file is in the cache, as it was fetched."""
    if not os.path.isfile(entry):
        return False
    if checksum:
        with contextlib.suppress(TransferError):
            check_file(entry, checksum, entry)
            return True
        return False
    stated = read_json(facts.encode())
    size = stated.get("size") if isinstance(stated, dict) else None
    return size is None or size == os.path.getsize(entry)
