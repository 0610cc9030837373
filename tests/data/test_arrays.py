from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from bts.data.arrays import Arrays, load_arrays
from bts.data.cache import SliceCache
from bts.data.preprocess import Preprocessing
from bts.data.slice import Slice
from bts.data.sources.base import Record, Source
from bts.errors import InputError, RequestError
from bts.progress import Phase

CLASSES = ("meningioma", "glioma")
SMALL = Preprocessing(size=32, crop_brain=False)


class Pictures(Source):
    """A source of `.npy` files; masks stand beside them. Counts what it decodes."""

    name: ClassVar[str] = "pictures"

    def __init__(self, root: Path) -> None:
        self.root, self.classes, self.synthetic, self.decoded = root, CLASSES, False, 0

    def records(self) -> list[Record]:
        return []

    def read(self, record: Record) -> Slice:
        self.decoded += 1
        path = self.root / record.path
        try:
            image = np.load(path)
            mask = np.load(self.root / record.mask) if record.mask else None
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: no picture") from error
        return Slice(image=image, source=self.name, path=str(path), mask=mask)


@pytest.fixture
def source(tmp_path: Path) -> Pictures:
    random = np.random.default_rng(0)
    for number in range(4):
        np.save(tmp_path / f"{number}.npy", random.random((40 + number, 50)))
    mask = np.zeros((42, 50), dtype=bool)
    mask[10:30, 20:40] = True
    np.save(tmp_path / "mask.npy", mask)
    return Pictures(tmp_path)


RECORDS = [
    Record(path="0.npy", label="glioma", patient="A"),
    Record(path="1.npy", label=None, patient=None),
    Record(path="2.npy", label="meningioma", patient="B", mask="mask.npy"),
    Record(path="3.npy", label="glioma", patient="A"),
]


def _load(source: Pictures, records: list[Record] = RECORDS, **more) -> Arrays:
    return load_arrays(source, records, preprocessing=SMALL, classes=CLASSES, **more)


def test_each_slice_stands_where_its_record_stands(source: Pictures) -> None:
    arrays = _load(source)
    assert len(arrays) == 4
    assert arrays.paths == ["0.npy", "1.npy", "2.npy", "3.npy"]
    assert arrays.patients == ["A", "", "B", "A"]
    assert arrays.labels.tolist() == [1, -1, 0, 1]
    for number in range(4):
        assert (arrays.images[number] == SMALL.image(np.load(source.root / f"{number}.npy"))).all()


def test_masks_are_zero_and_one_and_their_absence_is_kept(source: Pictures) -> None:
    arrays = _load(source)
    assert arrays.has_mask.tolist() == [False, False, True, False]
    assert (arrays.masks[2] == SMALL.mask(np.load(source.root / "mask.npy"))).all()
    assert not arrays.masks[[0, 1, 3]].any()
    assert (arrays.images.dtype, arrays.masks.dtype, arrays.labels.dtype) == (np.uint8, np.uint8, np.int64)


def test_the_second_reading_decodes_nothing_and_gives_the_same(
    source: Pictures, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        first = _load(source, cache=SliceCache(tmp_path / "cache", 1))
        again = _load(source, cache=SliceCache(tmp_path / "cache", 1))
    assert source.decoded == 4
    for name in ("images", "masks", "has_mask", "labels"):
        assert (getattr(first, name) == getattr(again, name)).all()
    assert [record.getMessage() for record in caplog.records] == [
        "cache: 0 read from disk cache, 4 decoded",
        "cache: 4 read from disk cache, 0 decoded",
    ]


def test_one_cache_serves_several_parts_and_counts_each(
    source: Pictures, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = SliceCache(tmp_path / "cache", 1)
    with caplog.at_level(logging.INFO):
        _load(source, RECORDS[:3], cache=cache)
        _load(source, RECORDS[2:], cache=cache)
    assert caplog.records[-1].getMessage() == "cache: 1 read from disk cache, 1 decoded"


def test_a_file_that_changed_is_decoded_again(source: Pictures, tmp_path: Path) -> None:
    _load(source, cache=SliceCache(tmp_path / "cache", 1))
    mask = np.zeros((42, 50), dtype=bool)
    mask[:10] = True
    time.sleep(0.01)  # the time of change is kept in steps of some milliseconds
    np.save(source.root / "mask.npy", mask)
    again = _load(source, cache=SliceCache(tmp_path / "cache", 1))
    assert (again.masks[2] == SMALL.mask(mask)).all()
    assert source.decoded == 5


def test_another_size_is_decoded_again(source: Pictures, tmp_path: Path) -> None:
    cache = SliceCache(tmp_path / "cache", 1)
    _load(source, cache=cache)
    larger = load_arrays(source, RECORDS, preprocessing=Preprocessing(size=64, crop_brain=False), classes=CLASSES, cache=cache)
    assert larger.images.shape == (4, 64, 64)


def test_a_cache_on_a_disk_that_refuses_costs_time_only(
    source: Pictures, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("x")
    arrays = _load(source, cache=SliceCache(tmp_path / "file" / "cache", 1))
    assert (arrays.images == _load(source).images).all()
    assert [record.levelno for record in caplog.records if record.levelno >= logging.WARNING] == [logging.WARNING]


def test_progress_counts_to_the_total(source: Pictures, phases: list[Phase]) -> None:
    _load(source, part="train")
    assert [(phase.name, phase.done, phase.total) for phase in phases] == [("reading train", 4, 4)]


def test_one_unreadable_slice_is_named(source: Pictures) -> None:
    (source.root / "1.npy").write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"1\.npy: no picture \(the only slice of 4 that can't be read\)") as caught:
        _load(source)
    assert "\n" not in str(caught.value)


def test_several_unreadable_slices_are_counted_after_all_were_tried(source: Pictures) -> None:
    (source.root / "1.npy").write_bytes(b"not a picture")
    (source.root / "3.npy").unlink()
    with pytest.raises(InputError, match=r"^2 of 4 slices can't be read, the first: .*1\.npy: no picture"):
        _load(source)


def test_reading_is_given_up_when_everything_fails(source: Pictures) -> None:
    records = [Record(path=f"gone/{number}.npy", label="glioma") for number in range(100)]
    with pytest.raises(InputError, match=r"^at least 20 of 100 slices can't be read, the first: .*gone/0\.npy"):
        _load(source, records)
    assert source.decoded == 20


def test_a_label_outside_the_classes_is_refused_before_anything_is_read(source: Pictures) -> None:
    records = [*RECORDS, Record(path="9.npy", label="gliom")]
    with pytest.raises(RequestError, match=r"9\.npy: label 'gliom' \(did you mean 'glioma'\?\) is none of the classes"):
        _load(source, records)
    assert source.decoded == 0


def test_no_records_give_empty_arrays(source: Pictures) -> None:
    arrays = _load(source, [])
    assert arrays.images.shape == (0, 32, 32)
    assert len(arrays) == 0
