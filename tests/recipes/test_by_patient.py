"""Score inflation: recipes on the published split and on one by recovered patient."""

from __future__ import annotations

import csv
import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from recipe_data import RECIPES, shrunk_recipe

from bts.apps import benchmark as app
from bts.audit.patients import merge_copies, read_patients, with_patients
from bts.data.patient_ids import patient_of
from bts.data.sources.base import Record
from bts.data.sources.catalogue import open_source
from bts.data.split import Split, SplitRow, records_of
from bts.errors import RequestError
from bts.evaluation.intervals import draw_patients, ratio, unpaired_difference
from bts.experiments.score_inflation import (
    TestPart,
    draw_or_read_split,
    find_gaps,
    make_part,
    measure_inflation,
    published_split,
)
from bts.glossary import NO_TUMOUR
from bts.models.folder import read_card
from bts.settings import SplitSettings
from bts.training.fit import fit

BY_NAME = {path.stem: path for path in RECIPES}
PUBLISHED = SplitSettings(kind="published", val=0.25)


def write_table(path: Path, patients: dict[str, str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "mask", "patient_id", "split", "origin"))
        writer.writerows((name, "glioma", "", patient, "train", "") for name, patient in patients.items())
    return path


def nothing() -> list[tuple[str, str]]:
    return []


def leaking_set(people: int = 40, slices: int = 3) -> tuple[list[Record], dict[str, str]]:
    """Return records whose publisher put the last slice of every person in the test part, and who is on them."""
    records, patients = [], {}
    for one in range(people):
        for number in range(slices):
            path = f"{one}_{number}.png"
            part = "test" if number == slices - 1 else "train"
            records.append(Record(path=path, label=("glioma", "pituitary")[one % 2], part=part))  # type: ignore[arg-type]
            patients[path] = f"P{one}"
    return records, patients


@pytest.fixture
def table(roots: dict[str, Path], tmp_path: Path) -> Path:
    """Patients of the made class folders: picture i of a class is of one person in both parts, so the published split leaks."""
    records = open_source("folders", roots["folders"]).records()
    return write_table(
        tmp_path / "recovered_folders.csv",
        {each.path: f"{'unknown-' if each.label == NO_TUMOUR else ''}{each.label}{Path(each.path).stem}" for each in records},
    )


def test_a_recipe_is_trained_on_both_splits_and_the_gap_is_told(
    roots: dict[str, Path], weights: Path, table: Path, tmp_path: Path
) -> None:
    name = "kaggle_backbones_mobilenetv2"
    recipes = {name: shrunk_recipe(BY_NAME[name], roots, runs=tmp_path, weights=weights)}
    asked: list[str] = []

    def train(settings: object, *, resume: Path | None = None, check: object = None) -> object:
        asked.append(settings.split.leaks)  # type: ignore[attr-defined]
        return fit(settings, resume=resume)  # type: ignore[arg-type]

    out = tmp_path / "out"
    both = partial(measure_inflation, recipes, "cls", out, table=table, device="cpu")
    found = both(train=train)  # type: ignore[arg-type]
    assert asked == ["refuse", "allow"]
    patients = read_patients(table)
    one, other = (Split.read(each.runs[name].split_file) for each in (found.published, found.by_patient))
    assert {row.part for row in one.rows} == {row.part for row in other.rows} == {"train", "val", "test"}
    assert {patients[row.path] for row in one.part("test")} <= {patients[row.path] for row in one.rows if row.part != "test"}
    assert all(row.patient == patients[row.path] for row in other.rows)
    assert read_card(found.by_patient.runs[name].model).training_patients  # the model knows on whom it was trained
    assert not read_card(found.published.runs[name].model).training_patients
    rows = pd.read_csv(out / "benchmark.csv")
    assert rows["score"].tolist()[0] == "accuracy per slice"
    assert rows["published_slices"].tolist() == [8] * len(rows)
    assert np.allclose(rows["gap"], rows["published"] - rows["by_patient"])
    assert (rows["by_patient_patients"] == len({patients[row.path] for row in other.part("test")})).all()
    assert "unpaired" in found.table
    assert "8 slices of 6 recovered patients and 2 groups of copies" in found.table
    assert (out / "benchmark.png").stat().st_size > 0
    assert both(train=partial(pytest.fail, "a finished recipe is kept")).table == found.table


def test_the_parts_are_as_large_as_the_published_ones_and_no_patient_stands_in_two(tmp_path: Path) -> None:
    records, patients = leaking_set()
    published = published_split(records, PUBLISHED)
    known = with_patients(records, patients, table=tmp_path / "t.csv")
    split, _ = draw_or_read_split(tmp_path / "split.csv", published, known, PUBLISHED, table=tmp_path / "t.csv", copies=nothing)
    for part in ("train", "val", "test"):
        assert abs(len(split.part(part)) - len(published.part(part))) <= 3  # a person more or less
        people = {row.patient for row in split.part(part)}
        assert not people & {row.patient for row in split.rows if row.part != part}
    again, _ = draw_or_read_split(tmp_path / "split.csv", published, known, PUBLISHED, table=tmp_path / "t.csv", copies=nothing)
    assert again == split


def test_a_split_drawn_of_another_table_is_refused(tmp_path: Path) -> None:
    records, patients = leaking_set()
    published, file = published_split(records, PUBLISHED), tmp_path / "split.csv"
    known = with_patients(records, patients, table=tmp_path / "t.csv")
    draw_or_read_split(file, published, known, PUBLISHED, table=tmp_path / "t.csv", copies=nothing)
    names = list(patients.values())
    another = dict(zip(patients, [*names[1:], names[0]], strict=True))  # the last slice of each is the next one's
    others = with_patients(records, another, table=tmp_path / "u.csv")
    with pytest.raises(RequestError, match=r"split\.csv: was drawn from another table than .*u\.csv"):
        draw_or_read_split(file, published, others, PUBLISHED, table=tmp_path / "u.csv", copies=nothing)


def test_patients_who_share_a_picture_stand_on_one_side(tmp_path: Path) -> None:
    records, patients = leaking_set()
    published = published_split(records, PUBLISHED)
    known = with_patients(records, patients, table=tmp_path / "t.csv")
    of = {who: path for path, who in patients.items()}
    chain = sorted(of)[::3][:4]
    shared = [(of[one], of[other]) for one, other in itertools.pairwise(chain)]
    file = tmp_path / "split.csv"
    split, lines = draw_or_read_split(file, published, known, PUBLISHED, table=tmp_path / "t.csv", copies=lambda: shared)
    parts = {row.part for row in split.rows if patients[row.path] in chain}
    assert len(parts) == 1
    assert f"{len(chain) - 1} patients of " in lines[0]
    assert len({row.patient for row in split.rows}) == len(of) - len(chain) + 1
    again, _ = draw_or_read_split(
        file, published, known, PUBLISHED, table=tmp_path / "t.csv", copies=partial(pytest.fail, "is drawn")
    )
    assert again == split


def test_a_known_patient_lends_the_name_to_an_unknown_one_and_suffixed_ids_stay_one() -> None:
    named = {"1": "unknown-0a", "2": "MR1B", "3": "MR1", "4": "7"}
    records = [Record(path, patient=who) for path, who in named.items()]
    merged, fewer = merge_copies(records, [("1", "2")], same_patient="suffixes")
    assert [record.patient for record in merged] == ["MR1", "MR1", "MR1", "7"]
    assert fewer == 1


def test_a_table_that_does_not_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    records, patients = leaking_set()
    with pytest.raises(RequestError, match=r"t\.csv: 120 of 120 images are not in it \(first: 0_0\.png\)"):
        with_patients(records, {}, table=tmp_path / "t.csv")
    with pytest.raises(RequestError, match=r"none\.csv: can't be read"):
        read_patients(tmp_path / "none.csv")
    for text, why in {
        "path,label\na.png,glioma\n": "no column 'patient_id'",
        "path,patient_id\na.png,\n": "line 2: expected a path and a patient_id",
        "path,patient_id\na.png,P1\na.png,P2\n": "line 3: 'a.png' is a duplicate",
    }.items():
        (tmp_path / "bad.csv").write_text(text, encoding="utf-8")
        with pytest.raises(RequestError, match=f"bad.csv: {why}"):
            read_patients(tmp_path / "bad.csv")
    with pytest.raises(RequestError, match=r"split\.kind ratios: --by-patient compares the publisher's own parts"):
        published_split(records, SplitSettings(kind="ratios"))
    assert read_patients(write_table(tmp_path / "good.csv", patients)) == patients


def test_the_command_hands_the_table_on(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.csv")
    with pytest.raises(RequestError, match=r"none\.csv: can't be read"):
        app.command([str(BY_NAME["kaggle_resnet50_clahe"]), "--by-patient", missing, "--out", str(tmp_path / "out")])


def side(right: list[int], people: list[str], seed: int) -> TestPart:
    """Return a side of two classes whose slices are right (1) or wrong (0)."""
    share = np.array(right, dtype=float)
    cases = pd.DataFrame({"path": [str(i) for i in range(len(right))], "label": "a", "prob_a": share, "prob_b": 1 - share})
    cases["predicted"] = np.where(share > 0.5, "a", "b")
    return make_part(cases, dict(zip(cases["path"], people, strict=True)), seed=seed)


def test_the_gap_is_the_difference_and_its_interval_holds_that_of_both_sides() -> None:
    random = np.random.default_rng(0)
    many = [f"P{i // 2}" for i in range(400)]
    published, honest = side([1] * 380 + [0] * 20, many, 0), side(list((random.random(400) < 0.8).astype(int)), many, 1)
    found = {each.score: each for each in find_gaps(published, honest)}["accuracy per slice"]
    assert found.gap.value == pytest.approx(found.published.value - found.by_patient.value)
    assert found.gap.verdict == "differs"
    low, high = found.gap.low, found.gap.high
    assert low is not None
    assert high is not None
    assert low < found.gap.value < high
    # Variances of independent draws add up: the interval is as wide as the hypotenuse of the two, within the draws' chance.
    widths = [one.high - one.low for one in (found.published, found.by_patient) if one.low is not None and one.high is not None]
    assert high - low == pytest.approx(np.hypot(*widths), rel=0.1)
    same = {each.score: each for each in find_gaps(side([1, 1, 0, 0] * 100, many, 0), side([0, 0, 1, 1] * 100, many, 1))}
    assert same["accuracy per slice"].gap.verdict == "could be chance"


def test_patients_with_many_slices_make_the_interval_wider() -> None:
    right = [1] * 200 + [0] * 200
    wide, narrow = (
        {each.score: each for each in find_gaps(side(right, people, 0), side(right, people, 1))}["accuracy per slice"].gap
        for people in ([f"P{i // 40}" for i in range(400)], [f"P{i}" for i in range(400)])
    )
    assert wide.low is not None
    assert narrow.low is not None
    assert wide.low < 3 * narrow.low


def test_draws_of_one_seed_on_both_sides_are_no_independent_draws() -> None:
    bootstrap = draw_patients(["a", "b"], seed=0)
    values = np.array([[1.0, 1.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match="different seeds"):
        unpaired_difference((values, bootstrap), (values, bootstrap), ratio)


def test_records_get_the_patient_of_the_split_where_nobody_else_names_one() -> None:
    records = [Record(path="a.png"), Record(path="b.png"), Record(path="c.png", patient="C")]
    rows = [
        SplitRow("a.png", "A", "", "train"),
        SplitRow("b.png", "slice b.png", "", "train"),
        SplitRow("c.png", "C", "", "train"),
    ]
    assert [each.patient for each in records_of(Split(tuple(rows)), records, "train")] == ["A", None, "C"]
    assert patient_of("A", "suffixes") == "A"
