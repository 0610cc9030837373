"""Contract of a runtime: images as bytes in, raw outputs as NumPy arrays out.

A new runtime is one file with a class of this protocol and one entry in `catalogue.py`; the contract test in
`tests/inference/test_runtimes.py` then runs over it. A class of another package inherits from `Runtime`, has a class method
`open` with the arguments of `Opener`, and is selected by its import path. Everything that follows (flip, threshold,
temperature, map scale) is done in NumPy and is the same for all runtimes.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from bts.models.folder import ModelCard
from bts.registry import Registry


class RawOutput(NamedTuple):
    """Raw output of a network for a batch, in the geometry of its input; None for what it does not compute.

    Attributes:
        mask_prob: (B, S, S) float32, probability of tumour.
        class_logits: (B, K) float32, before temperature and softmax.
        cam: (B, h, w) float32, at least 0: class activation map, not scaled (`bts.inference.gradcam`).
        features: (B, C) float32, the last feature maps, averaged over the image.
        ood_distance: (B,) float64, distance of the input from the training slices'; added by `Predictor`, not by a runtime.
        feature_distance: (B,) float64, distance of the features from the training slices'; added by `Predictor` too.
        box: (B, 4) int, part of each slice that the input shows (`Preprocessing.box`); added by `Predictor` too.
    """

    mask_prob: np.ndarray | None = None
    class_logits: np.ndarray | None = None
    cam: np.ndarray | None = None
    features: np.ndarray | None = None
    ood_distance: np.ndarray | None = None
    feature_distance: np.ndarray | None = None
    box: np.ndarray | None = None


class Runtime(Protocol):
    """One loaded model.

    Attributes:
        name: as in the registry, such as `"torch"`.
        device: that it computes on.
        card: the model card.
        notes: lines for the user on how it computes (device and why, how the class map is computed).
        versions: package name to version.
    """

    name: str
    device: str
    card: ModelCard
    versions: dict[str, str]

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for the user on how it computes."""
        ...

    def run(self, images: np.ndarray, *, cam_class: int | None = None) -> RawOutput:
        """Return the raw output for a batch.

        Args:
            images: (B, S, S) uint8, output of the card's preprocessing.
            cam_class: index of the class whose map is returned for the whole batch; None takes each image's most probable one.
        """
        ...


class Opener(Protocol):
    """Opens a model folder or an exported file; raises `RequestError`."""

    def __call__(self, place: Path, device: str, workers: int) -> Runtime:
        """Open it on a device (`auto`, `cpu`, `cuda`, `cuda:1`) for that many concurrent callers."""
        ...


runtimes: Registry[Opener] = Registry("runtime", base=Runtime)
