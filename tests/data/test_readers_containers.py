"""The same pixels in any container, depth and channel layout give the same array, bit for bit.

The files are written by other libraries than those that read them: tifffile, OpenCV, nibabel, and a PNG encoder of six lines.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from dicom_files import write_dicom
from PIL import Image

from bts.data.readers.catalogue import read_slice
from bts.data.readers.isolated import read_scan_isolated
from bts.data.readers.tiff import tiff_header
from bts.errors import InputError

SHAPE = (13, 22)
RANGES = {
    "u1": (0, 255), "u2": (0, 65535), "u4": (0, 2**24), "i1": (-128, 127), "i2": (-(2**15), 2**15 - 1), "i4": (-(2**23), 2**23),
    "f2": (-2000, 2000), "f4": (-5, 5), "f8": (-5, 5),
}  # fmt: skip
"""Types of numbers with the range that float32 holds exactly."""


def pixels(dtype: str) -> np.ndarray:
    """Random values that reach both ends of the range."""
    low, high = RANGES[dtype]
    random = np.random.default_rng(sum(map(ord, dtype)))
    found = random.uniform(low, high, SHAPE) if dtype[0] == "f" else random.integers(low, high, SHAPE, endpoint=True)
    found = found.astype(dtype)
    found[0, :2] = low, high
    return found


def opaque(array: np.ndarray) -> np.ndarray:
    top = 1 if array.dtype.kind == "f" else np.iinfo(array.dtype).max
    return np.full(array.shape, top, array.dtype)


# --- TIFF -----------------------------------------------------------------------------------------------------------------

LAYOUTS: dict[str, Callable[[np.ndarray], tuple[np.ndarray, dict[str, Any]]]] = {
    "grey": lambda grey: (grey, {}),
    "tiles": lambda grey: (grey, {"tile": (16, 16)}),
    "strips": lambda grey: (grey, {"rowsperstrip": 5}),
    "grey and alpha": lambda grey: (
        np.dstack([grey, opaque(grey)]),
        {"extrasamples": ["unassalpha"], "planarconfig": "contig"},
    ),
    "RGB": lambda grey: (np.dstack([grey] * 3), {"photometric": "rgb"}),
    "RGBA": lambda grey: (np.dstack([grey] * 3 + [opaque(grey)]), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "RGB by planes": lambda grey: (np.stack([grey] * 3), {"photometric": "rgb", "planarconfig": "separate"}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", RANGES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packing", [None, "zlib", "differences"])
def test_tiff(packing: str | None, order: str, dtype: str, layout: str, tmp_path: Path) -> None:
    if packing == "differences" and (dtype[0] == "f" or layout == "grey and alpha"):
        pytest.skip("tifffile does not write it")
    grey = pixels(dtype)
    array, more = LAYOUTS[layout](grey)
    packed = {"compression": "zlib", "predictor": packing == "differences"} if packing else {}
    more = {"photometric": "minisblack"} | packed | more
    tifffile.imwrite(tmp_path / "a.tif", array, byteorder=order, metadata=None, **more)
    np.testing.assert_array_equal(read_slice(tmp_path / "a.tif").image, grey.astype(np.float32))


@pytest.mark.parametrize("dtype", ["u2", "i2", "f4", "f8"])
def test_big_tiff(dtype: str, tmp_path: Path) -> None:
    grey = pixels(dtype)
    tifffile.imwrite(tmp_path / "a.tif", np.dstack([grey] * 3), bigtiff=True, photometric="rgb")
    np.testing.assert_array_equal(read_slice(tmp_path / "a.tif").image, grey.astype(np.float32))


@pytest.mark.parametrize("compression", [1, 5, 8, 32773], ids=["none", "LZW", "deflate", "PackBits"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", ["u2", "i2", "i4", "f4", "f8"])
def test_tiff_of_libtiff(dtype: str, channels: int, compression: int, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    grey = np.sort(pixels(dtype), axis=1)  # what repeats is what LZW and PackBits shorten
    grey[3:6] = grey[3, 0]
    array = grey if channels == 1 else np.dstack([grey] * 3 + [opaque(grey)] * (channels - 3))
    if not cv2.imwrite(str(tmp_path / "a.tif"), array, [cv2.IMWRITE_TIFF_COMPRESSION, compression]):
        pytest.skip("OpenCV does not write it")
    np.testing.assert_array_equal(read_slice(tmp_path / "a.tif").image, grey.astype(np.float32))


@pytest.mark.parametrize("channels", [1, 3])
def test_tiff_with_the_differences_of_floating_point_numbers(channels: int, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    grey = pixels("f4")
    array = grey if channels == 1 else np.dstack([grey] * 3)
    options = [cv2.IMWRITE_TIFF_COMPRESSION, 8, cv2.IMWRITE_TIFF_PREDICTOR, 3]
    assert cv2.imwrite(str(tmp_path / "a.tif"), array, options)
    header = tiff_header(tmp_path / "a.tif")
    assert header is not None
    assert header.predictor == 3
    np.testing.assert_array_equal(read_slice(tmp_path / "a.tif").image, grey.astype(np.float32))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", RANGES)
def test_tiff_in_which_white_is_zero(dtype: str, order: str, tmp_path: Path) -> None:
    grey = pixels(dtype)
    tifffile.imwrite(tmp_path / "a.tif", grey, byteorder=order, photometric="miniswhite", metadata=None)
    wide = grey.astype(np.float64)
    top = {"u1": 255, "u2": 65535}.get(dtype, wide.max() + wide.min())  # others have no white of their own
    np.testing.assert_array_equal(read_slice(tmp_path / "a.tif").image, (top - wide).astype(np.float32))


# --- PNG ------------------------------------------------------------------------------------------------------------------


def png(array: np.ndarray, colour: int, *, filters: int = 0) -> bytes:
    """A PNG of 8 or 16 bits whose rows are stored with filter 0 (as they are), 1 (less the left) or 2 (less the upper one)."""
    rows, columns = array.shape[:2]
    raw = array.astype(array.dtype.newbyteorder(">")).reshape(rows, -1).view(np.uint8).astype(np.int16)
    step = raw.shape[1] // columns
    if filters == 1:
        raw = np.hstack([raw[:, :step], raw[:, step:] - raw[:, :-step]])
    elif filters == 2:
        raw = np.vstack([raw[:1], raw[1:] - raw[:-1]])
    lines = np.hstack([np.full((rows, 1), filters), raw]).astype(np.uint8).tobytes()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", columns, rows, 8 * array.dtype.itemsize, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("filters", [0, 1, 2])
@pytest.mark.parametrize("colour", [0, 2, 4, 6], ids=["grey", "RGB", "grey and alpha", "RGBA"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_png(dtype: str, colour: int, filters: int, tmp_path: Path) -> None:
    grey = pixels(dtype)
    array = np.dstack([grey] * (3 if colour & 2 else 1) + [opaque(grey)] * bool(colour & 4))
    (tmp_path / "a.png").write_bytes(png(array, colour, filters=filters))
    found = read_slice(tmp_path / "a.png")
    np.testing.assert_array_equal(found.image, grey)
    assert found.warnings == ()
    np.testing.assert_array_equal(read_scan_isolated(tmp_path / "a.png").slices[0].image, grey)


def test_what_is_transparent_in_sixteen_bits_is_black_and_what_is_half_transparent_is_half_as_bright(tmp_path: Path) -> None:
    grey = np.array([[40000, 40000], [30000, 20000]], np.uint16)
    alpha = np.array([[65535, 0], [65535, 32768]], np.uint16)
    (tmp_path / "a.png").write_bytes(png(np.dstack([grey, alpha]), 4))
    found = read_slice(tmp_path / "a.png")
    np.testing.assert_array_equal(found.image, [[40000, 0], [30000, 10000]])
    assert found.warnings == ("transparent parts of the picture were read as black",)


def test_a_coloured_picture_of_sixteen_bits_is_refused(tmp_path: Path) -> None:
    array = np.dstack([pixels("u2")] * 3)
    array[1, 1] = 10_000, 60_000, 10_000
    (tmp_path / "a.png").write_bytes(png(array, 2))
    with pytest.raises(InputError, match=r"a\.png: a coloured picture \(0\.35% of its pixels\)"):
        read_slice(tmp_path / "a.png")


# --- all of them ------------------------------------------------------------------------------------------------------------


def written(grey: np.ndarray, folder: Path) -> Iterator[Path]:
    """The same pixels in every container that holds their type."""
    kind = f"{grey.dtype.kind}{grey.dtype.itemsize}"
    tifffile.imwrite(folder / "a.tif", grey)
    nibabel.save(nibabel.Nifti1Image(grey.T[:, :, None], np.diag([-1.0, -1, 1, 1])), folder / "a.nii")
    nibabel.save(nibabel.Nifti1Image(grey.T[:, :, None], np.diag([-1.0, -1, 1, 1])), folder / "a.nii.gz")
    yield from (folder / name for name in ("a.tif", "a.nii", "a.nii.gz"))
    if kind in ("u1", "u2", "i2"):
        yield write_dicom(folder / "a.dcm", grey)
    if kind in ("u1", "u2"):
        (folder / "a.png").write_bytes(png(grey[..., None], 0))
        yield folder / "a.png"
    if kind == "u1":
        for name, more in (("a.bmp", {}), ("a.gif", {}), ("a.webp", {"lossless": True})):
            for mode in ("L", "RGB"):
                Image.fromarray(grey).convert(mode).save(folder / name, **more)
                yield folder / name


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "i4", "f4"])
def test_every_container(dtype: str, tmp_path: Path) -> None:
    grey = pixels(dtype)
    checked = 0
    for path in written(grey, tmp_path):
        np.testing.assert_array_equal(read_slice(path).image, grey.astype(np.float32), err_msg=path.name)
        checked += 1
    assert checked >= 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_read_with_a_note(kind: str, tmp_path: Path) -> None:
    grey = pixels("u1")
    frames = [Image.fromarray(grey), Image.fromarray(grey[::-1].copy())]
    frames[0].save(tmp_path / "a.gif", kind, save_all=True, append_images=frames[1:], lossless=True)
    found = read_slice(tmp_path / "a.gif")
    np.testing.assert_array_equal(found.image, grey)
    assert found.warnings == ("an animation: only its first frame was read",)
