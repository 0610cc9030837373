from __future__ import annotations

import csv
import os
from collections import defaultdict
from pathlib import Path

import pytest

from bts.data.patient_ids import patient_of

SHARED = Path(os.environ.get("BTS_SHARED", Path(__file__).parents[3] / "shared"))
PATIENTS = SHARED / "data" / "figshare" / "patients.csv"


@pytest.fixture(scope="module")
def table() -> list[dict[str, str]]:
    if not PATIENTS.is_file():
        pytest.skip(f"the table of real patients is not here ({PATIENTS}); BTS_SHARED names its folder")
    with PATIENTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("patient", "expected"),
    [
        ("MR040240B", "MR040240"),
        ("MR040240", "MR040240"),
        ("100360", "100360"),
        ("MR040240BC", "MR040240BC"),
        ("MR040240b", "MR040240b"),
        ("XMR040240B", "XMR040240B"),
        ("BRISC_12B", "BRISC_12B"),
        ("MRB", "MRB"),
        ("", ""),
    ],
)
def test_only_the_scan_letter_of_an_mr_number_is_left_out(patient: str, expected: str) -> None:
    assert patient_of(patient) == expected


def test_a_patient_is_its_own_patient() -> None:
    assert patient_of(patient_of("MR040240B")) == patient_of("MR040240B")


def test_exact_treats_every_id_as_a_patient_of_its_own() -> None:
    assert patient_of("MR040240B", "exact") != patient_of("MR040240", "exact")
    assert patient_of("MR040240B", "suffixes") == patient_of("MR040240", "suffixes")


def test_all_233_ids_of_figshare_get_the_patient_of_the_table(table: list[dict[str, str]]) -> None:
    expected = {row["pid"]: row["family"] for row in table}
    assert len(expected) == 233
    assert {each: patient_of(each) for each in expected} == expected


def test_figshare_has_18_patients_of_several_ids_and_15_straddle_the_folds(table: list[dict[str, str]]) -> None:
    ids, folds, slices = defaultdict(set), defaultdict(set), defaultdict(int)
    for row in table:
        name = patient_of(row["pid"])
        ids[name].add(row["pid"])
        folds[name].add(row["cv_fold"])
        slices[name] += 1
    several = [name for name in ids if len(ids[name]) > 1]
    straddling = [name for name in several if len(folds[name]) > 1]
    assert len(several) == 18
    assert sum(len(ids[name]) for name in several) == 42
    assert len(straddling) == 15
    assert sum(slices[name] for name in straddling) == 652
