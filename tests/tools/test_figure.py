"""Figure with truth and prediction side by side: choice of slices, and content of the panels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from bts.data.slice import Slice
from bts.data.sources.base import Record
from bts.inference.picture import CONTOUR
from bts.inference.prediction import Prediction
from bts.report.gallery import TRUTH
from tools import __main__ as tools_main
from tools.figure import GAP, HEAD, SIDE, caption, panels, pick, side_by_side

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


def test_truth_and_prediction_stand_in_their_own_panels() -> None:
    scan, truth, found, heat = panels(answer())
    assert not has(scan, TRUTH)
    assert not has(scan, CONTOUR)
    assert has(truth, TRUTH)
    assert not has(truth, CONTOUR)
    assert has(found, CONTOUR)
    assert not has(heat, CONTOUR)
    assert np.asarray(heat).std(axis=-1).max() > np.asarray(scan).std(axis=-1).max()  # the heat is coloured, the scan grey


def test_what_is_not_known_is_a_plain_panel() -> None:
    _, truth, found, heat = panels(answer(truth=None, mask=None, cam=False))
    assert truth.getpixel((5, 5)) == found.getpixel((5, 5)) == heat.getpixel((5, 5)) == (38, 43, 49)


def test_the_caption_says_truth_answer_and_overlap() -> None:
    assert caption(answer()).split("     ") == ["truth: glioma", "predicted: glioma, 75%", "Dice 1.00"]
    assert "Dice" not in caption(answer(truth=None))


def test_the_page_has_a_row_for_each_slice_and_says_synthetic() -> None:
    plain, synthetic = side_by_side([answer(), answer()]), side_by_side([answer(synthetic=True), answer()])
    assert plain.size == synthetic.size
    assert plain.width == 4 * (SIDE + GAP) + GAP
    assert plain.height > HEAD + 2 * SIDE
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
