"""Out-of-distribution distances: how unlike the training slices a slice is, in NumPy, the same for every runtime.

Two Mahalanobis distances are taken, each with its own limit; a slice beyond either is out of distribution. The first is between
simple features of the network's input (a coarse thumbnail, the strength of edges by region, the histogram of grey values); it
needs no network, so it exists for a segmenter too. The second is between the features of the network behind its classes (Lee et
al. 2018, arXiv 1807.03888).
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
"""Cells per side of the thumbnail and of the edge map, and bins of the histogram."""
LENGTH = THUMBNAIL**2 + 2 * EDGES**2 + GREYS
"""Number of features of a slice."""


def describe(images: np.ndarray) -> np.ndarray:
    """Return the features (N, 112) float32 in [0, 1] of network inputs (N, S, S) uint8; S is a multiple of 8.

    The square root of each is taken: small shares and means vary less than large ones, and the dark half of a slice counts too.
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
class OodReference:
    """Distribution of the training slices' features, and the largest distance that counts as in distribution.

    Attributes:
        mean: (112,) float32, mean of the features.
        factor: (112, 112) float32, lower triangle L of the inverse covariance L L^T.
        limit: distance above which a slice is out of distribution.
    """

    mean: np.ndarray
    factor: np.ndarray
    limit: float

    def distance(self, images: np.ndarray) -> np.ndarray:
        """Return the distances (N,) float64 of network inputs (N, S, S) uint8; training slices have about 1.

        Root mean square over the features, each in standard deviations of the training slices.
        """
        return self.distance_of(describe(images))

    def distance_of(self, described: np.ndarray) -> np.ndarray:
        """Return the distances (N,) float64 of features (N, 112)."""
        off = (described - self.mean).astype(np.float64) @ self.factor
        return np.sqrt((off**2).mean(axis=1))

    def to_dict(self) -> dict[str, Any]:
        """Return the reference for a model card: the arrays as base64 of little-endian float32, 34 kB."""
        rows, columns = np.tril_indices(LENGTH)
        return {"limit": self.limit, "mean": _packed(self.mean), "factor": _packed(self.factor[rows, columns])}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> OodReference | None:
        """Return what `to_dict` wrote, None for an empty mapping; raises `RequestError` where it is damaged."""
        if not values:
            return None
        try:
            mean, triangle = _unpacked(values["mean"]), _unpacked(values["factor"])
            limit = float(values["limit"])
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise RequestError(f"model card: 'ood' can't be read ({error}): copy the model folder again") from error
        factor = np.zeros((LENGTH, LENGTH), np.float32)
        rows, columns = np.tril_indices(LENGTH)
        if mean.shape != (LENGTH,) or triangle.shape != rows.shape or not 0 < limit < np.inf:
            raise RequestError(
                f"model card: 'ood' has {mean.size} and {triangle.size} numbers and the limit {limit:g}, expected {LENGTH} and "
                f"{rows.size} and a limit above 0: copy the model folder again"
            )
        factor[rows, columns] = triangle
        return cls(mean, factor, limit)


@dataclass(frozen=True, eq=False)
class FeatureReference:
    """Distribution of the training slices' network features: a Gaussian around each class, with one covariance.

    Only the D directions with the largest variance within the classes count: with all of them fewer T2-weighted slices are
    detected, and the reference is too large for a model card.

    Attributes:
        means: (K, C) float32, mean of each class.
        axes: (D, C) float32, the directions, divided by the standard deviation along each.
        limit: distance above which a slice is out of distribution.
    """

    means: np.ndarray
    axes: np.ndarray
    limit: float

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Return the distances (N,) float64 of features (N, C) from the nearest class; training slices have about 1.

        Raises:
            RequestError: features of another number of channels.
        """
        if features.shape[1] != self.means.shape[1]:
            raise RequestError(
                f"model card: 'ood' describes {self.means.shape[1]} features, the network gives {features.shape[1]}: copy the "
                "model folder again"
            )
        off = (features[:, None].astype(np.float64) - self.means) @ self.axes.T.astype(np.float64)  # (N, K, D)
        return np.sqrt((off**2).mean(axis=2).min(axis=1))

    def to_dict(self) -> dict[str, Any]:
        """Return the reference for a model card: a text a row, base64 of little-endian float32, of `axes` float16."""
        rows = {"means": [_packed(row) for row in self.means], "axes": [_packed(row, "<f2") for row in self.axes]}
        return {"limit": self.limit, **rows}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FeatureReference | None:
        """Return what `to_dict` wrote, None for an empty mapping; the card's values are checked where it is read."""
        if not values:
            return None
        means = np.stack([_unpacked(row) for row in values["means"]])
        axes = np.stack([_unpacked(row, "<f2") for row in values["axes"]])
        return cls(means, axes, float(values["limit"]))


@dataclass(frozen=True)
class OodScore:
    """Distance of a slice from the training slices, and the model's limit."""

    distance: float
    limit: float

    @property
    def is_ood(self) -> bool:
        """Whether the slice is out of distribution."""
        return self.distance > self.limit

    def to_dict(self) -> dict[str, float | bool]:
        """Return the fields of `result.json`."""
        return {"distance": round(self.distance, 3), "limit": round(self.limit, 3), "is_ood": self.is_ood}


def _packed(values: np.ndarray, dtype: str = "<f4") -> str:
    return base64.b64encode(values.astype(dtype).tobytes()).decode("ascii")


def _unpacked(text: str, dtype: str = "<f4") -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=dtype).astype(np.float32)
