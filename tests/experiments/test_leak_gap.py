"""The paired measurement of leakage: folds, training images of equal mix, and scores on made features."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bts.apps.cli import main
from bts.data.phantom import write_phantom
from bts.data.sources.catalogue import open_source
from bts.experiments.leak_gap import COPIES, IN, OUT, Images, draw_folds, leak_gap_table, score_set, write_leak_gaps
from tools import __main__ as tools_main
from tools.documents import markers

PATIENTS, SLICES = 20, 6


def made_images(*, healthy: int = 30) -> Images:
    """Images of patients of two classes whose last two slices are test images; the first is a copy of the last."""
    patients = [f"P{i}" for i in range(PATIENTS) for _ in range(SLICES)]
    place = [k for _ in range(PATIENTS) for k in range(SLICES)]
    copies = [i * SLICES + (SLICES - 1 if k == 0 else k) for i in range(PATIENTS) for k in range(SLICES)]
    n = len(patients)
    return Images(
        labels=np.array([("glioma", "pituitary")[int(each[1:]) % 2] for each in patients] + ["no_tumour"] * healthy),
        patients=np.array([*patients, *[""] * healthy]),
        copies=np.array([*copies, *range(n, n + healthy)]),
        held_out=np.array([k >= SLICES - 2 for k in place] + [i % 3 == 0 for i in range(healthy)]),
    )


def test_the_three_sets_of_training_images_have_one_mix_and_differ_by_the_tested_patients() -> None:
    images = made_images()
    folds = list(draw_folds(images, seed=0))
    tested = np.concatenate([fold.test for fold in folds])
    expected = images.held_out & (images.labels != "no_tumour")
    assert sorted(tested.tolist()) == np.flatnonzero(expected).tolist()
    for fold in folds:
        own = np.isin(images.patients, images.patients[fold.test])
        mixes = [Counter(images.labels[fold.training[arm]].tolist()) for arm in (OUT, IN, COPIES)]
        assert mixes[0] == mixes[1] == mixes[2]
        assert mixes[0]["no_tumour"] == 20
        assert not own[fold.training[OUT]].any()
        inside = fold.training[IN]
        copied = np.isin(images.copies, images.copies[fold.test])
        assert not copied[inside].any()
        assert set(np.flatnonzero(own & ~images.held_out & ~copied)) <= set(inside)
        assert set(np.flatnonzero(own & ~images.held_out)) <= set(fold.training[COPIES])
        assert all(len(set(some)) == len(some) for some in fold.training.values())
        assert not images.held_out[np.concatenate(list(fold.training.values()))].any()


def test_a_set_with_too_few_known_patients_has_no_folds() -> None:
    images = made_images()
    unknown = Images(images.labels, np.array(["", *images.patients[1:]]), images.copies, images.held_out)
    assert len(list(draw_folds(unknown, seed=0))) == 5
    nobody = Images(images.labels, np.full(len(images.labels), ""), images.copies, images.held_out)
    assert list(draw_folds(nobody, seed=0)) == []


@pytest.mark.parametrize(("remembers", "gap"), [(True, 1.0), (False, 0.0)])
def test_features_of_the_patient_make_a_gap_and_features_of_the_class_make_none(remembers: bool, gap: float) -> None:
    images = made_images(healthy=0)
    rng = np.random.default_rng(0)
    keys = images.patients if remembers else images.labels
    named = {key: rng.normal(size=64) for key in np.unique(keys)}
    if remembers:  # each patient resembles one of the other class most, after itself
        for i in range(0, PATIENTS, 2):
            named[f"P{i + 1}"] = named[f"P{i}"] + 0.3 * rng.normal(size=64)
    features = np.stack([named[key] for key in keys]) + 0.01 * rng.normal(size=(len(keys), 64))
    nearest, _ = score_set("made", "test part", images, list(draw_folds(images, seed=3)), features, seed=0)
    assert nearest.gap.value == pytest.approx(nearest.into.value - nearest.out.value)
    assert nearest.into.value == 1.0
    assert (nearest.gap.value > 0.5) == (gap == 1.0)
    assert nearest.copies.value == 1.0
    assert (nearest.out.n_slices, nearest.out.n_patients, nearest.with_copy) == (2 * PATIENTS, PATIENTS, PATIENTS)
    assert "made | nearest neighbour" in leak_gap_table([nearest])


def write_set(folder: Path) -> None:
    """Write phantoms as class folders, the last slice of each patient in the published test part."""
    write_phantom(folder / "figshare", patients=6, slices_per_patient=(3, 3), seed=3, side=128)
    source = open_source("figshare", folder / "figshare")
    last = {record.patient: record.path for record in source.records()}
    for record in source.records():
        part = "Testing" if record.path == last[record.patient] else "Training"
        image = source.read(record).image
        target = folder / "folders" / part / str(record.label) / f"{Path(record.path).stem}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(image / image.max() * 255).astype(np.uint8)).save(target)


def test_the_audit_measures_the_gap_with_recovered_patients_and_the_documents_take_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_set(tmp_path)
    sets = [f"figshare:{tmp_path / 'figshare'}", f"folders:{tmp_path / 'folders'}"]
    out = tmp_path / "out"
    asked = ["audit", *sets, "--recover", "figshare", "--leak-gap", "--model.weights", "none", "--out", str(out)]
    assert main(asked) == 1
    assert "| folders | nearest neighbour |" in capsys.readouterr().out
    rows = pd.read_csv(out / "leak_gap.csv").set_index(["set", "classifier"])
    row = rows.loc["folders", "nearest neighbour"]
    assert (row["part"], row["n_slices"], row["n_patients"]) == ("test part", 6, 6)
    assert row["gap"] == pytest.approx(row["in"] - row["out"])
    page = tmp_path / "page.md"
    page.write_text("\n".join(markers("leak-gap")))
    figure = tmp_path / "figure.png"
    named = ["leak-gap", str(out), "--out", str(page), "--figure", str(figure)]
    assert tools_main.main([*named, "--readme", str(page)]) == 0
    assert f"folders: 6 slices of 6 patients | {row['out']:.3f} [" in page.read_text()
    assert tools_main.main(named) == 0
    assert "test part: 6 slices of 6 patients, 0 with a copy" in page.read_text()
    assert figure.read_bytes() == (out / "leak_gap.png").read_bytes()
    assert tools_main.main(["leak-gap", str(tmp_path)]) == 2
    assert "name the output folder of `bts audit ... --leak-gap`" in capsys.readouterr().err


def test_what_can_not_be_measured_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_phantom(tmp_path / "few", patients=3, slices_per_patient=(1, 1), seed=0, side=128)
    few = f"figshare:{tmp_path / 'few'}"
    for arguments, why in (
        (
            ["audit", few, "--leak-gap", "--model.weights", "none", "--out", str(tmp_path)],
            "--leak-gap: no set with 5 known patients",
        ),
        (["audit", few, "--model.weights", "none"], "--model.weights is for --leak-gap"),
        (["audit", "figshare:nowhere", "--leak-gap", "--model.weights", str(tmp_path / "no.pt")], "no such weights file"),
    ):
        assert main(arguments) == 2
        assert why in capsys.readouterr().err


def test_files_are_written_for_one_set(tmp_path: Path) -> None:
    images = made_images(healthy=0)
    features = np.random.default_rng(0).normal(size=(len(images.labels), 8))
    gaps = list(score_set("made", "test part", images, list(draw_folds(images, seed=0)), features, seed=0))
    write_leak_gaps(tmp_path, gaps)
    rows = pd.read_csv(tmp_path / "leak_gap.csv")
    assert rows["classifier"].tolist() == ["nearest neighbour", "logistic regression"]
    assert {"seed", "draws", "machine"} <= set(rows.columns)
    with Image.open(tmp_path / "leak_gap.png") as drawn:
        assert drawn.width > 400
