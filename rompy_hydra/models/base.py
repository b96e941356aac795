"""What every model configuration has: files to stage, commands, environment, checks of success."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    JsonValue,
    field_validator,
)

from rompy_hydra.errors import GenerateError
from rompy_hydra.jsonable import Json, json_text, plain
from rompy_hydra.models.inputs import Input, RunFacts
from rompy_hydra.models.success import Glob, SuccessChecks
from rompy_hydra.workspace.script import Env


def _command(value: object) -> object:
    if isinstance(value, bool) or (
        isinstance(value, list | tuple) and any(isinstance(p, bool) for p in value)
    ):
        raise ValueError("a word such as true or no is no text in YAML: put it in quotes ('true')")
    if isinstance(value, str) and not value.strip():
        raise ValueError("a command must not be empty")
    if isinstance(value, list | tuple):
        if not value or not str(value[0]).strip():
            raise ValueError("a command must not be empty")
        # Numbers are welcome as arguments: [mpirun, -n, 4, swan.exe]
        return [str(part) if isinstance(part, int | float) else part for part in value]
    return value


CommandField = Annotated[str | list[str], BeforeValidator(_command)]


class StagedFile(BaseModel):
    """A file that goes into the workspace: copied, or linked where it is too large to copy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    target: Glob | None = None
    link: bool = False

    def as_input(self) -> Input:
        source = Path(self.source).expanduser().absolute()
        if not source.is_file():
            what = "is a directory" if source.is_dir() else "does not exist"
            raise GenerateError(f"the input file {source} {what} (model.files)")
        return Input(self.target or source.name, source=source, link=self.link)


def _staged(value: object) -> object:
    return {"source": value} if isinstance(value, str) else value


class BaseConfig(BaseModel):
    """A model configuration: plain, frozen data. By itself it renders nothing and runs nothing.

    A subclass adds parameters as fields and a `template_dir`, or overrides `inputs`.
    `commands` are shell lines or argument lists, run in order in the workspace.
    """

    # Its validator is made when it is first used: most programs use few of its kind.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    # The kind's name, as logs and records tell it.
    kind: ClassVar[str] = "base"

    files: tuple[Annotated[StagedFile, BeforeValidator(_staged)], ...] = ()
    directories: tuple[Glob, ...] = ()
    commands: tuple[CommandField, ...] = ()
    env: Env = {}
    success: SuccessChecks = SuccessChecks()
    outputs: tuple[Glob, ...] = ("**/*",)
    image: str | None = None
    needs_execution: bool = True

    @field_validator("commands", mode="before")
    @classmethod
    def _one_command(cls, value: object) -> object:
        # A single string is one command, not a list of letters.
        return (value,) if isinstance(value, str) else value

    # Whether the configuration writes input files into the run directory by itself (`render_into`).
    renders_itself: ClassVar[bool] = False

    @property
    def template_dir(self) -> Path | None:
        """The directory whose files are rendered into the workspace, if there is one."""
        return None

    def context(self) -> Mapping[str, JsonValue]:
        """What a template sees as `model`: the fields that the subclass adds."""
        own = set(BaseConfig.model_fields)
        return {k: v for k, v in self.model_dump(mode="json").items() if k not in own}

    def inputs(self, run: RunFacts) -> Iterator[Input]:
        """Every file of the workspace, rendered in memory; GenerateError if one cannot be made."""
        template = self.template_dir
        if template is not None:
            from rompy_hydra.models.render import render_directory

            yield from render_directory(template, {"run": run, "model": dict(self.context())})
        for file in self.files:
            yield file.as_input()

    def render_into(self, run: RunFacts) -> None:
        """Write input files into the run directory, where `renders_itself`."""

    def plain_data(self) -> dict[str, Json]:
        """The configuration as plain data, with its class as `_target_`."""
        fields = self.model_dump(mode="json")
        text = json_text(fields)
        # JSON has no NaN and no infinities; finding none of these words is certain.
        if "NaN" in text or "Infinity" in text:
            fields = plain(fields)
        return {"_target_": target_of(type(self)), **fields}


def target_of(cls: type) -> str:
    """The dotted path of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"
