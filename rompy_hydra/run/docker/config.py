"""The settings of the docker run backend: plain data, of which only the form is validated."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from rompy_hydra.jsonable import PathText
from rompy_hydra.run.base import BackendConfig
from rompy_hydra.time_range import Seconds

T = TypeVar("T")

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([bkmgt])b?)?", re.I)
_UNITS = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}

_CAPABILITY = re.compile(r"[A-Z][A-Z_]+")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?")
_VOLUME = re.compile(r"(?P<host>.+?):(?P<container>/[^:]*)(?::(?P<options>[A-Za-z]+(?:,[A-Za-z]+)*))?")

_HOST = r"[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?(?:@[A-Za-z0-9_+.-]+:[0-9a-fA-F]{{32,}})?",
    re.ASCII,
)


@dataclass(frozen=True)
class Volume:
    """A path on the host, where to mount it in the container, and how."""

    host: str
    container: str
    read_only: bool = False
    # The SELinux label of the host path: z (shared) or Z (private).
    label: str = ""


def parse_volume(text: str) -> Volume:
    """The volume `host:container[:ro|rw[,z|Z]]`; ValueError if it is invalid.

    >>> parse_volume("/data/my tides:/tides:ro,Z")
    Volume(host='/data/my tides', container='/tides', read_only=True, label='Z')
    """
    found = _VOLUME.fullmatch(text)
    if found is None:
        raise ValueError(
            f"'{text}' is not a valid volume: write host:container[:ro|rw[,z|Z]], with an absolute path "
            "in the container, such as /data/tides:/tides:ro"
        )
    host, container = found["host"], found["container"]
    if host not in (".", "..", "~") and not host.startswith(("/", "./", "../", "~/")):
        raise ValueError(
            f"'{text}': the host path '{host}' must be absolute, or begin with ./, ../ or ~/ "
            "(named volumes are not supported)"
        )
    if container.rstrip("/") == "":
        raise ValueError(f"'{text}' would hide all files of the image; mount it below /")
    options = set(found["options"].split(",")) if found["options"] else set()
    if options - {"ro", "rw", "z", "Z"} or {"ro", "rw"} <= options or {"z", "Z"} <= options:
        raise ValueError(f"'{text}': the options are ro or rw, and z or Z, such as ro,Z")
    label = "".join(options & {"z", "Z"})
    if label and ":" in host:
        raise ValueError(
            f"'{text}': a path with a colon cannot have a label ({label}); rename it, or omit the label"
        )
    return Volume(host, container.rstrip("/"), "ro" in options, label)


def parse_size(value: str | int) -> int:
    """A size in bytes, from a number with a unit in powers of 1024; ValueError if it is invalid.

    >>> parse_size("1.5g")
    1610612736
    """
    found = _SIZE.fullmatch(str(value).strip())
    if found is None:
        raise ValueError(
            f"'{value}' is not a valid size: write a number with b, k, m, g or t, as in 512m or 4g"
        )
    return int(float(found[1]) * _UNITS[(found[2] or "b").lower()])


def check_image(name: str) -> str:
    """`name` itself; ValueError if it is not a valid image name."""
    if not _IMAGE.fullmatch(name):
        raise ValueError(
            f"'{name}' is not a valid image name: write [registry/]name[:tag][@sha256:digest] in lower case"
        )
    return name


def _check_volumes(values: tuple[str, ...]) -> tuple[str, ...]:
    targets = [parse_volume(value).container for value in values]
    if repeated := next((target for target in targets if targets.count(target) > 1), None):
        raise ValueError(f"two volumes have the same path in the container, {repeated}; change one of them")
    return values


def _check_gpus(value: str | int) -> str | int:
    if isinstance(value, str) and not re.fullmatch(r"all|device=[\w-]+(,[\w-]+)*", value):
        raise ValueError(f"'{value}' must be all, a number, or device=0,1")
    if isinstance(value, int) and value < 1:
        raise ValueError(f"{value} must be at least 1; use null for none")
    return value


def _must(advice: str, is_valid: Callable[[T], object]) -> AfterValidator:
    """A validator that rejects a value with the value and this advice."""

    def check(value: T) -> T:
        if not is_valid(value):
            raise ValueError(f"'{value}' must {advice}")
        return value

    return AfterValidator(check)


Text = Annotated[PathText, _must("not be empty; use null instead", str.strip)]
# Docker rejects less memory.
Memory = Annotated[
    str | int,
    _must("be at least 6m; write it as in 512m or 4g", lambda size: parse_size(size) >= 6 * 2**20),
]
Size = Annotated[str | int, _must("be more than 0, as in 64m", parse_size)]
User = Annotated[
    str | int, _must("be user or user:group, such as '1000:1000'", lambda user: _USER.fullmatch(str(user)))
]
Capability = Annotated[str, _must("be a Linux capability, such as SYS_PTRACE", _CAPABILITY.fullmatch)]


class DockerConfig(BackendConfig):
    """How a model runs in a container.

    The image is `image`, or is built from `dockerfile`, or else is the one that the model names.
    `executable` replaces the model's commands; `mpiexec` starts it in `cpu` processes. By default the
    container runs as the calling user and has no network, no capabilities and no way to gain privileges.

    >>> DockerConfig(image="swan:41.45", cpu=4, memory="8g", volumes=("/data/tides:/tides:ro",)).cpu
    4.0
    """

    backend: ClassVar[str] = "rompy_hydra.run.docker.backend:DockerRunBackend"
    unnamed: ClassVar[frozenset[str]] = frozenset({"timeout", "kill_grace", "remove_container", "pull"})
    # Limits and isolation affect whether a model finishes, not its results. The sources of a build are
    # part of the image's key.
    transient: ClassVar[frozenset[str]] = unnamed | {"cpu", "memory", "shm_size", "pids_limit", "init"}
    transient |= {"cap_add", "no_new_privileges", "user", "network"}
    transient |= {"dockerfile", "build_context", "build_args", "build_network"}

    image: Annotated[str, AfterValidator(check_image)] | None = None
    dockerfile: Text | None = None
    build_context: Text | None = None
    build_args: dict[str, PathText] = {}
    build_network: Text | None = None
    pull: Literal["missing", "always", "never"] = "missing"
    executable: Text | None = None
    # An empty one is none, as in rompy.
    mpiexec: Annotated[Text | None, BeforeValidator(lambda value: None if value == "" else value)] = None
    cpu: float | None = Field(default=None, ge=0.01, allow_inf_nan=False)
    memory: Memory | None = None
    shm_size: Size | None = None
    gpus: Annotated[str | int, AfterValidator(_check_gpus)] | None = None
    volumes: Annotated[tuple[PathText, ...], AfterValidator(_check_volumes)] = ()
    user: User | None = None
    network: Text = "none"
    cap_add: tuple[Capability, ...] = ()
    no_new_privileges: bool = True
    init: bool = True
    pids_limit: int | None = Field(default=4096, ge=1)
    remove_container: bool = True
    kill_grace: Seconds = Field(default=5.0, ge=0, le=3600)

    @model_validator(mode="after")
    def _consistent(self) -> DockerConfig:
        if self.image and self.dockerfile:
            raise ValueError("image and dockerfile exclude each other; give only one of them")
        for name in ("build_context", "build_args", "build_network"):
            if getattr(self, name) and not self.dockerfile:
                raise ValueError(f"{name} needs dockerfile; give it, or remove {name}")
        if self.mpiexec and not self.executable:
            raise ValueError("mpiexec needs executable, the program to start")
        if self.mpiexec and not (self.cpu and self.cpu.is_integer()):
            raise ValueError("mpiexec needs cpu, the number of processes, as a whole number")
        return self

    @property
    def mounts(self) -> tuple[Volume, ...]:
        """The volumes, parsed."""
        return tuple(parse_volume(value) for value in self.volumes)
