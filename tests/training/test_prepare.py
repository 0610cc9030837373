"""Slices selected for training, and their counts in the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image
from small_settings import Make

from bts.data.arrays import Arrays
from bts.data.slice import Slice
from bts.data.sources.base import Record, sources
from bts.errors import RequestError
from bts.runs import Run
from bts.training.card import hash_patients
from bts.training.datamodule import SliceData, choose_workers
from bts.training.fit import fit
from bts.training.prepare import format_patients, open_data, prepare


class Half:
    """A source in which every second patient's slices have neither mask nor label."""

    name: ClassVar[str] = "half"
    classes = ("round", "square")
    synthetic = True

    def __init__(self, root: Path) -> None:
        self.root = root

    def records(self) -> list[Record]:
        return [
            Record(path=f"{i}.none", label=None if i % 4 > 1 else self.classes[i % 2], patient=f"p{i // 2}") for i in range(48)
        ]

    def read(self, record: Record) -> Slice:
        i = int(record.path.split(".")[0])
        image = np.random.default_rng(i).random((40, 40))
        return Slice(image, source=self.name, path=record.path, mask=image > 0.5 if record.label else None)


@pytest.fixture
def half() -> Iterator[None]:
    sources.register("half")(Half)
    yield
    del sources._items["half"]


@pytest.mark.usefixtures("half")
@pytest.mark.parametrize(("make", "what"), [("seg", "mask"), ("cls", "label")])
def test_slices_without_truth_are_left_out_and_counted(
    make: str, what: str, request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = request.getfixturevalue(make)()
    settings.data.source, settings.data.cache = "half", ""
    caplog.set_level(logging.INFO, logger="bts")
    training_data = prepare(settings, make, Run(tmp_path))  # type: ignore[arg-type]
    assert training_data.train.has_mask.all()
    assert (training_data.train.labels >= 0).all()
    left_out = len(training_data.split.part("train")) - len(training_data.train)
    assert left_out > 0
    assert f"train: {left_out} slices without a {what} left out" in caplog.text


@pytest.mark.usefixtures("half")
def test_a_part_without_any_truth_is_one_line(seg: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Half, "read", lambda self, record: Slice(np.eye(40), source="half", path=record.path))
    settings = seg()
    settings.data.source, settings.data.cache = "half", ""
    with pytest.raises(RequestError, match=r"none of the \d+ slices in part 'train' has a mask: the seg task needs them"):
        prepare(settings, "seg", Run(tmp_path))


def test_the_second_reading_comes_from_the_cache(seg: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = seg()
    settings.data.cache = str(tmp_path / "cache")
    caplog.set_level(logging.INFO, logger="bts")
    first = prepare(settings, "seg", Run(tmp_path))
    caplog.clear()
    second = prepare(settings, "seg", Run(tmp_path))
    assert "cache: 6 read from disk cache, 0 decoded" in caplog.text
    assert np.array_equal(first.train.images, second.train.images)


def test_training_patients_are_hashed_without_suffix_and_tell_no_name(seg: Make, tmp_path: Path) -> None:
    training_data = prepare(seg(), "seg", Run(tmp_path))
    found = hash_patients(["MR040240", "MR040240B", "7"], training_data, key=b"secret")
    assert len(found) == 2
    assert all(len(text) == 64 and "MR" not in text for text in found)


def arrays(count: int) -> Arrays:
    images = np.arange(count, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    return Arrays(
        images=images,
        masks=np.zeros_like(images),
        has_mask=np.ones(count, dtype=bool),
        labels=np.zeros(count, dtype=np.int64),
        paths=[str(i) for i in range(count)],
        patients=["p"] * count,
    )


@pytest.mark.parametrize(("count", "batches"), [(3, [3]), (4, [4]), (11, [4, 4])])
def test_an_incomplete_training_batch_is_left_out_unless_it_is_the_only_one(count: int, batches: list[int]) -> None:
    data = SliceData(arrays(count), arrays(count), augmenter=None, batch_size=4)
    assert [len(batch["index"]) for batch in data.train_dataloader()] == batches
    assert sum(len(batch["index"]) for batch in data.val_dataloader()) == count


def test_workers_are_none_on_a_cpu_and_at_most_eight_beside_a_gpu() -> None:
    assert choose_workers(None, device="cpu", cores=64) == 0
    assert choose_workers(None, device="gpu", cores=64) == 8
    assert choose_workers(None, device="gpu", cores=1) == 1
    assert choose_workers(3, device="cpu", cores=1) == 3


def test_loader_processes_change_nothing(cls: Make) -> None:
    from bts.training.checkpoints import load_checkpoint

    states = []
    for workers in (0, 2):
        settings = cls()
        settings.data.workers, settings.optim.epochs = workers, 2
        states.append(load_checkpoint(fit(settings).checkpoints / "stage2" / "last.ckpt")["state_dict"])
    assert all((states[0][key] == states[1][key]).all() for key in states[0])


def test_unreadable_slices_refuse_the_run_or_are_skipped_on_request_by_name(
    cls: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures = tmp_path / "set"
    for name in ("glioma", "meningioma"):
        (pictures / name).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(np.random.default_rng(i).integers(0, 255, (40, 40), dtype=np.uint8)).save(
                pictures / name / f"{i}.png"
            )
    (pictures / "glioma" / "2.png").write_bytes(b"no picture")
    settings = cls()
    settings.data.source, settings.data.root = "folders", str(pictures)
    assert len(open_data(settings)[1]) == 8  # refused only when it is read for a part
    settings.data.unreadable = "skip"
    with caplog.at_level(logging.WARNING, logger="bts.training"):
        _, records = open_data(settings)
    assert [record.path for record in records if record.label == "glioma"] == ["glioma/0.png", "glioma/1.png", "glioma/3.png"]
    assert "glioma/2.png" in caplog.text
    assert "1 of 8 slices can't be read and are left out of every part" in caplog.text
    for path in pictures.glob("*/*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(RequestError, match="none of 8 slices can be read"):
        open_data(settings)


def test_slices_without_a_patient_are_not_one_patient() -> None:
    assert format_patients(["", ""], "suffixes") == "unknown patients"
    assert format_patients(["MR1", "MR1B", "MR2"], "suffixes") == "2 patients"


@pytest.mark.usefixtures("half")
def test_inverted_masks_stop_a_training_that_needs_them_and_no_other(
    seg: Make, cls: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(self: Half, record: Record) -> Slice:
        image = np.random.default_rng(len(record.path)).random((40, 40))
        return Slice(image, source="half", path=record.path, mask=np.arange(1600).reshape(40, 40) > 100)

    monkeypatch.setattr(Half, "read", read)
    for make, task in ((seg, "seg"), (cls, "cls")):
        settings = make()
        settings.data.source, settings.data.cache = "half", ""
        if task == "cls":
            prepare(settings, "cls", Run(tmp_path))
            continue
        with pytest.raises(RequestError, match=r"covers more than half of the picture in (\d+) of \1 masks: are they inverted"):
            prepare(settings, "seg", Run(tmp_path))
