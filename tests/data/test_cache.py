from __future__ import annotations

import logging
import multiprocessing
import os
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from bts.data.cache import SliceCache
from bts.data.preprocess import Preprocessing
from bts.errors import RequestError

SIDE = 32
BYTES = SIDE * SIDE + SIDE * SIDE // 8 + 11
"""Bytes of an entry with a mask: picture, one bit a pixel, header."""
GIB = 2**30


def _picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE)).astype(np.uint8)


def _mask(seed: int) -> np.ndarray:
    return (_picture(seed + 1000) > 200).astype(np.uint8)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _key(number: int) -> str:
    return f"{number:032x}"


def test_what_is_stored_comes_back() -> None:
    with tempfile.TemporaryDirectory() as folder:
        SliceCache(folder, 1).put(_key(1), _picture(1), _mask(1))
        image, mask = SliceCache(folder, 1).get(_key(1)) or pytest.fail("nothing was stored")
        assert (image == _picture(1)).all()
        assert image.dtype == np.uint8
        assert (mask == _mask(1)).all()


def test_no_mask_is_not_an_empty_mask(tmp_path: Path) -> None:
    cache = SliceCache(tmp_path, 1)
    cache.put(_key(1), _picture(1), None)
    cache.put(_key(2), _picture(2), np.zeros((SIDE, SIDE), dtype=np.uint8))
    assert cache.get(_key(1))[1] is None
    assert not cache.get(_key(2))[1].any()


def test_hits_and_misses_are_counted(tmp_path: Path) -> None:
    cache = SliceCache(tmp_path / "new", 1)
    assert cache.get(_key(1)) is None
    cache.put(_key(1), _picture(1), None)
    cache.get(_key(1))
    cache.get(_key(1))
    assert (cache.hits, cache.misses) == (2, 1)


# ---- the key


def test_the_key_changes_with_the_file_and_with_every_setting(tmp_path: Path) -> None:
    file = tmp_path / "1.mat"
    file.write_bytes(b"one")
    cache, usual = SliceCache(tmp_path, 1), Preprocessing(crop_brain=False)
    keys = {cache.key([file], usual, reader="figshare")}
    keys.add(cache.key([file], Preprocessing(size=256, crop_brain=False), reader="figshare"))
    keys.add(cache.key([file], Preprocessing(low_percentile=1, crop_brain=False), reader="figshare"))
    keys.add(cache.key([file], Preprocessing(high_percentile=99, crop_brain=False), reader="figshare"))
    keys.add(cache.key([file], usual, reader="other"))
    keys.add(cache.key([file, file], usual, reader="figshare"))
    os.utime(file, ns=(1, 1))
    keys.add(cache.key([file], usual, reader="figshare"))
    file.write_bytes(b"longer")
    os.utime(file, ns=(1, 1))
    keys.add(cache.key([file], usual, reader="figshare"))
    assert len(keys) == 8
    assert None not in keys


def test_the_key_is_the_same_however_the_path_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1.mat").write_bytes(b"one")
    monkeypatch.chdir(tmp_path)
    cache = SliceCache(tmp_path, 1)
    assert cache.key(["1.mat"], Preprocessing(crop_brain=False)) == cache.key(
        [tmp_path / "1.mat"], Preprocessing(crop_brain=False)
    )


def test_a_file_that_can_t_be_seen_has_no_key(tmp_path: Path) -> None:
    assert SliceCache(tmp_path, 1).key([tmp_path / "none.mat"], Preprocessing(crop_brain=False)) is None


# ---- damage


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "foreign", "longer"])
def test_a_damaged_entry_counts_as_none_and_is_overwritten(tmp_path: Path, damage: str) -> None:
    cache = SliceCache(tmp_path, 1)
    cache.put(_key(1), _picture(1), _mask(1))
    (file,) = _files(tmp_path)
    data = file.read_bytes()
    flipped = data[:500] + bytes([data[500] ^ 1]) + data[501:]
    broken = {"empty": b"", "cut": data[:-1], "flipped": flipped, "foreign": b"\x89HDF" * 400, "longer": data + b"x"}
    file.write_bytes(broken[damage])
    assert cache.get(_key(1)) is None
    cache.put(_key(1), _picture(1), _mask(1))
    assert (cache.get(_key(1))[0] == _picture(1)).all()


def test_a_folder_where_an_entry_should_be_is_only_a_miss(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = SliceCache(tmp_path, 1)
    cache.put(_key(1), _picture(1), None)
    (file,) = _files(tmp_path)
    file.unlink()
    file.mkdir()
    assert cache.get(_key(1)) is None
    cache.put(_key(1), _picture(1), None)
    assert len(caplog.records) == 1


# ---- a disk that refuses


def test_a_full_disk_is_told_once_and_leaves_nothing_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache = SliceCache(tmp_path, 1)
    for number in range(5):
        cache.put(_key(number), _picture(number), None)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "the cache can't be written (No space left on device), slices are decoded each time" in caplog.text
    assert str(tmp_path) in caplog.text
    assert _files(tmp_path) == []


def test_a_folder_that_can_t_be_made_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("x")
    cache = SliceCache(tmp_path / "file" / "cache", 1)
    for number in range(3):
        assert cache.get(_key(number)) is None
        cache.put(_key(number), _picture(number), None)
    assert len(caplog.records) == 1


def test_a_read_only_cache_is_still_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SliceCache(tmp_path, 1).put(_key(1), _picture(1), None)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "utime", refuse)
    assert SliceCache(tmp_path, 1).get(_key(1)) is not None


# ---- the bound


def _fill(folder: Path, numbers: range, *, entries: float) -> SliceCache:
    cache = SliceCache(folder, entries * BYTES / GIB)
    for number in numbers:
        cache.put(_key(number), _picture(number), _mask(number))
    return cache


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in _files(folder))


def test_an_entry_takes_a_byte_and_a_bit_a_pixel(tmp_path: Path) -> None:
    _fill(tmp_path, range(1), entries=10)
    assert _size(tmp_path) == BYTES


def test_older_entries_make_room_and_the_bound_holds(tmp_path: Path) -> None:
    _fill(tmp_path, range(20), entries=20)
    assert len(_files(tmp_path)) == 20
    _fill(tmp_path, range(100, 110), entries=20)
    assert _size(tmp_path) <= 20 * BYTES
    cache = SliceCache(tmp_path, 1)
    assert all(cache.get(_key(number)) for number in range(100, 110))


def test_the_entries_unused_for_longest_go_first(tmp_path: Path) -> None:
    _fill(tmp_path, range(20), entries=20)
    for number in range(20):
        file = next(tmp_path.rglob(f"{_key(number)}.*"))
        os.utime(file, (1_000_000 + number, 1_000_000 + number))
    SliceCache(tmp_path, 1).get(_key(0))  # used just now, although the oldest
    _fill(tmp_path, range(100, 101), entries=20)
    cache = SliceCache(tmp_path, 1)
    assert cache.get(_key(0))
    assert cache.get(_key(1)) is None
    assert cache.get(_key(19))


def test_a_run_that_is_larger_than_the_cache_keeps_what_fits_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Dropping its own entries for the next ones would leave every later run without a single hit."""
    for _ in range(2):
        cache = SliceCache(tmp_path, 10 * BYTES / GIB)
        for number in range(30):
            if cache.get(_key(number)) is None:
                cache.put(_key(number), _picture(number), _mask(number))
        assert _size(tmp_path) <= 10 * BYTES
    assert cache.hits >= 9
    assert [record.getMessage() for record in caplog.records][:1] == [
        f"{tmp_path}: the cache is full at {10 * BYTES / GIB:.3g} GiB: raise --data.cache_gib"
    ]
    assert len(caplog.records) == 2


def test_a_cache_of_no_size_stores_nothing(tmp_path: Path) -> None:
    _fill(tmp_path, range(3), entries=0)
    assert _files(tmp_path) == []


@pytest.mark.parametrize("size", [-1.0, float("nan")])
def test_a_negative_size_is_refused(tmp_path: Path, size: float) -> None:
    with pytest.raises(RequestError, match=r"a cache of .* GiB: expected 0 or more"):
        SliceCache(tmp_path, size)


def test_what_a_killed_run_left_half_written_is_cleared(tmp_path: Path) -> None:
    _fill(tmp_path, range(10), entries=10)
    old, fresh = (tmp_path / "00" / f".writing-{name}" for name in ("old", "fresh"))
    for file in (old, fresh):
        file.write_bytes(b"half")
    os.utime(old, (1, 1))
    _fill(tmp_path, range(100, 102), entries=10)
    assert not old.exists()
    assert fresh.exists()


# ---- two at once


def _work(folder: str, first: int, barrier, problems) -> None:
    cache = SliceCache(folder, 12 * BYTES / GIB)
    barrier.wait(timeout=60)
    for turn in range(200):
        number = (first + turn) % 20
        found = cache.get(_key(number))
        if found is None:
            cache.put(_key(number), _picture(number), _mask(number))
        elif not ((found[0] == _picture(number)).all() and (found[1] == _mask(number)).all()):
            problems.put(number)


@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_two_at_once_never_see_half_an_entry(tmp_path: Path, kind: str) -> None:
    if kind == "processes":
        context = multiprocessing.get_context("spawn")
        barrier, problems, start = context.Barrier(2), context.Queue(), context.Process
    else:
        barrier, problems, start = threading.Barrier(2), multiprocessing.Queue(), threading.Thread
    running = [start(target=_work, args=(str(tmp_path), first, barrier, problems)) for first in (0, 10)]
    for one in running:
        one.start()
    for one in running:
        one.join(timeout=60)
    assert problems.empty()
    if kind == "processes":
        assert [one.exitcode for one in running] == [0, 0]
    cache = SliceCache(tmp_path, 1)
    stored = [cache.get(file.stem) for file in _files(tmp_path)]
    assert stored
    assert all(stored)
    assert not list(tmp_path.rglob(".writing-*"))
