"""Scores of class activation maps, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_models import write_model

from bts.data.phantom import write_phantom
from bts.data.sources.catalogue import open_source
from bts.evaluation.cases import evaluate_cases
from bts.evaluation.explanation import add_cam_methods
from bts.evaluation.metrics import cam_scores
from bts.evaluation.scores import summarise
from bts.inference.predictor import Predictor
from bts.inference.runtimes.pytorch import TorchRuntime

MASK = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0]], dtype=bool)
FLAT = 4 / 9


def test_a_map_on_the_mask_is_perfect_and_one_beside_it_is_zero() -> None:
    assert cam_scores(MASK.astype(np.float32), MASK) == {"cam_energy": 1, "cam_hit": 1, "cam_iou": 1, "cam_flat": FLAT}
    assert cam_scores((~MASK).astype(np.float32), MASK) == {"cam_energy": 0, "cam_hit": 0, "cam_iou": 0, "cam_flat": FLAT}


def test_a_flat_map_scores_what_the_mask_covers() -> None:
    scores = cam_scores(np.full(MASK.shape, 0.3, np.float32), MASK)
    assert scores == pytest.approx({"cam_energy": FLAT, "cam_hit": FLAT, "cam_iou": FLAT, "cam_flat": FLAT})


def test_by_hand() -> None:
    cam = np.array([[0.2, 0.6, 0], [0.1, 0.1, 1.0], [0, 0, 0]], np.float32)
    scores = cam_scores(cam, MASK)  # 1.0 of 2.0 inside; the peak outside; over half: (0,1) and (1,2)
    assert scores == pytest.approx({"cam_energy": 0.5, "cam_hit": 0, "cam_iou": 1 / 5, "cam_flat": FLAT})


def test_a_map_of_zeros_explains_nothing_and_a_healthy_slice_has_nothing_to_point_at() -> None:
    assert cam_scores(np.zeros((3, 3), np.float32), MASK) == {"cam_energy": 0, "cam_hit": 0, "cam_iou": 0, "cam_flat": FLAT}
    assert set(cam_scores(np.ones((3, 3), np.float32), np.zeros((3, 3), bool)).values()) == {None}


def test_both_methods_of_a_joint_model_are_scored_on_slices_with_a_tumour(tmp_path: Path) -> None:
    write_phantom(tmp_path / "data", patients=2, slices_per_patient=(2, 2), healthy=1, seed=3, side=128)
    source = open_source("figshare", tmp_path / "data")
    records = source.records()
    classes = sorted({record.label for record in records if record.label})
    folder = write_model(tmp_path / "model", "joint", classes=classes, cell_offset_px=-15.5)
    cases = evaluate_cases(Predictor([TorchRuntime.open(folder, device="cpu")]), source, records)
    found = add_cam_methods(cases, folder, source, records, device="cpu")
    assert found["cam_energy_hirescam"].equals(cases["cam_energy"].rename("cam_energy_hirescam"))
    other = Predictor([TorchRuntime.open(folder, device="cpu", cam_method="gradcam")])
    expected = evaluate_cases(other, source, records)["cam_energy"]
    assert found["cam_energy_gradcam"].to_numpy() == pytest.approx(expected.to_numpy(dtype=float), nan_ok=True)
    scored = found[found["label"] != "no_tumour"]
    assert (scored["cam_energy_gradcam"] != scored["cam_energy_hirescam"]).any()
    scores = summarise(found, draws=20)["explanation"]["method"]
    assert scores["gradcam"]["cam_energy"].value == pytest.approx(scored["cam_energy_gradcam"].mean())


def test_a_segmenter_has_no_maps_to_score(tmp_path: Path) -> None:
    cases = pd.DataFrame({"dice": [1.0]})
    assert add_cam_methods(cases, tmp_path, None, []) is cases  # type: ignore[arg-type]
