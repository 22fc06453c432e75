"""The Deblur widget: choose an image, run, see how it goes, and what came of it."""

from __future__ import annotations

import functools
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info, show_warning
from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QCheckBox, QGroupBox, QVBoxLayout, QWidget
from superqt import QCollapsible

from ...errors import DarkDeblurError, sentence_of
from ...restore.image.axes import Axes
from ..background import Background
from ..controls import named, note, say, scrolled
from ..provenance import input_of
from ..settings import PLUGIN, SettingsError, read_settings, save_as_defaults
from .blur_choice import BlurChoice
from .blur_panel import BlurPanel
from .estimate import Estimate, estimate_job
from .job import JobSpec, Outcome, Preparing
from .job_runner import BusyError, JobRunner
from .kernel_jobs import found_text
from .machine import Machine, describe_model, look_around
from .model_picker import ModelPicker
from .options import Options
from .options_panel import OptionsPanel
from .preview import Preview
from .request import Request
from .run_panel import RunPanel
from .source_panel import SourcePanel

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

    from ...restore import PSFFound

_SETTLE = 300  # milliseconds without a change, before its consequences are predicted


class DeblurWidget(QWidget):
    """Restores image layers with a bundled model or one's own.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose layers are restored.
    parent : QWidget, optional
        See Qt.
    """

    def __init__(self, viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("darkdeblur")
        self._viewer = viewer
        self._settings = read_settings()
        self._machine: Machine | None = None  # until it is known
        self._estimate = Estimate()
        self._result: Image | None = None

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
        self.run = RunPanel()
        self._lay_out()

        self._looking = Background(self)
        self._estimating = Background(self)
        self._runner = JobRunner(viewer, self)
        self._preview = Preview(viewer, self, self.request)
        self._blur = BlurChoice(viewer, self, self.blur, self._request_without_blur)
        self._running: JobSpec | None = None
        self._running_in = ""
        self._found = ""
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE)
        self._connect()
        self._looking.start(functools.partial(look_around, self._settings.models_folder))

    @property
    def busy(self) -> bool:
        """Whether a job is under way."""
        return self._runner.busy

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

    def event(self, event: QEvent) -> bool:
        """Let go of the viewer when the dock is closed."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self._leave()
        return bool(super().event(event))

    # --- Setting up

    def _lay_out(self) -> None:
        inner = QWidget()
        layout = QVBoxLayout(inner)
        model_box = QGroupBox("Model")
        QVBoxLayout(model_box).addWidget(self.models)
        advanced = QCollapsible("Advanced")
        advanced.setObjectName("advanced")
        advanced.setDuration(0)
        advanced.addWidget(self.options)
        for widget in (
            self.source,
            model_box,
            self.blur,
            advanced,
            self.preview_box,
            self.run,
            self.preview_note,
        ):
            layout.addWidget(widget)
        layout.addStretch()
        scrolled(self, inner)

    def _connect(self) -> None:
        # First: what they say of the blur counts when all is checked together.
        self.models.changed.connect(self._show_whether_kernels)
        for changed in (self.source.changed, self.options.changed):
            changed.connect(self._show_blur)
        for panel in (self.source, self.models, self.options, self._blur):
            panel.changed.connect(self._on_changed)
        self.source.layer_choice.changed.connect(self.options.show_layer)
        self.models.opened.connect(self._open_model)
        self.options.reset_button.clicked.connect(self._reset)
        self.options.save_wanted.connect(self._save_defaults)
        self.preview_box.toggled.connect(self._preview.set_active)
        self._preview.told.connect(functools.partial(say, self.preview_note))
        self.run.run_wanted.connect(self._start)
        self.run.cancel_wanted.connect(self._cancel)
        self.run.compare_wanted.connect(self._compare)
        self.run.metrics_wanted.connect(self._measure)
        self._settle.timeout.connect(self._start_estimate)
        self._looking.ended.connect(self._on_machine)
        self._estimating.ended.connect(self._on_estimate)
        self._runner.told.connect(self._on_event)
        self._runner.ended.connect(self._on_outcome)
        for event in self._viewer_events():
            event.connect(self._on_view_changed)

    def _viewer_events(self) -> list[Any]:
        dims = self._viewer.dims.events
        return [dims.current_step, dims.ndisplay, self._viewer.scene.camera.events]

    def _leave(self) -> None:
        for event in self._viewer_events():
            event.disconnect(self._on_view_changed)
        self.source.stop_following()
        self._blur.leave()
        self._settle.stop()
        self._preview.set_active(False)
        self._runner.leave()

    def _on_machine(self, machine: Machine) -> None:
        self._machine = machine
        self.options.show_machine(machine)
        self.options.show_options(Options.of(self._settings))
        self.models.show_models(machine)
        self._blur.show_layer(self.source.layer)
        if not machine.problem:
            self._blur.get_ready()
        self._on_changed()

    # --- What is chosen

    def _show_whether_kernels(self) -> None:
        model = self.models.model
        self.blur.allow("" if model is None else model.no_kernel)
        self._blur.refresh()

    def _show_blur(self) -> None:
        self._blur.show_layer(self.source.layer)
        self._blur.refresh()

    def _on_changed(self, _: Any = None) -> None:
        """Check all that is chosen together; say what is wrong, or what it will take."""
        if self._machine is None or self.busy:
            return
        self._estimating.abandon()
        self._estimate = Estimate()
        self._check()
        self._settle.start()
        self._preview.refresh_soon()

    def _on_view_changed(self, _: Any = None) -> None:
        self._preview.refresh_soon()
        if self.source.area != "whole" or self.source.planes == "current":
            self._on_changed()

    def _check(self) -> JobSpec | None:
        """Allow to run, and return the job; or say why not."""
        if self._machine is None or self.busy:
            return None
        spec = None
        problem = self._machine.problem or self._estimate.problem
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
        if spec is not None:
            self._estimating.start(functools.partial(estimate_job, spec))

    def _on_estimate(self, estimate: Estimate) -> None:
        self._estimate = estimate
        self._check()

    # --- The job

    def _start(self) -> None:
        layer, spec = self.source.layer, self._check()
        if spec is None or layer is None:
            return
        try:
            self._runner.start(layer, spec)
        except BusyError as error:
            self.run.allow(str(error))
            return
        self._running, self._running_in, self._found = spec, str(layer.unique_id), ""
        self._settle.stop()
        self._estimating.abandon()
        self._preview.pause()
        if spec.options.psf == "auto":
            self._blur.give_up()
            self.blur.show_kernel(None, "Run is looking for the shake…")
        self.blur.let_find(False)
        self.run.begin()

    def _cancel(self) -> None:
        self._runner.cancel()
        self.run.cancelling()

    def _on_event(self, event: Any) -> None:
        from ...restore import ModelReady, PSFFound, PSFSearch, Retried, TileDone

        if isinstance(event, Preparing):
            self.run.prepare(event.text)
        elif isinstance(event, TileDone):
            self.run.tile_done(event)
        elif isinstance(event, PSFSearch):
            self.run.searching(event.fraction)
        elif isinstance(event, PSFFound):
            self._on_kernel(event)
        elif isinstance(event, Retried):
            self.run.warn(event.reason)
        elif isinstance(event, ModelReady):
            self.run.prepare(f"Restoring with {event.model} on {event.device}")
            for sentence in event.notes:
                if not self._is_told_elsewhere(sentence):
                    self.run.warn(sentence)

    def _is_told_elsewhere(self, sentence: str) -> bool:
        """Return whether a note is no warning: what was found, and in which light, is shown."""
        from ...restore.psfs import is_linear_light

        spec = self._running
        assert spec is not None
        colour = Axes.parse(spec.axes, spec.shape).colour
        of_light = is_linear_light("auto", colour, spec.dtype)[1]
        return sentence == of_light or bool(self._found and sentence.startswith(self._found))

    def _on_kernel(self, event: PSFFound) -> None:
        """Show the kernel that a run has found; it holds for the next runs, too."""
        assert self._running is not None
        self._found = event.description
        found = found_text(event.psf, event.confident, event.description)
        self._blur.take(found, self._running_in, self._running)

    def _on_outcome(self, outcome: Outcome, layer: Image | None) -> None:
        if layer is None:
            self.run.end(outcome.message)
            if outcome.status == "failed":
                show_warning(outcome.message)
        else:
            self._result = layer
            self.run.end("", summary_text(str(layer.name), outcome))
        self._running = None
        self.blur.let_find(True)
        self._blur.refresh()
        self._preview.resume()
        self._on_changed()

    # --- After it

    def _compare(self) -> None:
        if self._result_is_there():
            before = input_of(self._result, self._viewer.layers)
            if before is None:
                show_info("The image that the result was made of is not open any more.")
                return
            _, widget = self._viewer.window.add_plugin_dock_widget(PLUGIN, "Compare", tabify=True)
            widget.set_pair(before, self._result)

    def _measure(self) -> None:
        if self._result_is_there():
            _, widget = self._viewer.window.add_plugin_dock_widget(PLUGIN, "Metrics", tabify=True)
            widget.set_result(self._result, self.source.reference)

    def _result_is_there(self) -> bool:
        there = self._result is not None and self._result in self._viewer.layers
        if not there:
            show_info("The result has been removed; run again to have another one.")
        return there

    # --- Model and defaults

    def _open_model(self, path: str) -> None:
        # Reading a header takes no time, and torch is loaded by now.
        if self._machine is not None and not self._machine.problem:
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


def summary_text(name: str, outcome: Outcome) -> str:
    """Return what came of a job, as rich text: a sentence, and a table if it was measured."""
    from ...metrics import METRICS
    from ...psf import PSF
    from ...restore import describe_psf
    from ...restore.units import format_duration

    assert outcome.result is not None
    assert outcome.store is not None
    result = outcome.result
    seconds = format_duration(result.seconds)
    text = f"<b>{escape(name)}</b><br>{seconds} with {escape(result.model)} on {result.device}"
    if isinstance(result.psf, PSF):
        light = "sRGB" if result.light == "srgb" else "linear"
        text += f"<br>blur undone: {escape(describe_psf(result.psf))} (values taken as {light})"
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
        head = "<tr><td></td><td align=right>image</td><td align=right>&nbsp;&nbsp;result</td></tr>"
        text += f"<table>{head}{''.join(rows)}</table>"
    return text
