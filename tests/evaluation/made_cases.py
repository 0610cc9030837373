"""Sources, predictions and slices in memory for the tests of evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from bts.data.slice import Slice
from bts.data.sources.base import Record
from bts.glossary import NO_TUMOUR
from bts.inference.prediction import Prediction

CLASSES = ("meningioma", "glioma", NO_TUMOUR)
SIDE = 32


def square(top: int, left: int, side: int = 6) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def made_slice(number: int, *, label: str | None, mask: np.ndarray | None, patient: str | None = "7") -> Slice:
    image = np.random.default_rng(number).random((SIDE, SIDE)).astype(np.float32)
    return Slice(image, source="made", path=f"{number}.png", label=label, mask=mask, patient=patient)


class MadeSource:
    """A source whose slices lie in memory."""

    name = "made"
    root = Path("made")
    classes = CLASSES
    synthetic = False

    def __init__(self, slices: Iterable[Slice]) -> None:
        self.slices = {item.path: item for item in slices}

    def records(self) -> list[Record]:
        return [Record(path=item.path, label=item.label, patient=item.patient) for item in self.slices.values()]

    def read(self, record: Record) -> Slice:
        return self.slices[record.path]


def certain(label: str, confidence: float = 0.9) -> np.ndarray:
    rest = (1 - confidence) / (len(CLASSES) - 1)
    return np.array([confidence if name == label else rest for name in CLASSES])


class Scripted:
    """A predictor that answers what it was told, by path: (mask, probabilities, map), None where it has no answer."""

    def __init__(self, answers: dict[str, tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]]) -> None:
        self.answers = answers

    def predict_many(self, slices: Iterable[Slice]) -> Iterator[Prediction]:
        for item in slices:
            mask, probabilities, cam = self.answers[item.path]
            yield Prediction(
                slice=item,
                mask=mask,
                mask_prob=None if mask is None else mask.astype(np.float32),
                classes=() if probabilities is None else CLASSES,
                class_logits=None if probabilities is None else np.log(probabilities),
                class_prob=probabilities,
                cam=cam,
                cam_peak=None if cam is None else float(cam.max()),
            )
