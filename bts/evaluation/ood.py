"""Out-of-distribution references of a run: fitted on its training slices, limited on validation, counted on its test part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.covariance import LedoitWolf

from bts.data.arrays import load_entry
from bts.data.cache import SliceCache
from bts.data.preprocess import Preprocessing
from bts.errors import BtsError
from bts.glossary import PARTS, Part
from bts.inference.ood import FeatureReference, OodReference, describe
from bts.inference.parallel import batches
from bts.inference.runtimes.base import Runtime
from bts.inference.runtimes.catalogue import open_runtime
from bts.models.folder import ModelCard, update_card
from bts.progress import counted
from bts.training.run_data import RunData

PASS = 0.99
"""Share of validation slices within the limit of a distance: within both are 98% to 99%."""
AXES = 32
"""Directions of network features that count, those with the largest variance within the classes."""
BATCH = 16
FLOOR = 1e-6
"""Least variance of a feature, or in a direction; avoids division by zero for features that are constant in training."""


def fit_reference(train: np.ndarray, val: np.ndarray) -> OodReference:
    """Fit a reference to the features (N, 112) and (M, 112) of training and validation slices.

    The covariance is shrunk towards a multiple of the identity (Ledoit & Wolf 2004), as a hundred features of a few hundred
    patients require.
    """
    middle = train.mean(axis=0, dtype=np.float64)
    covariance = LedoitWolf(assume_centered=True).fit(train - middle).covariance_
    inverse = np.linalg.inv(covariance + FLOOR * np.eye(len(middle)))
    factor = np.linalg.cholesky((inverse + inverse.T) / 2)
    distance = np.sqrt((((val - middle) @ factor) ** 2).mean(axis=1))
    return OodReference(middle.astype(np.float32), factor.astype(np.float32), _limit(distance))


def fit_features(train: np.ndarray, labels: Sequence[str], val: np.ndarray) -> FeatureReference:
    """Fit a reference to the network features (N, C) and (M, C) of training slices, with their classes, and of validation."""
    names, number = np.unique(np.asarray(labels), return_inverse=True)
    means = np.stack([train[number == each].mean(axis=0, dtype=np.float64) for each in range(len(names))])
    _, values, axes = np.linalg.svd(train - means[number], full_matrices=False)
    spread = np.sqrt(np.maximum(values**2 / len(train), FLOOR))
    fitted = FeatureReference(means.astype(np.float32), (axes / spread[:, None])[:AXES], np.inf)
    stored = FeatureReference.from_dict(fitted.to_dict())  # rounded as in the card, so that the limit fits it
    assert stored is not None
    return replace(stored, limit=_limit(stored.distance(val)))


def _limit(distance: np.ndarray) -> float:
    """Return the smallest float32 above `PASS` of the distances (M,) of validation slices."""
    return float(np.nextafter(np.float32(np.quantile(distance, PASS, method="higher")), np.inf))


@dataclass(frozen=True, eq=False)
class Measured:
    """What the distances of slices are computed from.

    Attributes:
        described: (N, 112) features of the input (`bts.inference.ood.describe`).
        features: (N, C) features of the network, or None where it has none.
    """

    described: np.ndarray
    features: np.ndarray | None


@dataclass(frozen=True, eq=False)
class FittedReference:
    """References of a run, the ratios of its test slices, and the fields for the model card."""

    reference: OodReference
    features: FeatureReference | None
    test: np.ndarray
    card: dict[str, Any]

    def ratios(self, measured: Measured) -> np.ndarray:
        """Return the distances over their limits (N, 2), of input and features; above 1 is out of distribution, NaN is none."""
        return _ratios(self.reference, self.features, measured)


def _ratios(reference: OodReference, features: FeatureReference | None, measured: Measured) -> np.ndarray:
    pixels = reference.distance_of(measured.described) / reference.limit
    if features is None or measured.features is None:
        return np.stack([pixels, np.full(len(pixels), np.nan)], axis=1)
    return np.stack([pixels, features.distance(measured.features) / features.limit], axis=1)


def measure_images(images: Iterable[np.ndarray], runtime: Runtime | None) -> Measured:
    """Return what the distances of network inputs (S, S) uint8 are computed from.

    Args:
        images: one or more.
        runtime: gives the network features; None where they are not wanted.
    """
    described, features = [], []
    for batch in batches(images, BATCH):
        squares = np.stack(batch)
        described.append(describe(squares))
        if runtime is not None:
            features.append(runtime.run(squares).features)
    found = [each for each in features if each is not None]
    return Measured(np.concatenate(described), np.concatenate(found) if found else None)


def fit_to_run(
    data: RunData,
    preprocessing: Preprocessing,
    runtime: Runtime | None = None,
) -> FittedReference:
    """Fit the references of a run and count the test slices beyond a limit.

    Args:
        data: the run.
        preprocessing: preprocessing of its model.
        runtime: its model; None, and a segmenter, give the distance of the input alone.

    Raises:
        RequestError: missing data or an empty part.
        InputError: an unreadable slice.
    """
    runtime = None if runtime is None or runtime.card.task == "seg" else runtime
    train, val, test = (measure_images(part_images(data, part, preprocessing), runtime) for part in PARTS)
    reference, features = fit_reference(train.described, val.described), None
    if train.features is not None and val.features is not None:
        features = fit_features(train.features, [record.label or "" for record in data.records("train")], val.features)
    ratios = _ratios(reference, features, test)
    counted = {"n_train": len(train.described), "n_val": len(val.described), "n_test": len(ratios)}
    fields = reference.to_dict() | ({} if features is None else {"features": features.to_dict()})
    return FittedReference(reference, features, ratios, fields | counted | {"n_test_ood": int((ratios > 1).any(axis=1).sum())})


def add_reference(data: RunData, folder: Path, *, device: str = "auto") -> ModelCard:
    """Fit the references of a run and write them into the model folder; return the new card. Raises as `fit_to_run`."""
    runtime = open_runtime("torch", folder, device=device)
    preprocessing = Preprocessing.from_dict(runtime.card.preprocessing)
    return update_card(folder, ood=fit_to_run(data, preprocessing, runtime).card)


def part_images(data: RunData, part: Part, preprocessing: Preprocessing) -> Iterator[np.ndarray]:
    """Yield the preprocessed image (S, S) uint8 of each slice of a part, from the run's cache if it still exists."""
    settings = data.settings["data"]
    folder = settings.get("cache")
    cache = SliceCache(Path(folder), settings.get("cache_gib", 0.0)) if folder and Path(folder).is_dir() else None
    for record in counted(data.records(part), f"fitting the out-of-distribution reference, {part}"):
        try:
            yield load_entry(data.source, record, preprocessing=preprocessing, cache=cache)[0]
        except BtsError as error:
            raise error.at(record.path) from error


def format_reference(ood: dict[str, Any]) -> str:
    """Return the reference of a card as one line.

    >>> format_reference({"limit": 1.7, "n_train": 90, "n_test": 200, "n_test_ood": 3})
    'out-of-distribution limit: distance 1.70 from 90 training slices; 3 of 200 test slices are beyond it (1.5%)'
    """
    share, features = ood["n_test_ood"] / ood["n_test"], ood.get("features")
    second = f", of network features {features['limit']:.2f}" if features else ""
    return (
        f"out-of-distribution limit: distance {ood['limit']:.2f}{second} from {ood['n_train']} training slices; "
        f"{ood['n_test_ood']} of {ood['n_test']} test slices are beyond it ({share:.1%})"
    )
