"""Tables of tumour slices with patients and healthy ones without: shared invented patients, and a training on them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from audit_files import GUISES, phantom_pictures, resized
from PIL import Image

from bts.apps import cli
from bts.audit.exclusions import REASONS, TABLE, exclusion_reason, read_exclusions, slice_key
from bts.audit.images import AuditSet
from bts.audit.mixing import mix, two_folds
from bts.audit.patients import invent_patients
from bts.audit.views import thumbnail
from bts.data.phantom import write_phantom
from bts.data.sources.base import Source
from bts.data.sources.catalogue import open_source
from bts.data.split_making import make_split
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
    write_phantom(tmp_path / "figshare", patients=9, slices_per_patient=(1, 2), seed=5, side=128)
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
    rows = mix([], [AuditSet("first", one), AuditSet("second", other)], folder=tmp_path).rows
    assert [row["source"] for row in rows] == ["first"] * 3 + ["second"] * 2
    # within one set copies stay, as its publisher counts them
    assert [Path(row["path"]).stem for row in rows] == ["a", "b", "copy_of_b", "copy_of_e", "e"]


def test_a_tumour_slice_without_a_patient_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "set" / "glioma"
    folder.mkdir(parents=True)
    Image.fromarray(phantom_pictures()[0]).save(folder / "a.png")
    source = open_source("folders", tmp_path / "set")
    with pytest.raises(
        RequestError, match=r"1 slice with a tumour, but without a patient .*take a set with patients, or only its healthy"
    ):
        mix([AuditSet("folders", source)], [], folder=tmp_path)


def test_a_set_without_healthy_slices_is_refused(tmp_path: Path) -> None:
    write_phantom(tmp_path, patients=3, slices_per_patient=(1, 1), seed=5, side=128)
    source = open_source("figshare", tmp_path)
    with pytest.raises(RequestError, match="no slice of class no_tumour in it: expected a set with healthy slices"):
        mix([AuditSet("figshare", source)], [AuditSet("figshare", source)], folder=tmp_path)


def test_a_set_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    write_phantom(tmp_path, patients=3, slices_per_patient=(1, 1), seed=5, side=128)
    source = open_source("figshare", tmp_path)
    with pytest.raises(RequestError, match=r"1\.mat is in two of the sets: name each set once"):
        mix([AuditSet("figshare", source), AuditSet("again", source)], [], folder=tmp_path)


def test_a_healthy_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    source = healthy_set(tmp_path, {"a": phantom_pictures()[0]})
    (tmp_path / "no_tumor" / "a.png").write_bytes((tmp_path / "no_tumor" / "a.png").read_bytes()[:60])
    with pytest.raises((InputError, RequestError), match=r"a\.png"):
        invent_patients([AuditSet("set", source)])


# ---- tumours of other sets


def tumour_set(folder: Path, pictures: dict[str, np.ndarray]) -> Source:
    """Pictures by `class/name` in a folder of the Kaggle set's layout."""
    for name, image in pictures.items():
        file = folder / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return open_source("folders", folder)


@pytest.fixture
def known(tmp_path: Path) -> AuditSet:
    """Six patients with tumours, as 256 x 256 pictures named in a manifest."""
    lines = ["path,label,mask,patient_id,split"]
    for i, image in enumerate(phantom_pictures()[:6]):
        Image.fromarray(image).save(tmp_path / f"known{i}.png")
        lines.append(f"known{i}.png,glioma,,P{i},")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    return AuditSet("known", open_source("manifest", tmp_path))


def names(rows: list[dict[str, str]]) -> list[str]:
    return [Path(row["path"]).stem for row in rows]


def test_only_new_tumours_are_added_and_each_once(known: AuditSet, tmp_path: Path) -> None:
    pictures = phantom_pictures()
    first = {"glioma/copy": GUISES["mirrored"](pictures[0]), "glioma/new": pictures[8], "no_tumor/healthy": pictures[9]}
    second = {"glioma/again": GUISES["recompressed"](pictures[8]), "meningioma/other": pictures[10]}
    sets = [AuditSet("one", tumour_set(tmp_path / "one", first)), AuditSet("two", tumour_set(tmp_path / "two", second))]
    mixed = mix([known], tumours=sets, folder=tmp_path)
    assert names(mixed.rows) == [*(f"known{i}" for i in range(6)), "new", "other"]
    new, other = mixed.rows[-2:]
    assert new["patient_id"].startswith("unknown-")
    assert new["patient_id"] != other["patient_id"]
    assert (new["source"], other["source"], other["label"]) == ("one", "two", "meningioma")
    assert not mixed.held_out


def test_of_copies_the_one_with_a_mask_is_taken_and_contradicting_classes_are_left_out(known: AuditSet, tmp_path: Path) -> None:
    pictures = phantom_pictures()
    bare = tumour_set(tmp_path / "bare", {"glioma/a": pictures[8], "glioma/b": pictures[9]})
    folder = tmp_path / "masked"
    folder.mkdir()
    Image.fromarray(pictures[8]).save(folder / "a2.png")
    Image.fromarray(pictures[9]).save(folder / "b2.png")
    Image.fromarray((pictures[8] > 250).astype(np.uint8) * 255).save(folder / "a2_mask.png")
    (folder / "manifest.csv").write_text("path,label,mask\na2.png,glioma,a2_mask.png\nb2.png,meningioma,\n")
    masked = open_source("manifest", folder)
    mixed = mix([known], tumours=[AuditSet("bare", bare), AuditSet("masked", masked)], folder=tmp_path)
    assert names(mixed.rows)[6:] == ["a2"]
    assert mixed.rows[6]["mask"].endswith("a2_mask.png")


def test_two_folds_hold_every_new_tumour_out_once_and_part_no_group(known: AuditSet, tmp_path: Path) -> None:
    pictures = phantom_pictures()
    new = {f"glioma/new{i}": pictures[i] for i in range(8, 14)}
    extra = AuditSet("extra", tumour_set(tmp_path / "extra", new))
    first, second = (mix([known], tumours=[extra], hold_out=fold, folder=tmp_path) for fold in (1, 2))
    held = [names(each.held_out) for each in (first, second)]
    assert sorted(held[0] + held[1]) == sorted(f"new{i}" for i in range(8, 14))
    assert len(held[0]) == len(held[1]) == 3
    for each in (first, second):
        assert not {row["patient_id"] for row in each.rows} & {row["patient_id"] for row in each.held_out}
        assert len(each.rows) + len(each.held_out) == 12


def test_folds_spread_the_classes_and_leave_known_patients_in_training() -> None:
    def row(patient: str, label: str) -> dict[str, str]:
        return {"patient_id": patient, "label": label}

    rows = [row("unknown-a", "glioma")] * 5 + [row("unknown-b", "glioma")] * 3 + [row("unknown-c", "glioma")] * 2
    rows += [row("unknown-d", "pituitary"), row("unknown-e", "pituitary"), row("P1", "glioma")]
    folds = two_folds(rows)
    assert folds == {"unknown-a": 1, "unknown-b": 2, "unknown-c": 2, "unknown-d": 1, "unknown-e": 2}


@pytest.mark.parametrize("fold", [0, 3])
def test_a_fold_that_does_not_exist_is_refused(known: AuditSet, tmp_path: Path, fold: int) -> None:
    with pytest.raises(RequestError, match=f"fold {fold} of the tumours to hold out: expected 1 or 2"):
        mix([known], hold_out=fold, folder=tmp_path)


def test_a_set_without_tumours_is_refused(known: AuditSet, tmp_path: Path) -> None:
    healthy = healthy_set(tmp_path / "healthy", {"a": phantom_pictures()[8]})
    with pytest.raises(RequestError, match="no slice with a tumour in it: expected a set with tumours"):
        mix([known], tumours=[AuditSet("healthy", healthy)], folder=tmp_path)


def test_the_command_writes_both_tables_and_refuses_a_fold_of_nothing(
    known: AuditSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = phantom_pictures()
    tumour_set(tmp_path / "extra", {"glioma/a": pictures[8], "glioma/b": pictures[9]})
    out = tmp_path / "table" / "manifest.csv"
    arguments = ["manifest", f"manifest:{tmp_path}", "--out", str(out), "--hold-out", "1"]
    assert cli.main(arguments) == 2
    assert "--hold-out: expected sets in --tumours" in capsys.readouterr().err
    assert cli.main([*arguments, "--tumours", f"folders:{tmp_path / 'extra'}"]) == 0
    assert "held out: 1 slice of fold 1, in " in capsys.readouterr().out
    assert len(open_source("manifest", out).records()) == 7
    assert len(open_source("manifest", out.with_name("held_out.csv")).records()) == 1


# ---- healthy slices that are none


@pytest.fixture
def exclusions(tmp_path: Path) -> Path:
    table = tmp_path / "excluded.csv"
    first, second = (slice_key(thumbnail(image)) for image in phantom_pictures()[:2])
    table.write_text(f"key,reason\n{first},ct\n{second},mass\n")
    return table


@pytest.mark.parametrize("guise", [GUISES["recompressed"], lambda image: resized(image, 512, 512)])
def test_an_excluded_slice_is_found_again_in_another_format_and_no_other_is(
    exclusions: Path, guise: Callable[[np.ndarray], np.ndarray]
) -> None:
    pictures = [guise(image) for image in phantom_pictures()]
    reasons = [exclusion_reason(thumbnail(image), table=exclusions) for image in pictures]
    assert reasons == ["ct", "mass"] + [None] * 14


def test_excluded_slices_are_left_out_of_the_healthy_ones_and_counted(exclusions: Path, tmp_path: Path) -> None:
    source = healthy_set(tmp_path / "set", {f"p{i}": image for i, image in enumerate(phantom_pictures()[:4])})
    mixed = mix([], [AuditSet("set", source)], folder=tmp_path, exclusions=exclusions)
    assert names(mixed.rows) == ["p2", "p3"]
    assert mixed.excluded == {"ct": 1, "mass": 1}


def test_the_table_in_the_package_has_a_reason_for_each_key() -> None:
    signs, reasons = read_exclusions(TABLE)
    assert signs.shape == (len(reasons), 120)
    assert set(reasons) == set(REASONS)
    assert len({row.tobytes() for row in signs}) == len(reasons)
