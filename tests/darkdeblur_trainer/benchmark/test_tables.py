"""Tables and CSV files tell what is known."""

from __future__ import annotations

from darkdeblur_trainer.benchmark.scores import (
    INPUT,
    PERFECT_DENOISER,
    Score,
    summarize,
)
from darkdeblur_trainer.benchmark.tables import gain_table, of_models, read_csv, table, write_csv

# Two images; one loses 0.6 dB, the other gains 1; and a perfect denoiser.
KNOWN = {
    INPUT: (30.126, 28.0),
    "small": (29.526, 29.0),
    PERFECT_DENOISER: (30.226, 28.2),
}


def known_scores(group: str) -> list[Score]:
    rest = {"ssim": 0.9, "ciede2000_mean": 1.234}
    return [
        Score(
            group, str(place), method, {"psnr": value, **rest}, None if method == INPUT else 45.678
        )
        for method, values in KNOWN.items()
        for place, value in enumerate(values)
    ]


def test_the_tables_tell_what_is_known(tmp_path):
    found = [*known_scores("night"), *known_scores("unblurred")]
    lines = summarize(found)
    text = table(of_models(lines), ["unblurred"], markdown=True).splitlines()
    assert text[0].endswith("| PSNR to input (dB) |")
    assert text[2] == "| night | blurred | 29.06 |  |  |  |  | 0.9000 | – | 1.23 |  |"
    assert text[3] == (
        "| night | small | 29.26 | +0.20 | +0.05 | -0.60 | 1 of 2 | 0.9000 | – | 1.23 |  |"
    )
    assert text[5].endswith("| 45.68 |")
    assert len(text) == 6
    assert "to input" not in table(lines[:3], ["unblurred"], markdown=True)
    gains = gain_table(lines, markdown=True).splitlines()
    assert gains[0].endswith("| small: gain (dB) | perfect denoiser: gain (dB) |")
    assert gains[2] == "| night | 2 | 29.06 | +0.20 | +0.15 |"
    aligned = table(lines, ["unblurred"], markdown=False).splitlines()
    assert aligned[1] == aligned[5] == ""
    columns = {line.index("29.06") for line in aligned if "29.06" in line}
    assert len(columns) == 1
    write_csv(tmp_path / "scores.csv", found)
    assert read_csv(tmp_path / "scores.csv") == found
