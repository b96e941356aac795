"""Gridded model output in netCDF: reading, conventions, statistics."""
