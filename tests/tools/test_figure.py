"""Figure with truth and prediction side by side: choice of slices, and content of the panels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bts.data.readers.catalogue import read_slice
from bts.data.slice import Slice
from bts.data.sources.base import Record
from bts.inference.picture import CONTOUR
from bts.inference.prediction import Prediction
from bts.report.gallery import TRUTH
from tools import __main__ as tools_main
from tools.figure import GAP, SIDE, as_saved, caption, is_right, panels, pick, save_scans, side_by_side

BOX = np.zeros((64, 64), bool)
BOX[20:40, 20:40] = True


def answer(*, truth: np.ndarray | None = BOX, mask: np.ndarray | None = BOX, cam: bool = True, **changes: object) -> Prediction:
    image = np.add.outer(np.arange(64.0), np.arange(64.0))
    item = Slice(
        image=image, source="x", path="1.mat", label="glioma", mask=truth, synthetic=bool(changes.pop("synthetic", False))
    )
    heat = np.ones((64, 64), np.float32) if cam else None
    return Prediction(slice=item, mask=mask, cam=heat, classes=("glioma", "pituitary"), class_prob=np.array([0.75, 0.25]))


def has(panel: Image.Image, colour: tuple[int, int, int]) -> bool:
    return bool((np.asarray(panel) == colour).all(axis=-1).any())


def test_the_picked_slices_take_classes_in_turn_and_patients_once() -> None:
    records = [
        Record(f"{label}{patient}{number}", label, patient) for label in "ab" for patient in "xyz" for number in range(5)
    ]
    records = [Record(record.path, record.label, f"{record.label}{record.patient}") for record in records]
    chosen = pick(records, 6)
    assert [record.label for record in chosen] == ["a", "b"] * 3
    assert len({record.patient for record in chosen}) == 6
    assert pick(records, 6) == chosen
    assert pick(records, 6, seed=1) != chosen


def test_a_rare_class_does_not_shorten_the_picture() -> None:
    records = [Record("1", "a", "p"), *(Record(f"{number}", "b", f"q{number}") for number in range(2, 9))]
    assert [record.label for record in pick(records, 4)] == ["a", "b", "b", "b"]
    assert len(pick(records, 99)) == 8


def test_truth_and_prediction_are_outlined_on_the_scan_and_the_map_stands_below() -> None:
    found, heat = panels(answer(mask=np.roll(BOX, 12, axis=0)))
    assert has(found, TRUTH)
    assert has(found, CONTOUR)
    assert not has(heat, CONTOUR)
    assert np.asarray(heat).std(axis=-1).max() > 0  # coloured


def test_what_is_not_known_is_not_drawn() -> None:
    found, heat = panels(answer(truth=None, mask=None, cam=False))
    assert not has(found, TRUTH)
    assert not has(found, CONTOUR)
    assert heat.getpixel((5, 5)) == (38, 43, 49)


def test_the_caption_gives_truth_prediction_and_overlap() -> None:
    assert caption(answer()) == ["truth: glioma", "predicted: glioma, 75%", "Dice 1.00"]
    assert len(caption(answer(truth=None))) == 2


def test_an_answer_is_right_with_its_class_and_mask() -> None:
    assert is_right(answer())
    assert not is_right(answer(mask=np.roll(BOX, 12, axis=0)))
    assert not is_right(answer(mask=None))
    assert not is_right(answer(truth=None))
    assert not is_right(replace(answer(), refer=True))


def test_the_saved_scan_holds_the_pixels_that_are_predicted(tmp_path: Path) -> None:
    item = as_saved(answer().slice)
    save_scans([replace(answer(), slice=item)], tmp_path / "scans")
    file = tmp_path / "scans" / "glioma.png"
    with Image.open(file) as scan:
        assert (scan.mode, scan.size) == ("L", (256, 256))
    assert np.array_equal(read_slice(file).image, item.image)
    assert item.mask is not None
    assert np.array_equal(item.mask, BOX.repeat(4, axis=0).repeat(4, axis=1))


def test_the_page_has_a_column_for_each_slice_and_says_synthetic() -> None:
    plain, synthetic = side_by_side([answer(), answer()]), side_by_side([answer(synthetic=True), answer()])
    assert plain.size == synthetic.size
    assert plain.width == 2 * (SIDE + GAP) + GAP
    assert plain.height > 2 * SIDE
    assert plain.tobytes() != synthetic.tobytes()  # the last line differs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "0"], "--count 0: expected 1 or more"),
        (["--data", "nowhere"], "nowhere"),
        (["--sed", "1"], "did you mean '--seed'"),
    ],
)
def test_a_wrong_request_for_a_figure_is_told(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert tools_main.main(["figure", *arguments]) == 2
    assert message in capsys.readouterr().err
