"""Class folders exported to .npz files and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bts.apps import npz
from bts.data.npz_files import write_npz
from bts.data.sources.catalogue import open_source
from bts.errors import RequestError


def _folders(root: Path, *, parts: tuple[str, ...] = ("Training", "Testing")) -> Path:
    """Two classes with pictures of sizes of their own."""
    random = np.random.default_rng(0)
    for part in parts or ("",):
        for name, count in (("glioma", 3), ("notumor", 2)):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                picture = random.integers(0, 256, (40 + 10 * i, 60), dtype=np.uint8)
                Image.fromarray(picture).save(folder / f"{i}.png")
    return root


def test_published_parts_become_files_with_the_same_pictures_and_classes(tmp_path: Path) -> None:
    source = open_source("folders", _folders(tmp_path / "set"))
    written = write_npz(source, tmp_path / "out", size=64)
    assert {path.name: count for path, count in written.items()} == {"train.npz": 5, "test.npz": 5}
    again = open_source("npz", tmp_path / "out")
    assert again.classes == source.classes
    assert [record.part for record in again.records()].count("test") == 5
    before = [record for record in source.records() if record.part == "train"]
    after = [record for record in again.records() if record.part == "train"]
    assert [record.label for record in before] == [record.label for record in after]
    raw = source.read(before[0]).image
    seen = again.read(after[0]).image
    assert seen.shape == (64, 64)
    assert abs(float(seen[12:52].mean()) - float(raw.mean())) < 12  # 40 rows of 60 lie in the middle of the square


def test_folders_without_parts_become_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = _folders(tmp_path / "set", parts=()), tmp_path / "all.npz"
    assert npz.command([str(root), "--out", str(out), "--size", "32"]) == 0
    assert "5 slices in" in capsys.readouterr().out
    assert len(open_source("npz", out).records()) == 5
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_folders_without_parts_do_not_fit_a_folder_of_files(tmp_path: Path) -> None:
    source = open_source("folders", _folders(tmp_path / "set", parts=()))
    with pytest.raises(RequestError, match=r"out: a folder gets a file for each published part, .* ends in \.npz"):
        write_npz(source, tmp_path / "out")


def test_slices_without_a_class_are_refused(tmp_path: Path) -> None:
    _folders(tmp_path, parts=())
    (tmp_path / "manifest.csv").write_text("path,label\nglioma/0.png,\n")
    with pytest.raises(RequestError, match="1 slices have no class: arrays need one for each picture"):
        write_npz(open_source("manifest", tmp_path), tmp_path / "x.npz")
