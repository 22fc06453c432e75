"""Before and after: hold to compare, the strength of the result, and brightening for display."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QSlider, QVBoxLayout, QWidget

from ..changes import Changes
from ..controls import button, named
from ..layer_pixels import current_plane, full_resolution, read_plane
from ..provenance import input_of, provenance_of
from ..regions import Region

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

    from ...restore.image.pixels import PixelArray

HOLD_KEY = "B"
_PAUSE = 30  # milliseconds: a picture is mixed anew no more often while the slider moves
_RECORD = 300  # milliseconds without a change, before the strength is written down

# Share of the values that may be cut off at each end when a picture is brightened.
_CUT_OFF = 0.1  # per cent
# What the median is brightened to, as a share of white, and by which gamma at most.
_MIDDLE = 0.4
_STRONGEST_GAMMA = 0.35
_SAMPLES = 512  # along each axis of the plane that is looked at


class MixedArray:
    """An image between two, computed as it is read: before + strength * (after - before).

    Parameters
    ----------
    before, after : PixelArray
        Arrays of one shape, in the same units. Values of `after` that are not finite stay.
    strength : float
        From 0, which is `before`, to 1, which is `after`. It may be changed at any time.
    """

    def __init__(self, before: PixelArray, after: PixelArray, strength: float) -> None:
        self.before, self.after, self.strength = before, after, strength
        self.shape = tuple(after.shape)
        self.dtype: np.dtype[Any] = np.dtype(after.dtype)
        self.ndim = len(self.shape)

    @property
    def size(self) -> int:
        """The number of values."""
        return math.prod(self.shape)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Read a part of both and mix it; takes integers, slices and an ellipsis."""
        parts = list(index) if isinstance(index, tuple) else [index]
        if Ellipsis in parts:
            where = parts.index(Ellipsis)
            parts[where : where + 1] = [slice(None)] * (self.ndim - len(parts) + 1)
        parts += [slice(None)] * (self.ndim - len(parts))
        read: list[int | slice] = []
        steps: list[slice] = []
        for part, length in zip(parts, self.shape, strict=True):
            if isinstance(part, slice):
                # Some arrays take no steps: they are taken out of what was read.
                along = range(length)[part]
                low, high = (min(along), max(along) + 1) if along else (0, 0)
                read.append(slice(low, high))
                steps.append(slice(None, None, part.step))
            else:
                read.append(int(part) % length)
        after = np.asarray(self.after[tuple(read)])
        if self.strength < 1:
            after = mixed(np.asarray(self.before[tuple(read)]), after, self.strength)
        return np.asarray(after[tuple(steps)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read and mix all of it."""
        whole = self[...]
        return whole if dtype is None else whole.astype(dtype, copy=False)


def mixed(before: NDArray[Any], after: NDArray[Any], strength: float) -> NDArray[Any]:
    """Mix two arrays; see `MixedArray`.

    Returns
    -------
    ndarray
        Of the dtype of `after`; integers are rounded to the nearest.
    """
    precise = np.dtype(np.float32 if after.dtype.itemsize <= 2 else np.float64)
    share = precise.type(strength)
    with np.errstate(invalid="ignore", over="ignore"):
        values: NDArray[Any] = (1 - share) * before.astype(precise) + share * after.astype(precise)
    if after.dtype.kind in "ui":
        values = np.rint(values)
    else:
        values = np.where(np.isfinite(values), values, after)
    result: NDArray[Any] = values.astype(after.dtype)
    return result


def strength_of(result: Image) -> float:
    """Return the strength of a restored layer, 0 to 1."""
    array = full_resolution(result)
    return float(array.strength) if isinstance(array, MixedArray) else 1.0


def set_strength(result: Image, source: Image, strength: float) -> None:
    """Let a restored layer show a mixture of what it was made of and what was restored.

    Parameters
    ----------
    result : napari.layers.Image
        Restored layer; `why_no_strength` has nothing against it.
    source : napari.layers.Image
        Layer that it was made of.
    strength : float
        Share of the restored pixels, 0 to 1.
    """
    levels = list(result.data) if result.multiscale else [result.data]
    if all(isinstance(level, MixedArray) for level in levels):
        for level in levels:
            level.strength = strength
        result.refresh(extent=False)
        return
    if strength == 1:
        return
    made = provenance_of(result)
    assert made is not None
    region = Region(made.region.start, made.region.stop)
    before = region.of(full_resolution(source))
    mixtures = [
        MixedArray(_thinned(before, tuple(level.shape)), level, strength) for level in levels
    ]
    result.data = mixtures if result.multiscale else mixtures[0]


def record_strength(result: Image) -> None:
    """Write a restored layer's strength into its metadata, and tell who shows or measures it.

    What was measured at another strength is forgotten.
    """
    made, strength = provenance_of(result), strength_of(result)
    if made is not None and made.strength != strength:
        made = made.model_copy(update={"strength": strength, "metrics": {}})
        result.metadata = {**result.metadata, **made.as_metadata()}
        # The pixels are others, in the same array: napari itself cannot know.
        result.events.data(value=result.data)


def why_no_strength(result: Image | None, source: Image | None) -> str:
    """Return why a result cannot be mixed with what it was made of; empty if it can."""
    if result is None:
        return "Run first: this mixes the image and its result."
    made = provenance_of(result)
    if source is None or made is None or made.input is None:
        return "The image that the result was made of is not open any more."
    shape = tuple(full_resolution(source).shape)
    part = tuple(b - a for a, b in zip(made.region.start, made.region.stop, strict=True))
    expected = (*part, *shape[len(part) :])
    if shape != made.input.shape or expected != tuple(full_resolution(result).shape):
        return "The image has been changed since it was restored."
    return ""


def _thinned(array: PixelArray, shape: tuple[int, ...]) -> Any:
    """Return an array as every second (fourth, ...) pixel, read when it is looked at."""
    if tuple(array.shape) == shape:
        return array
    import dask.array

    steps = (
        round(length / short) if short else 1
        for length, short in zip(array.shape, shape, strict=True)
    )
    # Without a name of its own dask would read all of it to make one. It asks for steps, too,
    # which not every array takes.
    lazy = dask.array.from_array(MixedArray(array, array, 1.0), name=False)
    return lazy[tuple(slice(None, None, step) for step in steps)]


class Brightening:
    """Shows dark layers brighter: contrast limits and gamma of all alike; the pixels stay.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Viewer whose layers are shown brighter.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._changes = Changes()
        self._look: tuple[tuple[float, float], float] | None = None

    @property
    def active(self) -> bool:
        """Whether layers are shown brighter."""
        return self._look is not None

    def start(self, image: Image, others: list[Image]) -> None:
        """Brighten an image so that its middle tones are seen, and others just as much.

        Parameters
        ----------
        image : napari.layers.Image
            Layer whose plane on screen decides.
        others : list of napari.layers.Image
            Its results and its reference.
        """
        self.stop()
        self._look = look_of(image, self._viewer.dims.point)
        self.include(image, *others)

    def include(self, *layers: Image) -> None:
        """Show further layers in the same way."""
        if self._look is None:
            return
        limits, gamma = self._look
        for layer in layers:
            self._changes.keep(layer, "contrast_limits_range")
            self._changes.set(layer, "contrast_limits", limits)
            self._changes.set(layer, "gamma", gamma)

    def stop(self) -> None:
        """Show all layers as they were shown before."""
        self._look = None
        self._changes.undo()


def look_of(image: Image, point: Any) -> tuple[tuple[float, float], float]:
    """Return the contrast limits and the gamma with which a dark picture can be seen.

    Parameters
    ----------
    image : napari.layers.Image
        Layer of any kind.
    point : sequence of float
        Position of the viewer's sliders: ``viewer.dims.point``.

    Returns
    -------
    limits : tuple of float
        Contrast limits, between which nearly all values of the plane lie.
    gamma : float
        From 0.35 to 1: the darker the middle tones, the less.
    """
    from ..layer_pixels import axes_of

    axes = axes_of(image)
    values = read_plane(image, axes, current_plane(image, axes, point))
    values = values[:: max(1, len(values) // _SAMPLES), :: max(1, values.shape[1] // _SAMPLES)]
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return (0.0, 1.0), 1.0
    low, middle, high = np.percentile(values, (_CUT_OFF, 50, 100 - _CUT_OFF))
    if image.rgb:
        low = 0.0  # black stays black in all colours
    if not low < high:
        return (float(low), float(low) + 1), 1.0
    share = (middle - low) / (high - low)
    gamma = math.log(_MIDDLE) / math.log(share) if 0 < share < _MIDDLE else 1.0
    gamma = _STRONGEST_GAMMA if share <= 0 else max(gamma, _STRONGEST_GAMMA)
    return (float(low), float(high)), gamma


class BeforeAfterPanel(QWidget):
    """Shows what a result has changed: a button to hold, and how strong it is.

    Signals
    -------
    strength_changed : float
        The slider was moved: 0 to 1.
    held : bool
        The button is held down, or was let go.
    compare_requested, measure_requested :
        A button was clicked.
    """

    strength_changed = Signal(float)
    held = Signal(bool)
    compare_requested = Signal()
    measure_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.strength_slider = named(QSlider(Qt.Orientation.Horizontal), "strength", "")
        self.strength_slider.setRange(0, 100)
        self.strength_slider.setPageStep(10)
        self.strength_text = QLabel()
        # napari's style sheet enlarges the font later.
        width = self.strength_text.fontMetrics().horizontalAdvance("100 %")
        self.strength_text.setFixedWidth(round(1.5 * width))
        self.hold_button = button("hold_original", "Hold: original", "")
        self.compare_button = button(
            "compare", "Compare", "See image and result side by side, or with a curtain."
        )
        self.measure_button = button(
            "measure", "Measure", "Measure the result: against a reference, or without one."
        )
        strength = QHBoxLayout()
        strength.addWidget(QLabel("Strength"))
        strength.addWidget(self.strength_slider, 1)
        strength.addWidget(self.strength_text)
        buttons = QHBoxLayout()
        for one in (self.hold_button, self.compare_button, self.measure_button):
            buttons.addWidget(one, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(strength)
        layout.addLayout(buttons)
        self.strength_slider.valueChanged.connect(self._on_moved)
        self.hold_button.pressed.connect(lambda: self.held.emit(True))
        self.hold_button.released.connect(lambda: self.held.emit(False))
        self.compare_button.clicked.connect(self.compare_requested)
        self.measure_button.clicked.connect(self.measure_requested)
        self.show_result("Run first.", "Run first.", 1.0)

    def show_result(self, no_result: str, no_mixing: str, strength: float) -> None:
        """Offer what there is a result for, or say in the tooltips why not.

        Parameters
        ----------
        no_result : str
            Sentence that says why there is no result; empty if there is one.
        no_mixing : str
            Sentence that says why it cannot be mixed with the image; empty if it can.
        strength : float
            Strength of the result, 0 to 1.
        """
        for one in (self.compare_button, self.measure_button):
            one.setEnabled(not no_result)
        for one in (self.hold_button, self.strength_slider):
            one.setEnabled(not no_mixing)
        self.hold_button.setToolTip(
            no_mixing
            or "While it is held down, the image is shown instead of its result. Over the picture, "
            f"hold the key {HOLD_KEY}."
        )
        self.strength_slider.setToolTip(
            no_mixing
            or "How much of the result is shown: 0 % is the image itself. It is what is saved and "
            "measured, and is written into the result's record."
        )
        self.strength_slider.blockSignals(True)
        self.strength_slider.setValue(round(100 * strength))
        self.strength_slider.blockSignals(False)
        self.strength_text.setText(f"{round(100 * strength)} %")

    def _on_moved(self, per_cent: int) -> None:
        self.strength_text.setText(f"{per_cent} %")
        self.strength_changed.emit(per_cent / 100)


class BeforeAfter(QObject):
    """Lets a result be compared with its image, and mixed with it.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Viewer whose layers are shown.
    owner : QWidget
        Widget that owns the timers.
    panel : BeforeAfterPanel
        Panel with the controls.

    Signals
    -------
    recorded :
        The strength of the result has been changed, and is written into its record.
    """

    recorded = Signal()

    def __init__(
        self, viewer: napari.viewer.Viewer, owner: QWidget, panel: BeforeAfterPanel
    ) -> None:
        super().__init__(owner)
        self._viewer, self._panel = viewer, panel
        self._result: Image | None = None
        self._wanted = 1.0
        self._holding: Changes | None = None
        self._mix_soon, self._record_soon = QTimer(self), QTimer(self)
        for timer, pause, do in (
            (self._mix_soon, _PAUSE, self._mix),
            (self._record_soon, _RECORD, self._record),
        ):
            timer.setSingleShot(True)
            timer.setInterval(pause)
            timer.timeout.connect(do)
        panel.strength_changed.connect(self._on_strength)
        panel.held.connect(self.hold)
        self._key = _hold_key(self.hold)
        viewer.bind_key(HOLD_KEY, self._key, overwrite=True)

    @property
    def result(self) -> Image | None:
        """The result that is looked at."""
        return self._result

    def show_result(self, result: Image | None) -> None:
        """Look at another result, or at none."""
        if result != self._result:
            self.hold(False)
            self._record_now()
        self._result = result
        why = why_no_strength(result, self._source)
        strength = strength_of(result) if result is not None else 1.0
        if not self._mix_soon.isActive():
            none = "" if result is not None else "There is no result of this image yet; run first."
            self._panel.show_result(none, why, strength)

    def hold(self, on: bool) -> None:
        """Show the image instead of its result, or the result again."""
        if not on:
            if self._holding is not None:
                self._holding.undo()
                self._holding = None
            return
        source = self._source
        if self._holding is None and self._result is not None and source is not None:
            self._holding = Changes()
            self._holding.set(source, "visible", True)
            self._holding.set(self._result, "visible", False)

    def disconnect_viewer(self) -> None:
        """Let go of the viewer."""
        self.hold(False)
        self._record_now()
        # Another dock may have taken the key.
        bound = {str(key): function for key, function in self._viewer.keymap.items()}
        if bound.get(HOLD_KEY) is self._key:
            self._viewer.bind_key(HOLD_KEY, None, overwrite=True)

    @property
    def _source(self) -> Image | None:
        result = self._result
        if result is None or result not in self._viewer.layers:
            return None
        source: Any = input_of(result, self._viewer.layers)
        return source

    def _on_strength(self, strength: float) -> None:
        self._wanted = strength
        if not self._mix_soon.isActive():
            self._mix_soon.start()

    def _mix(self) -> None:
        source = self._source
        if source is not None and self._result is not None:
            set_strength(self._result, source, self._wanted)
            self._record_soon.start()

    def _record(self) -> None:
        if self._result is not None and self._result in self._viewer.layers:
            record_strength(self._result)
            self.recorded.emit()

    def _record_now(self) -> None:
        for timer, do in ((self._mix_soon, self._mix), (self._record_soon, self._record)):
            if timer.isActive():
                timer.stop()
                do()


def _hold_key(hold: Callable[[bool], None]) -> Callable[[Any], Generator[None, None, None]]:
    """Return what napari does while a key is held down."""

    def show_original(viewer: Any) -> Generator[None, None, None]:
        """Show the image instead of its result while the key is held down."""
        hold(True)
        yield
        hold(False)

    return show_original


def brighten_box() -> QCheckBox:
    """Return the switch that shows dark layers brighter."""
    return named(
        QCheckBox("Brighten for display"),
        "brighten",
        "Show image, result and reference brighter, all in the same way, so that a dark picture "
        "can be seen. The pixels stay as they are.",
    )
