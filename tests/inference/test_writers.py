"""Contract of every registered result writer, on a picture, a volume and a DICOM series."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import made_series
import nibabel
import numpy as np
import pytest
from fake_models import BrightRuntime, make_slice

from bts.data.readers.catalogue import read_scan
from bts.data.readers.scan import Scan
from bts.errors import RequestError
from bts.inference.prediction import Prediction
from bts.inference.predictor import Predictor
from bts.inference.write import write_prediction, write_volume
from bts.inference.writers.base import RESULT
from bts.inference.writers.catalogue import result_writers
from bts.inference.writers.pictures import MaskPicture

KINDS = ("picture", "volume", *(("series",) if find_spec("highdicom") else ()))


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    """Five slices with a bright block, the first of them blank."""
    array = np.random.default_rng(0).integers(1, 50, (20, 24, 5)).astype(np.int16)
    array[5:12, 8:18, 1:4] = 900
    array[:, :, 0] = 0
    image = nibabel.Nifti1Image(array, np.diag([-1.0, -1.5, 4.0, 1.0]))
    image.header["descrip"] = b"SMITH^MARY"
    path = tmp_path_factory.mktemp("volume") / "brain.nii.gz"
    nibabel.save(image, path)
    return read_scan(path, axis=2)


def written(kind: str, name: str, folder: Path, runtimes: list[BrightRuntime], volume: Scan) -> list[str]:
    """Write a result with one writer and return the names of its files."""
    predictor = Predictor(runtimes)
    if kind == "picture":
        item = make_slice(patient="SMITH^MARY", path="scans/brain.png", spacing_mm=(0.5, 0.5))
        write_prediction(predictor.predict(item), folder, writers=[name])
    else:
        series = folder.parent / "series"
        if kind == "series" and not series.exists():  # its identifiers are new whenever it is written
            made_series.write_series(series)
        scan = volume if kind == "volume" else made_series.scan_of(series)
        found = made_series.findings if kind == "series" else None
        write_volume(scan, predictor.predict_many(scan.slices), folder, findings=found, writers=[name])
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", result_writers)
def test_a_writer_writes_the_files_that_it_declares_and_the_same_bytes_again(
    name: str, kind: str, tmp_path: Path, volume: Scan, seg: BrightRuntime, cls: BrightRuntime
) -> None:
    first, second = (written(kind, name, tmp_path / again, [seg, cls], volume) for again in ("a", "b"))
    assert first == second
    for path in first:
        assert any(Path(path).match(pattern) for pattern in result_writers[name].files), path
        if not path.endswith(".dcm"):  # a new object has an identifier and a time of its own
            assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


@pytest.mark.parametrize("name", result_writers)
def test_a_writer_writes_something_for_some_kind_of_scan(
    name: str, tmp_path: Path, volume: Scan, seg: BrightRuntime, cls: BrightRuntime
) -> None:
    if name == "dicom" and "series" not in KINDS:
        pytest.skip("highdicom is not installed: pip install 'bts[dicom]'")
    assert any(written(kind, name, tmp_path / kind, [seg, cls], volume) for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", result_writers)
def test_a_writer_takes_predictions_without_a_mask_or_without_a_class(
    name: str, kind: str, tmp_path: Path, volume: Scan, seg: BrightRuntime, cls: BrightRuntime
) -> None:
    for task, runtime in (("seg", seg), ("cls", cls)):
        written(kind, name, tmp_path / task, [runtime], volume)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", result_writers)
def test_no_patient_reaches_a_file(
    name: str, kind: str, tmp_path: Path, volume: Scan, seg: BrightRuntime, cls: BrightRuntime
) -> None:
    for path in written(kind, name, tmp_path / "out", [seg, cls], volume):
        if path.endswith(".dcm"):
            continue  # must be of the patient of its source: test_dicom_objects.py
        data = (tmp_path / "out" / path).read_bytes()
        if path.endswith(".nii.gz"):
            data = nibabel.load(tmp_path / "out" / path).header.binaryblock
        assert not [name for name in (b"SMITH", b"ROEHAMPTON", b"SECRET-7") if name in data.upper()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", result_writers)
def test_the_next_result_removes_the_files_of_a_writer(
    name: str, kind: str, tmp_path: Path, volume: Scan, seg: BrightRuntime, cls: BrightRuntime
) -> None:
    folder = tmp_path / "out"
    written(kind, name, folder, [seg, cls], volume)
    (folder / "notes.txt").write_text("of the user")
    write_prediction(Predictor([seg]).predict(make_slice()), folder, writers=[])
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["notes.txt"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", result_writers)
def test_a_full_disk_is_one_line_and_leaves_no_partial_file(
    name: str,
    kind: str,
    tmp_path: Path,
    volume: Scan,
    seg: BrightRuntime,
    cls: BrightRuntime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if not written(kind, name, tmp_path / "before", [seg, cls], volume):
        return  # nothing to write for this kind of scan
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(RequestError, match=r"out: results can't be written there \(No space left on device\): free space"):
        written(kind, name, tmp_path / "out", [seg, cls], volume)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_an_unknown_writer_is_refused_with_the_nearest_name(tmp_path: Path, seg: BrightRuntime) -> None:
    with pytest.raises(RequestError, match=r"unknown result writer 'niftii' \(did you mean 'nifti'\?\)"):
        write_prediction(Predictor([seg]).predict(make_slice()), tmp_path, writers=["niftii"])
    assert not list(tmp_path.iterdir())


def test_a_writer_is_also_found_by_its_import_path_and_as_a_class(tmp_path: Path, seg: BrightRuntime) -> None:
    found = Predictor([seg]).predict(make_slice())
    write_prediction(found, tmp_path / "a", writers=["bts.inference.writers.json_result.JsonResult", MaskPicture])
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["mask.png", RESULT]
    with pytest.raises(RequestError, match=r"result writer 'bts\.errors\.BtsError': expected a class that inherits from"):
        write_prediction(found, tmp_path / "b", writers=["bts.errors.BtsError"])


def test_result_json_is_written_last_and_only_after_all_slices(
    tmp_path: Path, volume: Scan, seg: BrightRuntime, cls: BrightRuntime
) -> None:
    def watched() -> Iterator[Prediction]:
        for prediction in Predictor([seg, cls]).predict_many(volume.slices):
            yield prediction
            assert not (tmp_path / RESULT).exists()

    write_volume(volume, watched(), tmp_path)
    newest = max((path for path in tmp_path.rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime_ns)
    assert newest.name == RESULT
