"""The napari plugin: widgets, and what becomes of a layer's pixels.

Rooms without Qt (`layer_pixels`, `regions`, `result_layers`, `provenance`, `sample_data`,
`settings`) know napari's layers, but no window; the widgets know Qt. Nothing outside this package
imports it: napari finds it by the manifest, ``napari.yaml``.
"""
