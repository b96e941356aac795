"""The public name of `adapters.rompy`."""

from rompy_hydra.adapters.rompy import as_rompy as as_rompy
