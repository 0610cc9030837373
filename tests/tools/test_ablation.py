"""Comparison of networks that were trained in the same time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bts.data.split import Part, Split, SplitRow
from bts.errors import RequestError
from tools.ablation import Arm, ablation, common_split, slices_an_epoch, step_times

PATIENTS = 30


def arm(name: str, dice: float) -> Arm:
    """Return an arm whose slices of 30 patients have a Dice near `dice`, different for each patient."""
    rows = [
        {
            "path": f"{i}.png",
            "patient": f"p{i // 3}",
            "label": "glioma",
            "dice": dice + 0.001 * (i // 3),
            "right": int(i % 3 > 0),
        }
        for i in range(3 * PATIENTS)
    ]
    return Arm(name, 3_100_000, slices=12_000, step_s=1.08, cases=pd.DataFrame(rows), seeds=1)


def test_differences_are_paired_with_the_first_network() -> None:
    text = ablation([arm("half", 0.7), arm("full", 0.6), replace(arm("same", 0.7), seeds=2)])
    rows = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
        for line in text.splitlines()
        if "|" in line
    }
    assert rows["half"][:4] == ["3.10", "1.08", "12,000", "13.5"]
    assert rows["half"][4].startswith(f"{0.7 + 0.001 * np.arange(PATIENTS).mean():.3f} [")
    assert (rows["half"][5], rows["half"][7]) == ("", "")
    assert rows["full"][5].startswith("-0.100 [-0.100, -0.100]")
    assert rows["same"][5].startswith("0.000 [")
    assert rows["same"][6].startswith("0.667 [")
    assert (rows["half"][8], rows["same"][8]) == ("1", "2")


@pytest.mark.parametrize(("limit", "expected"), [("null", 32), ("1", 16), ("9", 32)])
def test_an_epoch_has_whole_batches_of_the_training_part(limit: str, expected: int, tmp_path: Path) -> None:
    _write_run(tmp_path, parts={"train": 40, "val": 20}, limit=limit)
    assert slices_an_epoch(tmp_path) == expected


def test_runs_of_different_splits_are_refused(tmp_path: Path) -> None:
    for name, count in (("a", 3), ("b", 4)):
        _write_run(tmp_path / name, parts={"train": count, "val": 2}, limit="null")
    with pytest.raises(RequestError, match=r"b: expected the split of .*a \("):
        common_split([tmp_path / "a", tmp_path / "b"])
    assert len(common_split([tmp_path / "a", tmp_path / "a"]).rows) == 5


def test_every_network_is_timed(exported_models: dict[str, Path]) -> None:
    folder = exported_models["joint"]
    threads = torch.get_num_threads()
    times = step_times([folder, folder], rounds=1)
    assert len(times) == 2
    assert all(0 < each < 60 for each in times)
    assert torch.get_num_threads() == threads


def _write_run(folder: Path, *, parts: dict[Part, int], limit: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "settings.yaml").write_text(f"data: {{batch_size: 16}}\ntrainer: {{limit_batches: {limit}}}\n", encoding="utf-8")
    rows = [SplitRow(f"{part}{i}.png", f"{part}{i}", "glioma", part) for part, count in parts.items() for i in range(count)]
    Split(tuple(rows)).write(folder / "split.csv")
