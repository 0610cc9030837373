"""All tables of scores of an evaluation, computed from one row per slice."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
import pandas as pd

from bts.evaluation.classification import classification_scores
from bts.evaluation.explanation import explanation_scores
from bts.evaluation.intervals import DRAWS, Sample, Scores, make_sample
from bts.evaluation.segmentation import segmentation_scores
from bts.glossary import NO_TUMOUR


def joint_scores(sample: Sample) -> dict[str, Any]:
    """Return the share of slices on which mask and class contradict each other, and on which both are correct.

    A joint model's mask and class are fused and cannot contradict each other; the rate of its heads before that is given too.
    """
    scores: dict[str, Any] = {"contradiction": sample.share(sample.column("consistent") == 0)}
    if "heads_consistent" in sample.cases:
        scores["heads_contradiction"] = sample.share(sample.column("heads_consistent") == 0)
    for name in ("both_right", "both_right_healthy"):
        if name in sample.cases:
            values = sample.column(name)
            scores[name] = sample.share(values == 1, np.isfinite(values))
    return scores


def publisher_scores(sample: Sample) -> dict[str, Scores]:
    """Return sensitivity and specificity side by side for the slices of each publisher."""
    found: dict[str, Scores] = {}
    healthy = sample.is_class(NO_TUMOUR)
    for publisher in sorted(sample.cases["source"].unique()):
        own = (sample.cases["source"] == publisher).to_numpy()
        scores = found[str(publisher)] = {}
        if "predicted" in sample.cases:
            right = sample.column("right") > 0
            scores |= {
                "accuracy_tumour": sample.share(right, own & ~healthy),
                "accuracy_healthy": sample.share(right, own & healthy),
            }
        if "dice" in sample.cases:
            drawn, truth = sample.column("predicted_area_px") > 0, sample.column("truth_area_px")
            scores |= {
                "dice": sample.mean("dice", own),
                "missed": sample.share(~drawn, own & (truth > 0)),
                "healthy_with_mask": sample.share(drawn, own & (truth == 0)),
            }
    return found


def summarise(cases: pd.DataFrame, *, seed: int = 0, draws: int = DRAWS) -> dict[str, Any]:
    """Return every table that the columns allow, with `Interval` leaves; `plain` converts it for JSON."""
    sample = make_sample(cases, seed=seed, draws=draws)
    summary: dict[str, Any] = {
        "n_slices": len(cases),
        "n_patients": sample.bootstrap.n_patients,
        "unit": sample.bootstrap.unit_of(),
        "n_ids": int(cases["patient_id"].nunique()),
        "seed": seed,
        "draws": draws,
        "synthetic": bool(cases["synthetic"].any()),
        "slices_by_class": {str(label): int(count) for label, count in cases["label"].value_counts().sort_index().items()},
    }
    if "dice" in cases:
        summary["segmentation"] = segmentation_scores(sample)
    if "predicted" in cases:
        summary["classification"] = classification_scores(sample)
    if "consistent" in cases:
        summary["together"] = joint_scores(sample)
    if "cam_energy" in cases and "right" in cases:
        summary["explanation"] = explanation_scores(sample)
    if "source" in cases:
        summary["publishers"] = publisher_scores(sample)
    return summary


def plain(value: Any) -> Any:
    """Convert to dictionaries, lists and numbers for JSON: dataclasses, NumPy scalars and NaN included."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
