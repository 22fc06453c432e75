"""The Measure dock: measures of layers as tables, and on the image."""
