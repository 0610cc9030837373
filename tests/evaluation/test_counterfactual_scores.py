"""Counterfactual evaluation of models that look at the frame of a slice, and of models that look at the tumour."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from bts.data.slice import Slice
from bts.data.sources.base import Record
from bts.evaluation import counterfactual
from bts.evaluation.counterfactual import (
    KINDS,
    Counterfactuals,
    counterfactual_rows,
    evaluate_counterfactuals,
    left_out_lines,
    summarise_counterfactuals,
)
from bts.glossary import NO_TUMOUR
from bts.inference.prediction import Prediction
from bts.report.gallery import changed_tile

SIDE = 256
CLASSES = ("glioma", NO_TUMOUR)


def ellipse(row: float, column: float, height: float, width: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return ((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 <= 1


TUMOUR = ellipse(112, 168, 20, 18)


def with_corners(image: np.ndarray) -> np.ndarray:
    image = image.copy()
    image[:32, :32], image[:32, -32:] = 255, 0
    return image


def head(seed: int, *, frame: int) -> np.ndarray:
    """A textured head below 180 on a background of one grey value, with a white and a black corner to fix the window."""
    texture = cv2.GaussianBlur(np.random.default_rng(seed).standard_normal((SIDE, SIDE)).astype(np.float32), (0, 0), 6)
    image = np.where(ellipse(127.5, 127.5, 100, 80), 100 + 120 * texture, frame).clip(0, 180)
    return with_corners(image).astype(np.uint8)


class Heads:
    """Two publishers: `home`, dark frames and a tumour in every slice, and `web`, grey frames and none."""

    name, root, classes, synthetic = "heads", Path(), CLASSES, False

    def __init__(self, count: int = 12, *, tumour: np.ndarray = TUMOUR, web: Callable[[int], np.ndarray] | None = None) -> None:
        self.count, self.tumour = count, tumour
        self.web = web or (lambda seed: head(seed, frame=12))

    def records(self) -> list[Record]:
        made = [Record(f"home{i}", "glioma", patient=f"h{i // 2}", source="home") for i in range(self.count)]
        return [*made, *(Record(f"web{i}", NO_TUMOUR, patient=f"w{i // 2}", source="web") for i in range(self.count))]

    def read(self, record: Record) -> Slice:
        number = int(record.path[-1]) + 10 * len(record.path)
        if record.label == NO_TUMOUR:
            return Slice(self.web(100 + number), "web", record.path, label=record.label, patient=record.patient)
        image = np.where(self.tumour, 220, head(number, frame=0))
        return Slice(with_corners(image), "home", record.path, label="glioma", mask=self.tumour, patient=record.patient)


class Fake:
    """A model whose mask is where a function says; its class is glioma where there is a mask."""

    def __init__(self, mask_of: Callable[[np.ndarray], np.ndarray]) -> None:
        self.mask_of = mask_of

    def predict_many(self, slices: Iterable[Slice]) -> Iterator[Prediction]:
        for item in slices:
            mask = self.mask_of(item.image)
            prob = np.array([0.9, 0.1]) if mask.any() else np.array([0.1, 0.9])
            yield Prediction(
                slice=item, mask=mask, mask_prob=mask * 1.0, classes=CLASSES, class_logits=np.log(prob), class_prob=prob
            )


def by_tumour(image: np.ndarray) -> np.ndarray:
    bright = np.asarray(image > 195)
    bright[:36, :36] = False
    return bright if bright.sum() > 200 else np.zeros_like(bright)


def by_frame(image: np.ndarray) -> np.ndarray:
    dark = np.median(image[-10:, :]) < 6
    return TUMOUR if dark else np.zeros_like(TUMOUR)


def score(model: Fake, source: Heads) -> tuple[Counterfactuals, dict]:
    found = evaluate_counterfactuals(model, source, source.records())
    assert found is not None
    return found, summarise_counterfactuals(found.cases, found.left_out, draws=200)


@pytest.fixture(scope="module")
def found_by_tumour() -> tuple[Counterfactuals, dict]:
    return score(Fake(by_tumour), Heads())


def test_a_model_that_looks_at_the_frame_fails_visibly() -> None:
    _, summary = score(Fake(by_frame), Heads())
    assert summary["removed"]["called_tumour"].value == 1
    assert summary["removed"]["with_mask"].value == 1
    assert summary["pasted"]["called_tumour"].value == 0
    assert summary["pasted"]["right"].value == 0
    assert summary["pasted"]["dice"].value == 0
    assert summary["control_tumour"]["called_tumour"].value == 1
    assert summary["control_healthy"]["called_tumour"].value == 0


def test_a_model_that_looks_at_the_tumour_passes(found_by_tumour: tuple[Counterfactuals, dict]) -> None:
    found, summary = found_by_tumour
    assert summary["removed"]["called_tumour"].value == 0
    assert summary["removed"]["called_tumour"].n_slices >= 9
    assert summary["pasted"]["called_tumour"].value > 0.8
    assert summary["pasted"]["right"].value > 0.8
    assert summary["pasted"]["dice"].value > 0.6
    assert summary["control_tumour"]["called_tumour"].value == 1
    assert summary["control_tumour"]["dice"].value > 0.95
    assert summary["control_healthy"]["called_tumour"].value == 0
    pasted = found.cases[found.cases["kind"] == "pasted"]
    assert set(pasted["source"]) == {"web"}
    assert pasted["donor"].str.startswith("home").all()
    assert set(summary["by_publisher"]["removed"]) == {"home"}


def test_intervals_are_over_patients_and_none_has_zero_width(found_by_tumour: tuple[Counterfactuals, dict]) -> None:
    _, summary = found_by_tumour
    removed = summary["removed"]["called_tumour"]
    assert (removed.n_patients, removed.unit, removed.low) == (6, "patient", 0)
    assert removed.high == pytest.approx(1 - 0.025 ** (1 / 6))


def test_a_tumour_that_fills_the_head_is_left_out_with_the_reason() -> None:
    found, summary = score(Fake(by_frame), Heads(4, tumour=ellipse(127.5, 127.5, 96, 76)))
    assert found.left_out["removed"] == {"the tumour fills the head": 4}
    assert "tumour replaced by tissue: 4 the tumour fills the head" in left_out_lines({"counterfactual": summary})


def test_a_head_that_is_too_small_to_paste_into_is_left_out_with_the_reason() -> None:
    def small(seed: int) -> np.ndarray:
        image = np.zeros((SIDE, SIDE), dtype=np.uint8)
        image[100:156, 100:156] = head(seed, frame=0)[100:156, 100:156]
        return with_corners(image)

    found, _ = score(Fake(by_frame), Heads(4, web=small))
    assert found.left_out["pasted"] == {"the head is too small to paste into": 4}


def test_without_true_masks_there_is_nothing_to_change() -> None:
    source = Heads(4)
    assert evaluate_counterfactuals(Fake(by_frame), source, [r for r in source.records() if r.label == NO_TUMOUR]) is None


def test_the_same_seed_gives_the_same_cases_and_the_number_of_slices_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counterfactual, "MOST", 3)
    first, second = (score(Fake(by_tumour), Heads(4))[0].cases for _ in range(2))
    assert first.equals(second)
    assert first.groupby("kind").size().max() == 3


def test_rows_and_tiles_name_kind_and_publisher() -> None:
    found, summary = score(Fake(by_tumour), Heads(4))
    assert {(change, publisher) for change, publisher, _ in counterfactual_rows({"counterfactual": summary})} == {
        (KINDS["removed"][0], "home"),
        (KINDS["pasted"][0], "web"),
        (KINDS["control_tumour"][0], "home"),
        (KINDS["control_healthy"][0], "web"),
    }
    tile = changed_tile(found.examples[0])
    assert tile.caption.startswith("tumour replaced by tissue; home home")
    assert "now no_tumour; predicted no_tumour (90%), no mask" in tile.caption
