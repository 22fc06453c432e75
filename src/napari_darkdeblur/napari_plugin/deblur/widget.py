"""The Deblur widget: choose an image, run, see how it goes, and what came of it."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QGroupBox, QHBoxLayout, QVBoxLayout, QWidget

from ...errors import DarkDeblurError, sentence_of
from ..background import Background
from ..controls import Section, named, note, order_by_tab, scroll_to, scrolled, set_note
from ..docks import Dock, open_dock
from ..layer_pixels import axes_of, guess_axes
from ..provenance import input_of, provenance_of, results_of
from ..result_layers import reference_of
from ..settings import SettingsError, read_settings, save_as_defaults
from .before_after import BeforeAfter, BeforeAfterPanel, Brightening, brighten_box, strength_of
from .blur_choice import BlurChoice
from .blur_panel import BlurPanel
from .capabilities import Capabilities, describe_model, discover
from .clock import Durations, Progress
from .job_runner import REMOVED, BusyError, JobRunner
from .jobs import Estimate, JobSpec, Outcome, Preparing, estimate_job, search_result
from .panels import (
    ModelPicker,
    OptionsPanel,
    RunPanel,
    SourcePanel,
    progress_text,
)
from .preview import Preview
from .request import Options, Request

if TYPE_CHECKING:
    import napari.viewer

    from ...restore import PSFFound

# What a job measures is the result as it was restored.
_WHOLE = "These are numbers of its full strength; Measure has those of what is shown."
_DEBOUNCE = 300  # milliseconds without a change, before its consequences are predicted


class DeblurWidget(Dock):
    """Restores image layers with a bundled model or one's own.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Viewer whose layers are restored.
    parent : QWidget, optional
        Parent widget, as in Qt.
    """

    title = "Deblur"

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(viewer, parent)
        self.setObjectName("darkdeblur")
        self._settings = read_settings()
        self._capabilities: Capabilities | None = None  # until it is known
        self._estimate = Estimate()
        # Results of this dock, each with what there is to say about it; the newest last.
        self._results: list[tuple[Image, str]] = []

        self.source = SourcePanel(viewer)
        self.models = ModelPicker()
        self.blur = BlurPanel(viewer)
        self.blur.choose_kind(self._settings.blur)
        self.options = OptionsPanel()
        self.preview_box = named(
            QCheckBox("Live preview"),
            "preview",
            "Restore what the canvas shows, anew whenever the camera, a slider or an option "
            "changes. The preview is a layer of its own, and goes when this is unchecked.",
        )
        self.preview_note = note("preview_note")
        self.brighten_box = brighten_box()
        self.run = RunPanel()
        self.before_after = BeforeAfterPanel()
        self._lay_out()

        self._looking = Background(self)
        self._estimating = Background(self)
        self._runner = JobRunner(viewer, self)
        self._preview = Preview(viewer, self, self.request)
        self._blur = BlurChoice(viewer, self, self.blur, self._request_without_blur)
        self._looking_back = BeforeAfter(viewer, self, self.before_after)
        self._brightening = Brightening(viewer)
        self._running: JobSpec | None = None
        self._running_in = ""
        # What is still to be restored in the same way, and how many images there are in all.
        self._waiting: list[Image] = []
        self._images = self._count = 1
        self._debounce = QTimer(self)
        self._debounce.setSingleShot(True)
        self._debounce.setInterval(_DEBOUNCE)
        self._connect()
        self._looking.start(functools.partial(discover, self._settings.models_folder))

    @property
    def busy(self) -> bool:
        """Whether a job is under way."""
        return self._runner.busy

    @property
    def finding(self) -> bool:
        """Whether the kernel of the chosen layer is being looked for."""
        return self._blur.finding

    def request(self) -> Request:
        """Return what is chosen."""
        request = self._request_without_blur()
        return replace(request, blur=self._blur.blur(request.layer))

    def _request_without_blur(self) -> Request:
        return Request(
            layer=self.source.layer,
            model=self.models.model,
            axes=self.source.axes,
            planes=self.source.planes,
            area=self.source.area,
            shapes=self.source.shapes,
            reference=self.source.reference,
            options=self.options.options,
            results_folder=self._settings.results_folder,
        )

    @property
    def result(self) -> Image | None:
        """The newest result of the chosen layer, if there is one."""
        return self._looking_back.result

    # --- Setting up

    def _lay_out(self) -> None:
        inner = QWidget()
        layout = QVBoxLayout(inner)
        model_box = QGroupBox("Model")
        QVBoxLayout(model_box).addWidget(self.models)
        advanced = Section("Advanced", "advanced")
        advanced.addWidget(self.options)
        for widget in (
            self.source,
            model_box,
            self.blur,
            advanced,
            self.preview_note,
            self.run.result,
        ):
            layout.addWidget(widget)
        layout.addStretch()
        display = QHBoxLayout()
        for box in (self.preview_box, self.brighten_box):
            display.addWidget(box)
        footer = QWidget()
        below = QVBoxLayout(footer)
        below.setContentsMargins(9, 0, 9, 4)
        below.setSpacing(4)
        below.addWidget(self.run)
        below.addWidget(self.before_after)
        below.addLayout(display)
        self.run.messages.setContentsMargins(9, 4, 9, 4)
        # Beside each other, not one in the other: sentences come and go, and move no button.
        self._area = scrolled(self, inner, self.run.messages, footer)
        order_by_tab(self)

    def _connect(self) -> None:
        # First: what they say of the blur counts when all is checked together.
        self.models.changed.connect(self._show_whether_kernels)
        for changed in (self.source.changed, self.options.changed):
            changed.connect(self._show_blur)
        for panel in (self.source, self.models, self.options, self._blur):
            panel.changed.connect(self.refresh)
        self.source.layer_choice.changed.connect(self.options.show_layer)
        self.source.layer_choice.changed.connect(self._show_result)
        self.models.opened.connect(self._open_model)
        self.options.reset_button.clicked.connect(self._reset)
        self.options.save_requested.connect(self._save_defaults)
        self.preview_box.toggled.connect(self._preview.set_active)
        self._preview.progressed.connect(functools.partial(set_note, self.preview_note))
        self.run.run_requested.connect(self._start)
        self.run.cancel_requested.connect(self._cancel)
        self._looking_back.recorded.connect(self._show_result)
        self.before_after.compare_requested.connect(self._compare)
        self.before_after.measure_requested.connect(self._measure)
        self.brighten_box.toggled.connect(self._brighten)
        self._debounce.timeout.connect(self._start_estimate)
        self._looking.finished.connect(self._on_machine)
        self._estimating.finished.connect(self._on_estimate)
        self._runner.progressed.connect(self._on_event)
        self._runner.restored.connect(self._on_restored)
        self._runner.finished.connect(self._on_outcome)
        for event, callback in self._viewer_events():
            event.connect(callback)
        self._show_result()

    def _viewer_events(self) -> list[tuple[Any, Any]]:
        dims, layers = self._viewer.dims.events, self._viewer.layers
        moved = (dims.current_step, dims.ndisplay, self._viewer.scene.camera.events)
        return [
            *((event, self._on_view_changed) for event in moved),
            (layers.events.inserted, self._show_result),
            (layers.events.removed, self._show_result),
            (layers.selection.events.changed, self._show_count),
        ]

    def disconnect_viewer(self) -> None:
        """Let go of the viewer; a job is told to stop."""
        for event, callback in self._viewer_events():
            event.disconnect(callback)
        self.source.disconnect_viewer()
        self._blur.leave()
        self._debounce.stop()
        self._preview.set_active(False)
        self._waiting.clear()
        self._runner.leave()
        self._looking_back.disconnect_viewer()
        self._brightening.stop()

    def _on_machine(self, machine: Capabilities) -> None:
        self._capabilities = machine
        self.options.show_capabilities(machine)
        self.options.show_options(Options.of(self._settings))
        self.models.show_models(machine)
        self._blur.show_layer(self.source.layer)
        if not machine.problem:
            self._blur.get_ready()
        self.refresh()

    # --- What is chosen

    def _show_whether_kernels(self) -> None:
        model = self.models.model
        self.blur.allow("" if model is None else model.no_kernel)
        self._blur.refresh()

    def _show_blur(self) -> None:
        self._blur.show_layer(self.source.layer)
        self._blur.refresh()

    def refresh(self, _: Any = None) -> None:
        """Check all that is chosen together; say what is wrong, or what it will take."""
        if self._capabilities is None or self.busy:
            return
        self._estimating.abandon()
        self._estimate = Estimate()
        self._check()
        self._debounce.start()
        self._preview.refresh_soon()

    def _on_view_changed(self, _: Any = None) -> None:
        self._preview.refresh_soon()
        if self.source.area != "whole" or self.source.planes == "current":
            self.refresh()

    def _check(self) -> JobSpec | None:
        """Allow to run, and return the job; or say why not."""
        if self._capabilities is None or self.busy:
            return None
        spec = None
        problem = self._capabilities.problem or self._estimate.problem
        if not problem:
            try:
                spec = self.request().spec(self._viewer.dims.point, self._viewer.dims.ndisplay)
            except DarkDeblurError as error:
                problem = str(error)
        self.run.allow(problem)
        self.run.show_estimate("" if problem else self._estimate.text)
        return spec

    def _start_estimate(self) -> None:
        spec = self._check()
        if spec is None:
            return
        others = []
        for layer in self._selected()[1:]:
            with contextlib.suppress(DarkDeblurError):  # said when its turn comes
                others.append(self._spec_of(layer))
        self._estimating.start(functools.partial(estimate_job, spec, others=others))

    def _on_estimate(self, estimate: Estimate) -> None:
        self._estimate = estimate
        self._check()

    # --- The job

    def _selected(self) -> list[Image]:
        """Return the layers to restore: the chosen one, or all that are selected with it."""
        layer = self.source.layer
        if layer is None:
            return []
        selected = [
            one
            for one in self._viewer.layers
            if one in self._viewer.layers.selection
            and isinstance(one, Image)
            and ((made := provenance_of(one)) is None or made.kind == "sample")
        ]
        # A rectangle, or what the canvas shows, is a place in one image.
        several = layer in selected and self.source.area == "whole"
        return [layer, *(one for one in selected if one != layer)] if several else [layer]

    def _show_count(self, _: Any = None) -> None:
        count = len(self._selected())
        if count != self._count:
            self._count = count
            self.refresh()
        self.run.show_count(count)

    def _start(self) -> None:
        spec = self._check()
        if spec is None:
            return
        layer, *self._waiting = self._selected()
        self._images = 1 + len(self._waiting)
        self._begin(layer, spec)

    def _begin(self, layer: Image, spec: JobSpec) -> None:
        try:
            self._runner.start(layer, spec)
        except BusyError as error:
            self.run.allow(str(error))
            return
        self._running, self._running_in = spec, str(layer.unique_id)
        self._debounce.stop()
        self._estimating.abandon()
        self._preview.pause()
        if spec.options.psf == "auto":
            self._blur.give_up()
            self.blur.show_kernel(None, "Run is looking for the shake…")
        self.blur.enable_find(False)
        self.run.begin(self._images - 1 - len(self._waiting), self._images)
        self._name_running()

    def _begin_next(self) -> bool:
        """Restore the next of several layers, in the same way; say why one cannot be."""
        while self._waiting:
            layer = self._waiting.pop(0)
            if layer not in self._viewer.layers:
                continue
            try:
                spec = self._spec_of(layer)
            except DarkDeblurError as error:
                self.run.warn(f"{layer.name}: {error}")
                continue
            self._begin(layer, spec)
            return True
        return False

    def _spec_of(self, layer: Image) -> JobSpec:
        """Return the job that restores another layer like the chosen one.

        Raises
        ------
        DarkDeblurError
            It cannot be restored like this.
        """
        request = replace(
            self._request_without_blur(),
            layer=layer,
            axes=guess_axes(layer),
            reference=reference_of(layer, self._viewer.layers),
            blur=self._blur.blur(layer),
        )
        return request.spec(self._viewer.dims.point, self._viewer.dims.ndisplay)

    def _cancel(self) -> None:
        self._waiting.clear()
        self._runner.cancel()
        self.run.cancelling()

    def _on_event(self, event: Any) -> None:
        from ...restore import ModelReady, PSFFound, PSFSearch, Retried, TileDone

        left: float | None = getattr(event, "seconds_left", None)
        after = 0.0
        if isinstance(event, Progress):
            waiting = self._seconds_of_waiting(event.durations)
            after = event.seconds_after + waiting
            if left is not None:
                left += waiting
            event = event.event
            if isinstance(event, Preparing):
                self.run.show_progress(event.text, left, after)
                return
        if isinstance(event, Preparing):
            self.run.prepare(event.text, event.fraction)
        elif isinstance(event, TileDone):
            self.run.show_progress(progress_text(event, None), left, after)
        elif isinstance(event, PSFSearch):
            self.run.show_progress("Looking for the shake…", left, after)
        elif isinstance(event, PSFFound):
            self._on_kernel(event)
        elif isinstance(event, Retried):
            self._warn(event.reason)
        elif isinstance(event, ModelReady):
            self.run.show_progress(f"Restoring with {event.model} on {event.device}", left, after)
            for sentence in event.notes:
                # What was found, and in which light, is shown in the Blur box and the result.
                if getattr(sentence, "kind", "image") == "image":
                    self._warn(sentence)

    def _seconds_of_waiting(self, durations: Durations) -> float:
        """Return how long the images that wait will take, by what the present one takes."""
        assert self._running is not None
        pixels, seconds = max(self._running.pixel_count, 1), 0.0
        for layer in self._waiting:
            with contextlib.suppress(DarkDeblurError):  # it will not be restored
                spec = self._spec_of(layer)
                share = spec.pixel_count / pixels
                seconds += durations.restoring * share
                if spec.options.known_psf == "auto":
                    seconds += durations.search
                if spec.reference is not None:
                    seconds += durations.measuring * share
        return seconds

    def _warn(self, sentence: str) -> None:
        assert self._running is not None
        several = self._images > 1
        self.run.warn(f"{self._running.name}: {sentence}" if several else sentence)

    def _on_kernel(self, event: PSFFound) -> None:
        """Show the kernel that a run has found; it holds for the next runs, too."""
        assert self._running is not None
        found = search_result(event)
        self._blur.take(found, self._running_in, self._running)

    def _on_restored(self, outcome: Outcome, layer: Image) -> None:
        """Show a result that may still be measured."""
        self._keep(layer, summary_text(layer, outcome))
        if input_of(layer, self._viewer.layers) is None:
            self._warn(REMOVED)

    def _on_outcome(self, outcome: Outcome, layer: Image | None) -> None:
        if layer is not None:
            self._keep(layer, summary_text(layer, outcome))
        elif outcome.status == "failed":
            self._warn(outcome.message) if self._images > 1 else show_warning(outcome.message)
        if outcome.status == "cancelled":
            self._waiting.clear()
        if self._begin_next():
            return
        self._running = None
        self.run.end("" if layer is not None else outcome.message)
        self.blur.enable_find(True)
        self._blur.refresh()
        self._preview.resume()
        if layer is not None:
            self._show_result()
        # Or the sentence that says why there is none.
        scroll_to(self._area, self.run.result)
        self.refresh()
        self._show_count()

    # --- Results

    def _keep(self, layer: Image, text: str) -> None:
        self._results = [one for one in self._results if one[0] != layer]
        self._results.append((layer, text))
        self._show_result()

    def _show_result(self, _: Any = None) -> None:
        """Show the newest result of the chosen layer, if it is still there; else nothing."""
        layers = self._viewer.layers
        self._results = [one for one in self._results if one[0] in layers]
        chosen = self.source.layer
        result, text = next(
            (
                one
                for one in reversed(self._results)
                if chosen is not None and input_of(one[0], layers) == chosen
            ),
            (None, ""),
        )
        if result is None and chosen is not None:
            # By the command, by a dock that was closed since, or in another session.
            result = next(reversed(results_of(chosen, layers)), None)
            text = "" if result is None else recorded_text(result)
        if result is None and self._results and chosen is None:
            result, text = self._results[-1]  # the image is gone, its result is not
        if result is not None and "<table>" in text and strength_of(result) != 1:
            text += f"<br>{_WHOLE}"
        set_note(self.run.result, text)
        self._name_running()
        self._looking_back.show_result(result)
        if self._brightening.active:
            self._brighten(True)

    def _name_running(self) -> None:
        """Say which image is being restored where another one is chosen."""
        chosen, running = self.source.layer, self._running
        here = chosen is not None and str(chosen.unique_id) == self._running_in
        self.run.name_image("" if running is None or here else running.name)

    def _brighten(self, on: bool) -> None:
        """Show image, result and reference brighter, all alike, or as they were."""
        image = self.source.layer
        if not on or image is None:
            self._brightening.stop()
            return
        results = results_of(image, self._viewer.layers)
        reference = self.source.reference
        self._brightening.start(image, results + ([] if reference is None else [reference]))

    def _compare(self) -> None:
        result = self.result
        before = None if result is None else input_of(result, self._viewer.layers)
        if before is None:
            show_info("The image that the result was made of is not open any more.")
            return
        open_dock(self._viewer, "Compare").set_pair(before, result)

    def _measure(self) -> None:
        if self.result is not None:
            open_dock(self._viewer, "Measure").set_result(self.result, self.source.reference)

    # --- Model and defaults

    def _open_model(self, path: str) -> None:
        # Reading a header takes no time, and torch is loaded by now.
        if self._capabilities is not None and not self._capabilities.problem:
            self.models.add(describe_model(Path(path)))

    def _reset(self) -> None:
        self._settings = read_settings()
        self.source.reset()
        self.blur.choose_kind(self._settings.blur)
        self.options.show_options(Options())
        self.options.show_options(Options.of(self._settings))

    def _save_defaults(self) -> None:
        settings = self.options.options.as_settings(read_settings())
        kind = self.blur.kind_box.currentData()
        if kind in ("find", "unknown"):  # the others belong to one image
            settings = replace(settings, blur=kind)
        try:
            save_as_defaults(settings)
        except SettingsError as error:
            show_warning(sentence_of(error))
            return
        show_info("New Deblur widgets start with these options from now on.")


def recorded_text(layer: Image) -> str:
    """Return what the record of a layer says that this dock has not restored, as rich text."""
    made = provenance_of(layer)
    text = f"<b>{escape(str(layer.name))}</b><br>restored before"
    if made is not None and made.model is not None:
        text += f", with {escape(made.model.name)} on {escape(made.device)}"
    if made is not None and made.psf is not None:
        text += f"<br>blur undone: {escape(made.psf.description)}"
    return text


def summary_text(layer: Image, outcome: Outcome) -> str:
    """Return what came of a job, as rich text: sentences, and a table if it was measured."""
    from ...metrics import METRICS
    from ...psf import PSF
    from ...restore import describe_psf
    from ...restore.units import format_duration

    assert outcome.result is not None
    assert outcome.store is not None
    result = outcome.result
    seconds = format_duration(result.seconds)
    name = escape(str(layer.name))
    text = f"<b>{name}</b><br>{seconds} with {escape(result.model)} on {result.device}"
    if isinstance(result.psf, PSF) and result.psf.rms_radius == 0:
        text += "<br>no blur undone: restored as sharp"
    elif isinstance(result.psf, PSF):
        light = "sRGB" if result.light == "srgb" else "linear"
        text += f"<br>blur undone: {escape(describe_psf(result.psf))} (values taken as {light})"
    if outcome.range_text:
        text += f"<br>{escape(outcome.range_text)}"
    if not layer.rgb:
        # Its bias is in the model's card: small bright objects become smaller.
        text += "<br>Areas and brightness are to be measured on the original."
    if outcome.store.path is not None:
        text += f"<br>kept in {escape(str(outcome.store.path))}"
    before, after = outcome.measures.get("input", {}), outcome.measures.get("restored", {})
    rows = [
        f"<tr><td>{metric.label}</td>"
        + "".join(
            f"<td align=right>&nbsp;&nbsp;{metric.text(numbers[metric.label])}</td>"
            for numbers in (before, after)
        )
        + "</tr>"
        for metric in METRICS
        if metric.needs == "reference" and metric.label in before and metric.label in after
    ]
    if rows:
        made = provenance_of(layer)
        planes = 1 if made is None else axes_of(layer, made.axes).plane_count
        if planes > 1:
            text += f"<br>Measured in the middle one of {planes} planes:"
        head = "<tr><td></td><td align=right>image</td><td align=right>&nbsp;&nbsp;result</td></tr>"
        text += f"<table>{head}{''.join(rows)}</table>"
    return text
