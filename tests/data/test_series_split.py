"""Which volumes a folder of DICOM files holds: series, studies, echoes, time points, and what is skipped or refused."""

from __future__ import annotations

import itertools
import shutil

import numpy as np
import pydicom
import pytest
from dicom_files import write_dicom
from dicom_series import noise, positions, write_enhanced, write_series

from bts.data.readers.series import find_series, read_series
from bts.errors import InputError

VALUES = noise(6, 4, 3)
SAGITTAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))
CORONAL = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))


def refused(files, reason, *, failed=True):
    found, left = find_series(files)
    assert not found
    assert len(left) == 1
    assert left[0].failed == failed
    assert reason in left[0].reason
    assert "\n" not in left[0].reason
    return left[0]


def test_series_and_studies_in_one_folder_stay_apart(tmp_path):
    files = [
        *write_series(tmp_path / "a", VALUES, series="1.1"),
        *write_series(tmp_path / "b", VALUES[:4], series="1.2"),
        *write_series(tmp_path / "c", VALUES[:5], series="1.1", study="9.9"),
    ]
    found, left = find_series(np.random.default_rng(0).permutation(files).tolist())
    assert not left
    assert sorted((each.series.study_uid, each.series.series_uid, each.shape[2]) for each in found) == [
        ("1.2.3", "1.1", 6),
        ("1.2.3", "1.2", 4),
        ("9.9", "1.1", 5),
    ]


def test_a_hundred_tiny_series_are_a_hundred_volumes(tmp_path):
    first = [file.read_bytes() for file in write_series(tmp_path, VALUES[:2], series="1.5.1234")]
    files = []
    for number, (slice_number, content) in itertools.product(range(100), enumerate(first)):
        files.append(tmp_path / f"{number}-{slice_number}.dcm")
        files[-1].write_bytes(content.replace(b"1.5.1234", b"1.5.1%03d" % number))
    found, left = find_series(files)
    assert not left
    assert len({each.name for each in found}) == 100


@pytest.mark.parametrize(
    ("field", "values", "parts"),
    [
        ("EchoTime", (10, 90), ("echo 10", "echo 90")),
        ("DiffusionBValue", (0.0, 1000.0), ("b-value 0", "b-value 1000")),
        ("TemporalPositionIdentifier", (1, 2), ("time point 1", "time point 2")),
        ("AcquisitionNumber", (1, 2), ("acquisition 1", "acquisition 2")),
        ("TriggerTime", (0, 40), ("trigger 0", "trigger 40")),
        ("InversionTime", (200, 900), ("inversion 200", "inversion 900")),
        ("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]), None),
    ],
)
def test_volumes_at_the_same_places_are_split_by_what_tells_them_apart(tmp_path, field, values, parts):
    files = [
        file
        for number, value in enumerate(values)
        for file in write_series(tmp_path / str(number), VALUES + 100 * number, **{field: value}, InstanceNumber=1)
    ]
    found, left = find_series(files[::-1])
    assert not left
    assert [each.shape[2] for each in found] == [6, 6]
    assert parts is None or tuple(each.part for each in found) == parts
    assert found[0].name != found[1].name
    for number, each in enumerate(found):
        np.testing.assert_array_equal(read_series(each, axis=2).slices[0].image, VALUES[0] + 100 * number)


def test_echoes_of_several_time_points_are_split_by_both(tmp_path):
    files = [
        file
        for echo in (10, 90)
        for time in (1, 2, 3)
        for file in write_series(tmp_path / f"{echo}{time}", VALUES, EchoTime=echo, TemporalPositionIdentifier=time)
    ]
    found, left = find_series(files)
    assert not left
    assert len(found) == 6
    assert found[1].part == "echo 10 time point 2"


@pytest.mark.parametrize("field", ["AcquisitionNumber", "EchoTime", "TriggerTime"])
def test_a_field_that_changes_from_slice_to_slice_splits_no_volume(tmp_path, field):
    found, left = find_series(write_series(tmp_path, VALUES, each=lambda index: {field: index}))
    assert not left
    assert [each.shape[2] for each in found] == [6]


def test_time_points_are_split_where_the_echo_changes_from_slice_to_slice(tmp_path):
    files = [
        file
        for time in (1, 2)
        for file in write_series(
            tmp_path / str(time), VALUES, TemporalPositionIdentifier=time, each=lambda index: {"EchoTime": 10 + index}
        )
    ]
    found, left = find_series(files)
    assert not left
    assert [(each.part, each.shape[2]) for each in found] == [("time point 1", 6), ("time point 2", 6)]


def test_a_shorter_time_point_is_read_with_a_note(tmp_path):
    files = write_series(tmp_path / "a", VALUES, TemporalPositionIdentifier=1)
    files += write_series(tmp_path / "b", VALUES[:4], TemporalPositionIdentifier=2)
    whole, short = find_series(files)[0]
    assert whole.series.faults == ()
    assert short.series.faults == ("4 slices, where other volumes of the series have 6",)
    assert read_series(short).slices[0].warnings == short.series.faults


def test_frames_of_two_echoes_in_one_file_are_two_volumes(tmp_path):
    stored = np.concatenate([VALUES, VALUES + 100])
    at = np.concatenate([positions(6)] * 2)
    path = write_enhanced(
        tmp_path / "a.dcm", stored, at=at, each=lambda k: {"MREchoSequence": {"EffectiveEchoTime": 10.0 + k // 6}}
    )
    found, left = find_series([path])
    assert not left
    assert [each.series.frame_numbers for each in found] == [(1, 2, 3, 4, 5, 6), (7, 8, 9, 10, 11, 12)]
    np.testing.assert_array_equal(read_series(found[1], axis=2).slices[0].image, VALUES[0] + 100)


def test_two_orientations_are_two_volumes_and_three_are_a_localizer(tmp_path):
    files = write_series(tmp_path / "a", VALUES)
    files += write_series(tmp_path / "b", VALUES, directions=SAGITTAL, at=positions(6, directions=SAGITTAL))
    found, left = find_series(files)
    assert not left
    assert [(each.part, each.shape[2]) for each in found] == [("stack 1", 6), ("stack 2", 6)]
    files += write_series(tmp_path / "c", VALUES[:3], directions=CORONAL, at=positions(3, directions=CORONAL))
    refused(files, "a localizer: slices in 3 orientations, which make no volume (15 files)", failed=False)


def test_two_orientations_that_are_named_a_localizer_are_one(tmp_path):
    more = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    files = write_series(tmp_path / "a", VALUES, **more)
    files += write_series(tmp_path / "b", VALUES, directions=SAGITTAL, **more)
    refused(files, "a localizer: slices in 2 orientations", failed=False)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"Modality": "CT"}, "modality CT: only MR is answered (6 files)"),
        ({"Modality": "SEG"}, "modality SEG: only MR is answered"),
        ({"SOPClassUID": pydicom.uid.SecondaryCaptureImageStorage}, "a secondary capture (screenshot)"),
    ],
)
def test_other_objects_are_named_and_skipped(tmp_path, more, reason):
    left = refused(write_series(tmp_path, VALUES, SeriesDescription="Head", **more), reason, failed=False)
    assert left.name == "Head-1234"


def test_reports_without_pixels_and_colour_are_skipped(tmp_path):
    report = write_dicom(tmp_path / "sr.dcm", VALUES[0], Modality="SR")
    data = pydicom.dcmread(report)
    for name in ("PixelData", "Rows", "Columns"):
        delattr(data, name)
    data.save_as(report)
    refused([report], "modality SR: only MR is answered", failed=False)
    colour = write_dicom(tmp_path / "rgb.dcm", np.zeros((4, 3, 3), np.uint8), kind="RGB")
    refused([colour], "colour (RGB): only grey slices are answered", failed=False)


def test_a_list_of_files_is_passed_over_in_silence(tmp_path):
    path = write_dicom(tmp_path / "DICOMDIR", VALUES[0], SOPClassUID=pydicom.uid.MediaStorageDirectoryStorage)
    assert find_series([path]) == ([], [])


def test_copies_of_slices_are_left_out(tmp_path):
    files = write_series(tmp_path / "a", VALUES)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    found, left = find_series([*files, *sorted((tmp_path / "b").iterdir())])
    assert found[0].series.files == tuple(map(str, files))
    assert [(each.reason, each.failed) for each in left] == [("copies of slices that are there already (6 files)", False)]


def test_a_missing_slice_is_named_by_its_neighbours(tmp_path):
    files = write_series(tmp_path, VALUES)
    del files[3]
    refused(files, "slices 3 and 4 of 5 lie 10 mm apart, others 5 mm (1 missing between them): export the complete series")


def test_uneven_increments_are_refused(tmp_path):
    at = positions(6)
    at[4, 2] += 1
    refused(write_series(tmp_path, VALUES, at=at), "apart, others 5 mm (uneven increments)")


def test_rounded_positions_are_even(tmp_path):
    directions = ((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0))
    at = positions(6, step=0.71) + np.random.default_rng(0).uniform(-0.005, 0.005, (6, 3))
    assert len(find_series(write_series(tmp_path, VALUES, at=at, directions=directions))[0]) == 1


def test_slices_at_one_place_that_nothing_tells_apart_are_refused(tmp_path):
    files = write_series(tmp_path / "a", VALUES) + write_series(tmp_path / "b", VALUES)
    refused(files, "2 slices at one place (")


@pytest.mark.parametrize("degrees", [5.0, -14.0])
def test_a_tilted_gantry_is_refused_with_its_angle(tmp_path, degrees):
    shift = np.array([0.0, np.tan(np.radians(degrees)), 1.0]) * 5
    files = write_series(tmp_path, VALUES, at=positions(6, step=shift))
    refused(files, f"gantry tilt of {abs(degrees):g} degrees")


@pytest.mark.parametrize("field", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_slices_without_a_place_are_refused(tmp_path, field):
    files = write_series(tmp_path, VALUES)
    data = pydicom.dcmread(files[2])
    delattr(data, field)
    data.save_as(files[2])
    refused(files, f"1 of 6 slices have no {field}")


def test_an_orientation_without_a_right_angle_is_refused(tmp_path):
    refused(write_series(tmp_path, VALUES, directions=((1, 0, 0), (0.3, 0.9, 0)), at=positions(6)), "at a right angle")


def test_one_broken_series_hinders_no_other(tmp_path):
    good = write_series(tmp_path / "a", VALUES, series="1.1")
    broken = write_series(tmp_path / "b", VALUES, series="1.2")
    damaged = tmp_path / "c.dcm"
    damaged.write_bytes(good[0].read_bytes()[:200])
    found, left = find_series([*good, *broken[:3], *broken[4:], damaged])
    assert [each.series.series_uid for each in found] == ["1.1"]
    assert [each.failed for each in left] == [True, True]


def test_a_truncated_slice_is_named(tmp_path):
    files = write_series(tmp_path, VALUES)
    files[1].write_bytes(files[1].read_bytes()[:-4])
    found, _ = find_series(files)
    with pytest.raises(InputError, match=rf"{files[1].name}: it ends within frame 1 of 1"):
        read_series(found[0])


def test_too_many_voxels_are_refused_by_the_headers(tmp_path):
    files = write_series(tmp_path, VALUES[:5], names=range(5))
    for file in files:
        data = pydicom.dcmread(file)
        data.Rows = data.Columns = 8000
        data.PixelData = bytes(120_000)  # within what compression may reach
        data.save_as(file)
    refused(files, "8000 x 8000 x 5 voxels: at most 268435456 are accepted")


def test_long_fields_are_refused_before_they_are_parsed(tmp_path):
    files = write_series(tmp_path, VALUES[:2], each=lambda index: {"ImageComments": "x"})
    data = pydicom.dcmread(files[0])
    data.ImagePositionPatient = [0.0] * 3000
    data.save_as(files[0])
    found, left = find_series(files)
    assert [each.shape[2] for each in found] == [1]
    assert "its field ImagePositionPatient holds" in left[0].reason
