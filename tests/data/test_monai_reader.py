"""`SliceReader` under MONAI's `LoadImage`, and the agreement of our readers with MONAI's own."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from dicom_files import write_dicom
from figshare_files import BORDER, MASK, PICTURE, write_mat7
from monai.data import NibabelReader, PILReader, PydicomReader
from monai.transforms import LoadImage
from PIL import Image

from bts.data.monai_reader import SliceReader
from bts.data.readers.catalogue import read_slice
from bts.errors import InputError

# MONAI's LoadImage makes one of each reader it knows, and one of them warns where nvImageCodec is not installed
pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning")

AXIAL = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, 0]}
GREY = np.arange(24, dtype=np.uint8).reshape(4, 6)


def with_monai(reader, path):
    return np.asarray(LoadImage(reader=reader, image_only=True)(path))


def test_figshare_file_goes_through_load_image_with_all_it_knows(tmp_path):
    path = write_mat7(tmp_path / "1.mat", patient="MR040240B", label=2)
    image = LoadImage(reader=SliceReader, image_only=True, ensure_channel_first=True)(path)
    np.testing.assert_array_equal(image[0].numpy(), PICTURE.T)
    np.testing.assert_array_equal(image.meta["mask"], MASK.T)
    np.testing.assert_array_equal(image.meta["border"], [(y - 1, x - 1) for x, y in BORDER])
    assert (image.meta["label"], image.meta["patient"]) == ("glioma", "MR040240B")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
def test_pictures_agree_with_pil_reader(tmp_path, name):
    Image.fromarray(GREY).save(tmp_path / name)
    theirs = with_monai(PILReader, tmp_path / name)
    np.testing.assert_array_equal(read_slice(tmp_path / name).image.T, theirs)
    np.testing.assert_array_equal(with_monai(SliceReader, tmp_path / name), theirs)


def test_sixteen_bit_png_agrees_with_pil_reader(tmp_path):
    Image.fromarray(GREY.astype(np.uint16) * 1000).save(tmp_path / "a.png")
    np.testing.assert_array_equal(with_monai(SliceReader, tmp_path / "a.png"), with_monai(PILReader, tmp_path / "a.png"))


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 1)])
def test_nifti_agrees_with_nibabel_reader(tmp_path, shape):
    stored = GREY.T.reshape(shape).astype(np.int16)  # LPS: columns to the left, rows to posterior
    nibabel.save(nibabel.Nifti1Image(stored, np.diag([-0.5, -0.5, 3, 1])), tmp_path / "a.nii.gz")
    theirs = with_monai(NibabelReader, tmp_path / "a.nii.gz").reshape(6, 4)
    np.testing.assert_array_equal(read_slice(tmp_path / "a.nii.gz").image.T, theirs)
    np.testing.assert_array_equal(with_monai(SliceReader, tmp_path / "a.nii.gz"), theirs)


def test_dicom_agrees_with_pydicom_reader(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", GREY.astype(np.uint16) * 7, slope=2.5, intercept=-100, spacing=(0.5, 0.75), **AXIAL)
    theirs = with_monai(PydicomReader, path).reshape(6, 4)
    np.testing.assert_array_equal(read_slice(path).image.T, theirs)
    np.testing.assert_array_equal(with_monai(SliceReader, path), theirs)


def test_no_patient_of_a_dicom_file_reaches_the_metadata(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", GREY.astype(np.uint16))
    image = LoadImage(reader=SliceReader, image_only=True)(path)
    assert "patient" not in image.meta
    assert "Doe" not in str(image.meta)


def test_several_files_are_stacked_as_channels(tmp_path):
    paths = [write_mat7(tmp_path / f"{number}.mat", image=PICTURE + number) for number in (1, 2)]
    image = LoadImage(reader=SliceReader, image_only=True)(paths)
    np.testing.assert_array_equal(image.numpy(), np.stack([PICTURE.T + 1, PICTURE.T + 2]))


def test_only_readable_names_are_claimed():
    reader = SliceReader()
    assert reader.verify_suffix(["a.mat", "b.NII.GZ"])
    assert not reader.verify_suffix("a.ppm")


def test_a_volume_is_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.arange(60.0).reshape(5, 4, 3), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(InputError, match="a volume of 3 slices where one is wanted"):
        SliceReader().read(tmp_path / "a.nii")
