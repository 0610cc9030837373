"""HDF5 files that lead to other files, or load other code."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hostile_files import MASK, PICTURE, SIDE, WAYS, write_hdf, write_stolen

from bts.apps.web.limits import Limits
from bts.apps.web.upload_reader import read_upload
from bts.data.readers.catalogue import claimed_values, read_scan
from bts.data.readers.mat import read_mat_border, read_mat_head, read_mat_variable
from bts.data.slice import Slice
from bts.data.sources.figshare import Figshare
from bts.errors import InputError

REFUSED = {
    "external storage": r"'{field}' has its values in another file \(external storage\): store its values in the file itself",
    "external link": "'{field}' is a link to another place or file, which is not followed",
    "soft link to an external link": "'{field}' is a link to another place or file, which is not followed",
    "virtual dataset": "'{field}' is a virtual dataset, put together from other files",
    "external link to the struct": "'cjdata' is a link to another place or file, which is not followed",
}


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that the server may read and a visitor may not."""
    path = tmp_path / "secret"
    path.write_bytes(np.random.default_rng(1).integers(1, 255, SIDE * SIDE, np.uint8).tobytes())
    return path


def first_slice(root: Path) -> Slice:
    """Read the first slice of a folder as training does."""
    source = Figshare(root)
    return source.read(source.records()[0])


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    write_hdf(tmp_path / "1.mat").close()
    found = read_scan(tmp_path / "1.mat").slices[0]
    np.testing.assert_array_equal(found.image, PICTURE)
    np.testing.assert_array_equal(found.mask, MASK > 0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("field", ["image", "tumorMask"])
def test_a_picture_out_of_another_file_is_refused(way: str, field: str, secret: Path, tmp_path: Path) -> None:
    path = write_stolen(tmp_path / "1.mat", secret, way, field=field)
    with pytest.raises(InputError, match=r"1\.mat: " + REFUSED[way].format(field=field)) as caught:
        read_scan(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("way", WAYS)
def test_the_page_refuses_it_too(way: str, secret: Path, tmp_path: Path) -> None:
    path = write_stolen(tmp_path / "1.mat", secret, way)
    with pytest.raises(InputError, match=r"^1\.mat: " + REFUSED[way].format(field="image")):
        read_upload([path], limits=Limits())


@pytest.mark.parametrize("way", WAYS)
def test_training_refuses_it_too(way: str, secret: Path, tmp_path: Path) -> None:
    write_stolen(tmp_path / "1.mat", secret, way)
    with pytest.raises(InputError, match=REFUSED[way].format(field="image")):
        first_slice(tmp_path)


@pytest.mark.parametrize("way", WAYS)
def test_the_patient_id_out_of_another_file_is_refused(way: str, secret: Path, tmp_path: Path) -> None:
    secret.write_text("password=sesam")
    path = write_stolen(tmp_path / "1.mat", secret, way, field="PID")
    with pytest.raises(InputError, match=REFUSED[way].format(field="PID")):
        read_mat_head(path)


@pytest.mark.parametrize("way", WAYS)
def test_the_border_out_of_another_file_is_refused(way: str, secret: Path, tmp_path: Path) -> None:
    path = write_stolen(tmp_path / "1.mat", secret, way, field="tumorBorder")
    with pytest.raises(InputError, match=REFUSED[way].format(field="tumorBorder")):
        read_mat_border(path)


def test_folds_out_of_another_file_are_refused(secret: Path, tmp_path: Path) -> None:
    path = tmp_path / "cvind.mat"
    for value, message in (
        ({"external": [(str(secret), 0, SIDE)]}, "'cvind' has its values in another file"),
        (h5py.ExternalLink(str(secret), "/x"), "'cvind' is a link to another place"),
        (h5py.SoftLink("/x"), "'cvind' is a link to another place"),
    ):
        with h5py.File(path, "w", userblock_size=512) as file:
            if isinstance(value, dict):
                file.create_dataset("cvind", (1, SIDE), "u1", **value)
            else:
                file["x"], file["cvind"] = np.ones((1, SIDE)), value
        with pytest.raises(InputError, match=message):
            read_mat_variable(path, "cvind")


def test_the_size_of_another_file_is_not_told(secret: Path, tmp_path: Path) -> None:
    secret.write_bytes(bytes(4 * SIDE * SIDE))
    for way in ("external link", "soft link to an external link", "virtual dataset", "external link to the struct"):
        assert claimed_values(write_stolen(tmp_path / "1.mat", secret, way)) in (0, SIDE * SIDE)  # of the mask in the file


def test_a_link_within_the_file_is_refused_by_its_name(tmp_path: Path) -> None:
    with write_hdf(tmp_path / "1.mat", without="image") as file:
        file["elsewhere"] = PICTURE.T
        file["cjdata/image"] = h5py.SoftLink("/elsewhere")
    with pytest.raises(InputError, match=r"1\.mat: 'image' is a link to another place or file, which is not followed"):
        read_scan(tmp_path / "1.mat")


def test_a_second_hard_link_is_fine(tmp_path: Path) -> None:
    with write_hdf(tmp_path / "1.mat", without="image") as file:
        file["elsewhere"] = PICTURE.T
        file["cjdata/image"] = file["elsewhere"]
    np.testing.assert_array_equal(read_scan(tmp_path / "1.mat").slices[0].image, PICTURE)


@pytest.mark.parametrize("kind", ["object", "region"])
def test_references_are_refused(kind: str, tmp_path: Path) -> None:
    with write_hdf(tmp_path / "1.mat", without="image") as file:
        file["elsewhere"] = PICTURE.T
        reference = file["elsewhere"].ref if kind == "object" else file["elsewhere"].regionref[2:4]
        dtype = h5py.ref_dtype if kind == "object" else h5py.regionref_dtype
        file.create_dataset("cjdata/image", data=np.array([[reference]], dtype), dtype=dtype)
    with pytest.raises(InputError, match=r"'image' holds references to other parts of the file \(a cell array\?\)"):
        read_scan(tmp_path / "1.mat")


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (h5py.string_dtype(), "text"),
        (h5py.vlen_dtype(np.int32), np.arange(3)),
        (np.dtype([("a", "i4"), ("b", "f8")]), (1, 2.0)),
        (np.dtype("V16"), np.void(bytes(16))),
    ],
)
def test_values_that_are_no_plain_numbers_are_refused(dtype: np.dtype, value: object, tmp_path: Path) -> None:
    with write_hdf(tmp_path / "1.mat", without="image") as file:
        data = file.create_dataset("cjdata/image", (2, 2), dtype)
        data[0, 0] = value
    with pytest.raises(InputError, match=r"'image' holds .* values: expected real numbers"):
        read_scan(tmp_path / "1.mat")


@pytest.mark.parametrize("how", [{"compression": "lzf"}, {"scaleoffset": 4}, {"compression": 32015}, {"compression": 301}])
def test_other_filters_are_refused_before_one_is_looked_for(how: dict, tmp_path: Path) -> None:
    with write_hdf(tmp_path / "1.mat", without="image") as file:
        more = {"allow_unknown_filter": True} if isinstance(how.get("compression"), int) else {}
        file.create_dataset("cjdata/image", PICTURE.shape, "i2", chunks=(SIDE, SIDE), **how, **more)
        if not more:
            file["cjdata/image"][...] = PICTURE.T
        else:
            file["cjdata/image"].id.write_direct_chunk((0, 0), PICTURE.tobytes())
    with pytest.raises(
        InputError, match=r"'image' is packed with the filters number \d+: accepted are shuffle, deflate, fletcher32, each once"
    ):
        read_scan(tmp_path / "1.mat")


def test_a_filter_that_is_applied_twice_is_refused(tmp_path: Path) -> None:
    with write_hdf(tmp_path / "1.mat", without="image") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((SIDE, SIDE))
        plist.set_deflate(9)
        plist.set_deflate(9)  # zeros shrink a million times
        space = h5py.h5s.create_simple((SIDE, SIDE))
        made = h5py.h5d.create(file["cjdata"].id, b"image", h5py.h5t.NATIVE_INT16, space, plist)
        h5py.Dataset(made)[...] = PICTURE.T
    with pytest.raises(InputError, match="'image' is packed with the filters deflate, deflate: accepted are"):
        read_scan(tmp_path / "1.mat")


@pytest.mark.parametrize("how", [{"shuffle": True}, {"fletcher32": True}, {"shuffle": True, "fletcher32": True}, {}])
@pytest.mark.parametrize("compression", ["gzip", None])
def test_the_standard_filters_are_read(how: dict, compression: str | None, tmp_path: Path) -> None:
    with write_hdf(tmp_path / "1.mat", without="image") as file:
        file.create_dataset("cjdata/image", data=PICTURE.T, chunks=(16, 24), compression=compression, **how)
    np.testing.assert_array_equal(read_scan(tmp_path / "1.mat").slices[0].image, PICTURE)


@pytest.mark.parametrize("value", [np.full(1000, 7), "text", np.array([])])
def test_an_attribute_of_another_kind_counts_as_absent(value: object, tmp_path: Path) -> None:
    with write_hdf(tmp_path / "1.mat") as file:
        file.attrs["bts_synthetic"] = value
        file["cjdata/image"].attrs["MATLAB_empty"] = value
    found = read_scan(tmp_path / "1.mat").slices[0]
    assert not found.synthetic
    np.testing.assert_array_equal(found.image, PICTURE)


def test_a_field_without_values_is_refused(tmp_path: Path) -> None:
    with write_hdf(tmp_path / "1.mat", without="image") as file:
        file["cjdata/image"] = h5py.Empty("f4")
    with pytest.raises(InputError, match="'image' is empty: expected numbers"):
        read_scan(tmp_path / "1.mat")
