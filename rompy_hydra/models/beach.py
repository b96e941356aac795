"""The default model: waves across a barred beach; it needs only Python 3."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from rompy_hydra.models.base import CommandField
from rompy_hydra.models.success import SuccessChecks
from rompy_hydra.models.template import ShippedModel


class Beach(ShippedModel):
    """Wave height and set-up across a barred beach, by a random-wave energy balance.

    The script in the workspace, `beach.py`, contains the equations and their sources; its output is
    `profile.csv`.
    """

    kind: ClassVar[str] = "beach"

    # Offshore significant wave height Hs, m.
    wave_height: float = Field(default=2.0, ge=0.01, le=15)
    # Peak period, s.
    wave_period: float = Field(default=8.0, ge=2, le=25)
    # Ratio of wave height to depth at breaking, -.
    breaker_index: float = Field(default=0.65, ge=0.2, le=1.5)
    # Wave friction factor fw of the bed, -.
    friction: float = Field(default=0.01, ge=0, le=1)
    # Still water level above datum, m.
    water_level: float = Field(default=0.0, ge=-1, le=3)

    commands: tuple[CommandField, ...] = (["python3", "beach.py"],)
    success: SuccessChecks = SuccessChecks(
        must_exist=("profile.csv",), log_must_contain=("beach completed",)
    )
    image: str | None = "python:3.12-slim"
