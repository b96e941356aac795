"""The edge where foreign shapes (names, plain classes, rompy objects) become base types of this package."""
