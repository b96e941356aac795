"""Gridded model output: reading, conventions, statistics."""
