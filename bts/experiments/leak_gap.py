"""Score inflation from leakage, paired: the same test images, with their patients' other slices in the training images or not.

Nothing is trained but a classifier on the features of a frozen ImageNet network: the nearest neighbour and logistic regression.
The patients are dealt out to folds. For each fold there are three sets of training images, equal in number and class mix:

- `out`: no slice of the fold's patients;
- `in`: their other slices, filled up with images of `out`;
- `copies`: the same with the copies of test images (bytes, pixels or near copies, mirrored ones too), which are in neither of
  the first two.

So each test image is classified with and without its patient, and the differences are paired. Only slices with a tumour and a
known patient are tested; images of unknown patients and healthy ones are training images of all three.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bts.audit.findings import Findings
from bts.audit.views import THUMB_SIDE
from bts.csv_files import write_frame
from bts.errors import RequestError
from bts.evaluation.intervals import Interval, difference_interval, draw_patients, mean_interval, ratio, with_counts
from bts.evaluation.provenance import machine
from bts.glossary import NO_TUMOUR
from bts.models.architecture import Architecture
from bts.models.base import Network
from bts.models.networks import build_network
from bts.progress import counted, phase
from bts.report.figures import COLOURS, chart
from bts.report.rendering import table

ENCODER, BATCH = "mobilenetv2_100", 64
COMPONENTS = 128
"""Principal components that the logistic regression gets: a tenth of the features, and of the time."""
FOLDS = 5
TEST_SHARE = 0.2
"""Share of the slices that are tested where the publisher has no test part."""
OUT, IN, COPIES = "out", "in", "copies"
CLASSIFIERS = ("nearest neighbour", "logistic regression")
NAMES = {OUT: "patient left out", IN: "patient's other slices in training"}
FILE = "leak_gap"
"""Name of the table and the figure, without suffix."""


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images of one set, N of them.

    Attributes:
        labels: (N,) class.
        patients: (N,) patient, empty where unknown.
        copies: (N,) number of the group of copies.
        held_out: (N,) bool, images that may be tested.
    """

    labels: np.ndarray
    patients: np.ndarray
    copies: np.ndarray
    held_out: np.ndarray


@dataclass(frozen=True, eq=False)
class Fold:
    """Positions of the test images of some patients, and of three sets of training images equal in number and class mix."""

    test: np.ndarray
    training: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class LeakGap:
    """Accuracy of one classifier on the test images of one set.

    Attributes:
        set_name, classifier: what was measured.
        part: `published test part`, or what was drawn.
        out, into, gap: accuracy without and with the patient's other slices in the training images, and the difference.
        copies: accuracy with the copies of the test images among the training images too.
        with_copy: number of test images that have a copy there.
    """

    set_name: str
    classifier: str
    part: str
    out: Interval
    into: Interval
    gap: Interval
    copies: Interval
    with_copy: int


def frozen_network(weights: str = "imagenet") -> Network:
    """Return the network whose features are compared.

    Args:
        weights: `imagenet`, `none` (random) or a file.

    Raises:
        RequestError: the weights can't be downloaded or do not fit.
    """
    return build_network(Architecture("cls", ENCODER, size=THUMB_SIDE, num_classes=2), weights=weights).eval()


def measure_leak_gaps(findings: Findings, network: Network, *, seed: int = 0) -> list[LeakGap]:
    """Measure the gap in every set of an audit whose patients are known or recovered, on the thumbnails of the audit.

    Args:
        findings: of the audit.
        network: of `frozen_network`.
        seed: of the folds, of drawn test slices, and of the bootstrap.

    Raises:
        RequestError: no set with enough patients.
    """
    found = {name: images_of(findings, name, seed=seed) for name in findings.collection.set_names}
    folds = {name: list(draw_folds(images, seed=seed)) for name, (_, images, _) in found.items()}
    usable = [name for name in found if folds[name]]
    if not usable:
        raise RequestError(
            f"--leak-gap: no set with {FOLDS} known patients who have slices with a tumour in test and training: "
            "audit it together with a set that names patients, `bts audit figshare:FOLDER SET:FOLDER --recover figshare`"
        )
    places = np.concatenate([found[name][0] for name in usable])
    features = dict(zip(places.tolist(), _describe_once(findings, network, places), strict=True))
    gaps: list[LeakGap] = []
    for name in counted(usable, "leak gap", unit="sets"):
        own, images, part = found[name]
        gaps += score_set(name, part, images, folds[name], np.stack([features[i] for i in own.tolist()]), seed=seed)
    return gaps


def _describe_once(findings: Findings, network: Network, places: np.ndarray) -> np.ndarray:
    """Return the features (N, C) of images at `places` of the audit; equal pixels are described once."""
    hashes = [findings.collection.images[i].pixels_hash for i in places]
    _, first, of = np.unique(hashes, return_index=True, return_inverse=True)
    return describe(network, findings.collection.thumbs[places[first]])[of]


def images_of(findings: Findings, name: str, *, seed: int) -> tuple[np.ndarray, Images, str]:
    """Return the positions of a set's labelled images in the audit, what is known of them, and what the test images are."""
    audited = findings.collection.images
    places = [i for i, image in enumerate(audited) if image.set_name == name and image.record.label]
    held_out = np.array([audited[i].record.part == "test" for i in places], dtype=bool)
    part = "test part"
    if not held_out.any():
        held_out = np.random.default_rng(seed).random(len(places)) < TEST_SHARE
        part = f"{TEST_SHARE:.0%} of the slices, drawn"
    images = Images(
        labels=np.array([audited[i].record.label for i in places], dtype=str),
        patients=np.array([findings.patients[i] or "" for i in places], dtype=str),
        copies=findings.groups[places],
        held_out=held_out,
    )
    return np.array(places, dtype=int), images, part


def draw_folds(images: Images, *, seed: int, folds: int = FOLDS) -> Iterator[Fold]:
    """Yield the folds of the patients who have a slice with a tumour in the test images and another one in the training images.

    Nothing is yielded with fewer patients than folds.
    """
    rng = np.random.default_rng(seed)
    known, pool = images.patients != "", ~images.held_out
    tested = images.held_out & known & (images.labels != NO_TUMOUR)
    copied = np.isin(images.copies, images.copies[tested])
    patients = np.intersect1d(images.patients[tested], images.patients[pool & ~copied])
    if len(patients) < folds:
        return
    order = rng.permutation(len(images.labels))
    for some in np.array_split(rng.permutation(patients), folds):
        theirs = np.isin(images.patients, some)
        test = np.flatnonzero(tested & theirs)
        copy = np.isin(images.copies, images.copies[test])
        others = pool & ~theirs & ~copy
        yield Fold(
            test,
            {
                OUT: np.flatnonzero(others),
                IN: _same_mix(images.labels, order, others, pool & theirs & ~copy),
                COPIES: _same_mix(images.labels, order, others, pool & (theirs | copy)),
            },
        )


def _same_mix(labels: np.ndarray, order: np.ndarray, others: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return positions with as many images of each class as `others` (N,) bool has: `own` first, then others, in `order`."""
    chosen = []
    for label in np.unique(labels[others]):
        ranked = np.concatenate([order[mask[order] & (labels[order] == label)] for mask in (own, others)])
        chosen.append(ranked[: np.count_nonzero(others & (labels == label))])
    return np.sort(np.concatenate(chosen))


@torch.inference_mode()
def describe(network: Network, thumbs: np.ndarray) -> np.ndarray:
    """Return the pooled last maps (N, C) float32 of thumbnails (N, S, S) uint8."""
    rows: list[np.ndarray] = []
    with phase("features", len(thumbs)) as done:
        for start in range(0, len(thumbs), BATCH):
            x = torch.from_numpy(thumbs[start : start + BATCH])[:, None].float() / 255  # (B, 1, S, S)
            rows.append(network.encoder.last(network.encode(x)).mean((2, 3)).numpy())
            done.advance(len(x))
    return np.concatenate(rows)


def score_set(
    name: str, part: str, images: Images, folds: Sequence[Fold], features: np.ndarray, *, seed: int
) -> Iterator[LeakGap]:
    """Yield the gap of each classifier on one set, given the features (N, C) of its images."""
    test = np.concatenate([fold.test for fold in folds])
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    bootstrap = draw_patients(list(images.patients[test]), seed=seed)
    with_copy = int(np.isin(images.copies[test], images.copies[~images.held_out]).sum())
    for classifier, vectors in zip(CLASSIFIERS, (unit, features), strict=True):
        right = {
            arm: np.concatenate([_right(classifier, vectors, images, fold, arm, seed=seed) for fold in folds])
            for arm in (OUT, IN, COPIES)
        }
        out, into, copies = (mean_interval(right[arm], bootstrap) for arm in (OUT, IN, COPIES))
        gap = difference_interval(with_counts(right[OUT]), with_counts(right[IN]), ratio, bootstrap)
        assert out is not None
        assert into is not None
        assert copies is not None
        assert gap is not None
        yield LeakGap(name, classifier, part, out, into, gap, copies, with_copy)


def _right(classifier: str, vectors: np.ndarray, images: Images, fold: Fold, arm: str, *, seed: int) -> np.ndarray:
    """Return (n,) bool, which test images of a fold get their class, given vectors (N, D), of unit length for neighbours."""
    trained = fold.training[arm]
    labels = images.labels[trained]
    if classifier == "nearest neighbour":
        found = labels[(vectors[fold.test] @ vectors[trained].T).argmax(axis=1)]
    else:
        components = PCA(min(COMPONENTS, len(trained), vectors.shape[1]), random_state=seed)  # of the training images alone
        model = make_pipeline(StandardScaler(), components, StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
        found = model.fit(vectors[trained], labels).predict(vectors[fold.test])
    return found == images.labels[fold.test]


def leak_gap_table(gaps: Sequence[LeakGap]) -> str:
    """Return the gaps as Markdown."""
    head = ("set", "classifier", NAMES[OUT], NAMES[IN], "difference", "and copies of the test slice", "test slices", "patients")
    return table(
        head,
        [
            (
                each.set_name,
                each.classifier,
                each.out,
                each.into,
                each.gap,
                f"{each.copies.value:.3f}",
                f"{each.out.n_slices}",
                each.out.counted,
            )
            for each in gaps
        ],
    )


def write_leak_gaps(folder: Path, gaps: Sequence[LeakGap]) -> None:
    """Write `leak_gap.csv` and `leak_gap.png`."""
    rows = []
    for each in gaps:
        row: dict[str, object] = {"set": each.set_name, "classifier": each.classifier, "part": each.part}
        for name, score in ((OUT, each.out), (IN, each.into), ("gap", each.gap), (COPIES, each.copies)):
            row |= {name: score.value, f"{name}_low": score.low, f"{name}_high": score.high}
        row |= {"n_slices": each.out.n_slices, "n_patients": each.out.n_patients, "with_copy": each.with_copy}
        rows.append(row | {"seed": each.gap.seed, "draws": each.gap.draws, "machine": machine()})
    write_frame(pd.DataFrame(rows), folder / f"{FILE}.csv")
    draw_leak_gaps(folder / f"{FILE}.png", gaps)


def draw_leak_gaps(path: Path, gaps: Sequence[LeakGap]) -> None:
    """Draw paired bars of each set, one chart per classifier."""
    with chart(path, columns=len(CLASSIFIERS), width=3.9, height=2.9) as drawn:
        for axis, classifier in zip(drawn.axes[0], CLASSIFIERS, strict=True):
            own = [each for each in gaps if each.classifier == classifier]
            for number, (arm, name) in enumerate(NAMES.items()):
                scores = [each.out if arm == OUT else each.into for each in own]
                ends = [(s.value - (s.low or s.value), (s.high or s.value) - s.value) for s in scores]
                bars = axis.bar(
                    np.arange(len(own)) + 0.38 * number - 0.19,
                    [score.value for score in scores],
                    width=0.36,
                    yerr=np.transpose(ends),
                    color=COLOURS[number],
                    label=name,
                )
                axis.bar_label(bars, [f"{score.value:.2f}" for score in scores], label_type="center", color="white", fontsize=8)
            axis.set_xticks(range(len(own)), [each.set_name for each in own])
            axis.set(title=classifier, ylim=(0, 1.02))
        drawn.axes[0, 0].set_ylabel("accuracy per slice with a tumour")
        handles, labels = drawn.axis.get_legend_handles_labels()
        drawn.axis.figure.legend(handles, labels, loc="outside upper right", ncols=2)
