"""The blur of the chosen layer: its kernel, found, drawn by lights, read or given by a formula."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QWidget

from ...errors import DarkDeblurError, sentence_of
from ..background import Background
from ..layer_pixels import axes_of, full_resolution
from ..provenance import Provenance, record_input, record_psf
from ..regions import marked_lights
from ..result_layers import placement_of
from .blur_panel import BlurKind, BlurPanel, kernel_details
from .jobs import (
    JobSpec,
    KernelFound,
    LightBounds,
    Preparing,
    SearchProgress,
    find_kernel,
    kernel_of_lights,
)
from .request import Blur, Request

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Shapes

    from ...psf import PSF
    from ...restore.image.pixels import PixelArray

SUFFIX = "[psf]"
LIGHTS = "lights"
_DEBOUNCE = 300  # milliseconds without a change of the shapes, before they are looked at


@dataclass(frozen=True)
class _Known:
    """What came of looking for a layer's kernel, and of which pixels that is true."""

    found: KernelFound
    array: PixelArray
    axes: str
    light: str

    @classmethod
    def of(cls, found: KernelFound, spec: JobSpec) -> _Known:
        return cls(found, spec.array, spec.axes, spec.options.light)


class BlurChoice(QObject):
    """Finds kernels for the chosen layer, remembers them, and says what they are.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose layers are restored.
    owner : QWidget
        With it searches end; see `Background`.
    panel : BlurPanel
        Where it is chosen and shown.
    request : callable
        Returns what is chosen in the whole widget. Its blur does not count.

    Signals
    -------
    changed :
        There is another kernel, or none any more.
    """

    changed = Signal()

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        owner: QWidget,
        panel: BlurPanel,
        request: Callable[[], Request],
    ) -> None:
        super().__init__(owner)
        self._viewer, self._panel, self._request = viewer, panel, request
        # By kind and the layer's identity: who comes back to a layer finds its kernel again.
        self._known: dict[tuple[BlurKind, str], _Known] = {}
        self._of_file: tuple[tuple[Any, ...], PSF | None, str] = ((), None, "")
        self._layer: Image | None = None
        self._shapes: Shapes | None = None
        self._target: tuple[BlurKind, str, JobSpec] | None = None
        self._ready = False
        self._background = Background(owner)
        self._background.progressed.connect(self._on_progressed)
        self._background.finished.connect(self._on_ended)
        self._debounce = QTimer(self)
        self._debounce.setSingleShot(True)
        self._debounce.setInterval(_DEBOUNCE)
        self._debounce.timeout.connect(self._take_lights)
        panel.changed.connect(self._on_choice)
        panel.find_requested.connect(self._find)
        panel.cancel_requested.connect(self._background.stop)
        panel.draw_requested.connect(self._draw)
        panel.add_requested.connect(self._add)

    @property
    def finding(self) -> bool:
        """Whether a kernel is being looked for."""
        return self._background.busy

    def get_ready(self) -> None:
        """Begin: PyTorch is loaded, and kernels can be made."""
        self._ready = True
        self._panel.enable_find(True)
        self._show()

    def blur(self, layer: Image | None) -> Blur:
        """Return what is to be done about a layer's blur; needs `get_ready`."""
        kind = self._panel.kind
        if kind == "unknown" or not self._ready:
            return Blur()
        if kind == "find":
            known = self._known_of(layer)
            if known is None:
                return Blur("auto")
            if known.psf is not None and not known.used and self._panel.anyway_box.isChecked():
                return Blur(known.psf, f"{known.description}; used because it was asked for.")
            return Blur(known.to_use or "none", known.text)
        psf, text = self._given(layer)
        return Blur(problem=text) if psf is None else Blur(psf)

    def show_layer(self, layer: Image | None) -> None:
        """Show what is known about another layer; a search in the one before is given up."""
        if layer == self._layer:  # not "is": there may be several proxies of a layer
            return
        self._layer = layer
        self._panel.offer_anyway(False)
        self.give_up()
        self._forget_gone()
        self._look_at_lights()
        self._show()

    def refresh(self) -> None:
        """Show what holds after something else in the widget was changed."""
        self._look_at_lights()
        self._show()

    def give_up(self) -> None:
        """End a search, and hear no more of it."""
        self._background.abandon()
        self._target = None
        self._panel.show_finding(False)

    def take(self, found: KernelFound, layer_id: str, spec: JobSpec) -> None:
        """Remember what a run has found in a layer."""
        self._known["find", layer_id] = _Known.of(found, spec)
        self._show()

    def leave(self) -> None:
        """Let go of the viewer."""
        self._follow(None)
        self._debounce.stop()
        self._background.abandon()
        self._panel.disconnect_viewer()

    # --- What is known

    def _known_of(self, layer: Image | None) -> KernelFound | None:
        """Return what was found for a layer in the way that is chosen, if it still holds."""
        if layer is None:
            return None
        known = self._known.get((self._panel.kind, str(layer.unique_id)))
        if known is None or known.array is not full_resolution(layer):
            return None
        request = self._request()
        with contextlib.suppress(DarkDeblurError):  # the axes make no sense yet
            if known.axes == axes_of(layer, request.axes).letters:
                return known.found if known.light == request.options.light else None
        return None

    def _given(self, layer: Image | None) -> tuple[PSF | None, str]:
        """Return the kernel from lights, a file or a formula, and a sentence about it."""
        from ...restore import describe_psf

        kind, panel = self._panel.kind, self._panel
        if kind == "points":
            known = self._known_of(layer)
            if known is not None:
                return known.psf, known.text
            return None, self._marked(layer)[2] or "The marked lights are being looked at."
        if kind == "file":
            if panel.path is None:
                return None, "No file with a kernel is chosen yet; click Open."
            key = (panel.path, panel.background_box.isChecked())
            if self._of_file[0] != key:
                self._of_file = (key, *_read(*key))
            return self._of_file[1:]
        psf = _motion(panel.length_spin.value(), panel.angle_spin.value())
        return psf, f"{describe_psf(psf).capitalize()}."

    def _marked(self, layer: Image | None) -> tuple[int, list[LightBounds], str]:
        """Return plane and rectangles of the marked lights, or why there are none."""
        if layer is None:
            return 0, [], "There is no image layer; open an image or a sample."
        try:
            plane, rectangles = marked_lights(
                layer, self._panel.shapes, self._viewer.dims.point, self._request().axes
            )
        except DarkDeblurError as error:
            return 0, [], str(error)
        return plane, rectangles, ""

    def _forget_gone(self) -> None:
        there = {str(layer.unique_id) for layer in self._viewer.layers}
        self._known = {key: known for key, known in self._known.items() if key[1] in there}

    def _current(self) -> tuple[PSF | None, str, bool]:
        """Return what is to be shown: kernel, sentence, and whether it is used."""
        kind = self._panel.kind
        if not self._ready or kind == "unknown":
            return None, "", False
        if kind == "find":
            known = self._known_of(self._layer)
            if known is None:
                return None, "Not looked for yet; Run does it first.", False
            if not known.used and self._panel.anyway_box.isChecked():
                return known.psf, f"{known.description}; used all the same.", True
            return known.psf, known.text, known.used
        psf, text = self._given(self._layer)
        return psf, text, psf is not None

    def _show(self) -> None:
        if self.finding and self._panel.kind in ("find", "points"):
            return  # how far it is, is shown
        found = self._known_of(self._layer) if self._panel.kind == "find" and self._ready else None
        doubtful = None if found is None or found.used else found.psf
        self._panel.offer_anyway(doubtful is not None and not doubtful.is_point)
        psf, text, used = self._current()
        details = () if psf is None else kernel_details(psf, self._layer)
        self._panel.show_kernel(psf, text, details, used=used)

    # --- What is done

    def _on_choice(self) -> None:
        target = self._target
        if target is not None and target[0] != self._panel.kind:
            self.give_up()
        self._follow(self._panel.shapes if self._panel.kind == "points" else None)
        self._look_at_lights()
        self._show()
        self.changed.emit()

    def _find(self) -> None:
        layer, spec = self._layer, self._spec(whole=False)
        if layer is not None and spec is not None:
            self._start("find", layer, spec, functools.partial(find_kernel, spec))

    def _take_lights(self) -> None:
        layer = self._layer
        if layer is None or self._panel.kind != "points" or self._panel.shapes is None:
            return
        plane, rectangles, problem = self._marked(layer)
        spec = None if problem else self._spec(whole=True)
        if spec is not None:
            job = functools.partial(kernel_of_lights, spec, plane, rectangles)
            self._start("points", layer, spec, job)
        else:
            self._show()
            self.changed.emit()

    def _spec(self, *, whole: bool) -> JobSpec | None:
        """Return the job that a kernel is for; show why there is none."""
        request = replace(self._request(), blur=Blur(), reference=None)
        if whole:
            request = replace(request, planes="all", area="whole")
        try:
            return request.spec(self._viewer.dims.point, self._viewer.dims.ndisplay)
        except DarkDeblurError as error:
            self._panel.show_kernel(None, str(error))
            return None

    def _start(self, kind: BlurKind, layer: Image, spec: JobSpec, job: Any) -> None:
        self._target = (kind, str(layer.unique_id), spec)
        self._panel.show_finding(True)
        self._panel.show_kernel(None, "Looking for the kernel…")
        self._background.start(job)

    def _on_progressed(self, event: Any) -> None:
        if self._background.stopping:
            self._panel.show_kernel(None, "Stopping…")
        elif isinstance(event, Preparing):
            self._panel.show_kernel(None, f"{event.text}…")
        elif isinstance(event, SearchProgress):
            self._panel.show_finding(True, event.fraction)
            self._panel.show_kernel(None, f"Looking for the shake… {event.fraction:.0%}")

    def _on_ended(self, found: KernelFound) -> None:
        self._panel.show_finding(False)
        target, self._target = self._target, None
        if target is not None and (found.status == "done" or target[0] == "points"):
            kind, layer_id, spec = target
            self._known[kind, layer_id] = _Known.of(found, spec)
        self._show()
        if found.status != "done":
            self._panel.show_kernel(None, found.text)
        self.changed.emit()

    def _follow(self, shapes: Shapes | None) -> None:
        """Look at lights whenever they change."""
        if shapes == self._shapes:
            return
        if self._shapes is not None:
            self._shapes.events.data.disconnect(self._on_shapes)
        self._shapes = shapes
        if shapes is not None:
            shapes.events.data.connect(self._on_shapes)
        self._on_shapes()

    def _on_shapes(self, _: Any = None) -> None:
        """Forget the kernel of lights that were marked before, in every layer."""
        self._known = {key: known for key, known in self._known.items() if key[0] != "points"}
        self._look_at_lights()

    def _look_at_lights(self) -> None:
        """Take the kernel from the marked lights soon, if it is not known."""
        if self._panel.kind == "points" and self._known_of(self._layer) is None:
            self._debounce.start()

    def _draw(self) -> None:
        """Let rectangles be drawn, in a layer of their own if none is chosen."""
        layer = self._layer
        if layer is None:
            self._panel.show_kernel(None, self._marked(layer)[2])
            return
        shapes = self._panel.shapes
        if shapes is None:
            shapes = self._viewer.add_shapes(
                None,
                ndim=layer.ndim,
                name=LIGHTS,
                edge_color="yellow",
                face_color="transparent",
                **placement_of(layer),
            )
            self._panel.shapes_choice.value = shapes
        self._viewer.layers.selection.active = shapes
        shapes.mode = "add_rectangle"

    def _add(self) -> None:
        """Add the kernel that is shown as a layer."""
        psf, _, _ = self._current()
        layer = self._layer
        if psf is None or layer is None:
            return
        from importlib.metadata import version

        record = Provenance(
            kind="psf",
            version=version("napari-darkdeblur"),
            input=record_input(layer),
            axes="YX",
            psf=record_psf(psf),
            white=float(psf.kernel.max()),
        )
        selected = self._viewer.layers.selection.active
        self._viewer.add_image(
            psf.kernel,
            name=f"{layer.name} {SUFFIX}",
            metadata=record.as_metadata(),
            colormap="gray",
            interpolation2d="nearest",
            scale=layer.scale[-2:],
            translate=layer.translate[-2:],
            units=layer.units[-2:],
        )
        if selected is not None and selected in self._viewer.layers:
            self._viewer.layers.selection.active = selected


@functools.lru_cache(maxsize=1)
def _motion(length: float, angle: float) -> PSF:
    """Return the same kernel for the same motion: a preview of it is up to date."""
    from ...psf import motion

    return motion(length, angle)


def _read(path: Any, remove_background: bool) -> tuple[PSF | None, str]:
    """Return the kernel of a file and a sentence about it, or why there is none."""
    from ...psf import read_psf
    from ...restore import describe_psf

    try:
        psf = read_psf(path, remove_background=remove_background)
    except (DarkDeblurError, OSError) as error:
        return None, sentence_of(error)
    text = f"{path.name}: {describe_psf(psf)}."
    # All of the note is too long for the dock; the kernel's tooltip has it.
    return psf, f"{text} It seems to lie on a background." if psf.note else text
