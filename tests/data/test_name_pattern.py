"""Manifests from the names of files and folders: what a pattern reads, how masks are paired, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from source_files import picture, save

from bts.apps.cli import main
from bts.data.sources.catalogue import open_source
from bts.data.sources.name_pattern import choose_reading, pair_masks, parse_pattern, read_names, readings
from bts.errors import RequestError


def made(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        save(folder / name, picture(number))
    return folder


def read(pattern: str, name: str) -> dict[str, str]:
    found = choose_reading(name, list(readings(parse_pattern(pattern), name)), pattern)
    assert found is not None
    return dict(found)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("{patient}_{label}_{slice}", "P01_glioma_3", {"patient": "P01", "label": "glioma"}),
        ("{patient}_{label}_{slice}", "P_01_no_tumor_z003", {"patient": "P_01", "label": "no_tumor"}),
        ("{patient}_{label}_{slice}", "a_b_glioma_3", {"patient": "a_b", "label": "glioma"}),
        ("{label}/{patient}/{slice}", "Meningioma/MR 7/slice12", {"patient": "MR 7", "label": "Meningioma"}),
        ("{split}/{label}/{patient}-*", "Training/glioma/7-left-2", {"split": "Training", "label": "glioma", "patient": "7"}),
        ("sub-{patient}_*", "sub-7_T1", {"patient": "7"}),
    ],
)
def test_a_pattern_reads_names_with_the_known_class_where_there_are_several_readings(
    pattern: str, name: str, expected: dict[str, str]
) -> None:
    if pattern.endswith("-*"):
        with pytest.raises(RequestError, match="two readings of the pattern"):
            read(pattern, name)
        name = name.replace("-left", "")
    assert read(pattern, name) == expected


def test_masks_are_paired_by_name_beside_the_picture_or_in_a_folder_of_their_own() -> None:
    pictures = ["img/P1_1.png", "img/P1_2.png", "b/P2_img_1.png", "c/P3_1.png", "d/P3_1.png"]
    masks = ["seg/P1_1.tif", "b/mask_P2_1.png", "c/P3_1-Mask.png", "c/P9_1_mask.png"]
    found, lone = pair_masks(pictures, masks)
    assert found == {"img/P1_1.png": "seg/P1_1.tif", "b/P2_img_1.png": "b/mask_P2_1.png", "c/P3_1.png": "c/P3_1-Mask.png"}
    assert lone == ["c/P9_1_mask.png"]
    with pytest.raises(RequestError, match=r"expected one picture and one mask of this name, found 'a_mask\.png'"):
        pair_masks(["a.png"], ["a_mask.png", "a_seg.png"])


def test_words_inside_other_words_make_no_mask(tmp_path: Path) -> None:
    named = read_names(made(tmp_path, "segal_1.png", "unmasked_2.png"), "{patient}_{slice}")
    assert [(record.patient, record.mask) for record in named.records] == [("segal", None), ("unmasked", None)]


def test_the_command_writes_the_table_that_the_manifest_source_reads_and_shows_ten_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"P{i}_{label}_{k}.png" for i in range(8) for k in (1, 2) for label in [("glioma", "no_tumor")[i % 2]]]
    folder = made(tmp_path / "data", *names, *(f"P{i}_glioma_1_mask.png" for i in range(0, 8, 2)))
    assert main(["manifest", str(folder), "--pattern", "{patient}_{label}_{slice}"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["patient", "label", "split", "picture", "mask"]
    assert shown[1].split() == ["P0", "glioma", "-", "P0_glioma_1.png", "P0_glioma_1_mask.png"]
    assert shown[11] == ""
    assert "4 of 16 pictures have a mask" in shown
    records = open_source("manifest", folder).records()
    assert {record.path for record in records} == set(names)
    assert {record.patient for record in records} == {f"P{i}" for i in range(8)}
    assert {record.label for record in records} == {"glioma", "no_tumour"}
    assert main(["manifest", str(folder), "--pattern", "{patient}_*"]) == 2
    assert "manifest.csv: exists: replace it with --out" in capsys.readouterr().err


def test_what_does_not_fit_is_left_out_by_name_with_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made(tmp_path / "data", "P1_1.png", "overview.png", "P9_1_mask.png")
    assert main(["manifest", str(folder), "--pattern", "{patient}_{slice}"]) == 1
    printed = capsys.readouterr().out
    assert "left out: 1 pictures that the pattern does not fit, the first: overview.png" in printed
    assert "left out: 1 masks without a picture, the first: P9_1_mask.png" in printed


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("{patent}_{slice}", "unknown field '{patent}' (did you mean 'patient'?)"),
        ("{patient}_{patient}", "is in it twice"),
        ("{patient}{slice}", "two fields touch"),
        ("patient_slice", "expected fields in braces"),
        ("{patient_{slice}", "expected fields in braces"),
        ("{label}/{patient}", "no picture fits the pattern '{label}/{patient}', the first is 'P1_1.png'"),
    ],
)
def test_a_wrong_pattern_is_refused_in_one_line(
    pattern: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made(tmp_path / "data", "P1_1.png")
    assert main(["manifest", str(folder), "--pattern", pattern]) == 2
    assert why in capsys.readouterr().err


def test_a_split_that_is_no_part_and_other_sets_beside_a_pattern_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(made(tmp_path / "data", "first/P1_1.png"))
    for arguments, why in (
        ([folder, "--pattern", "{split}/{patient}_{slice}"], "split 'first': expected train, val or test"),
        ([folder, folder, "--pattern", "{patient}_{slice}"], "--pattern: expected one FOLDER and no other set"),
        ([folder], "--out: expected the file to write"),
        ([f"{folder}/nowhere", "--pattern", "{patient}"], "no such folder of data"),
    ):
        assert main(["manifest", *arguments]) == 2
        assert why in capsys.readouterr().err
