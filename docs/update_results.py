"""Put what the bundled weights gain into README and model card: numbers and picture.

Run it after the bundled weights have changed, from the repository:

    darkdeblur-train validate VALIDATE --csv docs/models/NAME-results.csv --overwrite
    python docs/update_results.py

The first command measures, which takes minutes; its file is kept. The second runs
``darkdeblur demo``, replaces ``docs/images/demo.jpg``, and rewrites what stands between the marks
``<!-- demo -->``/``<!-- results -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import csv
import re
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from PIL import Image

from darkdeblur_trainer.acceptance.scores import METRICS, Score, rows
from darkdeblur_trainer.acceptance.tables import TO_INPUT, table
from napari_darkdeblur.cli import main
from napari_darkdeblur.metrics import metric_of
from napari_darkdeblur.weights import DEFAULT_MODEL

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"
CARD = DOCS / "models" / f"{DEFAULT_MODEL}.md"
RESULTS = DOCS / "models" / f"{DEFAULT_MODEL}-results.csv"
# Those with the true kernel belong into the card, where it is said what they are.
IN_README = ("blurred", DEFAULT_MODEL)


def run_demo() -> str:
    """Make the picture; return the table that the command prints."""
    printed = StringIO()
    with tempfile.TemporaryDirectory() as folder:
        with redirect_stdout(printed):
            code = main(["demo", "--out", folder])
        if code:
            raise SystemExit(code)
        picture = Image.open(Path(folder) / "comparison.png").convert("RGB")
        picture.save(DOCS / "images" / "demo.jpg", quality=88)
    return f"```text\n{printed.getvalue().split(chr(10) * 2)[0]}\n```"


def read_scores() -> list[Score]:
    """Return what ``validate --csv`` wrote."""
    labels = {key: metric_of(key).label for key in METRICS}
    found = []
    with RESULTS.open(newline="", encoding="utf-8") as stream:
        for line in csv.DictReader(stream):
            metrics = {key: float(line[name]) for key, name in labels.items() if line[name]}
            to_input = float(line[TO_INPUT]) if line[TO_INPUT] else None
            found.append(Score(line["blur"], line["image"], line["restored by"], metrics, to_input))
    return found


def result_tables() -> list[tuple[Path, str]]:
    """Return the documents with a table of results, and each one's table."""
    found = read_scores()
    short = [score for score in found if score.way in IN_README]
    return [
        (path, table(rows(scores), ["unblurred"], markdown=True))
        for path, scores in ((README, short), (CARD, found))
    ]


def replaced(path: Path, mark: str, text: str) -> str:
    """Return a document with a text in place of what stands behind a mark."""
    document = path.read_text(encoding="utf-8")
    pattern = rf"(<!-- {mark} -->\n).*?(<!-- end -->)"
    changed, count = re.subn(
        pattern, lambda found: f"{found[1]}{text}\n{found[2]}", document, flags=re.DOTALL
    )
    if count != 1:
        raise SystemExit(f"{path} has {count} places marked {mark}, not one.")
    return changed


def update() -> None:
    """Rewrite everything."""
    replacements = [
        (README, "demo", run_demo()),
        *((path, "results", text) for path, text in result_tables()),
    ]
    for path, mark, text in replacements:
        path.write_text(replaced(path, mark, text), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    update()
