"""A tsunami in the Salish Sea with ANUGA, on real topography."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from rompy_hydra.models.base import CommandField
from rompy_hydra.models.success import SuccessChecks
from rompy_hydra.models.template import ShippedModel
from rompy_hydra.time_range import Seconds
from rompy_hydra.workspace.script import Env


class SalishTsunami(ShippedModel):
    """A wave train from the Pacific through the Strait of Juan de Fuca (shallow water equations).

    The topography is part of matplotlib; the solver is ANUGA (extra `anuga`). The outputs are
    `salish_tsunami.sww` (netCDF) and `gauges.csv` for Port Renfrew, Victoria and Port Angeles.
    """

    kind: ClassVar[str] = "salish_tsunami"
    requires: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("anuga", "numpy", "matplotlib"), "rompy-hydra[anuga]"
    )

    # Manning's n of the bed, s m^-1/3.
    friction: float = Field(default=0.025, ge=0, le=0.2)
    # Amplitude of the incoming waves at the western boundary, m.
    source_amplitude: float = Field(default=1.0, ge=0, le=5)
    # Period of the incoming waves, s.
    source_period: Seconds = Field(default=1800.0, ge=300, le=7200)
    # Side of a mesh cell, m.
    mesh_size: float = Field(default=3500.0, ge=1000, le=8000)
    # Simulated time, s.
    duration: Seconds = Field(default=10800.0, ge=60, le=172800)

    commands: tuple[CommandField, ...] = (["python3", "tsunami.py"],)
    env: Env = {"OMP_NUM_THREADS": "1"}
    success: SuccessChecks = SuccessChecks(
        must_exist=("salish_tsunami.sww", "gauges.csv"), log_must_contain=("salish_tsunami completed",)
    )
