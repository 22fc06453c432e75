"""The napari plugin: three docks, and what they have in common.

- `deblur`: choose, run, bring the result into the viewer.
- `measure`: measures of layers as tables, and on the image.
- `compare`: two layers side by side, under a curtain, or in turn.

`samples` opens what `sample_data` makes, while the window lives on.

Beside them lie the rooms that they share. Those without Qt (`layer_pixels`, `regions`,
`result_layers`, `provenance`, `sample_data`, `settings`) know napari's layers, but no window.
Nothing outside this package imports it: napari finds it by the manifest, ``napari.yaml``.
"""
