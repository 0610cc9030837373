"""One table of several sources: .mat files with their masks beside pictures, and where each row came from."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from source_files import brisc_root, npz_root, picture, save

from bts.data.phantom import write_phantom
from bts.data.sources.catalogue import open_source
from bts.data.sources.manifest_table import manifest_rows, write_manifest
from bts.errors import RequestError


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A table outside of both sets: three phantoms of figshare's layout and the healthy pictures of BRISC's."""
    write_phantom(tmp_path / "figshare", patients=3, slices_per_patient=(1, 1), seed=3, side=128)
    tumours, others = open_source("figshare", tmp_path / "figshare"), open_source("brisc", brisc_root(tmp_path / "brisc"))
    healthy = [record for record in others.records() if record.label == "no_tumour"]
    rows = manifest_rows(tumours.root, tumours.records(), folder=tmp_path / "table", name="figshare")
    nobody = {record.path: "nobody" for record in healthy}
    rows += manifest_rows(others.root, healthy, folder=tmp_path / "table", name="brisc", patients=nobody)
    write_manifest(tmp_path / "table" / "manifest.csv", rows)
    return tmp_path


def test_a_mat_row_brings_the_mask_inside_its_file_and_a_healthy_picture_an_empty_one(mixed: Path) -> None:
    source, figshare = open_source("manifest", mixed / "table"), open_source("figshare", mixed / "figshare")
    assert source.classes == ("meningioma", "glioma", "pituitary", "no_tumour")
    for record, original in zip(source.records(), figshare.records(), strict=False):
        one, same = source.read(record), figshare.read(original)
        np.testing.assert_array_equal(one.mask, same.mask)
        np.testing.assert_array_equal(one.image, same.image)
        assert (one.label, one.patient, one.source) == (same.label, same.patient, "figshare")
    healthy = [record for record in source.records() if record.label == "no_tumour"]
    assert len(healthy) == 2
    for record in healthy:
        assert (record.patient, record.plane, record.source) == ("nobody", "axial", "brisc")
        assert not source.read(record).mask.any()


def test_a_table_of_phantoms_is_synthetic_and_one_of_pictures_not(mixed: Path) -> None:
    assert open_source("manifest", mixed / "table").synthetic
    save(mixed / "other" / "a.png", picture(1))
    write_manifest(mixed / "other" / "manifest.csv", [{"path": "a.png", "label": "glioma"}])
    assert not open_source("manifest", mixed / "other").synthetic


def test_a_mat_file_that_is_none_is_told_when_it_is_read_not_before(tmp_path: Path) -> None:
    (tmp_path / "1.mat").write_bytes(b"no MATLAB")
    write_manifest(tmp_path / "manifest.csv", [{"path": "1.mat", "label": "glioma"}])
    source = open_source("manifest", tmp_path)
    assert not source.synthetic
    with pytest.raises(Exception, match=r"1\.mat: neither MATLAB"):
        source.read(source.records()[0])


def test_a_mask_file_wins_over_the_mask_inside(mixed: Path) -> None:
    with h5py.File(mixed / "figshare" / "1.mat") as file:
        shape = file["cjdata/image"].shape[::-1]
    drawn = np.zeros(shape, np.uint8)
    drawn[:3, :5] = 255
    save(mixed / "own.png", drawn)
    write_manifest(mixed / "manifest.csv", [{"path": "figshare/1.mat", "label": "glioma", "mask": "own.png"}])
    source = open_source("manifest", mixed)
    assert source.read(source.records()[0]).mask.sum() == 15


def test_another_word_for_a_plane_says_nothing(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(1))
    save(tmp_path / "b.png", picture(2))
    write_manifest(
        tmp_path / "manifest.csv", [{"path": "a.png", "plane": "Axial"}, {"path": "b.png", "plane": "taken in 1998"}]
    )
    assert [record.plane for record in open_source("manifest", tmp_path).records()] == ["axial", None]


def test_a_slice_that_is_no_file_of_its_own_is_refused(tmp_path: Path) -> None:
    source = open_source("npz", npz_root(tmp_path))
    with pytest.raises(RequestError, match="no file of its own: a table can name only pictures that are files"):
        manifest_rows(source.root, source.records(), folder=tmp_path, name="npz")


def test_a_table_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(RequestError, match=r"taken/manifest\.csv: can't be written .*choose another file with --out"):
        write_manifest(tmp_path / "taken" / "manifest.csv", [])
