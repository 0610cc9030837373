"""All tables of scores of an evaluation, computed from one row per slice."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
import pandas as pd

from bts.evaluation.classification import classification_scores
from bts.evaluation.explanation import explanation_scores
from bts.evaluation.intervals import DRAWS, Sample, make_sample
from bts.evaluation.segmentation import segmentation_scores


def joint_scores(sample: Sample) -> dict[str, Any]:
    """Return the share of slices on which mask and class contradict each other, and on which both are correct."""
    scores: dict[str, Any] = {"contradiction": sample.share(sample.column("consistent") == 0)}
    if "both_right" in sample.cases:
        scores["both_right"] = sample.mean("both_right")
    return scores


def summarise(cases: pd.DataFrame, *, seed: int = 0, draws: int = DRAWS) -> dict[str, Any]:
    """Return every table that the columns allow, with `Interval` leaves; `plain` converts it for JSON."""
    sample = make_sample(cases, seed=seed, draws=draws)
    summary: dict[str, Any] = {
        "n_slices": len(cases),
        "n_patients": sample.bootstrap.n_patients,
        "unit": sample.bootstrap.unit,
        "n_ids": int(cases["patient"].nunique()),
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
