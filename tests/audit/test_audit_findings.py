"""Leaks: patients, IDs with suffixes and copies in two parts, within a set and across sets."""

from __future__ import annotations

import numpy as np
import pytest

from bts.audit.descriptor import ORIENTATIONS
from bts.audit.findings import judge
from bts.audit.images import AuditImage, Collection
from bts.audit.matches import Match, Matches
from bts.audit.patients import find_origins, patients_of
from bts.audit.summary import leak_table, recovery_counts, repeated, repeats, shared, summary, two_patients, verdict
from bts.data.sources.base import Record
from bts.errors import RequestError

MIRRORED, ROTATED = ORIENTATIONS.index("mirrored"), ORIENTATIONS.index("rotated_90")


def picture(path, *, part=None, patient=None, label="glioma", name="set", pixels=None, content=None) -> AuditImage:
    record = Record(path=path, label=label, patient=patient, part=part)
    return AuditImage(
        set_name=name, record=record, bytes_hash=content or f"bytes of {name}/{path}", pixels_hash=pixels or f"{name}/{path}"
    )


def collect(*pictures: AuditImage) -> Collection:
    return Collection(images=pictures, thumbs=np.zeros((len(pictures), 96, 96), np.uint8))


def judged(*pictures, matches=(), **options):
    return judge(collect(*pictures), Matches(found=tuple(matches), rejected=()), **options)


def test_a_patient_on_two_sides_is_a_leak():
    found = judged(picture("1", part="train", patient="7"), picture("2", part="test", patient="7"))
    (leak,) = found.leaks
    assert (leak.kind, leak.held, leak.seen, leak.patient, leak.across) == ("patient", 1, 0, "7", False)
    assert found.leaking


def test_ids_with_suffixes_are_one_patient_unless_exact():
    pictures = (picture("1", part="train", patient="MR040240"), picture("2", part="val", patient="MR040240B"))
    assert [leak.kind for leak in judged(*pictures).leaks] == ["patient"]
    assert not judged(*pictures, same_patient="exact").leaking


def test_equal_patient_numbers_of_two_sets_are_two_people():
    assert not judged(picture("1", part="train", patient="7"), picture("1", part="test", patient="7", name="other")).leaking


def test_validation_is_held_out_from_training_and_test_from_both():
    pictures = [picture(str(i), part=part, patient="7") for i, part in enumerate(("test", "val", "train"))]
    assert {(leak.held, leak.seen) for leak in judged(*pictures).leaks} == {(0, 2), (1, 2)}
    assert {(leak.held, leak.seen) for leak in judged(*pictures[:2]).leaks} == {(0, 1)}


def test_pictures_in_no_part_leak_nothing():
    found = judged(picture("1", patient="7"), picture("2", patient="7"), matches=[Match(0, 1, "bytes")])
    assert not found.leaking
    assert "nothing leaks yet" in verdict(found)


def test_copies_under_two_patient_ids_come_first_and_are_told():
    pictures = [picture("1", patient="7"), picture("2", patient="7"), picture("3"), picture("4", patient="8"), picture("5")]
    found = judged(*pictures, matches=[Match(0, i, "pixels") for i in (1, 2, 3)])
    assert repeats(found) == [(0, 3), (0, 1), (0, 2)]
    assert [two_patients(found, *pair) for pair in repeats(found)] == [True, False, False]
    (line,) = (line for line in summary(found) if line.startswith("copies under two patient IDs"))
    assert line.startswith("copies under two patient IDs: 1, which a split by patient can part, the first: set/1 and set/4")
    assert verdict(found) == "no parts, so nothing leaks yet; but copies have two patient IDs: 1"
    in_one_part = judged(
        picture("1", part="train", patient="7"), picture("2", part="train", patient="8"), matches=[Match(0, 1, "pixels")]
    )
    assert verdict(in_one_part) == "no leak: no image and no known patient is in two parts; but copies have two patient IDs: 1"
    one_patient = judged(*pictures[:3], matches=[Match(0, i, "pixels") for i in (1, 2)])
    assert not any(line.startswith("copies under") for line in summary(one_patient))


def test_a_clean_split_passes():
    found = judged(picture("1", part="train", patient="7"), picture("2", part="test", patient="8"))
    assert not found.leaking
    assert verdict(found).startswith("no leak")
    found.refuse()


def test_equal_files_pixels_and_likenesses_are_told_apart():
    pictures = [
        picture("1", part="train", pixels="p", content="b"),
        picture("2", part="test", pixels="p", content="b"),
        picture("3", part="test", pixels="p", content="c"),
        picture("4", part="test"),
    ]
    matches = [Match(0, 1, "bytes"), Match(0, 2, "pixels"), Match(0, 3, "near", MIRRORED, 0.98)]
    leaks = judged(*pictures, matches=matches).leaks
    assert [(leak.held, leak.kind) for leak in leaks] == [(1, "bytes"), (2, "pixels"), (3, "near")]
    assert (leaks[2].orientation, leaks[2].score) == (MIRRORED, 0.98)


def test_an_identical_twin_counts_before_a_likeness():
    pictures = [picture("1", part="train"), picture("2", part="train", pixels="p"), picture("3", part="test", pixels="p")]
    leaks = judged(*pictures, matches=[Match(0, 1, "near", MIRRORED, 0.98), Match(1, 2, "pixels")]).leaks
    assert [(leak.held, leak.seen, leak.kind) for leak in leaks] == [(2, 1, "pixels")]


def test_copies_of_a_copy_are_followed_with_their_turns():
    """1 is 0 turned by 90 degrees, 2 is 1 turned by 90 degrees: seen 0 becomes held 2 by a half turn."""
    pictures = [picture("1", part="train"), picture("2"), picture("3", part="test")]
    matches = [Match(0, 1, "near", ROTATED, 0.99), Match(1, 2, "near", ROTATED, 0.97)]
    (leak,) = judged(*pictures, matches=matches).leaks
    assert (ORIENTATIONS[leak.orientation], leak.score) == ("rotated_180", 0.97)


def test_leaks_across_sets_are_told_from_those_within():
    pictures = [
        picture("1", part="train", pixels="p"),
        picture("1", part="train", pixels="p", name="other"),
        picture("2", part="test", pixels="p"),
    ]
    found = judged(*pictures, matches=[Match(0, 1, "pixels"), Match(0, 2, "pixels")])
    assert {(leak.held, leak.seen, leak.across) for leak in found.leaks} == {(2, 0, False), (2, 1, True)}
    assert leak_table(found) == [("set", "test", 1, {"patient": (0, 0), "bytes": (0, 0), "pixels": (1, 1), "near": (0, 0)})]
    assert shared(found) == {("set", "other"): 2, ("other", "set"): 1}
    assert repeated(found) == {"set": 1, "other": 0}


def test_equal_pictures_with_different_labels_contradict_each_other():
    pictures = [picture("1"), picture("2", label="pituitary"), picture("3", label=None), picture("4", label="pituitary")]
    found = judged(*pictures, matches=[Match(0, i, "near", 0, 0.99) for i in (1, 2, 3)])
    assert found.contradictions == ((0, 1),)
    assert not found.leaking


def test_a_leak_is_refused_in_one_line_that_names_it():
    found = judged(picture("a.png", part="train", patient="7"), picture("b.png", part="test", patient="7"))
    with pytest.raises(RequestError) as caught:
        found.refuse()
    line = str(caught.value)
    assert "\n" not in line
    for word in ("1 held-out slices", "patient 7", "set/b.png (test)", "set/a.png (train)", "bts audit"):
        assert word in line


def two_sets():
    """Slices of two patients, and a set whose patients were dropped: 3 is 0 mirrored, 4 only a copy of 3, 5 is unknown."""
    pictures = [
        picture("1.mat", patient="p", name="figshare"),
        picture("2.mat", patient="p", name="figshare"),
        picture("3.mat", patient="q", name="figshare", label="pituitary"),
        picture("a", part="train", name="kaggle"),
        picture("b", part="test", name="kaggle", label="pituitary"),
        picture("c", part="test", name="kaggle"),
        picture("d", part="test", name="kaggle"),
        picture("e", part="test", name="kaggle", label="no_tumour"),
    ]
    matches = [
        Match(0, 3, "near", MIRRORED, 0.99),
        Match(2, 3, "near", 0, 0.97),
        Match(3, 4, "near", MIRRORED, 0.98),
        Match(1, 6, "near", 0, 0.99),
    ]
    return collect(*pictures), matches


def test_the_best_match_is_the_origin_and_copies_inherit_it():
    collection, matches = two_sets()
    origins = find_origins(collection, matches, "figshare")
    assert {i: (link.start, ORIENTATIONS[link.orientation]) for i, link in origins.items()} == {
        3: (0, "mirrored"),
        4: (0, "upright"),
        6: (1, "upright"),
    }


def test_recovered_patients_make_leaks_visible_and_are_counted():
    collection, matches = two_sets()
    origins = find_origins(collection, matches, "figshare")
    found = judge(collection, Matches(tuple(matches), ()), origins=origins)
    assert {(leak.kind, leak.held) for leak in found.leaks} == {("patient", 4), ("patient", 6), ("near", 4)}
    counts = recovery_counts(found, "kaggle")
    assert (counts.with_tumour, counts.recovered, counts.slices, counts.orientations) == (
        4,
        3,
        2,
        {"upright": 2, "mirrored": 1},
    )
    assert (counts.held_out, counts.held_out_recovered, counts.slice_seen, counts.patient_seen) == (3, 2, 1, 2)
    assert (counts.label_differs, counts.healthy_recovered, counts.held_out_identical) == (1, 0, 0)
    text = "\n".join(summary(found, reference="figshare"))
    assert "are a slice of figshare: 3 of 4 (2 upright, 1 mirrored)" in text
    assert "whose patient is in the training part: 2 (100%)" in text


def test_pictures_without_origin_get_a_patient_of_their_own():
    collection, matches = two_sets()
    found = judge(collection, Matches(tuple(matches), ()))
    patients = patients_of(collection, found.groups, find_origins(collection, matches, "figshare"))
    assert patients[3:5] == ["p", "p"]
    assert patients[6] == "p"
    assert patients[5].startswith("unknown-")
    assert patients[7].startswith("unknown-")
    assert patients[5] != patients[7]


def test_two_ids_with_several_alike_slices_are_suspected_to_be_one_person():
    pictures = [picture(str(i), patient=patient) for i, patient in enumerate("aaabbbc")]
    alike = [
        Match(0, 3, "near", 0, 0.90),
        Match(1, 4, "near", 0, 0.87),
        Match(2, 6, "near", 0, 0.91),
        Match(2, 5, "near", 0, 0.84),
    ]
    found = judge(collect(*pictures), Matches((), tuple(alike)))
    (suspects,) = found.suspects
    assert (suspects.one, suspects.other) == ("set:a", "set:b")
    assert [(match.one, match.other) for match in suspects.pairs] == [(0, 3), (1, 4)]
    assert not found.leaking
    assert "patients a and b may be the same: 2 similar pairs of slices, highest score 0.90" in summary(found)


def test_one_slice_like_two_of_another_patient_is_one_pair_only():
    pictures = [picture(str(i), patient=patient) for i, patient in enumerate("abb")]
    alike = [Match(0, 1, "near", 0, 0.90), Match(0, 2, "near", 0, 0.89)]
    assert judge(collect(*pictures), Matches((), tuple(alike))).suspects == ()
