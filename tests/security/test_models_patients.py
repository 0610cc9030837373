"""Patients that a model was trained on can't be found out from what is published, and are still not scored by its owner."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import bts
from bts.data.patient_ids import FILE_NAME, hashed_patient, key_name, make_key, read_key
from bts.data.phantom import write_phantom
from bts.data.preprocess import Preprocessing
from bts.data.sources.base import Record
from bts.data.sources.catalogue import open_source
from bts.errors import RequestError
from bts.evaluation.subject import remove_known
from bts.export.formats import export_model
from bts.inference.runtimes.exported import card_in
from bts.models.card import parse_card, published, to_json
from bts.models.folder import ModelCard, read_card, write_model_folder
from bts.models.networks import Architecture, create_network
from bts.training.run_data import refuse_training_patients, training_patients
from tools.half_precision import write_half_folder

BUNDLED = Path(bts.__file__).parent / "bundled"
IDS = ("MR040240", "100360", "53669", "MR019214")


def possible_ids() -> Iterator[str]:
    """Yield every ID of the kinds that figshare's set has: up to six digits, or MR and six digits."""
    for number in range(1_000_000):
        yield str(number)
        yield f"MR{number:06d}"


def recovered(hashes: set[bytes]) -> set[str]:
    """Return the IDs whose SHA-256 is among the hashes, or whose HMAC under an empty or obvious key is."""
    found = set()
    for name in possible_ids():
        if hashlib.sha256(name.encode()).digest() in hashes:
            found.add(name)
    keys = (b"", b"bts", b"patients", b"secret", b"\0" * 32)
    few = (f"{letters}{number}" for letters, number in itertools.product(("", "MR0"), range(10_000, 1_000_000, 97)))
    return found | {name for name in few for key in keys if bytes.fromhex(hashed_patient(name, key=key)) in hashes}


def hashes_in(folder: Path) -> set[bytes]:
    """Return everything in the files of a folder that may be a SHA-256, in hexadecimal."""
    found: set[bytes] = set()
    for file in folder.rglob("*"):
        if file.is_file():
            found |= {bytes.fromhex(text.decode()) for text in re.findall(rb"(?<![0-9a-f])[0-9a-f]{64}", file.read_bytes())}
    return found


def test_the_enumeration_finds_hashes_without_a_key() -> None:
    assert recovered({hashlib.sha256(name.encode()).digest() for name in IDS}) == set(IDS)


def test_no_patient_is_recovered_from_the_models_in_the_package() -> None:
    folders = [folder for folder in BUNDLED.iterdir() if (folder / "model.json").is_file()]
    assert folders
    for folder in folders:
        found = hashes_in(folder)
        assert bytes.fromhex(read_card(folder).weights_sha256) in found  # what is searched for is found at all
        assert recovered(found) == set()
        assert read_card(folder).training_patients == []
        assert card_in(folder / "model.onnx").training_patients == []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a key, and a model in it that lists four patients."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    folder.mkdir()
    key = make_key(folder)
    architecture = Architecture("cls", "test_resnet", size=64, num_classes=4)
    card = ModelCard(
        "cls",
        "one",
        architecture.to_dict(),
        Preprocessing(size=64, crop_brain=False).to_dict(),
        classes=["meningioma", "glioma", "pituitary", "no_tumour"],
        training_patients=sorted(hashed_patient(name, key=key) for name in IDS),
        patients_key=key_name(key),
        trained_on="9 figshare slices",
    )
    write_model_folder(folder / "model", card, create_network(architecture).state_dict())
    return folder


@pytest.fixture
def fresh(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "one"))


def test_no_patient_is_recovered_from_a_run_s_model_folder(run: Path) -> None:
    assert len(read_card(run / "model").training_patients) == 4
    assert recovered(hashes_in(run / "model")) == set()


def test_the_key_is_private_random_and_kept(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    assert read_key(first) is None
    key = make_key(first)
    assert len(key) == 32
    assert key != make_key(second)
    assert make_key(first) == key == read_key(first)  # a resumed run keeps its key
    assert key.hex() not in key_name(key)
    if os.name == "posix":
        assert stat.S_IMODE((first / FILE_NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"xyz", b"00" * 31, b"00" * 33, b"\xff" * 64])
def test_a_file_that_is_no_key_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    for ask in (read_key, make_key):
        with pytest.raises(RequestError, match=r"patients\.key: .*original run folder") as caught:
            ask(tmp_path)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_can_not_be_written_to_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RequestError, match=r"patients\.key: can't be written"):
        make_key(tmp_path)


def record(patient: str | None) -> Record:
    return Record(path=f"{patient}.png", label="glioma", patient=patient)


def test_the_owner_refuses_training_patients_and_lets_others_pass(run: Path) -> None:
    patients = training_patients(read_card(run / "model"), run / "model")
    refuse_training_patients(patients, [record("200000"), record(None)])
    for name in ("MR040240", "MR040240B", "53669"):
        with pytest.raises(RequestError, match=r"1 of 2 slices are of 1 patient that 'one' was trained on") as caught:
            refuse_training_patients(patients, [record("200000"), record(name)])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("lost", "message"), [(True, "is not there"), (False, "is the key of another run")])
def test_without_the_key_a_run_s_own_test_is_refused(lost: bool, message: str, fresh: Path) -> None:
    (fresh / FILE_NAME).unlink()
    if not lost:
        make_key(fresh)
    patients = training_patients(read_card(fresh / "model"), fresh / "model")
    with pytest.raises(RequestError, match=rf"can't check that 'one' .*patients\.key.*{message}.*original run folder"):
        refuse_training_patients(patients, [record("200000")])


def foreign(folder: Path) -> Path:
    """Write a phantom set, whose patients bear numbers."""
    write_phantom(folder, patients=3, slices_per_patient=(1, 1), seed=5, side=128)
    return folder


def test_of_a_foreign_set_the_owner_leaves_training_patients_out(fresh: Path, tmp_path: Path) -> None:
    source = open_source("figshare", foreign(tmp_path / "set"))
    seen = source.records()[0]
    key = read_key(fresh)
    card = replace(read_card(fresh / "model"), training_patients=[hashed_patient(str(seen.patient), key=key)])
    records, removed, notes = remove_known(source, [card], [fresh / "model"], [])
    assert removed == {"slices of patients that 'one' was trained on": 1}
    assert seen not in records
    assert notes == []


def test_without_the_key_or_the_list_a_foreign_score_says_so(fresh: Path, tmp_path: Path) -> None:
    source = open_source("figshare", foreign(tmp_path / "set"))
    (fresh / FILE_NAME).unlink()
    card = read_card(fresh / "model")
    for each, why in (
        (card, "patients.key, the key of its patients, is not there"),
        (published(card), "lists no training patients"),
    ):
        records, _, notes = remove_known(source, [each], [fresh / "model"], [])
        assert len(records) == 3
        (note,) = notes
        assert note.startswith("patients that 'one' was trained on could not be left out: ")
        assert why in note
        assert note.endswith("it was trained on slices of figshare, so these scores may be of its own training patients")


@pytest.mark.parametrize("format", ["onnx", "monai-bundle"])
def test_nothing_that_is_exported_lists_patients(format: str, fresh: Path, tmp_path: Path) -> None:
    card = read_card(fresh / "model")
    written = export_model(fresh / "model", format=format, out=tmp_path / "out").path
    place = written if written.is_dir() else written.parent
    assert hashes_in(place)
    assert not hashes_in(place) & {bytes.fromhex(text) for text in card.training_patients}
    assert card.patients_key.encode() not in b"".join(file.read_bytes() for file in place.rglob("*") if file.is_file())


def test_a_model_that_is_packed_lists_no_patients(fresh: Path, tmp_path: Path) -> None:
    card, _ = write_half_folder(fresh / "model", tmp_path / "small", name="small")
    assert card.training_patients == []
    assert card.patients_key == ""


def test_a_card_keeps_the_name_of_its_key(run: Path) -> None:
    card = read_card(run / "model")
    assert parse_card(to_json(card), Path("model.json")) == card
    assert card.patients_key not in to_json(published(card))
