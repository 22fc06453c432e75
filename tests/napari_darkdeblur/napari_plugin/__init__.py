"""Tests of the napari plugin. Those with a viewer need a display; pytest-xvfb starts one."""
