"""The audit of images on disk: planted leaks, clean splits, files and messages."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
from audit_files import GUISES, phantom_pictures
from PIL import Image

from bts.apps.cli import main
from bts.audit.images import AuditSet, collect
from bts.audit.run import audit_split
from bts.data.phantom import write_phantom
from bts.data.sources.catalogue import open_source
from bts.data.split import Split, SplitRow
from bts.data.split_making import make_split
from bts.errors import RequestError
from bts.settings import SplitSettings


def save(folder, part, name, image):
    path = folder / part / "glioma" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(image)).save(path)


@pytest.fixture
def folders(tmp_path):
    """Class folders with eight pictures for training and four others for testing."""
    for i, image in enumerate(phantom_pictures()[:12]):
        save(tmp_path / "data", "Training" if i < 8 else "Testing", f"{i}.png", image)
    return tmp_path / "data"


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(folder, patients=12, slices_per_patient=(1, 2), seed=5, side=128)
    return open_source("figshare", folder)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_clean_split_passes_with_status_0(folders, tmp_path, capsys):
    assert main(["audit", f"folders:{folders}", "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.startswith("no leak")
    assert rows_of(tmp_path / "out" / "leaks.csv") == []


def test_the_page_shows_copies_of_a_set_without_parts(tmp_path, capsys):
    rows = ["path,label,patient_id"]
    for i, image in enumerate([*phantom_pictures()[:4], phantom_pictures()[0]]):
        save(tmp_path, "set", f"{i}.png", image)
        rows.append(f"set/glioma/{i}.png,glioma,P{i}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    assert main(["audit", f"manifest:{tmp_path}", "--out", str(tmp_path / "out")]) == 0
    assert "copies under two patient IDs: 1" in capsys.readouterr().out
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert '<p class="verdict leak">no parts' in page
    section = page[page.index("Copies in the same set (1)") :]
    assert re.search(r"two patient IDs</b><br>\S*set/glioma/0.png .*?<br>\S*set/glioma/4.png", section)


def test_planted_copies_are_found_with_status_1(folders, tmp_path, capsys):
    for i, guise in enumerate(("mirrored", "recompressed", "rescaled", "cropped into the head")):
        save(folders, "Testing", f"copy_{i}.png", GUISES[guise](phantom_pictures()[i]))
    (folders / "Testing" / "glioma" / "same_file.png").write_bytes((folders / "Training" / "glioma" / "5.png").read_bytes())
    out = tmp_path / "out"
    assert main(["audit", str(folders), "--out", str(out)]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("LEAK: 5 of 9 held-out images")
    found = {row["path"]: row for row in rows_of(out / "leaks.csv")}
    for i in range(4):
        row = found[f"Testing/glioma/copy_{i}.png"]
        assert (row["kind"], row["other_path"], row["other_part"]) == ("near", f"Training/glioma/{i}.png", "train")
    assert found["Testing/glioma/copy_0.png"]["orientation"] == "mirrored"
    assert found["Testing/glioma/same_file.png"]["kind"] == "bytes"
    assert json.loads((out / "audit.json").read_text())["leaking"] is True


def test_the_page_opens_offline_and_shows_pairs(folders, tmp_path):
    save(folders, "Testing", "copy.png", GUISES["mirrored"](phantom_pictures()[0]))
    main(["audit", str(folders), "--out", str(tmp_path / "out")])
    page = (tmp_path / "out" / "index.html").read_text()
    assert "LEAK: 1 of 5 held-out images" in page
    assert "Testing/glioma/copy.png" in page
    assert page.count("data:image/jpeg;base64,") >= 2
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)


def test_names_in_a_page_can_not_carry_markup(folders, tmp_path):
    save(folders, "Testing", "<b>copy.png", phantom_pictures()[0])
    main(["audit", str(folders), "--out", str(tmp_path / "out")])
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<b>copy" not in page
    assert "&lt;b&gt;copy" in page


def test_recovery_brings_patients_back_as_a_manifest(phantom, folders, tmp_path):
    out = tmp_path / "out"
    record = phantom.records()[0]
    image = phantom.read(record).image
    grey = np.rint(image / image.max() * 255).astype(np.uint8)
    save(folders, "Training", "origin.png", grey[:, ::-1])
    save(folders, "Testing", "origin.png", grey)
    assert main(["audit", f"figshare:{phantom.root}", str(folders), "--recover", "figshare", "--out", str(out)]) == 1
    rows = {row["path"]: row for row in rows_of(out / "recovered_folders.csv")}
    mirrored, upright = rows["Training/glioma/origin.png"], rows["Testing/glioma/origin.png"]
    assert (mirrored["orientation"], upright["orientation"]) == ("mirrored", "upright")
    assert {row["patient_id"] for row in (mirrored, upright)} == {record.patient}
    assert {row["origin"] for row in (mirrored, upright)} == {record.path}
    assert rows["Training/glioma/0.png"]["patient_id"].startswith("unknown-")
    assert ("patient", "Testing/glioma/origin.png") in {(row["kind"], row["path"]) for row in rows_of(out / "leaks.csv")}
    (folders / "manifest.csv").write_text((out / "recovered_folders.csv").read_text())
    again = open_source("manifest", folders)
    assert {each.path: each.patient for each in again.records()}["Training/glioma/origin.png"] == record.patient
    split, _ = make_split(again.records(), SplitSettings())
    assert len({row.part for row in split.rows if row.patient == record.patient}) == 1


def test_a_split_by_patient_passes_before_training(phantom):
    split, _ = make_split(phantom.records(), SplitSettings(train=0.5, val=0.25))
    findings = audit_split(phantom, split)
    assert not findings.leaking
    findings.refuse()


def test_a_copy_under_another_patient_is_refused_before_training(tmp_path):
    original = phantom_pictures()[0]
    for i, image in enumerate((original, original[:, ::-1], phantom_pictures()[1])):
        save(tmp_path, "", f"{i}.png", image)
    source = open_source("folders", tmp_path)
    parts = ("train", "test", "val")
    rows = [SplitRow(record.path, f"p{i}", "glioma", parts[i]) for i, record in enumerate(source.records())]
    with pytest.raises(
        RequestError, match=r"the split leaks: 1 held-out slices .*glioma/1\.png \(test\).*glioma/0\.png \(train\)"
    ):
        audit_split(source, Split(rows=tuple(rows))).refuse()


def test_a_split_file_that_leaks_a_patient_is_audited_not_refused(phantom, tmp_path, capsys):
    record, other = phantom.records()[:2]
    lines = ["path,patient,label,part", f"{record.path},MR1,glioma,train", f"{other.path},MR1B,glioma,test"]
    file = tmp_path / "split.csv"
    file.write_text("\n".join(lines) + "\n")
    arguments = ["audit", f"figshare:{phantom.root}", "--split", str(file), "--out", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert main([*arguments, "--same-patient", "exact"]) == 0
    assert "LEAK: 1 of 1 held-out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("slice,part\n1.mat,train\n", r"no column 'path': give a CSV"),
        ("path,part\n1.mat,training set\n", r"line 2: part 'training set': expected train, val or test"),
        ("path,part\n1.mat,train\n1.mat,test\n", r"line 3: '1\.mat' is a duplicate"),
        ("path,part\nx.mat,train\n", r"1 slice of the split missing from the data \(first: x\.mat\)"),
    ],
)
def test_a_wrong_split_file_is_one_line(phantom, tmp_path, capsys, content, message):
    (tmp_path / "split.csv").write_text(content)
    out = str(tmp_path / "out")
    assert main(["audit", f"figshare:{phantom.root}", "--split", str(tmp_path / "split.csv"), "--out", out]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert len([line for line in error.splitlines() if line.startswith("error:")]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["figshar:nowhere"], r"unknown data source 'figshar' \(did you mean 'figshare'\?\)"),
        (["nowhere"], r"nowhere: no such folder, \.csv or \.npz"),
        (["FOLDERS", "--split", "other=split.csv"], r"no set 'other' here: choose one of folders"),
        (["FOLDERS", "--split", "nowhere.csv"], r"nowhere\.csv: can't be read"),
        (["FOLDERS", "FOLDERS", "--split", "split.csv"], r"several sets are audited: write --split SET=split\.csv"),
        (["FOLDERS", "--recover", "brisc"], r"no set 'brisc' to recover from"),
    ],
)
def test_a_wrong_request_is_one_line(folders, tmp_path, capsys, arguments, message):
    named = [str(folders) if each == "FOLDERS" else each for each in arguments]
    assert main(["audit", *named, "--out", str(tmp_path / "out")]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_an_unreadable_picture_is_named_and_the_others_are_audited(folders, tmp_path, capsys):
    (folders / "Testing" / "glioma" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    assert main(["audit", str(folders), "--out", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("no leak")
    assert re.search(r"1 image can't be read, the first: .*torn\.png: ", printed)


def test_two_sets_of_one_name_are_refused(folders):
    source = open_source("folders", folders)
    with pytest.raises(RequestError, match="duplicate set names"):
        collect([AuditSet("a", source), AuditSet("a", source)])
