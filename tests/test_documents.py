"""README and model card say what was measured: their tables are those of the kept results."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def update_results() -> ModuleType:
    """Return the script that writes the tables."""
    spec = importlib.util.spec_from_file_location(
        "update_results", ROOT / "docs" / "update_results.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_those_of_the_kept_results(update_results):
    tables = update_results.result_tables()
    documents = update_results.README, update_results.CARD, update_results.PEERS
    assert {path for path, _, _ in tables} == {*documents}
    for path, mark, text in tables:
        assert text.count("\n") > 2
        assert update_results.replaced(path, mark, text) == path.read_text("utf-8")


def test_a_document_without_its_mark_is_no_success(update_results, tmp_path):
    document = tmp_path / "README.md"
    document.write_text("no marks", "utf-8")
    with pytest.raises(SystemExit, match="0 places marked results"):
        update_results.replaced(document, "results", "table")
