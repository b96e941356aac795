"""The base of all model configurations: input files, commands, environment, success checks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    JsonValue,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from rompy_hydra.errors import GenerateError
from rompy_hydra.jsonable import Json, PathText, json_text, path_text, plain
from rompy_hydra.models.inputs import Input, RunFacts
from rompy_hydra.models.success import SuccessChecks
from rompy_hydra.plugins.requirements import Requiring
from rompy_hydra.redaction import public_url, remembered_url
from rompy_hydra.time_range import has_dates, with_dates
from rompy_hydra.transfer.urls import (
    check_checksum,
    check_file,
    check_installed,
    check_url,
    is_url,
    local_path,
    name_of,
)
from rompy_hydra.workspace import Glob
from rompy_hydra.workspace.script import Env


def _normalise_command(value: object) -> object:
    parts = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(part, bool) for part in parts):
        raise ValueError("YAML reads words such as true and no as booleans: put them in quotes ('true')")
    if not parts or not str(parts[0]).strip():
        raise ValueError("a command must not be empty")
    if parts is not value:
        return path_text(value)
    # Arguments may be numbers: [mpirun, -n, 4, swan.exe]
    return [str(part) if isinstance(part, int | float) else path_text(part) for part in parts]


CommandField = Annotated[str | list[str], BeforeValidator(_normalise_command)]


class StagedFile(BaseModel):
    """A file that is copied into the workspace, or linked if it is too large to copy.

    A URL (http, https, s3, gs, sftp, file) is fetched when the run is generated, and never before. With a
    `checksum` (`sha256:...`), another file of that name is an error.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: PathText
    target: Glob | None = None
    link: bool = False
    checksum: Annotated[str, AfterValidator(check_checksum)] | None = None

    @model_validator(mode="after")
    def _check_source(self) -> StagedFile:
        if is_url(self.source):
            check_url(remembered_url(self.source))
            if self.link and local_path(self.source) is None:
                raise ValueError("link: true goes with a file of this machine; a URL is fetched")
            if not (self.target or name_of(self.source)):
                raise ValueError(f"{public_url(self.source)} names no file: give its name as target")
        return self

    @model_serializer(mode="wrap")
    def _without_secrets(self, handler: SerializerFunctionWrapHandler) -> dict[str, object]:
        # Another signature or password of a URL does not make another run.
        found: dict[str, object] = handler(self)
        if is_url(self.source):
            found["source"] = public_url(self.source)
        if self.checksum is None:  # as earlier versions have it
            del found["checksum"]
        return found

    def dated(self, run: RunFacts) -> StagedFile:
        """The file with the dates of the run's period, such as `wind_{start:%Y%m%d}.nc`."""
        names = {"source": self.source, "target": self.target}
        found = {key: text for key, text in names.items() if text is not None and has_dates(text)}
        if not found:
            return self
        if run.period is None:
            raise GenerateError(
                f"the input file {self.source} has a date of the period, which this model does not use "
                "(model.files, model.uses_period)"
            )
        try:
            return self.model_copy(update={k: with_dates(text, run.period) for k, text in found.items()})
        except ValueError as error:
            raise GenerateError(f"the input file {self.source}: {error} (model.files)") from error

    def as_input(self) -> Input:
        """The file as an input of a run; GenerateError if it does not exist, or is another one.

        What a URL leads to is not looked at.
        """
        place = local_path(self.source)
        if is_url(self.source) and place is None:
            check_installed(self.source)
            name = self.target or name_of(self.source)
            return Input(name, url=self.source, checksum=self.checksum or "")
        source = (place or Path(self.source).expanduser()).absolute()
        if not source.is_file():
            what = "is a directory" if source.is_dir() else "does not exist"
            raise GenerateError(f"the input file {source} {what} (model.files)")
        if self.checksum:
            check_file(source, self.checksum, f"the input file {source}")
        return Input(self.target or source.name, source=source, link=self.link)


def _from_source(value: object) -> object:
    return {"source": value} if isinstance(value, str | os.PathLike) else value


class BaseConfig(Requiring, BaseModel):
    """A model configuration: plain, frozen data. By itself, it renders nothing and runs nothing.

    A subclass adds parameters as fields and a `template_dir`, or overrides `inputs`.
    `commands` are shell lines or lists of arguments; they run in order in the workspace. Packages that they
    need in the environment of this package, if run by the local backend, are listed in `requires`.
    """

    # Building validators on first use saves time: most programs use few model configurations.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    # The name of this kind of model in logs and records.
    kind: ClassVar[str] = "base"

    files: tuple[Annotated[StagedFile, BeforeValidator(_from_source)], ...] = ()
    directories: tuple[Glob, ...] = ()
    commands: tuple[CommandField, ...] = ()
    env: Env = {}
    # Not validated: building the validator takes milliseconds, and the defaults are valid.
    success: SuccessChecks = SuccessChecks.model_construct()
    outputs: tuple[Glob, ...] = ("**/*",)
    image: str | None = None
    needs_execution: bool = True

    @field_validator("commands", mode="before")
    @classmethod
    def _wrap_single_command(cls, value: object) -> object:
        # A string is one command, not a list of characters.
        return (value,) if isinstance(value, str | os.PathLike) else value

    # Fields that version 0.1.0 did not have. `plain_data` leaves them out at their default, so that the
    # directories of earlier runs still are those of the same configuration.
    added: ClassVar[frozenset[str]] = frozenset()

    @property
    def depends_on_period(self) -> bool:
        """Whether the period changes what is simulated; if not, it is not part of the run's identity."""
        return True

    # Whether the configuration writes input files into the run directory by itself (`render_into`).
    renders_itself: ClassVar[bool] = False

    def required_packages(self) -> Mapping[str, str]:
        """What `requires` lists, if the commands are those of the class: what others need is unknown."""
        return self.requires if self.commands == type(self).model_fields["commands"].default else {}

    @property
    def template_dir(self) -> Path | None:
        """The directory whose files are rendered into the workspace, if there is one."""
        return None

    def context(self) -> Mapping[str, JsonValue]:
        """The variable `model` of the templates: the fields that the subclass adds."""
        own = set(BaseConfig.model_fields)
        return {k: v for k, v in self.model_dump(mode="json").items() if k not in own}

    def inputs(self, run: RunFacts) -> Iterator[Input]:
        """Every input file, rendered in memory; GenerateError if one cannot be generated."""
        template = self.template_dir
        if template is not None:
            from rompy_hydra.models.render import render_directory

            yield from render_directory(template, {"run": run, "model": dict(self.context())})
        for file in self.files:
            yield file.dated(run).as_input()

    def render_into(self, run: RunFacts) -> None:
        """Write input files into the run directory, where `renders_itself`."""

    def plain_data(self) -> dict[str, Json]:
        """The configuration as plain data, with its class as `_target_`."""
        # Many runs share their success checks.
        shared = isinstance(self.success, SuccessChecks)
        fields = self.model_dump(mode="json", exclude={"success"} if shared else None)
        if shared:
            fields["success"] = self.success.plain_data
        text = json_text(fields)
        # JSON has no NaN and no infinities; finding none of these words is certain.
        if "NaN" in text or "Infinity" in text:
            fields = plain(fields)
        for name in self.added:
            if fields[name] == type(self).model_fields[name].default:
                del fields[name]
        return {"_target_": target_of(type(self)), **fields}


def target_of(cls: type) -> str:
    """The dotted path of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"
