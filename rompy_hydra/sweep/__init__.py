"""Sweeps: many runs of one composition. Nothing here knows Hydra."""
