"""Matching of copies after every transformation, with orientation, and rejection of different slices."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from audit_files import GUISES, phantom_pictures

from bts.audit.align import aligned_correlation
from bts.audit.descriptor import ORIENTATIONS, orient
from bts.audit.images import AuditImage, Collection
from bts.audit.matches import SAME, find_candidates, find_matches
from bts.audit.neighbours import nearest
from bts.audit.views import head_box, thumbnail
from bts.data.sources.base import Record

TURNS = {
    "mirrored": "mirrored",
    "upside down": "upside_down",
    "turned by 90 degrees": "rotated_270",  # numpy turns against the clock
    "turned by 180 degrees": "rotated_180",
    "turned by 270 degrees": "rotated_90",
    "transposed": "transposed",
    "anti-transposed": "anti_transposed",
    "all at once": "mirrored",
}


def collection(images: list[np.ndarray]) -> Collection:
    hashes = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    members = [AuditImage("set", Record(path=f"{i}.png"), bytes_hash=str(i), pixels_hash=each) for i, each in enumerate(hashes)]
    return Collection(images=tuple(members), thumbs=np.stack([thumbnail(image) for image in images]))


def test_different_slices_are_no_match():
    found = find_matches(collection(list(phantom_pictures())))
    assert found.found == ()
    assert all(match.score < SAME for match in found.rejected)


@pytest.mark.parametrize("guise", GUISES)
def test_a_copy_is_found_in_every_guise(guise):
    originals = list(phantom_pictures())
    chosen = (1, 4, 6, 9)
    found = find_matches(collection([*originals, *(GUISES[guise](originals[i]) for i in chosen)])).found
    assert {(match.one, match.other) for match in found} == {(i, len(originals) + k) for k, i in enumerate(chosen)}
    wanted = TURNS.get(guise, "upright")
    assert {ORIENTATIONS[match.orientation] for match in found} == {wanted}


def test_the_orientation_turns_the_first_picture_into_the_second():
    original = phantom_pictures()[2]
    for first, second in ((original, np.rot90(original)), (np.rot90(original), original)):
        (match,) = find_matches(collection([first, second])).found
        np.testing.assert_array_equal(orient(first, match.orientation), second)


def test_equal_pixels_are_told_from_equal_files():
    one = phantom_pictures()[0]
    base = collection([one, one, one])
    files = [replace(each, bytes_hash=name) for each, name in zip(base.images, "aab", strict=True)]
    found = find_matches(Collection(images=tuple(files), thumbs=base.thumbs)).found
    assert [(match.one, match.other, match.kind) for match in found] == [(0, 1, "bytes"), (0, 2, "pixels")]


def test_a_copy_among_its_mirror_images_is_still_one_group_of_pairs():
    one = phantom_pictures()[3]
    found = find_matches(collection([one, one[:, ::-1], one[::-1]])).found
    assert {(match.one, match.other) for match in found} == {(0, 1), (0, 2), (1, 2)}


def test_a_pair_has_the_same_score_alone_and_among_others():
    pictures = list(phantom_pictures())
    thumbs = collection([*pictures, *(each[:, ::-1] for each in pictures[:4])]).thumbs
    hits, boxes, targets = find_candidates(thumbs)
    together = aligned_correlation(thumbs, hits, boxes, targets)
    alone = [aligned_correlation(thumbs, hits[i : i + 1], boxes[i : i + 1], targets[i : i + 1])[0] for i in range(len(hits))]
    assert together.max() > SAME > together.min()
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_random_trees_find_near_neighbours_that_all_pairs_find():
    random = np.random.default_rng(0)
    centres = random.normal(size=(3000, 1, 42)).astype(np.float32)
    views = centres + 0.05 * random.normal(size=(3000, 2, 42)).astype(np.float32)
    views /= np.linalg.norm(views, axis=2, keepdims=True)
    twins = views[:100, 0] + 0.02 * random.normal(size=(100, 42)).astype(np.float32)
    index = views[:, 0].copy()
    index[100:200] = twins / np.linalg.norm(twins, axis=1, keepdims=True)
    exact = nearest(views, index, keep=3, floor=0.9)
    trees = nearest(views, index, keep=3, floor=0.9, exact=100, cell=64)
    wanted = {(int(hit["a"]), int(hit["b"])) for hit in exact}
    assert len(wanted) >= 100
    assert {(int(hit["a"]), int(hit["b"])) for hit in trees} == wanted


def test_identical_descriptors_without_end_fill_one_cell_and_end():
    views = np.tile(np.eye(1, 42, dtype=np.float32), (300, 1, 1))
    hits = nearest(views, views[:, 0], keep=2, floor=0.5, exact=100, cell=64)
    assert np.bincount(hits["a"], minlength=300).max() <= 2


def test_the_head_is_found_in_a_picture_with_a_margin():
    image = np.zeros((100, 200))
    rows, columns = np.mgrid[:100, :200]
    image[((rows - 50) / 30) ** 2 + ((columns - 120) / 40) ** 2 < 1] = 200  # rows 20 to 80, columns 80 to 160
    np.testing.assert_allclose(head_box(thumbnail(image)), [0.20, 0.80, 0.40, 0.80], atol=0.025)


def test_a_picture_without_anything_bright_is_taken_whole():
    np.testing.assert_array_equal(head_box(np.zeros((96, 96), np.uint8)), [0, 1, 0, 1])
