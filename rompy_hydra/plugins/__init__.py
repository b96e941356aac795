"""Plugins: entry points, the settings they take, and how they are constructed."""
