"""Random tables of cases, and the folder of an evaluation written from one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from bts.evaluation.scores import plain, summarise

CLASSES = ["glioma", "meningioma", "no_tumour"]


def made_cases(n: int = 120, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    label = rng.choice(CLASSES, n)
    hit = np.array([CLASSES.index(name) for name in label])
    probabilities = rng.dirichlet(np.ones(3), n) * 0.5 + 0.5 * np.eye(3)[hit]
    flip = rng.random(n) < 0.3
    probabilities[flip] = probabilities[flip][:, [1, 2, 0]]
    predicted = np.array(CLASSES)[probabilities.argmax(axis=1)]
    truth_area = np.where(label == "no_tumour", 0, rng.integers(50, 900, n))
    predicted_area = np.where(rng.random(n) < 0.2, 0, rng.integers(5, 900, n))
    dice = np.where((truth_area > 0) & (predicted_area > 0), rng.random(n), 0.0)
    dice = np.where((truth_area == 0) & (predicted_area == 0), 1.0, dice)
    frame = pd.DataFrame(
        {
            "path": [f"{i}.mat" for i in range(n)],
            "patient_id": [f"{label[i]}{i % 9}" for i in range(n)],
            "patient": [f"{label[i]}{i % 9}" for i in range(n)],
            "label": label,
            "source": "made",
            "plane": np.where(np.arange(n) % 3 == 0, "axial", "sagittal"),
            "synthetic": False,
            "picture_area_px": 10_000,
            "truth_area_px": truth_area,
            "predicted_area_px": predicted_area,
            "predicted": predicted,
            "right": predicted == label,
            "confidence": probabilities.max(axis=1),
            "refer": probabilities.max(axis=1) < 0.7,
            "dice": dice,
        }
    )
    for name in ("iou", "precision", "recall", "surface_dice"):
        frame[name] = dice
    frame["hd95_px"], frame["asd_px"] = 100 * (1 - dice), 50 * (1 - dice)
    frame.loc[truth_area == 0, ["dice", "iou", "precision", "recall", "surface_dice", "hd95_px", "asd_px"]] = np.nan
    for name in ("hd95_mm", "asd_mm", "surface_dice_mm"):
        frame[name] = None
    for index, name in enumerate(CLASSES):
        frame[f"prob_{name}"] = probabilities[:, index]
    frame["consistent"] = (predicted_area > 0) == (predicted != "no_tumour")
    frame["heads_consistent"] = rng.random(n) < 0.8
    tumour = label != "no_tumour"
    frame["both_right"] = np.where(tumour, frame["right"] & (dice >= 0.5), None)
    frame["both_right_healthy"] = np.where(tumour, None, frame["right"] & (predicted_area == 0))
    for name in ("cam_energy", "cam_hit", "cam_iou", "cam_flat"):
        frame[name] = np.where(tumour, rng.random(n), np.nan)
    return frame


def written(folder: Path, cases: pd.DataFrame) -> Path:
    (folder / "scores").mkdir(parents=True)
    cases.to_csv(folder / "scores" / "test_slices.csv", index=False)
    (folder / "scores" / "scores.json").write_text(json.dumps(plain(summarise(cases, draws=20))))
    return folder
