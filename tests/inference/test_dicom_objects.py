"""Results of a DICOM series as DICOM objects: voxels, geometry, references, codes, and what a validator says."""

from __future__ import annotations

import logging
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_series
import numpy as np
import pytest

from bts.data.readers.scan import Scan
from bts.errors import InputError
from bts.inference.write import write_volume
from bts.inference.writers import dicom_objects

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed: pip install 'bts[dicom]'")
highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed: pip install 'bts[dicom]'")

KINDS = ("classic", "enhanced")


def result_of(scan: Scan, folder: Path, *, tumour: bool = True) -> Path:
    return write_volume(
        scan,
        made_series.predictions(scan),
        folder,
        findings=lambda: made_series.findings(tumour=tumour),
        writers=["dicom"],
    )


@pytest.fixture(params=KINDS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Scan, Path]:
    """A scan, and the folder of its result."""
    scan = made_series.scan_of(made_series.write_series(tmp_path / "series", enhanced=request.param == "enhanced"))
    return scan, result_of(scan, tmp_path / "out")


def places(segmentation: Any, number: int) -> set[tuple[float, ...]]:
    """Positions (LPS, mm, rounded) of a segment's voxels, by the functional groups and the bits of the file alone."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    row, column = np.reshape(np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float), (2, 3))
    down, across = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    planes = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    found = set()
    for frame, plane in zip(segmentation.PerFrameFunctionalGroupsSequence, planes, strict=True):
        groups = frame if "SegmentIdentificationSequence" in frame else shared
        if groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber != number:
            continue
        origin = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        for y, x in np.argwhere(plane):
            found.add(tuple(np.round(origin + x * across * row + y * down * column, 3)))
    return found


def expected_places(scan: Scan, number: int) -> set[tuple[float, ...]]:
    """The same from the affine (RAS) of the scan and the labels; the series runs along its normal, unflipped."""
    assert scan.volume is not None
    index = np.argwhere(made_series.findings().lesion_labels == number)[:, ::-1]  # slice, row, column -> column, row, slice
    ras = index @ scan.volume.affine[:3, :3].T + scan.volume.affine[:3, 3]
    return {tuple(np.round(place, 3) + 0.0) for place in ras * (-1, -1, 1)}


def test_every_voxel_of_a_lesion_is_where_the_patient_has_it(written: tuple[Scan, Path]) -> None:
    scan, folder = written
    found = pydicom.dcmread(folder / "seg.dcm")
    for number in (1, 2):
        assert places(found, number) == expected_places(scan, number)


def test_highdicom_reads_the_same_labels_by_source_instance(written: tuple[Scan, Path]) -> None:
    scan, folder = written
    found = highdicom.seg.segread(folder / "seg.dcm")
    assert scan.series is not None
    options = {"combine_segments": True, "assert_missing_frames_are_empty": True}
    if scan.series.frame_numbers:
        order = list(scan.series.frame_numbers)
        labels = found.get_pixels_by_source_frame(scan.series.instance_uids[0], order, **options)
    else:
        labels = found.get_pixels_by_source_instance(list(scan.series.instance_uids), **options)
    assert (labels == made_series.findings().lesion_labels).all()


def test_a_flipped_stack_keeps_its_voxels_on_their_instances(tmp_path: Path) -> None:
    scan = made_series.scan_of(made_series.write_series(tmp_path / "series"))
    assert scan.volume is not None
    assert scan.series is not None
    # the same head, cut from the top: the first slice of the volume is now the last one stored
    volume = replace(scan.volume, orientation=np.array([[0, 1], [1, 1], [2, -1]]))
    series = replace(scan.series, files=scan.series.files[::-1], instance_uids=scan.series.instance_uids[::-1])
    folder = result_of(replace(scan, volume=volume, series=series), tmp_path / "out")
    assert places(pydicom.dcmread(folder / "seg.dcm"), 1) == expected_places(scan, 1)


def test_segments_are_coded_and_name_algorithm_and_weights(written: tuple[Scan, Path]) -> None:
    _, folder = written
    segments = pydicom.dcmread(folder / "seg.dcm").SegmentSequence
    assert [segment.SegmentLabel for segment in segments] == ["Lesion 1", "Lesion 2"]
    for segment in segments:
        assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "108369006"
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
        assert algorithm.AlgorithmName == "bts"
        assert made_series.MARK.fingerprint in algorithm.AlgorithmParameters


def test_patient_and_study_are_those_of_the_source(written: tuple[Scan, Path]) -> None:
    scan, folder = written
    assert scan.series is not None
    source, found = pydicom.dcmread(scan.series.files[0]), pydicom.dcmread(folder / "seg.dcm")
    for name in (*made_series.PATIENT, "StudyInstanceUID", "StudyDate", "FrameOfReferenceUID"):
        assert found[name].value == source[name].value
    assert found.SeriesInstanceUID != source.SeriesInstanceUID


def test_a_source_that_lacks_required_fields_still_gives_an_object(tmp_path: Path) -> None:
    scan = made_series.scan_of(made_series.write_series(tmp_path / "series"))
    assert scan.series is not None
    for path in scan.series.files:
        data = pydicom.dcmread(path)
        for name in ("PatientName", "PatientBirthDate", "AccessionNumber", "StudyID", "SliceThickness"):
            del data[name]
        data.save_as(path)
    found = pydicom.dcmread(result_of(scan, tmp_path / "out") / "seg.dcm")
    assert found.PatientBirthDate == ""
    assert places(found, 2) == expected_places(scan, 2)


def test_a_source_that_is_gone_is_named(tmp_path: Path) -> None:
    scan = made_series.scan_of(made_series.write_series(tmp_path / "series"))
    (tmp_path / "series" / "3.dcm").unlink()
    with pytest.raises(InputError, match=r"3\.dcm: can't be read again \(No such file or directory\): keep the files until"):
        result_of(scan, tmp_path / "out")


def test_no_segmentation_without_a_lesion_a_series_or_findings(tmp_path: Path) -> None:
    scan = made_series.scan_of(made_series.write_series(tmp_path / "series"))
    assert not (result_of(scan, tmp_path / "healthy", tumour=False) / "seg.dcm").exists()
    assert not list(result_of(replace(scan, series=None), tmp_path / "nifti").iterdir())
    assert not list(write_volume(scan, made_series.predictions(scan), tmp_path / "slices", writers=["dicom"]).iterdir())


def test_without_highdicom_a_note_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scan = made_series.scan_of(made_series.write_series(tmp_path / "series"))
    monkeypatch.setattr(dicom_objects, "find_spec", lambda _: None)
    with caplog.at_level(logging.INFO, logger="bts"):
        assert not list(result_of(scan, tmp_path / "out").iterdir())
    assert [record.getMessage() for record in caplog.records] == [
        f"{scan.path}: seg.dcm is not written: install highdicom (pip install 'bts[dicom]')"
    ]


def test_a_validator_finds_no_error(written: tuple[Scan, Path]) -> None:
    _, folder = written
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")
    for path in sorted(folder.glob("*.dcm")):
        said = subprocess.run(["dciodvfy", path], capture_output=True, text=True).stderr
        assert not [line for line in said.splitlines() if line.startswith("Error")], said
