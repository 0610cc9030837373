"""External sets without training patients, copies of training slices and unknown classes."""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from made_runs import made_run

from bts.data.patient_ids import hashed_patient, read_key
from bts.data.phantom import write_phantom
from bts.data.sources.catalogue import open_source
from bts.data.split import Split
from bts.errors import RequestError
from bts.evaluation.subject import Request, choose_subject, find_copies, remove_known
from bts.models.folder import read_card
from bts.report.report import write_report
from bts.training.run_data import RunData, read_run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, mixed_set: Path) -> RunData:
    return read_run(made_run(tmp_path_factory.mktemp("runs"), "cls", data=mixed_set))


@pytest.fixture
def other_set(tmp_path: Path) -> Path:
    write_phantom(tmp_path / "other", patients=3, slices_per_patient=(1, 1), seed=77, side=128)
    (tmp_path / "other" / "cvind.mat").unlink()  # it would have to name the slices that the tests add
    return tmp_path / "other"


def copy_turned(source: Path, target: Path, *, turn: int, patient: str) -> None:
    """Write a .mat file with the picture of another, turned, under a new patient."""
    target.write_bytes(source.read_bytes())
    with h5py.File(target, "r+") as file:
        for name in ("image", "tumorMask"):
            values = file["cjdata"][name][()]
            turned = np.rot90(values, turn)[:, ::-1] if turn % 2 else values[::-1]
            file["cjdata"][name][...] = turned
        codes = np.array([[ord(letter)] for letter in patient], dtype=np.uint16)
        del file["cjdata/PID"]
        file["cjdata/PID"] = codes
        file["cjdata/PID"].attrs["MATLAB_class"] = np.bytes_("char")


def test_patients_that_were_trained_on_are_left_out_and_counted(data: RunData, mixed_set: Path) -> None:
    card = read_card(data.run.model)
    source = open_source("figshare", mixed_set)
    kept, removed, _ = remove_known(source, [card], [data.run.model], [])
    trained = {row.path for row in data.split.part("train")}
    assert {record.path for record in kept} == {record.path for record in source.records()} - trained
    assert removed == {"slices of patients that 'cls/one' was trained on": len(trained)}


@pytest.mark.parametrize("turn", [0, 1])
def test_a_turned_copy_of_a_training_slice_is_left_out_also_under_another_name(
    data: RunData, mixed_set: Path, other_set: Path, turn: int
) -> None:
    first = data.split.part("train")[0].path
    copy_turned(mixed_set / first, other_set / "99.mat", turn=turn, patient="424242")
    source = open_source("figshare", other_set)
    assert find_copies(source, source.records(), data) == {"99.mat"}
    kept, removed, _ = remove_known(source, [read_card(data.run.model)], [data.run.model], [data])
    assert removed == {"copies of training slices of one": 1}
    assert len(kept) == 3


def test_classes_that_the_model_does_not_know_are_named_and_left_out(data: RunData, mixed_set: Path) -> None:
    card = replace(read_card(data.run.model), classes=["meningioma", "glioma"], training_patients=[])
    kept, removed, _ = remove_known(open_source("figshare", mixed_set), [card], [data.run.model], [])
    assert set(removed) == {
        "class 'no_tumour', which the model doesn't know",
        "class 'pituitary', which the model doesn't know",
    }
    assert {record.label for record in kept} == {"meningioma", "glioma"}


def test_a_foreign_set_is_scored_with_what_was_left_out_on_the_page(data: RunData, other_set: Path, tmp_path: Path) -> None:
    seen = data.split.part("train")[0]
    copy_turned(Path(data.source.root) / seen.path, other_set / "98.mat", turn=0, patient=seen.patient)
    request = Request(models={"cls": data.run.path}, data="figshare", root=str(other_set), device="cpu", draws=20)
    found = write_report(request, tmp_path / "report")
    assert found.removed == {"slices of patients that 'cls/one' was trained on": 1}
    assert len(found.cases) == 3
    page = html.unescape((tmp_path / "report" / "index.html").read_text())
    assert "left out: slices of patients that 'cls/one' was trained on" in page
    assert "on synthetic phantoms, an external set" in page


def test_masks_of_a_foreign_set_are_read_by_the_labels_that_are_named(data: RunData, other_set: Path) -> None:
    """The mask of every slice holds 1 and 4, of which only 4 is tumour."""
    for path in other_set.glob("*.mat"):
        with h5py.File(path, "r+") as file:
            values = file["cjdata/tumorMask"][()].astype(np.uint8)
            values[:20, :20] = 4
            file["cjdata/tumorMask"][...] = values
    request = Request(models={"cls": data.run.path}, data="figshare", root=str(other_set), mask_labels=(4,), device="cpu")
    subject = choose_subject(request)
    assert subject.records
    for record in subject.records:
        mask = np.asarray(subject.source.read(record).mask)
        assert mask.sum() == 400
        assert mask[:20, :20].all()
    with pytest.raises(RequestError, match="--mask-labels without --data: the masks of a run's own set are read as its"):
        choose_subject(replace(request, data=None))


def test_the_hash_of_a_patient_is_that_of_training(data: RunData) -> None:
    key = read_key(data.run.path)
    patients = {row.patient for row in Split.read(data.run.split_file).part("train")}
    assert set(read_card(data.run.model).training_patients) == {hashed_patient(patient, key=key) for patient in patients}
