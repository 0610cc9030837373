"""The same slice as .mat, PNG and NIfTI gives the same tensor, mask and class."""

import nibabel
import numpy as np
import pytest
from fake_models import write_model
from PIL import Image

from bts.data.phantom import write_phantom
from bts.data.preprocess import Preprocessing
from bts.data.readers.catalogue import read_slice
from bts.inference.predictor import Predictor


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return Predictor.load(seg=write_model(root / "s", "seg"), cls=write_model(root / "c", "cls"), device="cpu")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    root = tmp_path_factory.mktemp("slice")
    write_phantom(root / "mat", patients=1, slices_per_patient=(1, 1), side=128)
    mat = next((root / "mat").rglob("1.mat"))
    values = read_slice(mat).image
    assert np.array_equal(values, values.astype(np.uint16)), "figshare's values are 16-bit integers: nothing is lost in a PNG"
    Image.fromarray(values.astype(np.uint16)).save(root / "slice.png")
    nibabel.save(nibabel.Nifti1Image(values.T[:, :, None].astype(np.int16), np.diag([-1.0, -1, 1, 1])), root / "slice.nii.gz")
    return {"mat": mat, "png": root / "slice.png", "nifti": root / "slice.nii.gz"}


@pytest.mark.parametrize("other", ["png", "nifti"])
def test_the_same_slice_gives_the_same_tensor_mask_and_class_whatever_the_format(predictor, paths, other):
    first, second = read_slice(paths["mat"]), read_slice(paths[other])
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(
        Preprocessing(size=64, crop_brain=False).image(first.image),
        Preprocessing(size=64, crop_brain=False).image(second.image),
    )
    one, two = predictor.predict(paths["mat"]), predictor.predict(paths[other])
    assert np.array_equal(one.mask_prob, two.mask_prob)
    assert np.array_equal(one.mask, two.mask)
    assert np.array_equal(one.cam, two.cam)
    assert one.label == two.label
    assert np.array_equal(one.class_prob, two.class_prob)


def test_a_phantom_is_called_one_in_its_answer(predictor, paths):
    assert any("phantom" in warning for warning in predictor.predict(paths["mat"]).warnings)
    assert not any("phantom" in warning for warning in predictor.predict(paths["png"]).warnings)
