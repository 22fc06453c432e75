"""Tables show measurements, mark the best where that can be said, and give them away."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from napari.layers import Image
from qtpy.QtCore import QSortFilterProxyModel, Qt

from napari_darkdeblur.metrics import METRICS
from napari_darkdeblur.napari_plugin.measure.canvas_text import keep_in_metadata
from napari_darkdeblur.napari_plugin.measure.plan import Measurement, ValueRange, best_of, mean_of
from napari_darkdeblur.napari_plugin.measure.tables import (
    SORTING,
    ComparisonModel,
    HistoryModel,
    TablesPanel,
    as_text,
    save_csv,
)
from napari_darkdeblur.napari_plugin.provenance import provenance_of
from napari_darkdeblur.rectangle import Rectangle

from .test_alignment import pixels, restored_of


def make(layer: str = "night", plane: int | None = 0, **numbers: float) -> Measurement:
    """Return a measurement; numbers by the metrics' keys."""
    labels = {metric.key: metric.label for metric in METRICS}
    return Measurement(
        layer_id=f"id of {layer}",
        layer=layer,
        plane=plane,
        where=f"Z {plane}",
        area=Rectangle(0, 0, 40, 50),
        values=ValueRange(0, 255, "uint8"),
        reference="sharp",
        against=("id of sharp", plane),
        numbers={labels[key]: value for key, value in numbers.items()},
        time=datetime(2026, 11, 24, 12, tzinfo=UTC),
    )


def shown(model: Any, row: int, column: int, role: Any = Qt.ItemDataRole.DisplayRole) -> Any:
    return model.data(model.index(row, column), role)


def test_the_best_follows_the_direction_of_each_metric():
    before = make("before", psnr=25.0, ciede2000_mean=5.0, noise=3.0)
    after = make("after", psnr=30.0, ciede2000_mean=6.0, noise=1.0)
    assert best_of([before, after]) == {(1, "PSNR (dB)"), (0, "CIEDE2000 mean")}


def test_nothing_is_the_best_of_what_cannot_be_compared():
    one, other = make("one", psnr=25.0), make("other", psnr=30.0)
    assert best_of([one, replace(other, against=("another reference",))]) == set()
    assert best_of([replace(one, against=()), replace(other, against=())]) == set()
    assert best_of([one, make("other", plane=1, psnr=30.0)]) == set()
    assert best_of([one, make("equal", psnr=25.0)]) == set()
    assert best_of([one]) == set()


def test_what_is_not_known_is_not_the_best():
    table = [make("a", psnr=math.nan), make("b", psnr=20.0), make("c", psnr=math.inf), make("d")]
    assert best_of(table) == {(2, "PSNR (dB)")}


def test_the_mean_leaves_out_planes_that_do_not_tell():
    planes = [make(plane=0, psnr=20.0, noise=math.nan), make(plane=1, psnr=30.0, noise=2.0)]
    mean = mean_of(planes)
    assert mean.numbers == {"PSNR (dB)": 25.0, "Noise (%)": 2.0}
    assert mean.plane is None


def test_the_comparison_has_a_row_for_each_metric_that_was_measured(qtmodeltester):
    model = ComparisonModel()
    model.show([make("night", psnr=25.0), make("night [darkdeblur]", psnr=30.126, noise=0.5)])
    qtmodeltester.check(model, force_py=True)
    rows = [
        model.headerData(row, Qt.Orientation.Vertical, Qt.ItemDataRole.DisplayRole)
        for row in range(model.rowCount())
    ]
    assert rows == ["PSNR (dB) ↑", "Noise (%)"]
    assert (shown(model, 0, 1), shown(model, 1, 0)) == ("30.13", "–")
    assert shown(model, 0, 1, Qt.ItemDataRole.FontRole).bold()
    assert shown(model, 0, 0, Qt.ItemDataRole.FontRole) is None
    tooltip = model.headerData(0, Qt.Orientation.Vertical, Qt.ItemDataRole.ToolTipRole)
    assert "More is better." in tooltip
    head = model.headerData(1, Qt.Orientation.Horizontal, Qt.ItemDataRole.ToolTipRole)
    assert "0 to 255 (uint8)" in head


def test_headings_fit_their_columns_and_have_the_whole_name_as_tooltip(qtbot):
    name = "2026-11-26 an experiment with a long name, position 3"
    panel = TablesPanel()
    qtbot.addWidget(panel)
    panel.resize(270, 400)
    panel.show()
    qtbot.waitExposed(panel)
    panel.show_comparison([make(name, psnr=25.0), make(f"{name} [darkdeblur]", psnr=30.0)])
    qtbot.wait(20)
    header = panel.comparison_view.horizontalHeader()

    def heading(column: int, role: int = Qt.ItemDataRole.DisplayRole) -> str:
        return str(panel.comparison.headerData(column, Qt.Orientation.Horizontal, role))

    assert heading(1).endswith("\nresult")
    for column in range(2):
        for line in heading(column).split("\n"):
            assert header.fontMetrics().horizontalAdvance(line) <= header.sectionSize(column)
        assert name in heading(column, Qt.ItemDataRole.ToolTipRole)
    narrow = heading(0)
    panel.resize(1200, 400)
    qtbot.wait(20)
    assert heading(0) == name != narrow


def test_long_labels_are_shortened_but_not_in_files():
    measured = [make("night", psnr=1.0, ciede2000_mean=2.0)]
    model = ComparisonModel()
    model.show(measured)
    labels = [model.headerData(row, Qt.Orientation.Vertical) for row in range(2)]
    assert labels == ["PSNR (dB) ↑", "ΔE₀₀ mean ↓"]
    tooltip = model.headerData(1, Qt.Orientation.Vertical, Qt.ItemDataRole.ToolTipRole)
    assert tooltip.startswith("CIEDE2000 mean: ")
    assert "CIEDE2000 mean" in as_text(measured)


def test_the_history_is_sorted_by_numbers_not_by_their_text(qtmodeltester):
    model = HistoryModel()
    model.add([make("a", psnr=9.5), make("b", psnr=10.25), make("c", psnr=math.inf), make("d")])
    qtmodeltester.check(model, force_py=True)
    ordered = QSortFilterProxyModel()
    ordered.setSourceModel(model)
    ordered.setSortRole(SORTING)
    ordered.sort(2, Qt.SortOrder.DescendingOrder)
    assert [shown(ordered, row, 0) for row in range(4)] == ["c", "b", "a", "d"]
    assert [shown(ordered, row, 2) for row in range(4)] == ["inf", "10.25", "9.50", "–"]


def test_measuring_the_same_again_makes_no_new_row():
    model = HistoryModel()
    model.add([make(psnr=25.0, noise=math.nan)])
    later = replace(make(psnr=25.0, noise=float("nan")), time=datetime(2026, 11, 25, tzinfo=UTC))
    model.add([later])
    assert [one.time.day for one in model.measurements] == [25]
    model.add([make(psnr=26.0, noise=math.nan)])
    assert model.rowCount() == 2
    model.clear()
    assert model.rowCount() == 0


def test_a_file_has_all_that_was_measured(tmp_path):
    path = tmp_path / "metrics.csv"
    late = replace(make("night, late", psnr=25.123456789), psf="found: 14 px, vertical")
    save_csv(path, [late, make("same", psnr=math.inf)])
    with path.open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert first["layer"] == "night, late"
    assert float(first["PSNR (dB)"]) == 25.123456789
    assert (first["SSIM"], first["height"], first["white"]) == ("", "40", "255")
    assert (first["psf"], second["psf"]) == ("found: 14 px, vertical", "")
    assert float(second["PSNR (dB)"]) == math.inf
    assert first["time"] == "2026-11-24T12:00:00+00:00"
    assert [*first] == as_text([]).strip().split(",")


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "metrics.csv"
    path.write_text("old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space")))
    with pytest.raises(OSError, match="No space"):
        save_csv(path, [make(psnr=1.0)])
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


def test_a_result_keeps_its_measures_by_plane_as_json():
    source = Image(pixels(3, 40, 50), name="movie")
    result = restored_of(source, source.data)
    keep_in_metadata(result, make(plane=0, psnr=math.inf))
    keep_in_metadata(result, make(plane=2, psnr=30.5))
    keep_in_metadata(result, mean_of([make(psnr=1.0)]))
    planes = json.loads(json.dumps(result.metadata))["darkdeblur"]["metrics"]["planes"]
    assert planes.keys() == {"0", "2"}
    assert (planes["0"]["psnr"], planes["2"]["psnr"]) == ("inf", 30.5)
    assert planes["2"]["reference"] == "sharp"
    assert provenance_of(result).kind == "restored"
    keep_in_metadata(source, make(psnr=1.0))
    assert source.metadata == {}
