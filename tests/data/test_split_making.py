from __future__ import annotations

import csv
import os
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bts.data.patient_ids import SamePatient, patient_of
from bts.data.sources.base import Record
from bts.data.split import Split, SplitRow
from bts.data.split_making import kinds, make_split
from bts.errors import RequestError
from bts.glossary import PARTS, Part
from bts.settings import SplitSettings

SHARED = Path(os.environ.get("BTS_SHARED", Path(__file__).parents[3] / "shared"))
PATIENTS = SHARED / "data" / "figshare" / "patients.csv"


@pytest.fixture(scope="module")
def figshare() -> list[Record]:
    """The 3,064 real rows: no pictures, but every label, patient and fold."""
    if not PATIENTS.is_file():
        pytest.skip(f"the table of real patients is not here ({PATIENTS}); BTS_SHARED names its folder")
    with PATIENTS.open(encoding="utf-8", newline="") as file:
        return [
            Record(path=f"{row['slice']}.mat", label=row["label_name"], patient=row["pid"], fold=int(row["cv_fold"]))
            for row in csv.DictReader(file)
        ]


def _records(patients: int = 12, slices: int = 4) -> list[Record]:
    """Two classes, four slices a patient, patients in three folds."""
    return [
        Record(path=f"{p}_{i}.mat", label=("glioma", "pituitary")[p % 2], patient=f"P{p}", fold=1 + p % 3)
        for p in range(patients)
        for i in range(slices)
    ]


def _patients(rows: list[SplitRow], same_patient: SamePatient = "suffixes") -> set[str]:
    return {patient_of(row.patient, same_patient) for row in rows}


def _shares(labels: list[str | None]) -> dict[str | None, float]:
    return {label: count / len(labels) for label, count in Counter(labels).items()}


# ---- ratios


@pytest.mark.parametrize("same_patient", ["suffixes", "exact"])
@pytest.mark.parametrize("seed", range(4))
def test_each_class_of_figshare_has_its_share_in_each_part(
    figshare: list[Record], seed: int, same_patient: SamePatient
) -> None:
    split, _ = make_split(figshare, SplitSettings(seed=seed, same_patient=same_patient))
    whole = _shares([record.label for record in figshare])
    for part, share in zip(PARTS, (0.7, 0.15, 0.15), strict=True):
        rows = split.part(part)
        assert len(rows) / len(figshare) == pytest.approx(share, abs=0.01)
        assert _shares([row.label for row in rows]) == pytest.approx(whole, abs=0.03)
    assert len(split.rows) == 3064


def test_no_patient_is_in_two_parts() -> None:
    split, _ = make_split(_records(), SplitSettings())
    patients = [_patients(split.part(part)) for part in PARTS]
    assert sum(map(len, patients)) == len(set().union(*patients)) == 12


def test_no_patient_of_figshare_is_in_two_parts_but_ids_may_be_on_request(figshare: list[Record]) -> None:
    by_patient, _ = make_split(figshare, SplitSettings())
    assert not _patients(by_patient.part("train")) & _patients(by_patient.part("test"))
    exact, _ = make_split(figshare, SplitSettings(same_patient="exact"))
    assert exact.same_patient == "exact"
    assert _patients(exact.part("train")) & _patients(exact.part("test"))
    assert not _patients(exact.part("train"), "exact") & _patients(exact.part("test"), "exact")


def test_equal_seeds_give_the_equal_split_and_others_don_t() -> None:
    first, again, other = (make_split(_records(), SplitSettings(seed=seed))[0] for seed in (1, 1, 2))
    assert first == again
    assert first.fingerprint != other.fingerprint


def test_the_draw_does_not_depend_on_the_order_of_records() -> None:
    records = _records()
    shuffled = records[:]
    random.Random(0).shuffle(shuffled)
    assert make_split(shuffled, SplitSettings())[0].fingerprint == make_split(records, SplitSettings())[0].fingerprint


def test_rows_keep_the_order_and_the_fields_of_the_records() -> None:
    split, _ = make_split(_records(), SplitSettings())
    assert [(row.path, row.patient, row.label) for row in split.rows] == [(r.path, r.patient, r.label) for r in _records()]


@pytest.mark.parametrize(("train", "val"), [(0.8, 0.2), (0.9, 0.2), (0.0, 0.5), (1.0, 0.0), (-0.1, 0.5)])
def test_shares_that_leave_a_part_empty_are_refused(train: float, val: float) -> None:
    with pytest.raises(RequestError, match=r"^split\.(train|val).*: expected (a number above 0 and below 1|a sum below 1), "):
        make_split(_records(), SplitSettings(train=train, val=val))


def test_two_patients_can_t_fill_three_parts() -> None:
    with pytest.raises(RequestError, match=r"2 patients can't fill 3 parts"):
        make_split(_records(patients=2), SplitSettings())


def test_two_ids_of_one_patient_count_once() -> None:
    records = [Record(path=f"{i}.mat", label="glioma", patient=name) for i, name in enumerate(("MR1", "MR1B", "MR2"))]
    with pytest.raises(RequestError, match=r"2 patients can't fill 3 parts"):
        make_split(records, SplitSettings())
    assert len(make_split(records, SplitSettings(same_patient="exact"))[0].rows) == 3


@pytest.mark.parametrize("kind", ["ratios", "folds", "cvind"])
def test_slices_without_patient_are_refused_with_what_to_do(kind: str) -> None:
    records = [*_records(), Record(path="lone.png", label="glioma", fold=1), Record(path="b.png", patient=" ", fold=1)]
    with pytest.raises(RequestError, match=r"2 of 50 .*no patient ID \(first: lone\.png\).*patient_id.*bts audit --recover"):
        make_split(records, SplitSettings(kind=kind, folds=3, fold=1))  # type: ignore[arg-type]


def test_no_slices_at_all_are_refused() -> None:
    with pytest.raises(RequestError, match="no slice to split"):
        make_split([], SplitSettings())


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(RequestError, match=r"^split\.seed: expected a whole number of 0 or more, received -1$"):
        make_split(_records(), SplitSettings(seed=-1))


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(RequestError, match=r"^split\.kind: expected .*, received 'fold' \(did you mean 'folds'\?\)$"):
        make_split(_records(), SplitSettings(kind="fold"))  # type: ignore[arg-type]


def test_every_kind_of_the_settings_is_there() -> None:
    assert set(kinds) == {"ratios", "folds", "cvind", "published", "file"}


def test_the_log_counts_slices_and_people_and_names_the_fingerprint() -> None:
    split, lines = make_split(_records(), SplitSettings())
    assert split.fingerprint in lines[0]
    for part in PARTS:
        rows = split.part(part)
        assert f"{part} {len(rows)} slices of {len(_patients(rows))} patients" in lines[0]


def test_a_part_without_a_class_is_warned_of() -> None:
    records = [*_records(), Record(path="rare.mat", label="meningioma", patient="rare")]
    split, lines = make_split(records, SplitSettings())
    parts = {row.part for row in split.rows if row.label == "meningioma"}
    warned = [line for line in lines if "no patient with meningioma" in line]
    assert len(warned) == 2
    assert all(any(f" in {part}:" in line for line in warned) for part in set(PARTS) - parts)


def test_slices_without_label_are_split_too() -> None:
    records = [Record(path=f"{p}.mat", patient=f"P{p}") for p in range(20)]
    split, lines = make_split(records, SplitSettings())
    assert len(split.rows) == 20
    assert {row.label for row in split.rows} == {""}
    assert len(lines) == 1


# ---- folds


def test_each_slice_is_tested_in_one_fold_and_folds_are_even(figshare: list[Record]) -> None:
    splits = [make_split(figshare, SplitSettings(kind="folds", folds=5, fold=fold))[0] for fold in range(1, 6)]
    tested = [row.path for split in splits for row in split.part("test")]
    assert len(tested) == len(set(tested)) == 3064
    whole = _shares([record.label for record in figshare])
    for split in splits:
        assert len(split.part("test")) / 3064 == pytest.approx(0.2, abs=0.01)
        assert len(split.part("val")) / 3064 == pytest.approx(0.15 * 0.8, abs=0.01)
        for part in PARTS:
            assert _shares([row.label for row in split.part(part)]) == pytest.approx(whole, abs=0.03)


@pytest.mark.parametrize(("folds", "fold"), [(1, 1), (5, 0), (5, 6), (0, 0)])
def test_a_fold_that_is_not_there_is_refused(folds: int, fold: int) -> None:
    rule = r"(a whole number of [12] or more|1 to \d with split\.kind folds)"
    with pytest.raises(RequestError, match=rf"^split\.folds?: expected {rule}, received"):
        make_split(_records(), SplitSettings(kind="folds", folds=folds, fold=fold))


def test_too_few_patients_for_the_folds_are_refused() -> None:
    with pytest.raises(RequestError, match=r"4 patients can't fill 5 parts"):
        make_split(_records(patients=4), SplitSettings(kind="folds"))


def test_a_validation_share_of_all_is_refused() -> None:
    with pytest.raises(RequestError, match=r"^split\.val: expected a number above 0 and below 1, received 1\.0$"):
        make_split(_records(), SplitSettings(kind="folds", val=1.0))


# ---- the author's folds


def _straddling() -> list[Record]:
    """Patient MR7 with three IDs in folds 1, 2 and 3, one slice more each, among patients of one fold."""
    several = [
        Record(path=f"{name}_{i}.mat", label="glioma", patient=name, fold=fold)
        for fold, name in enumerate(("MR7", "MR7B", "MR7C"), start=1)
        for i in range(fold)
    ]
    return [*_records(), *several]


def test_the_author_s_fold_is_the_test_part() -> None:
    split, _ = make_split(_records(), SplitSettings(kind="cvind", fold=2))
    expected = {record.path for record in _records() if record.fold == 2}
    assert {row.path for row in split.part("test")} == expected
    assert len(split.rows) == 48


def test_a_patient_with_an_id_in_the_test_fold_is_kept_out_of_the_rest() -> None:
    split, lines = make_split(_straddling(), SplitSettings(kind="cvind", fold=2))
    assert {row.path for row in split.rows if row.patient.startswith("MR7")} == {"MR7B_0.mat", "MR7B_1.mat"}
    assert lines[1] == (
        "split: the author's fold 2: patients also in other folds: 1, slices of theirs kept out of training and validation: 4"
    )


def test_exact_keeps_every_slice_of_the_author_s_folds() -> None:
    split, lines = make_split(_straddling(), SplitSettings(kind="cvind", fold=2, same_patient="exact"))
    assert len(split.rows) == len(_straddling())
    assert "patients also in other folds: 0, slices" in lines[1]


def test_a_patient_outside_the_test_fold_stays_whole(figshare: list[Record]) -> None:
    for fold in range(1, 6):
        split, lines = make_split(figshare, SplitSettings(kind="cvind", fold=fold))
        tested = {patient_of(r.patient or "", "suffixes") for r in figshare if r.fold == fold}
        lost = {r.path for r in figshare if r.fold != fold and patient_of(r.patient or "", "suffixes") in tested}
        assert {row.path for row in split.rows} == {r.path for r in figshare} - lost
        assert {row.path for row in split.part("test")} == {r.path for r in figshare if r.fold == fold}
        assert lost
        assert lines[1].endswith(f" {len(lost)}")


def test_missing_folds_say_where_cvind_comes_from() -> None:
    records = [Record(path="1.mat", label="glioma", patient="P"), *_records()]
    with pytest.raises(RequestError, match=r"1 of 49 .*first: 1\.mat.*cvind\.mat from https://doi\.org.*--split\.kind folds"):
        make_split(records, SplitSettings(kind="cvind"))


def test_an_unknown_author_s_fold_names_the_known_ones() -> None:
    with pytest.raises(RequestError, match=r"split\.fold 5: the author's folds are 1, 2, 3"):
        make_split(_records(), SplitSettings(kind="cvind", fold=5))


# ---- a file


def _file(tmp_path: Path, *lines: str) -> SplitSettings:
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(("path,patient,label,part", *lines)), encoding="utf-8")
    return SplitSettings(kind="file", file=str(path))


def test_a_split_that_was_written_is_read_and_used(tmp_path: Path) -> None:
    split, _ = make_split(_records(), SplitSettings(seed=3))
    split.write(tmp_path / "split.csv")
    again, lines = make_split(_records(), SplitSettings(kind="file", file=str(tmp_path / "split.csv")))
    assert again == split
    assert len(lines) == 1


def test_slices_outside_the_file_stay_unused_and_are_counted(tmp_path: Path) -> None:
    settings = _file(tmp_path, "0_0.mat,P0,glioma,train", "1_0.mat,P1,pituitary,val")
    split, lines = make_split(_records(), settings)
    assert len(split.rows) == 2
    assert any("46 of 48 slices" in line for line in lines)


def test_empty_labels_are_filled_from_the_data(tmp_path: Path) -> None:
    split, _ = make_split(_records(), _file(tmp_path, "0_0.mat,P0,,train", "1_0.mat,P1,pituitary,val"))
    assert [row.label for row in split.rows] == ["glioma", "pituitary"]


def test_the_file_may_name_patients_that_the_source_doesn_t_know(tmp_path: Path) -> None:
    records = [Record(path="a.png", label="glioma"), Record(path="b.png", label="glioma")]
    split, _ = make_split(records, _file(tmp_path, "a.png,P0,glioma,train", "b.png,P1,glioma,val"))
    assert isinstance(split, Split)
    assert [row.patient for row in split.rows] == ["P0", "P1"]


def test_a_split_of_ids_with_spaces_around_is_read_back(tmp_path: Path) -> None:
    records = [Record(path=f"{p}.mat", label="glioma", patient=f" P{p} ") for p in range(9)]
    make_split(records, SplitSettings())[0].write(tmp_path / "split.csv")
    split, _ = make_split(records, SplitSettings(kind="file", file=str(tmp_path / "split.csv")))
    assert len(split.rows) == 9


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["0_0.mat,P0,glioma,train", "x.mat,P8,glioma,val", "y.mat,P9,glioma,val"],
            r"2 of 3 .*not in the data .*first: x\.mat",
        ),
        (["0_0.mat,P0,glioma,train", "0_1.mat,P0,glioma,test"], r"patient P0 is in train .* and in test"),
        (["0_0.mat,P0,glioma,train", "1_0.mat,P1,pituitary,holdout"], r"part 'holdout'.*choose one of train, val, test"),
        (["0_0.mat,P0,glioma,train", "0_0.mat,P0,glioma,train"], r"0_0\.mat is named twice"),
        (["0_0.mat,P0,pituitary,train", "1_0.mat,P1,pituitary,val"], r"label pituitary here and glioma in the data"),
        (["0_0.mat,P5,glioma,train", "1_0.mat,P1,pituitary,val"], r"patient P5 here and P0 in the data"),
        (["0_0.mat,P0,glioma,train"], r"no slice in part 'val'"),
        (["0_0.mat,P0,glioma,val"], r"no slice in part 'train'"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line_with_its_path(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        make_split(_records(), _file(tmp_path, *lines))
    text = str(caught.value)
    assert text.startswith(str(tmp_path / "mine.csv"))
    assert "\n" not in text


def test_a_file_is_asked_for_by_its_setting() -> None:
    with pytest.raises(RequestError, match=r"^split\.file: expected a CSV file with the columns"):
        make_split(_records(), SplitSettings(kind="file"))


# ---- the publisher's parts


def _published(*, patient: bool = False, parts: tuple[Part, Part] = ("train", "test")) -> list[Record]:
    """Twenty slices a class for training and ten for testing."""
    return [
        Record(path=f"{part}/{label}/{i}.jpg", label=label, part=part, patient=f"P{part}{label}{i // 2}" if patient else None)
        for part, count in zip(parts, (20, 10), strict=True)
        for label in ("glioma", "pituitary")
        for i in range(count)
    ]


def test_the_publisher_s_test_part_is_kept_and_validation_comes_from_its_training_part() -> None:
    split, lines = make_split(_published(), SplitSettings(kind="published", val=0.2))
    assert {row.path.split("/")[0] for row in split.part("test")} == {"test"}
    assert len(split.part("test")) == 20
    assert Counter(row.label for row in split.part("val")) == {"glioma": 4, "pituitary": 4}
    assert "60 slices have no patient and count as patients of their own" in lines[1]


def test_known_patients_of_a_published_split_stay_together_and_are_not_warned_of() -> None:
    split, lines = make_split(_published(patient=True), SplitSettings(kind="published", val=0.2))
    assert not _patients(split.part("train")) & _patients(split.part("val"))
    assert not any("have no patient" in line for line in lines)


def test_a_published_validation_part_is_kept() -> None:
    extra = [Record(path="v.jpg", label="glioma", part="val")]
    split, _ = make_split([*_published(), *extra], SplitSettings(kind="published"))
    assert [row.path for row in split.part("val")] == ["v.jpg"]


def test_a_published_split_with_a_patient_on_two_sides_is_refused() -> None:
    records = [replace(record, patient="P1") for record in _published()]
    with pytest.raises(RequestError, match="patient P1 is in"):
        make_split(
            [*records, Record(path="x.jpg", label="glioma", part="train", patient="P2")], SplitSettings(kind="published")
        )


def test_slices_without_a_part_can_t_be_split_as_published() -> None:
    with pytest.raises(RequestError, match=r"48 of 48 slices have no part of the publisher's \(first: 0_0.mat\)"):
        make_split(_records(), SplitSettings(kind="published"))


def test_a_publisher_without_a_test_part_is_refused() -> None:
    with pytest.raises(RequestError, match=r"the publisher has no slice in part .test.: take"):
        make_split(_published(parts=("train", "val")), SplitSettings(kind="published"))


def test_a_class_in_the_test_part_that_training_never_saw_is_told() -> None:
    records = [*_published(), Record(path="rare.jpg", label="abscess", part="test")]
    _, lines = make_split(records, SplitSettings(kind="published"))
    assert (
        "split: warning: no patient with abscess in train: it is never learned, and its slices elsewhere are all wrong" in lines
    )
