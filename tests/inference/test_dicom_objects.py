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
    source = pydicom.dcmread(scan.series.files[0])
    for found in map(pydicom.dcmread, (folder / "seg.dcm", folder / "report.dcm")):
        for name in (*made_series.PATIENT, "StudyInstanceUID", "StudyDate"):
            assert found[name].value == source[name].value
        assert found.SeriesInstanceUID != source.SeriesInstanceUID
    assert pydicom.dcmread(folder / "seg.dcm").FrameOfReferenceUID == source.FrameOfReferenceUID


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


def test_a_name_of_one_component_is_kept_and_repeated_nowhere(tmp_path: Path) -> None:
    scan = made_series.scan_of(made_series.write_series(tmp_path / "series"))
    assert scan.series is not None
    for path in scan.series.files:
        data = pydicom.dcmread(path)
        data.PatientName = "Jane_Doe"
        data.save_as(path)
    folder = result_of(scan, tmp_path / "out")  # a warning would be an error
    assert pydicom.dcmread(folder / "report.dcm").PatientName == "Jane_Doe"


def groups_of(folder: Path) -> list[Any]:
    """The measurement groups of the report: of the volume, then of each lesion."""
    report = highdicom.sr.srread(folder / "report.dcm").content
    return [
        *report.get_image_measurement_groups(),
        *report.get_volumetric_roi_measurement_groups(),
    ]


def measured(group: Any) -> dict[str, tuple[float, str]]:
    """Value and unit by the meaning of a measurement's name."""
    return {each.name.meaning: (float(each.value), each.unit.value) for each in group.get_measurements()}


def evaluated(group: Any) -> dict[str, str]:
    return {each.name.meaning: each.value.value for each in group.get_qualitative_evaluations()}


def test_the_report_holds_the_decision_and_the_measurements_of_each_lesion(written: tuple[Scan, Path]) -> None:
    _, folder = written
    whole, *lesions = groups_of(folder)
    truth = made_series.findings()
    assert evaluated(whole) == {"Tumour reported": "373066001", "Predicted class": "393564001"}
    assert measured(whole)["Tumour score"] == (0.93, "1")
    assert len(lesions) == 2
    for group, lesion in zip(lesions, truth.lesions, strict=True):
        found = measured(group)
        assert found["Volume"] == (pytest.approx(lesion.volume_ml), "ml")
        assert found["Long axis"] == (8.25, "mm")
        assert found["Short axis"] == (5.5, "mm")
        assert found["Probability of meningioma"] == (0.1, "1")
        assert evaluated(group) == {"Predicted class": "393564001"}
    left, both = (group.finding_sites[0].laterality.value for group in lesions)
    assert (left, both) == ("7771000", "51440002")


def test_the_report_refers_to_the_segment_of_each_lesion(written: tuple[Scan, Path]) -> None:
    _, folder = written
    segmentation = pydicom.dcmread(folder / "seg.dcm")
    for number, group in enumerate(groups_of(folder)[1:], 1):
        referred = group.referenced_segment
        assert referred.referenced_sop_instance_uid == segmentation.SOPInstanceUID
        assert list(referred.referenced_segment_numbers) == [number]
        assert group.tracking_uid == segmentation.SegmentSequence[number - 1].TrackingUID


def test_a_single_lesion_has_its_segment_too(tmp_path: Path) -> None:
    scan = made_series.scan_of(made_series.write_series(tmp_path / "series"))
    known = made_series.findings()
    one = replace(known, lesion_labels=known.lesion_labels * (known.lesion_labels == 1), lesions=known.lesions[:1])
    folder = write_volume(scan, made_series.predictions(scan), tmp_path / "out", findings=lambda: one, writers=["dicom"])
    assert places(pydicom.dcmread(folder / "seg.dcm"), 1) == expected_places(scan, 1)
    _, lesion = groups_of(folder)
    assert list(lesion.referenced_segment.referenced_segment_numbers) == [1]
    if shutil.which("dciodvfy") is not None:
        for path in folder.glob("*.dcm"):
            assert "\nError" not in subprocess.run(["dciodvfy", path], capture_output=True, text=True).stderr


def test_what_is_not_measured_is_left_out_of_the_report_and_own_classes_keep_their_names(tmp_path: Path) -> None:
    scan = made_series.scan_of(made_series.write_series(tmp_path / "series"))
    unmeasured = dict.fromkeys(("volume_ml", "longest_mm", "perpendicular_mm", "extent_mm", "side", "centroid_mm"))
    known = made_series.findings()
    lesions = tuple(replace(each, **unmeasured, class_prob={"a rare class of mine": 1.0}) for each in known.lesions)
    found = replace(known, lesions=lesions, label="a rare class of mine", class_prob={})
    made = made_series.predictions(scan)
    folder = write_volume(scan, made, tmp_path / "out", findings=lambda: found, writers=["dicom"])
    whole, lesion, _ = groups_of(folder)
    assert set(measured(lesion)) == {"Mean probability of the outline", "Probability of a rare class of mine"}
    assert evaluated(whole)["Predicted class"] == "a rare class of mine"


def test_a_source_that_is_gone_is_named(tmp_path: Path) -> None:
    scan = made_series.scan_of(made_series.write_series(tmp_path / "series"))
    (tmp_path / "series" / "3.dcm").unlink()
    with pytest.raises(InputError, match=r"3\.dcm: can't be read again \(No such file or directory\): keep the files until"):
        result_of(scan, tmp_path / "out")


def test_without_a_lesion_the_report_says_so_and_there_is_no_segmentation(tmp_path: Path) -> None:
    scan = made_series.scan_of(made_series.write_series(tmp_path / "series"))
    folder = result_of(scan, tmp_path / "out", tumour=False)
    assert [path.name for path in folder.iterdir()] == ["report.dcm"]
    (whole,) = groups_of(folder)
    assert evaluated(whole) == {"Tumour reported": "373067005"}


def test_no_object_of_a_scan_that_is_no_series_or_has_no_findings(tmp_path: Path) -> None:
    scan = made_series.scan_of(made_series.write_series(tmp_path / "series"))
    assert not list(result_of(replace(scan, series=None), tmp_path / "nifti").iterdir())
    assert not list(
        write_volume(
            scan, made_series.predictions(scan), tmp_path / "slices", findings=lambda: None, writers=["dicom"]
        ).iterdir()
    )


def test_a_series_without_a_frame_of_reference_gets_one_that_is_always_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = []
    for name in ("one", "other"):
        scan = made_series.scan_of(made_series.write_series(tmp_path / name, FrameOfReferenceUID=""))
        with caplog.at_level(logging.INFO, logger="bts"):
            folders = [result_of(scan, tmp_path / f"{name}{turn}") for turn in range(2)]
        frames += [pydicom.dcmread(folder / "seg.dcm").FrameOfReferenceUID for folder in folders]
    assert frames[0] == frames[1] != frames[2] == frames[3]
    assert {record.getMessage() for record in caplog.records} >= {f"{scan.path}: {dicom_objects.OWN_FRAME}"}
    assert (folders[0] / "report.dcm").is_file()


def test_an_invalid_header_costs_the_objects_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scan = made_series.scan_of(made_series.write_series(tmp_path / "series", PatientSex="XYZ"))
    with caplog.at_level(logging.INFO, logger="bts"):
        assert not list(result_of(scan, tmp_path / "out").iterdir())
    (note,) = [record.getMessage() for record in caplog.records if record.name.startswith("bts")]
    assert "seg.dcm and report.dcm are not written: the header of its source is invalid ('XYZ' is not a valid" in note


def test_without_highdicom_a_note_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scan = made_series.scan_of(made_series.write_series(tmp_path / "series"))
    monkeypatch.setattr(dicom_objects, "find_spec", lambda _: None)
    with caplog.at_level(logging.INFO, logger="bts"):
        assert not list(result_of(scan, tmp_path / "out").iterdir())
    assert [record.getMessage() for record in caplog.records] == [
        f"{scan.path}: seg.dcm and report.dcm are not written: install highdicom (pip install 'bts[dicom]')"
    ]


@pytest.mark.filterwarnings("ignore:Invalid value for VR AS")  # by pydicom, when the test writes it
@pytest.mark.parametrize(
    "more",
    [{}, {"FrameOfReferenceUID": ""}, {"PatientAge": "42"}],
    ids=["", "no frame of reference", "an age without its unit"],
)
@pytest.mark.parametrize("tumour", [True, False])
@pytest.mark.parametrize("enhanced", [False, True])
def test_a_validator_finds_no_error(enhanced: bool, tumour: bool, more: dict[str, str], tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")
    scan = made_series.scan_of(made_series.write_series(tmp_path / "series", enhanced=enhanced, **more))
    paths = sorted(result_of(scan, tmp_path / "out", tumour=tumour).glob("*.dcm"))
    assert len(paths) == 1 + tumour
    for path in paths:
        said = subprocess.run(["dciodvfy", path], capture_output=True, text=True).stderr
        assert said.splitlines()[0] in ("Segmentation", "ComprehensiveSR")
        assert not [line for line in said.splitlines() if line.startswith("Error")], said
