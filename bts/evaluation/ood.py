"""Out-of-distribution reference of a run: fitted on its training slices, limited on validation, counted on its test part."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.covariance import LedoitWolf

from bts.data.arrays import load_entry
from bts.data.cache import SliceCache
from bts.data.preprocess import Preprocessing
from bts.errors import BtsError
from bts.glossary import PARTS, Part
from bts.inference.ood import OodReference, describe
from bts.models.folder import ModelCard, read_card, update_card
from bts.training.run_data import RunData

PASS = 0.99
"""Share of validation slices within the limit."""
FLOOR = 1e-6
"""Least variance of a feature; avoids division by zero for features that are constant in training."""


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
    limit = float(np.quantile(distance, PASS, method="higher"))
    return OodReference(middle.astype(np.float32), factor.astype(np.float32), float(np.nextafter(np.float32(limit), np.inf)))


@dataclass(frozen=True, eq=False)
class FittedReference:
    """OodReference of a run, with the distances of its test slices and the fields for the model card."""

    reference: OodReference
    test: np.ndarray
    card: dict[str, Any]


def fit_to_run(
    data: RunData, preprocessing: Preprocessing, *, progress: Callable[[int], None] | None = None
) -> FittedReference:
    """Fit the reference of a run and count the test slices beyond its limit.

    Args:
        data: the run.
        preprocessing: preprocessing of its model.
        progress: called after each slice with the number of slices read.

    Raises:
        RequestError: missing data or an empty part.
        InputError: an unreadable slice.
    """
    counter = itertools.count(1)

    def features(part: Part) -> np.ndarray:
        found = []
        for image in part_images(data, part, preprocessing):
            found.append(describe(image[None])[0])
            if progress is not None:
                progress(next(counter))
        return np.stack(found)

    train, val, test = (features(part) for part in PARTS)
    reference = fit_reference(train, val)
    distance = reference.distance_of(test)
    beyond = int((distance > reference.limit).sum())
    counted = {"n_train": len(train), "n_val": len(val), "n_test": len(distance), "n_test_ood": beyond}
    return FittedReference(reference, distance, reference.to_dict() | counted)


def add_reference(data: RunData, folder: Path, *, progress: Callable[[int], None] | None = None) -> ModelCard:
    """Fit the reference of a run and write it into the model folder; return the new card. Raises as `fit_to_run`."""
    preprocessing = Preprocessing.from_dict(read_card(folder).preprocessing)
    return update_card(folder, ood=fit_to_run(data, preprocessing, progress=progress).card)


def part_images(data: RunData, part: Part, preprocessing: Preprocessing) -> Iterator[np.ndarray]:
    """Yield the preprocessed image (S, S) uint8 of each slice of a part, from the run's cache if it still exists."""
    settings = data.settings["data"]
    folder = settings.get("cache")
    cache = SliceCache(Path(folder), settings.get("cache_gib", 0.0)) if folder and Path(folder).is_dir() else None
    for record in data.records(part):
        try:
            yield load_entry(data.source, record, preprocessing=preprocessing, cache=cache)[0]
        except BtsError as error:
            raise error.at(record.path) from error


def format_reference(ood: dict[str, Any]) -> str:
    """Return the reference of a card as one line.

    >>> format_reference({"limit": 1.7, "n_train": 90, "n_test": 200, "n_test_ood": 3})
    'out-of-distribution limit: distance 1.70 from 90 training slices; 3 of 200 test slices are beyond it (1.5%)'
    """
    share = ood["n_test_ood"] / ood["n_test"]
    return (
        f"out-of-distribution limit: distance {ood['limit']:.2f} from {ood['n_train']} training slices; "
        f"{ood['n_test_ood']} of {ood['n_test']} test slices are beyond it ({share:.1%})"
    )
