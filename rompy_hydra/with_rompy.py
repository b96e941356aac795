"""The public name of `adapters.rompy`."""

from rompy_hydra.adapters.rompy import as_rompy

__all__ = ["as_rompy"]
