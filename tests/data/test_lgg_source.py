"""TCGA-LGG: slices in order, patients from the names of the folders, and one channel of three."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from source_files import lgg_root, picture, save

from bts.data.sources.catalogue import detect_source, open_source
from bts.errors import InputError, RequestError


def test_slices_are_in_the_order_of_their_numbers_and_named_by_patient(tmp_path: Path) -> None:
    records = open_source("lgg", lgg_root(tmp_path)).records()
    assert [record.path.rpartition("_")[2] for record in records[:11]] == [f"{number}.tif" for number in range(1, 12)]
    assert {record.patient for record in records} == {"TCGA_CS_4941", "TCGA_DU_5849"}
    assert not any("mask" in record.path for record in records)


@pytest.mark.parametrize(("name", "channel"), [("lgg", 2), ("lgg_flair", 1), ("lgg_t1", 0)])
def test_each_name_reads_its_own_channel_and_the_same_mask(tmp_path: Path, name: str, channel: int) -> None:
    source = open_source(name, lgg_root(tmp_path))
    found = source.read(source.records()[4])
    np.testing.assert_array_equal(found.image, picture(100 * channel + 5))
    assert found.mask is not None
    assert found.mask.sum() == 6 * 8
    empty = source.read(source.records()[0]).mask
    assert empty is not None
    assert not empty.any()


def test_the_layout_is_recognised_beside_other_files(tmp_path: Path) -> None:
    (lgg_root(tmp_path) / "README.md").write_text("x")
    assert detect_source(tmp_path) == "lgg"


def test_missing_masks_and_single_channels_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "TCGA_CS_4941_19960909"
    save(folder / f"{folder.name}_1.tif", picture(1))
    with pytest.raises(
        RequestError, match=r"1 slice without a mask \(first: TCGA_CS_4941_19960909/TCGA_CS_4941_19960909_1\.tif\)"
    ):
        open_source("lgg", tmp_path)
    save(folder / f"{folder.name}_1_mask.tif", np.zeros((32, 32), np.uint8))
    source = open_source("lgg", tmp_path)
    with pytest.raises(InputError, match=r"_1\.tif: one channel, expected three"):
        source.read(source.records()[0])
    Image.fromarray(np.full((32, 32, 3), 7, np.uint8)).save(folder / f"{folder.name}_1.tif")
    with pytest.raises(InputError, match=r"_1\.tif: the picture is constant"):
        source.read(source.records()[0])
