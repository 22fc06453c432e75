"""A mistake costs one sentence, and the process ends as it should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_darkdeblur import __version__, cli, filejobs
from napari_darkdeblur.imagefiles import read_image

from .conftest import IMAGE, complaint


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["deblur", "absent.png", "out.png"], "absent.png does not exist"),
        (["deblur", "photo.png", "out.bmp"], "'.bmp'"),
        (["deblur", "photo.png", "absent/out.png"], "no folder absent"),
        (["deblur", "photo.png", "."], "is a folder"),
        (["deblur", "in", "photo.png"], "is a folder and photo.png is a file"),
        (["deblur", "in/sub/empty", "out"], "no images in"),
        (["deblur", "photo.png", "out.png", "--model", "nonesuch"], "no model named 'nonesuch'"),
        (["deblur", "photo.png", "out.png", "--model", "a/b.safetensors"], "no weights file"),
        (["deblur", "photo.png", "out.png", "--model", "photo.png"], "photo.png"),
        (["deblur", "photo.png", "out.png", "--device", "cuda:99"], "'cuda:99'"),
        (["deblur", "photo.png", "out.png", "--range", "1,0"], "value of black"),
        (["deblur", "photo.png", "out.png", "--range", "1"], "is no range"),
        (["deblur", "photo.png", "out.png", "--memory", "much"], "amount of memory"),
        (["deblur", "photo.png", "out.png", "--memory", "1MB"], "may be taken"),
        (["deblur", "photo.png", "out.png", "--tile", "0"], "0 pixels"),
        (["deblur", "photo.png", "out.png", "--axes", "YYC"], "YYC"),
        (["deblur", "photo.png", "out.png", "--precision", "bf16"], "GPU"),
        (["deblur", "photo.png", "out.png", "--scratch", "nowhere"], "not a folder"),
        (["deblur", "photo.png", "out.png", "--psf", "moton:3,4"], "no file moton:3,4"),
        (["deblur", "photo.png", "out.png", "--psf", "motion:3"], "2 numbers"),
        (["deblur", "photo.png", "out.png", "--psf", "disc:4"], "cannot use a kernel"),
        (["deblur", "photo.png", "out.png", "--light", "sun"], "'sun'"),
        (["psf", "absent.png"], "absent.png does not exist"),
        (["psf", "photo.png", "-o", "psf.jpg"], "must end in .tif"),
        (["psf", "photo.png", "-o", "absent/psf.tif"], "no folder absent"),
        (["psf", "photo.png", "-o", "in/b.png"], "--overwrite"),
        (["psf", "photo.png", "-o", "photo.png", "--overwrite"], "the image itself"),
        (["psf", "photo.png", "--picture", "psf.tif"], "must end in .png"),
        (["psf", "photo.png", "--picture", "p.png", "-o", "p.png"], "a file each"),
        (["psf", "photo.png", "--plane", "1"], "planes are 0 to 0"),
        (["psf", "photo.png", "--from-points", "1,2,3"], "is no rectangle"),
        (["psf", "photo.png", "--from-points", "1,2,0,3"], "is no rectangle"),
        (["psf", "photo.png", "--from-points", "1,2,90,3"], "outside photo.png"),
        (["psf", "photo.png"], "too small to find a shake"),
        (["psf", "photo.png", "--range", "1"], "is no range"),
        (["deblur", "in/a.tif", "out.jpg"], "write PNG or TIFF instead"),
        (["deblur", "in/notes.txt", "out.png"], "no image of a kind"),
        (["deblur", "photo.png"], "required: OUTPUT (see darkdeblur deblur --help)"),
        (["deblur", "photo.png", "out.png", "--sharper"], "--sharper"),
        (["sharpen"], "sharpen"),
        ([], "COMMAND"),
        (["demo", "--out", "photo.png"], "photo.png is a file"),
        (["demo", "--model", "nonesuch"], "nonesuch"),
        (["demo", "--device", "gpu"], "'gpu'"),
    ],
)
def test_mistakes_cost_one_sentence(
    run,
    tmp_path: Path,
    photo: Path,
    folder: Path,
    identity: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    says: str,
):
    monkeypatch.chdir(tmp_path)
    (folder / "sub" / "empty").mkdir()
    if arguments and arguments[0] != "sharpen" and "--model" not in arguments:
        arguments = [*arguments, "--model", str(identity)]
    before = sorted(tmp_path.rglob("*"))
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert says in complaint(err)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"darkdeblur {__version__}\n"


@pytest.mark.parametrize("command", [[], ["deblur"], ["evaluate"], ["models"], ["demo"]])
def test_help_is_shown(command: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        cli.main([*command, "--help"])
    assert caught.value.code == 0
    assert "usage: darkdeblur" in capsys.readouterr().out


def test_an_interrupt_ends_quietly(
    run, tmp_path: Path, photo: Path, identity: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(filejobs, "restore_file", interrupt)
    assert run("deblur", photo, tmp_path / "out.png", "--model", identity) == (130, "", "")


def test_a_failing_disk_costs_one_sentence(
    run, tmp_path: Path, photo: Path, identity: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "out.png")

    monkeypatch.setattr(filejobs, "restore_file", fail)
    code, _, err = run("deblur", photo, tmp_path / "out.png", "--model", identity)
    assert code == 2
    assert "out.png: Permission denied" in complaint(err)


def test_a_reader_that_leaves_early_is_no_error():
    command = Path(sys.executable).with_name("darkdeblur")
    process = subprocess.Popen(
        [command, "models"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()  # before the command has anything to say
    process.stdout = None
    _, err = process.communicate()
    assert (process.returncode, err) == (1, "")


def test_a_bug_is_not_hidden(
    tmp_path: Path, photo: Path, identity: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(filejobs, "restore_file", fail)
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["deblur", str(photo), str(tmp_path / "out.png"), "--model", str(identity)])


def test_the_installed_command_runs(tmp_path: Path, photo: Path, identity: Path):
    command = Path(sys.executable).with_name("darkdeblur")
    done = subprocess.run(
        [command, "deblur", photo, tmp_path / "out.png", "--model", identity],
        capture_output=True,
        text=True,
        check=False,
    )
    # No progress bar where standard error is not a terminal.
    assert (done.returncode, done.stderr) == (0, "")
    np.testing.assert_array_equal(read_image(tmp_path / "out.png").pixels, IMAGE)
    again = subprocess.run(
        [command, "deblur", photo, tmp_path / "out.png", "--model", identity],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 2
    complaint(again.stderr)
