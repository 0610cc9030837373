"""What do a run's training slices look like, and from which distance on is a picture out of place?

Middle and covariance are those of the training part, the limit is the distance that 99% of validation keep, and how many
real slices are wrongly taken for strangers is counted on the test part. A run that was trained before can be told too.
"""

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
"""Share of the validation slices that are not out of place."""
FLOOR = 1e-6
"""Least variance of a number: what never changes in training must not be divided by nothing."""


def fit_reference(train: np.ndarray, val: np.ndarray) -> OodReference:
    """Return what training slices look like, from descriptions (N, 112) and (M, 112) of training and validation.

    The covariance is shrunk towards a multiple of the identity (Ledoit & Wolf 2004), as a hundred numbers of a few hundred
    patients need it.
    """
    middle = train.mean(axis=0, dtype=np.float64)
    covariance = LedoitWolf(assume_centered=True).fit(train - middle).covariance_
    inverse = np.linalg.inv(covariance + FLOOR * np.eye(len(middle)))
    factor = np.linalg.cholesky((inverse + inverse.T) / 2)
    off = np.sqrt((((val - middle) @ factor) ** 2).mean(axis=1))
    limit = float(np.quantile(off, PASS, method="higher"))
    return OodReference(middle.astype(np.float32), factor.astype(np.float32), float(np.nextafter(np.float32(limit), np.inf)))


@dataclass(frozen=True, eq=False)
class Learned:
    """What was learned of a run's slices.

    Attributes:
        reference: what the training slices look like.
        test: distances of the test slices.
        card: what goes into the model card.
    """

    reference: OodReference
    test: np.ndarray
    card: dict[str, Any]


def learn(data: RunData, preprocessing: Preprocessing, *, progress: Callable[[int], None] | None = None) -> Learned:
    """Return what a run's training slices look like, and how often its test slices are out of place.

    Args:
        data: the run.
        preprocessing: of its model.
        progress: called after each slice with how many were looked at.

    Raises:
        RequestError: data that is not there, or an empty part.
        InputError: a slice that can't be read.
    """
    seen = itertools.count(1)

    def look(part: Part) -> np.ndarray:
        found = []
        for image in pictures(data, part, preprocessing):
            found.append(describe(image[None])[0])
            if progress is not None:
                progress(next(seen))
        return np.stack(found)

    train, val, test = (look(part) for part in PARTS)
    reference = fit_reference(train, val)
    off = reference.distance_of(test)
    counted = {"n_train": len(train), "n_val": len(val), "n_test": len(off), "n_test_ood": int((off > reference.limit).sum())}
    return Learned(reference, off, reference.to_dict() | counted)


def add_reference(data: RunData, folder: Path, *, progress: Callable[[int], None] | None = None) -> ModelCard:
    """Write into a model folder what its training slices look like; the model may have been trained long ago.

    Args:
        data: the run that the model was trained in.
        folder: the model folder.
        progress: called after each slice with how many were looked at.

    Raises:
        RequestError: data that is not there, an empty part, or a folder that can't be written to.
        InputError: a slice that can't be read.
    """
    preprocessing = Preprocessing.from_dict(read_card(folder).preprocessing)
    return update_card(folder, ood=learn(data, preprocessing, progress=progress).card)


def pictures(data: RunData, part: Part, preprocessing: Preprocessing) -> Iterator[np.ndarray]:
    """Yield the network's picture (S, S) uint8 of each slice of a part, from the run's cache where it is still there."""
    settings = data.settings["data"]
    folder = settings.get("cache")
    cache = SliceCache(Path(folder), settings.get("cache_gib", 0.0)) if folder and Path(folder).is_dir() else None
    for record in data.records(part):
        try:
            yield load_entry(data.source, record, preprocessing=preprocessing, cache=cache)[0]
        except BtsError as error:
            raise error.at(record.path) from error


def told(outside: dict[str, Any]) -> str:
    """Return in words what a card knows of pictures that are out of place.

    >>> told({"limit": 1.7, "n_train": 90, "n_test": 200, "n_test_ood": 3})
    'over a distance of 1.70 from 90 training slices a picture is out of place: 3 of 200 test slices are (1.5%)'
    """
    share = outside["n_test_ood"] / outside["n_test"]
    return (
        f"over a distance of {outside['limit']:.2f} from {outside['n_train']} training slices a picture is out of place: "
        f"{outside['n_test_ood']} of {outside['n_test']} test slices are ({share:.1%})"
    )
