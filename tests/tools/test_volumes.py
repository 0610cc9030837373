"""Scores of whole volumes: lesions, parts without a tumour, and a run of the command on hand-made series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_models import BrightRuntime, make_card
from made_runs import write_made_model
from PIL import Image

from bts.data.sources.base import Record
from bts.inference.predictor import Predictor
from bts.models.folder import read_card
from tools import volumes


def made(alone: np.ndarray) -> volumes.Outputs:
    return volumes.Outputs(alone.astype(np.float16), np.zeros((len(alone), 0)), alone)


def test_a_series_is_scored_by_hand() -> None:
    truth, mask = np.zeros((12, 8, 8), bool), np.zeros((12, 8, 8), bool)
    truth[0, :2, :2] = truth[1, 4:6, 4:6] = True  # two lesions of 4 voxels, then 10 slices without
    mask[0, :2, :2] = mask[0, 4:6, 4:6] = mask[7, 0, 0] = True
    found = volumes.score_series(Record(path="a/1.tif", patient="p"), truth, made(mask), lambda part: part.alone)
    assert (found.lesions, found.found) == (2, 1)
    assert (found.tumour, found.reported) == (True, True)
    assert found.dice == pytest.approx(2 * 4 / (9 + 8))
    assert (found.free_slices, found.free_alarm) == (10, True)
    assert (found.false_slices, found.healthy_slices) == (1, 10)


def test_a_short_run_is_no_tumour_free_part() -> None:
    truth = np.ones((6, 4, 4), bool)
    truth[:4] = False
    found = volumes.score_series(Record(path="a/1.tif", patient="p"), truth, made(~truth), lambda part: part.alone)
    assert (found.free_slices, found.free_alarm) == (0, False)


def test_the_command_prints_both_decisions_and_uses_kept_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for name in ("TCGA_CS_4941_19960909", "TCGA_DU_5849_19950405"):
        (tmp_path / "lgg" / name).mkdir(parents=True)
        for number in range(1, 12):
            mask = np.zeros((32, 32), np.uint8)
            mask[8:14, 10:18] = 255 * (4 <= number <= 6)
            picture = rng.integers(0, 200, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(picture).save(tmp_path / "lgg" / name / f"{name}_{number}.tif")
            Image.fromarray(mask).save(tmp_path / "lgg" / name / f"{name}_{number}_mask.tif")
    runtime = BrightRuntime(make_card("seg"))
    monkeypatch.setattr(volumes, "load_model", lambda *_, **__: Predictor([runtime]))
    arguments = ["any", "--data", f"lgg:{tmp_path / 'lgg'}", "--outputs", str(tmp_path / "kept")]
    arguments += ["--develop", "1", "--before", "0.3"]
    assert volumes.command(arguments) == 0
    first = capsys.readouterr().out
    assert "Development, 1 series:\n\n| score | each slice by itself | volume, from 0.3 | volume, from " in first
    assert "Held out, 1 series:" in first
    assert first.count("| 1 lesions |") == 2
    assert "at most 20% of the 1 tumour-free parts of the development series reach: " in first
    asked = len(runtime.asked)
    assert asked == 22
    assert volumes.command(arguments) == 0
    assert capsys.readouterr().out.partition("Development, ")[2] == first.partition("Development, ")[2]  # progress comes before
    assert len(runtime.asked) == asked
    folder = tmp_path / "model"
    write_made_model(folder, "seg", name="made", classes=[], trained=[], seed=0)
    assert read_card(folder).volume_threshold is None
    assert volumes.command([*arguments, "--store", str(folder)]) == 0
    chosen = read_card(folder).volume_threshold
    assert chosen is not None
    assert f"the development series reach: {chosen:g}." in capsys.readouterr().out
