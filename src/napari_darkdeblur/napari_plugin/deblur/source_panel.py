"""The part of the Deblur widget that says what is restored: layer, axes, planes, area."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image, Shapes
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QLineEdit, QWidget

from ..controls import combo, form, named
from ..layer_choice import LayerChoice
from ..layer_pixels import axes_of, full_resolution, guess_axes
from ..provenance import provenance_of
from ..regions import Area, Planes
from ..result_layers import reference_of

if TYPE_CHECKING:
    import napari.viewer


class SourcePanel(QWidget):
    """Chooses a layer, how its axes are meant, which part, and a reference to compare with.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose layers are offered.

    Signals
    -------
    changed :
        Something else is chosen.
    """

    changed = Signal()

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.layer_choice = LayerChoice(
            viewer, Image, name="layer", tooltip="The image layer to restore. It is not changed."
        )
        self.axes_edit = named(
            QLineEdit(),
            "axes",
            "What each axis is, slowest first. Y and X are the picture, S its colour; every "
            "other letter (T, Z, C, ...) counts planes, which are restored one by one.",
        )
        self.planes_box = combo(
            "planes",
            "Restore all planes of a stack, or the one on screen to try things out.",
            [("All planes", "all"), ("The plane on screen", "current")],
        )
        self.area_box = combo(
            "area",
            "Restore the whole image, what the canvas shows, or what shapes span.",
            [
                ("The whole image", "whole"),
                ("What the canvas shows", "visible"),
                ("Shapes of a layer", "shapes"),
            ],
        )
        self.shapes_choice = LayerChoice(
            viewer,
            Shapes,
            name="shapes",
            tooltip="The Shapes layer whose selected shapes (all, if none is selected) span the "
            "region to restore.",
        )
        self.reference_choice = LayerChoice(
            viewer,
            Image,
            name="reference",
            tooltip="What the image should look like, if you know it: the result is then "
            "measured against it. A layer named 'NAME (reference)' is chosen by itself.",
            none="(none)",
        )

        self._form = form()
        self._form.addRow("Image", self.layer_choice.native)
        self._form.addRow("Axes", self.axes_edit)
        self._form.addRow("Planes", self.planes_box)
        self._form.addRow("Area", self.area_box)
        self._form.addRow("Shapes", self.shapes_choice.native)
        self._form.addRow("Reference", self.reference_choice.native)
        self.setLayout(self._form)

        self._layers = viewer.layers
        self._shown: Image | None = None
        # What the user has chosen is not changed for them any more.
        self._chosen_by_user = False
        self.layer_choice.native.activated.connect(self._on_user_choice)
        self._layers.selection.events.active.connect(self._follow_selection)
        self.layer_choice.changed.connect(self._show_layer)
        self.axes_edit.textEdited.connect(self._tell)
        self.axes_edit.editingFinished.connect(self._fill_in_axes)
        for box in (self.planes_box, self.area_box):
            box.currentIndexChanged.connect(self._tell)
        for choice in (self.shapes_choice, self.reference_choice):
            choice.changed.connect(self._tell)
        self._follow_selection()
        self._show_layer()

    @property
    def layer(self) -> Image | None:
        """The layer to restore."""
        layer: Image | None = self.layer_choice.value
        return layer

    @property
    def axes(self) -> str:
        """The axes as they were typed or guessed."""
        return str(self.axes_edit.text()).strip().upper()

    @property
    def planes(self) -> Planes:
        """Which planes; ``"all"`` if there is only one."""
        planes: Planes = self.planes_box.currentData()
        return planes

    @property
    def area(self) -> Area:
        """Which area of each plane."""
        area: Area = self.area_box.currentData()
        return area

    @property
    def shapes(self) -> Shapes | None:
        """The Shapes layer for area ``"shapes"``."""
        shapes: Shapes | None = self.shapes_choice.value
        return shapes

    @property
    def reference(self) -> Image | None:
        """The layer to compare with, if one is chosen."""
        reference: Image | None = self.reference_choice.value
        return reference

    def reset(self) -> None:
        """Go back to the guessed axes, all planes and the whole image."""
        self.planes_box.setCurrentIndex(0)
        self.area_box.setCurrentIndex(0)
        self._chosen_by_user = False
        self._shown = None
        self._follow_selection()
        self._show_layer()

    def stop_following(self) -> None:
        """Let go of the viewer."""
        for choice in (self.layer_choice, self.shapes_choice, self.reference_choice):
            choice.stop_following()
        self._layers.selection.events.active.disconnect(self._follow_selection)

    def _on_user_choice(self, _: Any = None) -> None:
        self._chosen_by_user = True

    def _follow_selection(self, _: Any = None) -> None:
        """Choose the layer that is selected in the layer list; a result is not restored again."""
        layer = self._layers.selection.active
        if self._chosen_by_user or not isinstance(layer, Image):
            return
        made = provenance_of(layer)
        if made is None or made.kind == "sample":
            self.layer_choice.value = layer

    def _show_layer(self, _: Any = None) -> None:
        layer = self.layer
        if layer is not self._shown or layer is None:
            self._shown = layer
            self.axes_edit.setText(guess_axes(layer) if layer is not None else "")
            reference = reference_of(layer, self._layers) if layer is not None else None
            self.reference_choice.value = reference
        self._tell()

    def _fill_in_axes(self) -> None:
        if not self.axes and self.layer is not None:
            self.axes_edit.setText(guess_axes(self.layer))
            self._tell()

    def _tell(self, _: Any = None) -> None:
        """Show only what there is a choice of, and say that something has changed."""
        self._show_row(self.planes_box, self._is_stack())
        self._show_row(self.shapes_choice.native, self.area == "shapes")
        self.changed.emit()

    def _is_stack(self) -> bool:
        if self.layer is None:
            return False
        try:
            return axes_of(self.layer, self.axes).plane_count > 1
        except ValueError:
            # The axes make no sense yet; more than a picture's two can only be a stack.
            return len(full_resolution(self.layer).shape) > 2

    def _show_row(self, field: QComboBox | QWidget, visible: bool) -> None:
        assert isinstance(self._form, QFormLayout)
        self._form.setRowVisible(field, visible)
