r"""Put what the bundled weights gain into README and model card: numbers and picture.

Run it after the bundled weights have changed, from the repository:

    darkdeblur-train validate VALIDATE --csv docs/models/NAME-results.csv \
        --measurements docs/models/NAME-objects.csv --overwrite
    python docs/update_results.py

The first command measures, which takes half an hour; its files are kept. The second runs
``darkdeblur demo``, replaces ``docs/images/demo.jpg``, and rewrites what stands between the marks
``<!-- demo -->``/``<!-- results -->``/``<!-- objects -->`` and ``<!-- end -->``. README gets the
gains, the card the gains, everything about the models, and, if they were kept, the measurements of
objects; ``peers.md``, which has the commands that measured them, other networks beside the bundled
one. With ``--tables`` nothing is run, only the tables are rewritten.
"""

from __future__ import annotations

import re
import sys
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from PIL import Image

from darkdeblur_trainer.benchmark.methods import PSF_LABELS
from darkdeblur_trainer.benchmark.objects import object_table, read_objects
from darkdeblur_trainer.benchmark.scores import INPUT, PERFECT_DENOISER, summarize
from darkdeblur_trainer.benchmark.tables import gain_table, of_models, read_csv, table
from napari_darkdeblur.cli import main
from napari_darkdeblur.weights import DEFAULT_MODEL

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"
CARD = DOCS / "models" / f"{DEFAULT_MODEL}.md"
RESULTS = DOCS / "models" / f"{DEFAULT_MODEL}-results.csv"
OBJECTS = DOCS / "models" / f"{DEFAULT_MODEL}-objects.csv"
PEERS = DOCS / "peers.md"
PEER_RESULTS = DOCS / "models" / "peers-results.csv"
BLIND_RESULTS = DOCS / "models" / "blind-results.csv"
# All others belong into the card, where it is said what they are.
BUNDLED = [DEFAULT_MODEL + label for label in PSF_LABELS.values()]
IN_README = (INPUT, *BUNDLED, PERFECT_DENOISER, "NL-means")


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


def result_tables() -> list[tuple[Path, str, str]]:
    """Return the documents with tables of results: the document, the mark, the table."""
    lines = summarize(read_csv(RESULTS))
    order = {
        group: place for place, group in enumerate(dict.fromkeys(line.group for line in lines))
    }
    short = [line for line in lines if line.method in IN_README]
    details = table(of_models(lines), ["unblurred"], markdown=True)
    tables = [
        (README, "results", gain_table(short, markdown=True)),
        (CARD, "results", f"{gain_table(lines, markdown=True)}\n\n{details}"),
    ]
    if OBJECTS.exists():
        tables.append((CARD, "objects", object_table(read_objects(OBJECTS), markdown=True)))
    # The same pairs, so that one table can hold both.
    beside = [score for score in read_csv(RESULTS) if score.method in (*BUNDLED, PERFECT_DENOISER)]
    scores = sorted([*read_csv(PEER_RESULTS), *beside], key=lambda score: order[score.group])
    tables.append((PEERS, "networks", gain_table(summarize(scores), markdown=True)))
    blind = summarize(read_csv(BLIND_RESULTS))
    tables.append((PEERS, "blind", table(blind, [], markdown=True)))
    return tables


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


def update(tables_only: bool) -> None:
    """Rewrite everything, or only the tables of what is kept."""
    replacements = result_tables()
    if not tables_only:
        replacements.append((README, "demo", run_demo()))
    for path, mark, text in replacements:
        path.write_text(replaced(path, mark, text), encoding="utf-8")
        print(f"{path}: {mark}")


if __name__ == "__main__":
    update(sys.argv[1:] == ["--tables"])
