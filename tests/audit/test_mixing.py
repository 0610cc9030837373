"""Tumour slices with patients and healthy ones without: who shares an invented patient, and can a model be trained on it?"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from audit_files import GUISES, phantom_pictures
from PIL import Image

from bts.apps import cli
from bts.audit.mixing import mix
from bts.audit.patients import invent_patients
from bts.audit.pictures import AuditSet
from bts.data.phantom import write_phantom
from bts.data.sources.base import Source
from bts.data.sources.catalogue import open_source
from bts.data.split import make_split
from bts.errors import InputError, RequestError
from bts.settings import SplitSettings


def healthy_set(folder: Path, pictures: dict[str, np.ndarray]) -> Source:
    """Healthy pictures in a folder named by class."""
    (folder / "no_tumor").mkdir(parents=True)
    for name, image in pictures.items():
        Image.fromarray(image).save(folder / "no_tumor" / f"{name}.png")
    return open_source("folders", folder)


def test_copies_share_a_patient_also_across_sets_and_different_slices_do_not(tmp_path: Path) -> None:
    first, second, third = phantom_pictures()[:3]
    one = healthy_set(tmp_path / "one", {"a": first, "b": GUISES["mirrored"](first), "c": second})
    other = healthy_set(tmp_path / "other", {"d": GUISES["recompressed"](second), "e": third})
    here, there = invent_patients([AuditSet("one", one), AuditSet("other", other)])
    assert here["no_tumor/a.png"] == here["no_tumor/b.png"]
    assert here["no_tumor/c.png"] == there["no_tumor/d.png"]
    assert len({*here.values(), *there.values()}) == 3


def test_an_invented_patient_depends_on_the_pictures_not_on_their_names(tmp_path: Path) -> None:
    first, second = phantom_pictures()[:2]
    one = healthy_set(tmp_path / "one", {"a": first, "b": GUISES["mirrored"](first), "c": second})
    renamed = healthy_set(tmp_path / "renamed", {"z": first, "y": GUISES["mirrored"](first), "x": second})
    (names,), (others,) = (invent_patients([AuditSet("set", each)]) for each in (one, renamed))
    assert names["no_tumor/a.png"] == others["no_tumor/z.png"]
    assert names["no_tumor/c.png"] == others["no_tumor/x.png"]


def test_the_mixed_table_is_split_by_patient_with_every_copy_on_one_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_phantom(tmp_path / "figshare", patients=9, slices_per_patient=(1, 2), seed=5)
    pictures = phantom_pictures()[:8]
    copies = {f"copy{i}": GUISES["mirrored"](image) for i, image in enumerate(pictures)}
    healthy_set(tmp_path / "healthy", {f"first{i}": image for i, image in enumerate(pictures)} | copies)
    arguments = ["manifest", f"figshare:{tmp_path / 'figshare'}", "--healthy", f"clinic=folders:{tmp_path / 'healthy'}"]
    assert cli.main([*arguments, "--out", str(tmp_path / "table" / "manifest.csv")]) == 0
    assert re.search(r"clinic +no_tumour +16 slices", capsys.readouterr().out)
    source = open_source("manifest", tmp_path / "table")
    assert source.classes == ("meningioma", "glioma", "pituitary", "no_tumour")
    split, _ = make_split(source.records(), SplitSettings())
    part = {Path(row.path).stem: row.part for row in split.rows}
    assert all(part[f"first{i}"] == part[f"copy{i}"] for i in range(len(pictures)))


def test_a_healthy_picture_that_repeats_one_of_an_earlier_set_is_taken_once(tmp_path: Path) -> None:
    first, second, third = phantom_pictures()[:3]
    one = healthy_set(tmp_path / "one", {"a": first, "b": second, "copy_of_b": GUISES["mirrored"](second)})
    other = healthy_set(tmp_path / "other", {"d": GUISES["recompressed"](first), "e": third, "copy_of_e": third})
    rows = mix([], [AuditSet("first", one), AuditSet("second", other)], folder=tmp_path)
    assert [row["source"] for row in rows] == ["first"] * 3 + ["second"] * 2
    # within one set copies stay, as its publisher counts them
    assert [Path(row["path"]).stem for row in rows] == ["a", "b", "copy_of_b", "copy_of_e", "e"]


def test_a_tumour_slice_without_a_patient_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "set" / "glioma"
    folder.mkdir(parents=True)
    Image.fromarray(phantom_pictures()[0]).save(folder / "a.png")
    source = open_source("folders", tmp_path / "set")
    with pytest.raises(
        RequestError, match=r"1 slices with a tumour have no patient .*take a set with patients, or only its healthy"
    ):
        mix([AuditSet("folders", source)], [], folder=tmp_path)


def test_a_set_without_healthy_slices_is_refused(tmp_path: Path) -> None:
    write_phantom(tmp_path, patients=3, slices_per_patient=(1, 1), seed=5)
    source = open_source("figshare", tmp_path)
    with pytest.raises(RequestError, match="no slice of class no_tumour in it: name a set with healthy slices"):
        mix([AuditSet("figshare", source)], [AuditSet("figshare", source)], folder=tmp_path)


def test_a_set_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    write_phantom(tmp_path, patients=3, slices_per_patient=(1, 1), seed=5)
    source = open_source("figshare", tmp_path)
    with pytest.raises(RequestError, match=r"1\.mat is in two of the sets: name each set once"):
        mix([AuditSet("figshare", source), AuditSet("again", source)], [], folder=tmp_path)


def test_a_healthy_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    source = healthy_set(tmp_path, {"a": phantom_pictures()[0]})
    (tmp_path / "no_tumor" / "a.png").write_bytes((tmp_path / "no_tumor" / "a.png").read_bytes()[:60])
    with pytest.raises((InputError, RequestError), match=r"a\.png"):
        invent_patients([AuditSet("set", source)])
