"""Charts of a report. Each function draws one from numbers, writes its PNG, and returns its SVG with these numbers.

The numbers are returned so that `metrics.json` holds everything that the page shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from bts.evaluation.calibration import Reliability, risk_coverage
from bts.evaluation.intervals import Interval
from bts.report.figures import COLOURS, FAINT, INK, chart, colour_of, plot_interval

POINTS = 200
"""Largest number of points of a curve kept in `metrics.json`."""
STEPS = np.linspace(0, 1, 21)
"""Edges of the histograms of scores and probabilities."""
CLASS_SCORES = {"precision": "precision", "recall": "recall", "f1": "F1"}
"""Scores per class on a chart: key in the tables, label on the chart."""
LEAST_FEATURES = 8
"""Least number of slices for a t-SNE chart."""
PERPLEXITY = 30.0


@dataclass(frozen=True)
class Panel:
    """A chart of the report.

    Attributes:
        name: name of its PNG, without suffix.
        svg: for the page.
        caption: explanation and sample size.
        data: the plotted numbers.
    """

    name: str
    svg: str
    caption: str
    data: dict[str, Any]


def _thin(*columns: np.ndarray) -> list[list[float]]:
    """Return columns with at most `POINTS` of their points, including the first and the last."""
    chosen = np.unique(np.linspace(0, len(columns[0]) - 1, min(POINTS, len(columns[0]))).astype(int))
    return [[round(float(value), 6) for value in column[chosen]] for column in columns]


def draw_confusion(folder: Path, counts: Sequence[Sequence[int]], classes: Sequence[str], *, about: str) -> Panel:
    """Draw the confusion matrix, truth by row, with counts and shares of each row."""
    table = np.asarray(counts)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    with chart(folder / "confusion.png", width=4.2, height=3.7) as drawn:
        axes = drawn.axis
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(*table.shape):
            colour = "white" if shares[row, column] > 0.55 else "#1a1a1a"
            text = f"{table[row, column]}\n{shares[row, column]:.1%}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
        axes.set_xticks(range(len(classes)), classes, rotation=20)
        axes.set_yticks(range(len(classes)), classes)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set(title="confusion matrix", xlabel="predicted", ylabel="truth")
    caption = f"Truth by row, prediction by column; slices and share of the row. {about}"
    return Panel("confusion", drawn.svg, caption, {"counts": table})


def draw_class_scores(folder: Path, scores: Mapping[str, Mapping[str, Interval | None]], *, about: str) -> Panel:
    """Draw precision, recall and F1 of each class with their intervals; undefined scores are left out."""
    data: dict[str, dict[str, list[float | None]]] = {label: {} for label in scores}
    with chart(folder / "class_scores.png", width=5.4, height=0.55 * len(scores) + 1.5) as drawn:
        axes = drawn.axis
        for number, (key, name) in enumerate(CLASS_SCORES.items()):
            legend: str | None = name
            for place, (label, own) in enumerate(scores.items()):
                score, height = own.get(key), place + 0.25 * (number - 1)
                if score is None:
                    continue
                data[label][key] = [score.value, score.low, score.high]
                plot_interval(axes, score, height, colour=COLOURS[number], marker="osD"[number], label=legend)
                legend = None
        axes.set(title="scores of each class", xlabel="score of the slices, 95% interval", xlim=(0, 1.02))
        axes.set_yticks(range(len(scores)), list(scores))
        axes.set_ylim(len(scores) - 0.5, -0.5)
        axes.figure.legend(loc="outside lower center", ncols=3)
    return Panel("class_scores", drawn.svg, about, data)


def draw_roc(folder: Path, truth: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], *, about: str) -> Panel | None:
    """Draw the one-vs-rest ROC curve of every class; None where all slices are of one class, which has no curve."""
    if len(np.unique(truth)) < 2:
        return None
    data: dict[str, Any] = {}
    with chart(folder / "roc.png") as drawn:
        for index, (label, colour) in enumerate(colour_of(list(classes)).items()):
            positive = truth == index
            if not positive.any():
                continue
            false, true, _ = roc_curve(positive, probabilities[:, index])
            area = float(roc_auc_score(positive, probabilities[:, index]))
            drawn.axis.plot(false, true, color=colour, label=f"{label}  {area:.3f}")
            x, y = _thin(false, true)
            data[label] = {"false_positive_rate": x, "true_positive_rate": y, "auc": area}
        drawn.axis.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1)
        drawn.axis.legend(title="area", loc="lower right")
        drawn.axis.set(title="ROC, one class against the rest", xlabel="false positive rate", ylabel="true positive rate")
    return Panel("roc", drawn.svg, f"The dotted line is chance. {about}", data)


def draw_precision_recall(
    folder: Path, truth: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], *, about: str
) -> Panel | None:
    """Draw the one-vs-rest precision-recall curve of every class; None where all slices are of one class."""
    if len(np.unique(truth)) < 2:
        return None
    data: dict[str, Any] = {}
    with chart(folder / "precision_recall.png") as drawn:
        for index, (label, colour) in enumerate(colour_of(list(classes)).items()):
            positive = truth == index
            if not positive.any():
                continue
            precision, recall, _ = precision_recall_curve(positive, probabilities[:, index])
            average = float(average_precision_score(positive, probabilities[:, index]))
            drawn.axis.plot(recall, precision, color=colour, label=f"{label}  {average:.3f}")
            x, y = _thin(recall, precision)
            data[label] = {"recall": x, "precision": y, "average_precision": average, "share": float(positive.mean())}
        drawn.axis.set_ylim(0, 1.02)
        drawn.axis.legend(title="average precision", loc="lower left")
        drawn.axis.set(title="precision and recall", xlabel="recall", ylabel="precision")
    return Panel("precision_recall", drawn.svg, f"One class against the rest. {about}", data)


def draw_reliability(folder: Path, bins: Sequence[Reliability], *, about: str) -> Panel:
    """Draw accuracy and number of slices per bin of confidence."""
    filled = [row for row in bins if row.count]
    with chart(folder / "reliability.png", rows=2, height=1.9) as drawn:
        top, bottom = drawn.axes[:, 0]
        top.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1)
        means = [[row.confidence for row in filled], [row.accuracy for row in filled]]
        top.plot(*means, color=COLOURS[0], marker="o", markersize=4)
        top.set(title="reliability", ylabel="share correct", xlim=(0, 1), ylim=(0, 1.02))
        middle = [(row.low + row.high) / 2 for row in bins]
        bottom.bar(middle, [row.count for row in bins], width=0.9 / len(bins), color=COLOURS[0])
        bottom.set(xlabel="confidence (highest probability)", ylabel="slices", xlim=(0, 1))
    caption = f"The dotted line is perfect calibration; below it the model is overconfident. {about}"
    return Panel("reliability", drawn.svg, caption, {"bins": list(bins)})


def draw_risk_coverage(
    folder: Path, confidence: np.ndarray, right: np.ndarray, *, refer_below: float | None, about: str
) -> Panel:
    """Draw the share of wrong answers against the share of slices answered, in order of decreasing confidence."""
    curve = risk_coverage(confidence, right)
    with chart(folder / "risk_coverage.png") as drawn:
        drawn.axis.plot(curve.coverage, curve.risk, color=COLOURS[0])
        if refer_below:
            at = float((confidence >= refer_below).mean())
            drawn.axis.axvline(at, color=COLOURS[1], linestyle="--", linewidth=1.2, label=f"refer below {refer_below:.2f}")
            drawn.axis.legend(loc="upper left")
        drawn.axis.set(title="risk and coverage", xlabel="share of slices answered", ylabel="share wrong among them")
        drawn.axis.set_xlim(0, 1)
        drawn.axis.set_ylim(bottom=0)
    coverage, risk = _thin(curve.coverage, curve.risk)
    data = {"coverage": coverage, "risk": risk, "area": curve.area, "refer_below": refer_below}
    return Panel("risk_coverage", drawn.svg, f"Mean risk over all coverages: {curve.area:.4f}. {about}", data)


def draw_confidence(folder: Path, confidence: np.ndarray, right: np.ndarray, *, about: str) -> Panel:
    """Draw histograms of the confidence of correct and of wrong answers."""
    data: dict[str, Any] = {"edges": STEPS}
    with chart(folder / "confidence.png", rows=2, height=1.9) as drawn:
        parts = (("right", right, COLOURS[2]), ("wrong", ~right, COLOURS[4]))
        for axes, (name, keep, colour) in zip(drawn.axes[:, 0], parts, strict=True):
            data[name] = np.histogram(confidence[keep], STEPS)[0]
            axes.stairs(data[name], STEPS, fill=True, color=colour)
            axes.set(ylabel="slices", xlim=(0, 1))
            axes.set_title(f"confidence where the class is {name} ({int(data[name].sum())} slices)")
        drawn.axes[1, 0].set_xlabel("confidence (highest probability)")
    return Panel("confidence", drawn.svg, about, data)


def draw_dice(folder: Path, cases: pd.DataFrame, *, about: str) -> Panel:
    """Draw the distribution of the Dice per class, and the Dice against tumour size."""
    tumours = cases[cases["truth_area_px"] > 0].fillna({"label": "unknown"})
    labels = sorted(tumours["label"].unique())
    share = 100 * tumours["truth_area_px"] / tumours["picture_area_px"]
    data: dict[str, Any] = {"edges": STEPS}
    with chart(folder / "dice.png", columns=2) as drawn:
        left, right = drawn.axes[0]
        dot = float(np.clip(4000 / max(len(tumours), 1), 7, 40))  # a few slices are seen, many do not cover each other
        for label, colour in colour_of(labels).items():
            here = tumours["label"] == label
            data[label] = counts = np.histogram(tumours.loc[here, "dice"], STEPS)[0]
            legend = f"{label} ({int(here.sum())})"
            left.stairs(counts / max(counts.sum(), 1), STEPS, color=colour, label=legend, linewidth=1.4)
            right.scatter(share[here], tumours.loc[here, "dice"], s=dot, color=colour, alpha=0.55, linewidths=0)
        left.legend(loc="upper center")
        left.set(title="Dice by class", xlabel="Dice of a slice", ylabel="share of the class's slices")
        right.set(title="Dice and size", xlabel="tumour, % of the image", ylabel="Dice of a slice", ylim=(-0.03, 1.03))
        if len(tumours):
            right.set_xscale("log")
            right.xaxis.set_major_formatter("{x:g}")
            right.xaxis.set_minor_formatter("")
    return Panel("dice", drawn.svg, f"{len(tumours)} slices with a tumour. {about}", data)


def place_features(features: np.ndarray, *, seed: int = 0) -> np.ndarray | None:
    """Embed features (N, C) in the plane by t-SNE (van der Maaten & Hinton 2008), (N, 2); None for fewer than 8 slices.

    Features are centred and reduced to at most 50 components first, as the authors recommend.
    """
    n, c = features.shape
    if n < LEAST_FEATURES or not np.ptp(features, axis=0).any():
        return None
    reduced = PCA(min(50, c, n - 1), random_state=seed).fit_transform(features.astype(np.float64))
    perplexity = min(PERPLEXITY, (n - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(reduced)


def draw_features(folder: Path, places: np.ndarray, labels: Sequence[str], right: np.ndarray, *, about: str) -> Panel:
    """Draw the embedded features (N, 2), coloured by true class, with crosses for wrong answers."""
    names = np.asarray(labels)
    cross: dict[str, Any] = {"s": 44, "marker": "X", "edgecolors": INK, "linewidths": 0.7}
    with chart(folder / "features.png", width=5.6, height=4.4) as drawn:
        axes = drawn.axis
        for label, colour in colour_of(sorted(set(labels))).items():
            here, wrong = (names == label) & right, (names == label) & ~right
            axes.scatter(places[here, 0], places[here, 1], s=9, color=colour, alpha=0.7, linewidths=0, label=label)
            axes.scatter(places[wrong, 0], places[wrong, 1], color=colour, **cross)
        if (~right).any():
            axes.scatter([], [], color="none", label="assigned to another class", **cross)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        axes.set(title="features before the class head (t-SNE)", xticks=[], yticks=[])
    caption = f"Neighbouring slices are similar to the model; distances between groups have no meaning. {about}"
    data = {"places": places.round(3), "labels": list(labels), "right": right}
    return Panel("features", drawn.svg, caption, data)
