"""Comparison of models elsewhere and at home: rows, sample sizes, whose test part is known, and refusals."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bts.data.sources.catalogue import open_source
from bts.data.sources.manifest_table import manifest_rows, write_manifest
from bts.data.split_making import make_split
from bts.models.card import published
from bts.models.folder import load_network, read_card, write_model_folder
from bts.runs import Run
from bts.settings import SplitSettings
from tools import __main__ as tools_main
from tools.post_contrast import PostContrast


@pytest.fixture
def lgg(tmp_path: Path) -> Path:
    """Two patients of four slices each, one of them tumour-free and one with too small a mask, and one without contrast."""
    root, rng = tmp_path / "lgg", np.random.default_rng(0)
    for patient, contrast in (("TCGA_A", True), ("TCGA_B", True), ("TCGA_C", False)):
        (root / patient).mkdir(parents=True)
        for number, side in enumerate((0, 5, 16, 20)):
            colours = np.repeat(rng.integers(0, 120, (64, 64, 1), dtype=np.uint8), 3, axis=2)
            colours[..., 2] += 100 * contrast
            mask = np.zeros((64, 64), np.uint8)
            mask[:side, :side] = 255
            Image.fromarray(colours).save(root / patient / f"{patient}_{number}.tif")
            Image.fromarray(mask).save(root / patient / f"{patient}_{number}_mask.tif")
    return root


@pytest.fixture
def run(finished_runs: Any, tmp_path: Path) -> Run:
    """A finished joint run whose split is that of the manifest beside it."""
    place = tmp_path / "runs" / "joint" / "one"
    shutil.copytree(finished_runs["joint"].path, place)
    return Run(place)


def write_tables(run: Run, data: Path, folder: Path) -> tuple[Path, Path]:
    """Write the run's data as a manifest, and one of tumours of new patients, the last of them without a mask."""
    shutil.copytree(data, folder)
    source = open_source("figshare", folder)
    write_manifest(folder / "manifest.csv", manifest_rows(source.root, source.records(), folder=folder, name="home"))
    rows = []
    for number in range(3):
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (64, 64), dtype=np.uint8)).save(
            folder / f"new{number}.png"
        )
        mask = np.zeros((64, 64), np.uint8)
        mask[10:30, 10:30] = 255
        Image.fromarray(mask).save(folder / f"new{number}_mask.png")
        named = f"new{number}_mask.png" if number < 2 else ""
        rows.append(
            {"path": f"new{number}.png", "label": "glioma", "mask": named, "patient_id": f"unknown-{number}", "source": "x"}
        )
    pd.DataFrame(rows).to_csv(folder / "held_out.csv", index=False)
    return folder / "manifest.csv", folder / "held_out.csv"


def rows_of(text: str) -> dict[tuple[str, str], list[str]]:
    """Cells after the score by (slices, score)."""
    found, slices = {}, ""
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| slices"):
            first, score, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            slices = first or slices
            found[slices, score] = cells
    return found


def test_every_set_is_scored_with_its_sample_size(run: Run, lgg: Path, mixed_set: Path, tmp_path: Path, capsys: Any) -> None:
    manifest, held_out = write_tables(run, mixed_set, tmp_path / "tables")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- elsewhere:begin -->\n<!-- elsewhere:end -->\nafter\n")
    models = [f"one={run.path}", f"other={run.model}"]
    asked = ["--manifest", str(manifest), "--held-out", str(held_out), "--lgg", str(lgg), "--lgg-step", "1", "--out", str(page)]
    assert tools_main.main(["elsewhere", *models, *asked]) == 0
    text = page.read_text()
    assert text.startswith("before\n<!-- elsewhere:begin -->\n| slices | score | one | other | n |")
    assert text.split("-->\n")[1].split("\n<!--")[0] in capsys.readouterr().out
    rows = rows_of(text)
    counts = {key: cells[-1] for key, cells in rows.items()}
    held = "tumours of other publishers, held out"
    assert counts[held, "class right"] == "3 (3 clusters)"
    assert counts[held, "Dice"] == "2 (2 clusters)"
    contrast = "TCGA-LGG, T1 after contrast"
    assert counts[contrast, "tumour slices called a tumour"] == "4 (2)"
    assert counts[contrast, "tumour-free slices with a mask"] == "2 (2)"
    assert "no series after contrast (1) and the slices without an image or with a mask of 1 to 150 pixels (2)." in text
    test = [row for row in pd.read_csv(run.split_file).itertuples() if row.part == "test"]
    healthy = sum(row.label == "no_tumour" for row in test)
    assert counts["own test part, tumours of home", "Dice"].startswith(f"{len(test) - healthy} (")
    assert counts["own test part, all healthy slices", "with a mask"].startswith(f"{healthy} (")
    assert all(cells[0] == cells[1] for cells in rows.values()), "the same model twice has the same scores"
    assert {slices for slices, _ in rows} >= {"tumour replaced by tissue", "tumour pasted into a healthy slice"}


def test_a_model_without_a_reproducible_split_has_no_scores_at_home(
    run: Run, mixed_set: Path, tmp_path: Path, capsys: Any
) -> None:
    _, held_out = write_tables(run, mixed_set, tmp_path / "tables")
    asked = ["--manifest", str(held_out), "--held-out", str(held_out)]
    assert tools_main.main(["elsewhere", f"one={run.path}", *asked]) == 0
    text = capsys.readouterr().out
    assert "The test part of one can't be reproduced from these tables." in text
    assert not any(slices.startswith("own test part") for slices, _ in rows_of(text))


def test_the_split_of_a_published_model_is_recognised_by_its_fingerprint(
    run: Run, mixed_set: Path, tmp_path: Path, capsys: Any
) -> None:
    manifest, held_out = write_tables(run, mixed_set, tmp_path / "tables")
    split, _ = make_split(open_source("manifest", manifest).records(), SplitSettings())
    card = replace(published(read_card(run.model)), data_fingerprint=split.fingerprint, weights_sha256="")
    write_model_folder(tmp_path / "published", card, load_network(run.model)[0].state_dict())
    asked = ["--manifest", str(held_out), str(manifest)]
    assert tools_main.main(["elsewhere", f"one={tmp_path / 'published'}", *asked]) == 0
    text = capsys.readouterr().out
    assert "can't be reproduced" not in text
    tumours = sum(row.label != "no_tumour" for row in split.part("test"))
    assert rows_of(text)["own test part, tumours of home", "Dice"][-1].startswith(f"{tumours} (")
    assert "The training patients of one are not known here, and some may be among them." in text


def test_tumours_that_a_model_was_trained_on_are_refused(run: Run, mixed_set: Path, tmp_path: Path, capsys: Any) -> None:
    manifest, _ = write_tables(run, mixed_set, tmp_path / "tables")
    assert tools_main.main(["elsewhere", str(run.path), "--manifest", str(manifest), "--held-out", str(manifest)]) == 2
    assert "was trained on" in capsys.readouterr().err


def test_a_folder_without_masks_is_refused(tmp_path: Path, run: Run, mixed_set: Path, capsys: Any) -> None:
    manifest, _ = write_tables(run, mixed_set, tmp_path / "tables")
    assert tools_main.main(["elsewhere", str(run.path), "--manifest", str(manifest), "--lgg", str(tmp_path / "none")]) == 2
    assert "expected PATIENT/PATIENT_N.tif and PATIENT_N_mask.tif in it, found none: check --lgg" in capsys.readouterr().err
    assert tools_main.main(["elsewhere", str(run.path), "--manifest", str(manifest), "--lgg-step", "0"]) == 2
    assert "--lgg-step 0: expected 1 or more" in capsys.readouterr().err


def test_the_channel_after_contrast_is_read(lgg: Path) -> None:
    source = PostContrast(lgg, step=2)
    records = source.records()
    assert [record.label for record in records] == ["no_tumour", "glioma"] * 2
    item = source.read(records[1])
    assert item.image.min() >= 100
    assert item.mask is not None
    assert item.mask.sum() == 16 * 16


def test_slices_without_an_image_are_left_out(lgg: Path) -> None:
    before = len(PostContrast(lgg).records())
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(lgg / "TCGA_A" / "TCGA_A_0.tif")
    assert len(PostContrast(lgg).records()) == before - 1
