"""`infer.py` with stand-in models: files, lines, and exit statuses."""

from __future__ import annotations

import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from fake_models import BrightRuntime, make_card
from PIL import Image

from bts.apps import cli, infer
from bts.inference.predictor import Predictor


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """How `Predictor.load` was asked; it gives a segmenter and a classifier that need no weights."""
    asked: list[dict[str, Any]] = []

    def load(**how: Any) -> Predictor:
        asked.append(how)
        classifier = BrightRuntime(make_card("cls"), class_logits=[0.0, 3.0, 0.0], cam=np.ones((2, 2)))
        return Predictor([BrightRuntime(make_card("seg")), classifier], notes=["mask: on paper"])

    monkeypatch.setattr(Predictor, "load", load)
    monkeypatch.chdir(tmp_path)
    return asked


def draw(path: Path, *, side: int = 40) -> Path:
    """Write a grey picture with a bright disc."""
    row, column = np.mgrid[:side, :side]
    image = 40 + row + 150 * ((row - 15) ** 2 + (column - 20) ** 2 < 49)
    Image.fromarray(image.astype(np.uint8)).save(path)
    return path


def test_a_picture_gets_its_folder_and_its_line(loaded: list[Any], tmp_path: Path, capsys: Any) -> None:
    draw(tmp_path / "scan.png")
    assert infer.main(["scan.png", "--out", "out"]) == 0
    assert {path.name for path in (tmp_path / "out" / "scan").iterdir()} == {
        "mask.png",
        "cam.png",
        "overlay.png",
        "result.json",
    }
    told = capsys.readouterr().out
    assert "mask: on paper" in told  # which models answer
    assert "scan.png: glioma 91%, mask of " in told  # softmax of (0, 3, 0): e^3 / (e^3 + 2) = 0.909
    assert "1 of 1 scans done, results in out" in told


def test_the_result_has_the_scan_s_own_size(loaded: list[Any], tmp_path: Path) -> None:
    draw(tmp_path / "scan.png", side=70)
    infer.main(["scan.png", "--out", "out"])
    with Image.open(tmp_path / "out" / "scan" / "mask.png") as mask:
        assert mask.size == (70, 70)


def test_the_others_are_done_where_one_input_fails(loaded: list[Any], tmp_path: Path, capsys: Any) -> None:
    draw(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    draw(tmp_path / "c.png")
    assert infer.main([".", "--out", "out"]) == 1
    told = capsys.readouterr()
    assert "2 of 3 scans done" in told.out
    assert told.err.count("\n") == 1
    assert told.err.startswith("error: b.png: ")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a", "c"}


def test_no_folder_is_made_where_nothing_is_written(loaded: list[Any], tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "b.png").write_bytes(b"no picture")
    assert infer.main(["b.png"]) == 1
    assert capsys.readouterr().out.endswith("0 of 1 scans done\n")
    assert [path.name for path in tmp_path.iterdir()] == ["b.png"]


def test_an_output_folder_that_cannot_be_made_ends_the_job(loaded: list[Any], tmp_path: Path, capsys: Any) -> None:
    for name in ("a.png", "b.png"):
        draw(tmp_path / name)
    (tmp_path / "out").write_text("a file")
    assert infer.main(["a.png", "b.png", "--out", "out/below"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "out/below: a file where a folder is expected" in told


def test_more_pictures_than_a_batch_all_arrive_under_their_own_names(loaded: list[Any], tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(19)]
    for name in names:
        draw(tmp_path / name)
    assert infer.main(["*.png", "--out", "out"]) == 0
    for name in names:
        result = json.loads((tmp_path / "out" / name.removesuffix(".png") / "result.json").read_text())
        assert result["source"] == name


def test_many_scans_get_a_bar_and_no_lines(loaded: list[Any], tmp_path: Path, capsys: Any) -> None:
    for number in range(infer.LISTED + 1):
        draw(tmp_path / f"{number}.png")
    assert infer.main([".", "--out", "out"]) == 0
    told = capsys.readouterr().out
    assert "glioma" not in told
    assert "21 of 21 scans done" in told


def test_a_volume_gets_one_folder_and_its_mask(loaded: list[Any], tmp_path: Path, capsys: Any) -> None:
    array = np.zeros((40, 40, 4), np.float32)
    with Image.open(draw(tmp_path / "slice.png")) as picture:
        array[..., :3] = np.asarray(picture)[..., None]  # the last slice is blank
    nibabel.save(nibabel.Nifti1Image(array, np.diag([-2.0, -2.0, 2.0, 1.0])), tmp_path / "volume.nii.gz")
    assert infer.main(["volume.nii.gz", "slice.png", "--axis", "2", "--out", "out", "--pictures", "all"]) == 0
    assert nibabel.load(tmp_path / "out" / "volume" / "mask.nii.gz").shape == (40, 40, 4)
    assert len(list((tmp_path / "out" / "volume" / "slices").iterdir())) == 3
    told = capsys.readouterr().out
    line = next(line for line in told.splitlines() if line.startswith("volume.nii.gz: tumour (score "))
    size = r"1 lesion: \d\.\d ml, \d+ x \d+ mm, (left|right|crosses the midline), slices 0 to 2"
    assert re.search(rf"score 1\.00, reported from 0\.\d\d\), glioma 91%, {size}; 3 slices, 1 blank -> out/volume", line)
    assert infer.main(["volume.nii.gz", "--axis", "2", "--out", "out", "--pictures", "all", "--resume"]) == 0
    assert "1 of 1 scans are already finished" in capsys.readouterr().out
    (tmp_path / "out" / "volume" / "slices" / "0.png").unlink()
    assert infer.main(["volume.nii.gz", "--axis", "2", "--out", "out", "--pictures", "all", "--resume"]) == 0
    assert "already finished" not in capsys.readouterr().out
    assert (tmp_path / "out" / "slice" / "result.json").is_file()


def test_a_picture_is_drawn_unless_none_is_asked_for(loaded: list[Any], tmp_path: Path, capsys: Any) -> None:
    draw(tmp_path / "scan.png")
    result = tmp_path / "out" / "scan"
    assert infer.main(["scan.png", "--out", "out", "--pictures", "none"]) == 0
    assert {path.name for path in result.iterdir()} == {"mask.png", "cam.png", "result.json"}
    assert infer.main(["scan.png", "--out", "out", "--resume", "--pictures", "none"]) == 0
    assert "1 of 1 scans are already finished" in capsys.readouterr().out
    assert infer.main(["scan.png", "--out", "out", "--resume"]) == 0
    assert "already finished" not in capsys.readouterr().out
    assert (result / "overlay.png").is_file()


def test_options_reach_the_predictor(loaded: list[Any], tmp_path: Path) -> None:
    draw(tmp_path / "scan.png")
    arguments = ["--seg", "s", "--seg", "t", "--cls", "c", "--runs", "r", "--device", "cpu", "--cam", "pituitary"]
    assert infer.main(["scan.png", *arguments]) == 0
    folders = {"seg": [Path("s"), Path("t")], "cls": [Path("c")], "joint": None, "runs": Path("r")}
    asked = {**folders, "device": "cpu", "runtime": "auto", "workers": 1, "cam_scale": "slice", "cam_method": None}
    assert loaded == [asked]
    (result,) = (tmp_path / "results").glob("*/scan/result.json")
    assert json.loads(result.read_text())["cam_class"] == "pituitary"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.png"], "nowhere.png: no such file or folder"),
        ([], "the following arguments are required: SCAN"),
        (["scan.png", "--axis", "3"], "argument --axis: invalid choice: 3"),
        (["scan.png", "--cam", "gliom", "--out", "out"], "no class 'gliom' (did you mean 'glioma'?)"),
        (["scan.png", "--out", "scan.png"], "scan.png: a file of that name exists"),
        (["scan.png", "--devise", "cpu"], "unknown argument '--devise' (did you mean '--device'?)"),
    ],
)
def test_a_wrong_request_ends_with_2_and_one_line(
    arguments: list[str], message: str, loaded: list[Any], tmp_path: Path, capsys: Any
) -> None:
    draw(tmp_path / "scan.png")
    assert infer.main(arguments) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_without_any_model_the_user_is_told_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "scan.png")
    assert cli.main(["infer", "scan.png"]) == 2
    assert "no finished run in runs: train with `python train_seg.py`" in capsys.readouterr().err


class Fragile(BrightRuntime):
    """A segmenter that fails on pictures whose first pixel is white."""

    def run(self, images: np.ndarray, **how: Any) -> Any:
        if (images[:, 0, 0] > 0.9).any():
            raise ZeroDivisionError("an odd file")
        return super().run(images, **how)


def test_an_unexpected_error_in_one_file_is_that_file_s_failure_and_resuming_gets_past_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(Predictor, "load", lambda **how: Predictor([Fragile(make_card("seg"))]))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    for name in "abcd":
        draw(tmp_path / "scans" / f"{name}.png")
    pixels = np.full((40, 40), 20, np.uint8)
    pixels[:20, :20] = 255
    Image.fromarray(pixels).save(tmp_path / "scans" / "b.png")
    for arguments in ([], ["--resume"]):
        assert infer.main(["scans", "--out", "out", *arguments]) == 1
        told = capsys.readouterr()
        assert "3 of 4 scans done" in told.out
        assert told.err.startswith("error: scans/b.png: unexpected ZeroDivisionError: an odd file")
        assert told.err.count("\n") == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a", "c", "d"}


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")
def test_a_name_that_is_no_utf_8_or_holds_control_characters_is_done_and_shown_escaped(
    loaded: list[Any], tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "scans").mkdir()
    names = [os.fsdecode(b"\xff\xfe.png"), "\x1b[2Jred.png", "<img src=x>.png", "l\nine.png", "x" * 250 + ".png"]
    for name in names:
        draw(tmp_path / "plain.png").rename(tmp_path / "scans" / name)
    (tmp_path / "scans" / os.fsdecode(b"torn\xff.png")).write_bytes(b"no picture")
    assert infer.main(["scans", "--out", "out"]) == 1
    told = capsys.readouterr()
    assert "5 of 6 scans done" in told.out
    assert "\x1b" not in told.out + told.err
    assert r"\x1b[2Jred.png" in told.out
    assert told.err.startswith("error: scans/torn\\udcff.png: ")
    assert sorted(json.loads(path.read_text())["source"] for path in (tmp_path / "out").glob("*/result.json")) == sorted(
        f"scans/{name}" for name in names
    )
    assert infer.main(["scans", "--out", "out", "--resume"]) == 1
    assert "5 of 6 scans are already finished" in capsys.readouterr().out


def test_two_patients_scans_of_one_name_keep_their_results(loaded: list[Any], tmp_path: Path, capsys: Any) -> None:
    for number, name in enumerate(("one", "two")):
        (tmp_path / name).mkdir()
        draw(tmp_path / name / "scan.png", side=40 + 10 * number)
        assert infer.main([f"{name}/scan.png", "--out", "out"]) == 0
    sizes = {}
    for folder in (tmp_path / "out").iterdir():
        with Image.open(folder / "mask.png") as mask:
            sizes[json.loads((folder / "result.json").read_text())["source"]] = mask.size
    assert sizes == {"one/scan.png": (40, 40), "two/scan.png": (50, 50)}
    assert infer.main(["two/scan.png", "one/scan.png", "--out", "out", "--resume"]) == 0
    assert "2 of 2 scans are already finished" in capsys.readouterr().out


def test_an_archive_s_scans_are_done_under_their_own_names(loaded: list[Any], tmp_path: Path, capsys: Any) -> None:
    draw(tmp_path / "one.png")
    (tmp_path / "torn.png").write_bytes(b"no picture")
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
        archive.write(tmp_path / "one.png", "a/one.png")
        archive.write(tmp_path / "one.png", "b/one.png")
        archive.write(tmp_path / "torn.png", "b/torn.png")
        archive.writestr("b/readme.txt", "not a scan")
        archive.writestr("inner.zip", b"PK")
    assert infer.main(["scans.zip", "one.png", "--out", "out"]) == 1
    told = capsys.readouterr()
    assert "3 of 5 scans done" in told.out
    assert "scans.zip: b/readme.txt is not a scan and is skipped" in told.out
    lines = told.err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("error: scans.zip/inner.zip: an archive in an archive is not opened")
    assert lines[1].startswith("error: scans.zip/b/torn.png: not a readable picture")
    results = sorted(json.loads(path.read_text())["source"] for path in (tmp_path / "out").glob("*/result.json"))
    assert results == ["one.png", "scans.zip/a/one.png", "scans.zip/b/one.png"]
    assert infer.main(["scans.zip", "--out", "out", "--resume"]) == 1
    assert "2 of 3 scans are already finished" in capsys.readouterr().out


def test_a_damaged_archive_is_one_failed_input(loaded: list[Any], tmp_path: Path, capsys: Any) -> None:
    draw(tmp_path / "one.png")
    (tmp_path / "bad.zip").write_bytes(b"no archive")
    assert infer.main(["bad.zip", "one.png", "--out", "out"]) == 1
    told = capsys.readouterr()
    assert "1 of 2 scans done" in told.out
    assert told.err.startswith("error: bad.zip: not a readable zip archive")
