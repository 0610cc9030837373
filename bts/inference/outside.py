"""Is a picture unlike those that a model was trained on? A distance in numpy, the same for every runtime.

Looked at is the network's own square of bytes, before any network: a coarse thumbnail, how much edge lies where, and how often
each grey occurs. The distance is Mahalanobis', as Lee et al. (2018, arXiv 1807.03888) take it between a network's features;
here it needs no features, so it holds for a segmenter too, and no exported graph has to change.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bts.errors import RequestError

THUMBNAIL, EDGES, GREYS = 8, 4, 16
"""Cells a side of the thumbnail and of the map of edges, and bins of the grey values."""
LENGTH = THUMBNAIL**2 + 2 * EDGES**2 + GREYS
"""Numbers that describe a picture."""


def describe(images: np.ndarray) -> np.ndarray:
    """Return (N, 112) float32 in [0, 1], what is looked at of pictures (N, S, S) uint8; S is a multiple of 8.

    Roots are taken of all: a share or a mean near 0 spreads less than a large one, and the dark half of a slice counts too.
    """
    values = images.astype(np.float32) / 255
    down, across = np.zeros_like(values), np.zeros_like(values)
    np.abs(np.diff(values, axis=1), out=down[:, :-1])
    np.abs(np.diff(values, axis=2), out=across[:, :, :-1])
    greys = [np.bincount(image.ravel() // (256 // GREYS), minlength=GREYS) / image.size for image in images]
    cells = [_cells(values, THUMBNAIL), _cells(down, EDGES), _cells(across, EDGES), np.array(greys, np.float32)]
    return np.sqrt(np.concatenate(cells, axis=1))


def _cells(values: np.ndarray, side: int) -> np.ndarray:
    """Return (N, side * side), the means of `values` (N, S, S) over square cells."""
    count, size = values.shape[:2]
    cell = size // side
    return values.reshape(count, side, cell, side, cell).mean(axis=(2, 4)).reshape(count, -1)


@dataclass(frozen=True, eq=False)
class Reference:
    """What the training slices look like, and how far from them is too far.

    Attributes:
        mean: (112,) float32, the middle of their descriptions.
        factor: (112, 112) float32, lower triangle L of their inverse covariance L L^T.
        limit: distance over which a picture counts as out of place.
    """

    mean: np.ndarray
    factor: np.ndarray
    limit: float

    def distance(self, images: np.ndarray) -> np.ndarray:
        """Return (N,) float64, how far pictures (N, S, S) uint8 are off; training slices are about 1 off.

        Root of the mean square over the numbers of a description, each in deviations of the training slices.
        """
        return self.distance_of(describe(images))

    def distance_of(self, described: np.ndarray) -> np.ndarray:
        """Return (N,) float64, the distances of pictures that are described (N, 112) already."""
        off = (described - self.mean).astype(np.float64) @ self.factor
        return np.sqrt((off**2).mean(axis=1))

    def to_dict(self) -> dict[str, Any]:
        """Return it for a model card: the numbers as base64 of little-endian float32, 34 kB."""
        rows, columns = np.tril_indices(LENGTH)
        return {"limit": self.limit, "mean": _packed(self.mean), "factor": _packed(self.factor[rows, columns])}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Reference | None:
        """Return what `to_dict` wrote, None where a card has none; raises `RequestError` where it can't be read."""
        if not values:
            return None
        try:
            mean, triangle = _unpacked(values["mean"]), _unpacked(values["factor"])
            limit = float(values["limit"])
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise RequestError(f"model card: 'outside' can't be read ({error}): copy the model folder anew") from error
        factor = np.zeros((LENGTH, LENGTH), np.float32)
        rows, columns = np.tril_indices(LENGTH)
        if mean.shape != (LENGTH,) or triangle.shape != rows.shape or not 0 < limit < np.inf:
            raise RequestError(
                f"model card: 'outside' has {mean.size} and {triangle.size} numbers and the limit {limit:g}, expected "
                f"{LENGTH} and {rows.size} and a limit above 0: was it written by another version?"
            )
        factor[rows, columns] = triangle
        return cls(mean, factor, limit)


@dataclass(frozen=True)
class Outside:
    """How far a picture is off, and the limit of the model that finds it strangest."""

    distance: float
    limit: float

    @property
    def is_outside(self) -> bool:
        """Whether the picture is unlike the training slices."""
        return self.distance > self.limit

    @property
    def sentence(self) -> str:
        """What to tell the user of a picture that is out of place."""
        return (
            f"unlike the slices that the model was trained on (distance {self.distance:.1f}, limit {self.limit:.1f}): "
            "mask, class and probabilities mean little"
        )

    def to_dict(self) -> dict[str, float | bool]:
        """Return it as it stands in `result.json`."""
        return {"distance": round(self.distance, 3), "limit": round(self.limit, 3), "is_outside": self.is_outside}


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode("ascii")


def _unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4").astype(np.float32)
