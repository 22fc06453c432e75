"""The part of the Deblur widget that says what the blur is, and shows its kernel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from napari.layers import Image, Shapes
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFileDialog,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from ..controls import LayerChoice, button, choose, combo, named, note, set_note
from ..layer_pixels import guess_axes

if TYPE_CHECKING:
    import napari.viewer

    from ...psf import PSF

BlurKind = Literal["unknown", "find", "points", "file", "motion"]

_STEPS = 1000  # of the progress bar
_PICTURE = 96  # pixels: width and height of the kernel's picture
_TEXT_LINES = 7  # beside it: as many as the longest sentence takes in a narrow dock
_FILES = "Kernels (*.tif *.tiff *.png *.npy)"


class BlurPanel(QGroupBox):
    """Chooses what is known about the blur, and shows the kernel that follows.

    Nothing in it moves while kernels come and go: their place is kept.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose Shapes layers can mark lights.

    Signals
    -------
    changed :
        Something else is chosen.
    find_requested, cancel_requested, draw_requested, add_requested :
        A button was clicked.
    """

    changed = Signal()
    find_requested = Signal()
    cancel_requested = Signal()
    draw_requested = Signal()
    add_requested = Signal()

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__("Blur")
        self._path: Path | None = None
        self._finding = False
        self.kind_box = combo(
            "blur",
            "What is known about the blur. A shake that is the same all over the picture has one "
            "kernel; given it, the model restores far more than by itself.",
            [
                ("Unknown", "unknown"),
                ("Find it", "find"),
                ("From a light or bead", "points"),
                ("From a file", "file"),
                ("Straight motion", "motion"),
            ],
        )
        self.find_button = button("find_kernel", "Find it now", "")
        self.shapes_choice = LayerChoice(
            viewer,
            Shapes,
            name="lights",
            tooltip="The Shapes layer with a rectangle around each light or bead. All its shapes "
            "count.",
            none="(none)",
        )
        self.draw_button = button(
            "draw_lights",
            "Draw",
            "Draw rectangles around small lights or beads that should be points, each with some "
            "dark background. A Shapes layer is made for them if none is chosen.",
        )
        self.open_button = button(
            "open_kernel",
            "Open…",
            "Use a kernel from an image file (TIFF, PNG) or a .npy file. It is normalised and "
            "centred.",
        )
        self.background_box = named(
            QCheckBox("Remove background"),
            "kernel_background",
            "Take off what lies around the kernel, as a camera's offset in the image of a bead.",
        )
        self.length_spin = _spin("motion_length", "Length of the motion in pixels.", 0, 1000, " px")
        self.length_spin.setValue(15)
        self.angle_spin = _spin(
            "motion_angle",
            "Direction of the motion in degrees, from the right towards the top: 0 is horizontal, "
            "90 vertical.",
            -180,
            180,
            "°",
        )
        self.bar = named(QProgressBar(), "kernel_progress", "How far the search is.")
        self.bar.setRange(0, _STEPS)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(5)
        self.picture = named(QLabel(), "kernel", "")
        self.picture.setFixedSize(_PICTURE, _PICTURE)
        self.picture.setStyleSheet("background: black;")
        self.text = note("kernel_text")
        self.text.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.text.setFixedHeight(max(_PICTURE, _TEXT_LINES * self.text.fontMetrics().lineSpacing()))
        self.text.show()
        self.details = note("kernel_details")
        self.details.show()
        self.add_button = button(
            "add_kernel", "Add as layer", "Add the kernel as an image layer, to look at or save."
        )
        self.anyway_box = named(
            QCheckBox("Use it anyway"),
            "kernel_anyway",
            "Restore with this kernel although the search is not sure of it. Where it is wrong "
            "the result has doubled outlines or rings.",
        )
        self.anyway_box.setEnabled(False)
        self.reason = note("blur_reason")
        self._lay_out()

        self.kind_box.currentIndexChanged.connect(self._notify)
        self.shapes_choice.changed.connect(self._notify)
        self.background_box.toggled.connect(self._notify)
        self.anyway_box.toggled.connect(self._notify)
        for spin in (self.length_spin, self.angle_spin):
            spin.valueChanged.connect(self._notify)
        self.find_button.clicked.connect(self._on_find)
        self.draw_button.clicked.connect(self.draw_requested)
        self.open_button.clicked.connect(self._ask_for_file)
        self.add_button.clicked.connect(self.add_requested)
        self.show_finding(False)
        self.enable_find(False)  # before PyTorch is there
        self.show_kernel(None, "")
        self._show_rows()

    @property
    def kind(self) -> BlurKind:
        """What is chosen, or ``"unknown"`` where the model takes no kernel."""
        return cast("BlurKind", self.kind_box.currentData()) if self.usable else "unknown"

    @property
    def usable(self) -> bool:
        """Whether the model takes a kernel."""
        return bool(self.kind_box.isEnabled())

    @property
    def shapes(self) -> Shapes | None:
        """The layer that marks lights."""
        shapes: Shapes | None = self.shapes_choice.value
        return shapes

    @property
    def path(self) -> Path | None:
        """The file with a kernel."""
        return self._path

    def choose_kind(self, kind: BlurKind) -> None:
        """Choose."""
        choose(self.kind_box, kind)

    def open(self, path: Path) -> None:
        """Take the kernel from a file from now on."""
        self._path = path
        self.open_button.setToolTip(str(path))
        self._notify()

    def allow(self, reason: str) -> None:
        """Let a kernel be chosen, or say why it would be of no use."""
        self.kind_box.setEnabled(not reason)
        set_note(self.reason, reason)
        self._show_rows()

    def show_finding(self, finding: bool, fraction: float | None = None) -> None:
        """Show whether a search is under way, and how far it is if that is known."""
        self._finding = finding
        self.find_button.setText("Cancel" if finding else "Find it now")
        self.find_button.setToolTip(
            "End the search."
            if finding
            else "Look for the shake now, to see it before restoring. Otherwise Run does it."
        )
        # Both would be understood as something that is under way.
        self.bar.setRange(0, 0 if finding and fraction is None else _STEPS)
        self.bar.setValue(round(_STEPS * fraction) if finding and fraction is not None else 0)

    def enable_find(self, allowed: bool) -> None:
        """Let the shake be looked for, or not, for instance while an image is restored."""
        self.find_button.setEnabled(allowed)

    def offer_anyway(self, offered: bool) -> None:
        """Let a kernel be used that the search is not sure of, if there is one."""
        self.anyway_box.setEnabled(offered)
        if not offered:
            self.anyway_box.blockSignals(True)
            self.anyway_box.setChecked(False)
            self.anyway_box.blockSignals(False)

    def show_kernel(
        self, psf: PSF | None, text: str, details: tuple[str, ...] = (), *, used: bool = True
    ) -> None:
        """Show a kernel and what there is to say about it.

        Parameters
        ----------
        psf : PSF or None
            The kernel; None leaves its place empty.
        text : str
            Sentence that is shown beside the kernel.
        details : tuple of str
            What else is known, a line each.
        used : bool
            Whether restoring uses it; if not, it is drawn faintly.
        """
        self.text.setText(text)
        self.text.setToolTip(text)
        self.details.setText("\n".join(details))
        self.add_button.setEnabled(psf is not None)
        if psf is None:
            self.picture.clear()
            self.picture.setToolTip("")
            return
        from ...psf_picture import kernel_picture

        levels = kernel_picture(psf, _PICTURE)
        if not used:
            levels = levels // 2
        pixels, grey = levels.tobytes(), QImage.Format.Format_Grayscale8
        # A pixmap is a copy: Qt does not keep the pixels of an image.
        self.picture.setPixmap(
            QPixmap.fromImage(QImage(pixels, _PICTURE, _PICTURE, _PICTURE, grey))
        )
        self.picture.setToolTip(
            "\n".join((text, *details, f"Origin: {psf.origin}.", psf.note)).strip()
        )

    def disconnect_viewer(self) -> None:
        """Let go of the viewer."""
        self.shapes_choice.disconnect_viewer()

    def _lay_out(self) -> None:
        self._pages = QStackedWidget()
        self._page_of: dict[str, int] = {}
        for kind, widgets in (
            ("find", (self.find_button, self.anyway_box)),
            ("points", (self.shapes_choice.native, self.draw_button)),
            ("file", (self.open_button, self.background_box)),
            ("motion", (self.length_spin, self.angle_spin)),
        ):
            page = QWidget()
            row = QHBoxLayout(page)
            row.setContentsMargins(0, 0, 0, 0)
            for widget in widgets:
                row.addWidget(widget, 0 if widget is self.draw_button else 1)
            self._page_of[kind] = self._pages.addWidget(page)
        self._pages.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self._shown = QWidget()
        shown = QGridLayout(self._shown)
        shown.setContentsMargins(0, 0, 0, 0)
        shown.setSpacing(4)
        shown.addWidget(self.picture, 0, 0, Qt.AlignmentFlag.AlignTop)
        shown.addWidget(self.text, 0, 1, 1, 2)
        shown.addWidget(self.details, 1, 0, 1, 2)
        shown.addWidget(self.add_button, 1, 2, Qt.AlignmentFlag.AlignTop)
        shown.setColumnStretch(1, 1)
        # The place of two lines of details is kept.
        lines = 2 * self.details.fontMetrics().lineSpacing()
        below = max(lines, self.add_button.sizeHint().height())
        self._shown.setFixedHeight(self.text.height() + 8 + below)
        layout = QVBoxLayout(self)
        layout.setSpacing(4)
        for each in (self.kind_box, self._pages, self.bar, self._shown, self.reason):
            layout.addWidget(each)

    def _show_rows(self) -> None:
        kind = self.kind
        for widget in (self._pages, self.bar, self._shown):
            widget.setVisible(kind != "unknown")
        if kind != "unknown":
            self._pages.setCurrentIndex(self._page_of[kind])

    def _notify(self, _: Any = None) -> None:
        self._show_rows()
        self.changed.emit()

    def _on_find(self, _: Any = None) -> None:
        (self.cancel_requested if self._finding else self.find_requested).emit()

    def _ask_for_file(self) -> None:
        start = self._path.parent if self._path is not None else Path.home()
        path, _ = QFileDialog.getOpenFileName(self, "Open a kernel", str(start), _FILES)
        if path:
            self.open(Path(path))


def kernel_details(psf: PSF, layer: Image | None) -> tuple[str, ...]:
    """Return what else there is to say about a kernel: size, in units too, and confidence.

    Of a point nothing.
    """
    if psf.rms_radius == 0:
        return ()
    side = psf.kernel.shape[0]
    size = f"{side} × {side} px"
    if layer is not None:
        # The layer's units, if pixels are square.
        letters = guess_axes(layer)
        axes = [letters.index(letter) for letter in "YX"]
        if max(axes) < layer.ndim:
            down, across = (float(layer.scale[axis]) for axis in axes)
            units = {f"{layer.units[axis]:~P}" for axis in axes}
            unit = units.pop()
            if abs(down - across) < 1e-6 * across and not units and unit not in ("px", "pixel"):
                size = f"{psf.extent * across:.3g} {unit}, {size}"
    if psf.confidence is None:
        return (size,)
    # Nothing is certain, however it is rounded.
    sure = "over 99" if psf.confidence > 0.99 else f"{100 * psf.confidence:.0f}"
    return size, f"confidence {sure} %"


def _spin(name: str, tooltip: str, low: float, high: float, suffix: str) -> QDoubleSpinBox:
    spin = named(QDoubleSpinBox(), name, tooltip)
    spin.setRange(low, high)
    spin.setDecimals(1)
    spin.setSuffix(suffix)
    # As wide as its longest value otherwise.
    spin.setMinimumWidth(80)
    return spin
