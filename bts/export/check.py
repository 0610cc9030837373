"""Comparison of an exported file with PyTorch on the same pictures; the largest difference decides."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bts.data.phantom_scan import draw_slices
from bts.data.preprocess import Preprocessing
from bts.errors import RequestError
from bts.glossary import FIGSHARE_CLASSES
from bts.inference.runtimes.base import RawOutput, Runtime
from bts.models.card import ModelCard

TOLERANCE = 1e-4
"""Largest difference that is let through, as a share of the largest value; the masks' probabilities are taken as they are."""
PHANTOM_SIDE = 256


@dataclass(frozen=True)
class Differences:
    """Largest difference of each output over all pictures and classes, relative to its largest value.

    Attributes:
        by_output: output -> difference.
        pictures: number of compared pictures.
    """

    by_output: dict[str, float]
    pictures: int

    @property
    def largest(self) -> float:
        """The largest of all."""
        return max(self.by_output.values())

    def __str__(self) -> str:
        each = ", ".join(f"{name} {value:.1e}" for name, value in self.by_output.items())
        return f"{each}, over {self.pictures} pictures, relative to the largest value"


@functools.cache  # drawing takes most of a second
def phantom_images() -> tuple[np.ndarray, ...]:
    """Return an image (256, 256) int16 of a phantom of each class."""
    return tuple(
        image
        for number, label in enumerate(FIGSHARE_CLASSES)
        for image, _ in draw_slices(label=label, n_slices=1, side=PHANTOM_SIDE, seed=(0, number))
    )


def check_pictures(card: ModelCard) -> np.ndarray:
    """Return (N, S, S) uint8: a phantom of each class, noise, a gradient, black and white."""
    preprocessing = Preprocessing.from_dict(card.preprocessing)
    side = preprocessing.size
    phantoms = [preprocessing.image(image) for image in phantom_images()]
    noise = np.random.default_rng(0).integers(0, 256, (2, side, side), np.uint8)
    slope = np.linspace(0, 255, side * side).reshape(side, side).astype(np.uint8)
    return np.stack([*phantoms, *noise, slope, np.zeros_like(slope), np.full_like(slope, 255)])


def compare(reference: Runtime, other: Runtime, pictures: np.ndarray) -> Differences:
    """Run both on all pictures as a batch and on the first alone, with the map of every class, and return the differences.

    Raises:
        RequestError: an answer of either is not finite.
    """
    wanted: list[int | None] = [None] if reference.card.task == "seg" else list(range(len(reference.card.classes)))
    furthest: dict[str, float] = {}
    peaks = {"mask_prob": 1.0}
    for batch in (pictures, pictures[:1]):
        for cam_class in wanted:
            truth, answer = reference.run(batch, cam_class=cam_class), other.run(batch, cam_class=cam_class)
            for name, expected, received in _both(truth, answer):
                furthest[name] = max(furthest.get(name, 0.0), float(np.abs(expected - received).max()))
                peaks[name] = max(peaks.get(name, 0.0), float(np.abs(expected).max()))
    return Differences({name: value / (peaks[name] or 1.0) for name, value in furthest.items()}, len(pictures))


def require_equal(differences: Differences, *, what: str, tolerance: float = TOLERANCE) -> None:
    """Raise `RequestError` where a difference is over the tolerance."""
    if not differences.largest <= tolerance:
        raise RequestError(
            f"{what} differs from PyTorch ({differences}; tolerance {tolerance:g}): nothing was written; "
            "please report it with the model's encoder"
        )


def _both(truth: RawOutput, answer: RawOutput) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield name and values of every output that PyTorch gives, those of the other beside it."""
    for name, expected, received in zip(RawOutput._fields, truth, answer, strict=True):
        if expected is None:
            continue
        if received is None:
            raise RequestError(f"{name}: missing in the exported file: the model is not exported")
        for who, values in (("PyTorch", expected), ("the exported file", received)):
            if not np.isfinite(values).all():
                raise RequestError(f"{name}: {who} gives values that are not finite: the model is not exported")
        yield name, expected, received
