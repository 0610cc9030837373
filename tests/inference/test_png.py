"""PNG encoder: pixels, determinism, and both compressors."""

import io

import numpy as np
import pytest
from PIL import Image

from bts.inference import picture as pictures
from bts.inference.picture import png_bytes


@pytest.fixture(params=["zlib", "ISA-L"], autouse=True)
def compressor(request, monkeypatch):
    """Every test runs with both."""
    if request.param == "zlib":
        monkeypatch.setattr(pictures, "isal_zlib", None)
    elif pictures.isal_zlib is None:
        pytest.skip("isal is not installed")
    return request.param


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (1, 1), (1, 4, 3), (64, 300)])
def test_what_is_written_is_read_back_by_pillow_pixel_for_pixel(shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    with Image.open(io.BytesIO(png_bytes(picture))) as read:
        read.verify()
    with Image.open(io.BytesIO(png_bytes(picture))) as read:
        assert read.mode == ("L" if len(shape) == 2 else "RGB")
        assert np.array_equal(np.asarray(read), picture)


def test_an_array_that_is_a_view_is_written_as_it_looks():
    picture = np.arange(24, dtype=np.uint8).reshape(4, 6)
    assert png_bytes(picture[::-1, ::2]) == png_bytes(picture[::-1, ::2].copy())


def test_a_page_is_compressed():
    page = np.zeros((600, 1400, 3), np.uint8)
    page[:, 700:] = np.arange(700, dtype=np.uint8)[:, None]
    assert len(png_bytes(page)) < page.size / 100


def test_the_same_picture_gives_the_same_bytes():
    picture = np.random.default_rng(0).normal(100, 3, (300, 400, 3)).astype(np.uint8)
    assert png_bytes(picture) == png_bytes(picture.copy())


def test_the_compressor_that_is_asked_for_is_the_one_that_writes(compressor, monkeypatch):
    monkeypatch.setattr(pictures.zlib, "compress", lambda *_: b"by zlib")
    assert (b"by zlib" in png_bytes(np.zeros((4, 4), np.uint8))) == (compressor == "zlib")
