"""Preview sheet: slices as read, as preprocessed and as augmented."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from recipe_data import RECIPES, shrunk_recipe

from bts.apps import preview as app
from bts.errors import RequestError
from bts.training.pictures import LINE, READABLE, preview

BY_NAME = {path.stem: path for path in RECIPES}


def test_a_sheet_has_a_row_a_slice_and_a_column_a_variation(roots: dict[str, Path], weights: Path, tmp_path: Path) -> None:
    settings = shrunk_recipe(BY_NAME["kaggle_resnet50_clahe"], roots, runs=tmp_path, weights=weights)
    page = preview(settings, slices=4, n_augmented=2)
    assert page.shape == (4 * (READABLE + LINE), 4 * READABLE, 3)
    raw, prepared, varied = (page[LINE : LINE + READABLE, i * READABLE : (i + 1) * READABLE].astype(int) for i in range(3))
    assert np.abs(raw - prepared).mean() > 5  # CLAHE
    assert np.abs(prepared - varied).mean() > 1


def test_masks_are_drawn_on_the_sheet(roots: dict[str, Path], weights: Path, tmp_path: Path) -> None:
    settings = shrunk_recipe(BY_NAME["brisc_resnet18_seg"], roots, runs=tmp_path, weights=weights)
    page = preview(settings, slices=1, n_augmented=0)
    assert (page == (60, 220, 90)).all(axis=2).any()


def test_the_command_writes_the_sheet(roots: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sheets" / "one.png"
    line = [str(BY_NAME["npz_mobilenetv2"]), "--data.root", str(roots["npz"]), "--data.size", "32", "--out", str(out)]
    assert app.command([*line, "--slices", "2", "--augmented", "1"]) == 0
    with Image.open(out) as page:
        assert page.size == (3 * READABLE, 2 * (READABLE + LINE))
    assert str(out) in capsys.readouterr().out


def test_wrong_numbers_and_a_missing_file_are_refused(roots: dict[str, Path]) -> None:
    with pytest.raises(RequestError, match="expected a settings file"):
        app.command([])
    with pytest.raises(RequestError, match="no such settings file"):
        app.command(["none.yaml"])
    with pytest.raises(RequestError, match="--slices 0 --augmented 4: expected 1 or more slices"):
        app.command([str(BY_NAME["npz_mobilenetv2"]), "--slices", "0"])
