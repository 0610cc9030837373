"""PNG, JPEG and TIFF: depth, colour, orientation, and the ways in which they break."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from bts.data.readers.catalogue import read_scan, read_slice
from bts.data.readers.picture import COLOUR_TOLERANCE
from bts.errors import InputError

GREY = np.arange(6 * 9, dtype=np.uint8).reshape(6, 9) * 4
"""6 rows, 9 columns, all values different."""


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.TIFF", "A.PNG"])
def test_grey_picture_is_read_row_by_row(tmp_path, name):
    Image.fromarray(GREY).save(tmp_path / name)
    found = read_slice(tmp_path / name)
    assert found.image.dtype == np.float32
    np.testing.assert_array_equal(found.image, GREY)
    assert (found.label, found.mask, found.patient, found.spacing_mm, found.synthetic) == (None, None, None, None, False)


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg"])
def test_jpeg_is_near_what_was_saved(tmp_path, name):
    smooth = np.add.outer(np.arange(32), np.arange(64)).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / name, quality=95)
    assert np.abs(read_slice(tmp_path / name).image - smooth).max() <= 4


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_keep_their_values(tmp_path, name):
    deep = (GREY.astype(np.uint16) + 1) * 250
    Image.fromarray(deep).save(tmp_path / name)
    np.testing.assert_array_equal(read_slice(tmp_path / name).image, deep)


def test_big_endian_tiff_keeps_its_values(tmp_path):
    deep = (GREY.astype(np.uint16) + 1) * 250
    buffer = io.BytesIO()
    Image.fromarray(deep.byteswap().view(">u2")).save(buffer, "TIFF")
    (tmp_path / "a.tif").write_bytes(buffer.getvalue())
    with Image.open(tmp_path / "a.tif") as picture:
        expected = np.asarray(picture).astype(float)
    np.testing.assert_array_equal(read_slice(tmp_path / "a.tif").image, expected)


def test_float_tiff_keeps_its_values(tmp_path):
    values = GREY.astype(np.float32) / 7 - 3
    Image.fromarray(values).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_slice(tmp_path / "a.tif").image, values)


@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_that_stores_white_as_zero_is_bright_where_it_should_be(tmp_path, bits):
    dtype, top = (np.uint8, 255) if bits == 8 else (np.uint16, 65535)
    Image.fromarray(GREY.astype(dtype)).save(tmp_path / "a.tif", tiffinfo={262: 1})
    raw = (tmp_path / "a.tif").read_bytes()
    entry = struct.pack("<HHI", 262, 3, 1)
    at = raw.index(entry) + len(entry)
    (tmp_path / "a.tif").write_bytes(raw[:at] + struct.pack("<H", 0) + raw[at + 2 :])
    np.testing.assert_array_equal(read_slice(tmp_path / "a.tif").image, float(top) - GREY)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_colour_file_of_a_grey_scan_is_accepted(tmp_path, mode):
    Image.fromarray(GREY).convert(mode).save(tmp_path / "a.png")
    found = read_slice(tmp_path / "a.png")
    np.testing.assert_array_equal(found.image, GREY)
    assert found.warnings == ()


def test_black_and_white_picture_is_accepted(tmp_path):
    Image.fromarray(np.eye(5) > 0).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_slice(tmp_path / "a.png").image, 255 * np.eye(5))


def test_rgb_jpeg_of_a_grey_scan_is_accepted(tmp_path):
    random = np.random.default_rng(0)
    rough = random.integers(0, 255, (64, 64), np.uint8)
    tinted = np.stack([rough, np.clip(rough.astype(int) + 3, 0, 255), rough], axis=2).astype(np.uint8)
    Image.fromarray(tinted).save(tmp_path / "a.jpg", quality=50)
    assert read_slice(tmp_path / "a.jpg").image.shape == (64, 64)


def test_channels_may_differ_by_the_tolerance_and_no_more(tmp_path):
    for extra, accepted in ((COLOUR_TOLERANCE, True), (COLOUR_TOLERANCE + 1, False)):
        colour = np.stack([GREY // 2] * 3, axis=2)
        colour[3, 4, 0] += extra
        Image.fromarray(colour).save(tmp_path / "a.png")
        if accepted:
            assert read_slice(tmp_path / "a.png").image.shape == GREY.shape
        else:
            with pytest.raises(InputError, match=r"a\.png: a coloured picture \(1\.9% of its pixels\): expected a grey scan"):
                read_slice(tmp_path / "a.png")


def test_a_photograph_is_refused_with_a_share_that_reads_well(tmp_path):
    Image.fromarray(np.stack([np.full((64, 64), value, np.uint8) for value in (90, 140, 230)], axis=2)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a coloured picture \(100% of its pixels\)"):
        read_slice(tmp_path / "a.png")


def test_a_red_outline_on_a_grey_scan_is_refused(tmp_path):
    colour = np.stack([np.full((64, 64), 90, np.uint8)] * 3, axis=2)
    colour[10, 10:30] = (220, 30, 30)
    Image.fromarray(colour).save(tmp_path / "a.jpg", quality=90)
    with pytest.raises(InputError, match="a coloured picture"):
        read_slice(tmp_path / "a.jpg")


def test_transparent_parts_become_black_and_the_slice_says_so(tmp_path):
    alpha = np.full(GREY.shape, 255, np.uint8)
    alpha[0] = 0
    Image.fromarray(np.dstack([GREY, GREY, GREY, alpha])).save(tmp_path / "a.png")
    found = read_slice(tmp_path / "a.png")
    np.testing.assert_array_equal(found.image, np.where(alpha > 0, GREY, 0))
    assert found.warnings == ("transparent parts of the picture were read as black",)


def test_exif_orientation_is_followed(tmp_path):
    picture = Image.fromarray(GREY)
    exif = picture.getexif()
    exif[0x0112] = 3  # turned by 180 degrees
    picture.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_slice(tmp_path / "a.png").image, GREY[::-1, ::-1])


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (20_000, 64), (64, 20_000), (12_000, 12_000), (8193, 2)])
def test_an_enormous_picture_is_refused_from_its_header_without_a_warning(tmp_path, width, height):
    (tmp_path / "a.png").write_bytes(png_header(width, height))
    with pytest.raises(InputError, match=r"a\.png: a picture of .*at most 8192 a side"):  # warnings are errors here
        read_slice(tmp_path / "a.png")


def test_several_pages_are_refused(tmp_path):
    pages = [Image.fromarray(GREY), Image.fromarray(GREY[::-1])]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match="2 pages in one file: expected one slice, save the page that is meant"):
        read_slice(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_truncated_picture_is_refused(tmp_path, name):
    rough = np.random.default_rng(0).integers(0, 255, (128, 128), np.uint8)
    Image.fromarray(rough).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=rf"{name}: not a readable picture \(.+\): export or download it again"):
        read_slice(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tiff"])
def test_a_file_that_is_no_picture_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"no picture at all")
    with pytest.raises(InputError, match=r"not a readable picture \(no picture in it\)"):
        read_scan(tmp_path / name)


def test_constant_picture_is_refused(tmp_path):
    Image.fromarray(GREY * 0 + 9).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: the picture is constant \(every pixel is 9\)"):
        read_slice(tmp_path / "a.png")


def test_nan_in_a_float_tiff_is_refused(tmp_path):
    values = GREY.astype(np.float32)
    values[2, 2] = np.nan
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a\.tif: the picture holds NaN or infinite values"):
        read_slice(tmp_path / "a.tif")
