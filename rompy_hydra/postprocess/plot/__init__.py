"""Maps as PNG files."""
