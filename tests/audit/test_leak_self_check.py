"""Detection of leakage by our own scoring: the self-test of Yagis et al. (2021, Sci Rep 11:22544).

With labels shuffled over patients there is nothing to learn. A split by patient must score at chance; a split by slice lets a
model recognise the patient and scores far above chance. The model is the nearest neighbour on small images.
"""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from bts.data.phantom_scan import draw_slices
from bts.data.sources.base import Record
from bts.data.split_making import make_split
from bts.evaluation import classification
from bts.evaluation.intervals import Interval, draw_patients, statistic_interval
from bts.glossary import FIGSHARE_CLASSES
from bts.settings import SplitSettings

SIDE = 16


@pytest.fixture(scope="module")
def pictures() -> tuple[list[Record], np.ndarray]:
    records, small = [], []
    for patient in range(16):
        label = FIGSHARE_CLASSES[patient % 3]
        for number, (image, _) in enumerate(draw_slices(label=label, n_slices=3, side=128, seed=(4, patient))):
            records.append(Record(path=f"{patient}_{number}.mat", label=label, patient=str(patient)))
            small.append(Image.fromarray(image.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BOX))
    vectors = np.stack([np.asarray(picture).ravel() for picture in small])
    return records, vectors / vectors.std(axis=1, keepdims=True)


def shuffled_labels(records: list[Record], seed: int) -> np.ndarray:
    """Two classes thrown over patients, half of the patients each: every slice of a patient has the patient's label."""
    patients = sorted({str(record.patient) for record in records})
    thrown = np.random.default_rng(seed).permutation(len(patients)) % 2
    return np.array([thrown[patients.index(str(record.patient))] for record in records])


def score(vectors: np.ndarray, labels: np.ndarray, records: list[Record], *, train: np.ndarray) -> Interval:
    """Balanced accuracy on the rest, each slice called what its nearest training slice is called."""
    distances = ((vectors[~train][:, None] - vectors[train][None]) ** 2).sum(axis=2)
    predicted = labels[train][distances.argmin(axis=1)]
    rows = classification.confusion_rows(labels[~train], predicted, 2)
    bootstrap = draw_patients([str(r.patient) for r, own in zip(records, train, strict=True) if not own], draws=200)
    found = statistic_interval(rows, classification.balanced_accuracy, bootstrap)
    assert found is not None
    return found


def by_patient(records: list[Record], seed: int) -> np.ndarray:
    split, _ = make_split(records, SplitSettings(train=0.5, val=0.1, seed=seed))
    part = {row.path: row.part for row in split.rows}
    return np.array([part[record.path] == "train" for record in records])


def by_slice(records: list[Record], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(len(records)) < 0.6


def test_random_labels_are_learnt_by_slice_and_not_by_patient(pictures: tuple[list[Record], np.ndarray]) -> None:
    records, vectors = pictures
    labels = [shuffled_labels(records, seed) for seed in range(10)]
    honest = [score(vectors, labels[seed], records, train=by_patient(records, seed)) for seed in range(10)]
    leaking = [score(vectors, labels[seed], records, train=by_slice(records, seed)) for seed in range(10)]
    assert 0.35 < np.mean([one.value for one in honest]) < 0.65
    assert np.mean([one.value for one in leaking]) > 0.8
    covered = [one.low <= 0.5 <= one.high for one in honest if one.low is not None and one.high is not None]
    assert np.mean(covered) >= 0.5
    assert not any(one.low is not None and one.low <= 0.5 for one in leaking)
