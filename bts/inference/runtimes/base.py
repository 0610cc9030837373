"""What does a runtime promise? Pictures as bytes in, numbers out: nothing above it knows what computed them.

A new runtime is one small file with a class that keeps this protocol, and one entry in `catalogue.py`. Everything that makes
an answer of the numbers (flips, threshold, temperature, scale) lies above, in numpy, and is the same for all.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from bts.models.folder import ModelCard
from bts.registry import Registry


class RawOutput(NamedTuple):
    """What a network says of a batch, in the geometry of its own input. None where it does not answer.

    Attributes:
        mask_prob: (B, S, S) float32, probability of tumour.
        class_logits: (B, K) float32, class scores before the softmax.
        cam: (B, h, w) float32, at least 0: Grad-CAM, not scaled (`bts.inference.gradcam`).
        features: (B, C) float32, the maps behind the class, averaged over the picture.
        ood_distance: (B,) float64, how unlike the training slices the pictures are; no network says it, `Predictor` adds it.
    """

    mask_prob: np.ndarray | None = None
    class_logits: np.ndarray | None = None
    cam: np.ndarray | None = None
    features: np.ndarray | None = None
    ood_distance: np.ndarray | None = None


class Runtime(Protocol):
    """One loaded model.

    Attributes:
        name: `"torch"`, as in the registry.
        device: what it computes on.
        card: the model folder's card.
        notes: what a user should be told of how it computes (device and why, path of the Grad-CAM).
        versions: package name to version of what takes part.
    """

    name: str
    device: str
    card: ModelCard
    versions: dict[str, str]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should be told of how it computes."""
        ...

    def run(self, images: np.ndarray, *, cam_class: int | None = None) -> RawOutput:
        """Answer a batch.

        Args:
            images: (B, S, S) uint8, as the card's preprocessing makes them.
            cam_class: class whose map is wanted for the whole batch; None takes each picture's most probable one.
        """
        ...


class Opener(Protocol):
    """Opens a model folder or an exported file; raises `RequestError`."""

    def __call__(self, place: Path, device: str, lanes: int) -> Runtime:
        """Open it on a device (`auto`, `cpu`, `cuda`, `cuda:1`) for that many callers at once."""
        ...


runtimes: Registry[Opener] = Registry("runtime")
