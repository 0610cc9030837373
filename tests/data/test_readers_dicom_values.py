"""DICOM values: bits, padding, palettes, YBR and compressed pictures, each compared with pixels that the test made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import write_dicom
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from bts.data.readers.catalogue import read_slice
from bts.data.readers.isolated import read_scan_isolated
from bts.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 4096, (37, 53)).astype(np.uint16)
"""12 bits, all 4096 values likely."""
TINY = np.array([[0, 1, 2], [10, 20, 4000]], np.uint16)


def rewritten(path: Path, **fields: Any) -> Path:
    """A file with further fields, or others."""
    data = dcmread(path)
    for name, value in fields.items():
        if dictionary_VR(name) == "US or SS":
            data.add_new(name, "SS" if data.PixelRepresentation else "US", value)
        else:
            setattr(data, name, value)
    data.save_as(path)
    return path


# --- bits -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shift", [0, 1, 4])
@pytest.mark.parametrize("signed", [False, True])
def test_values_are_taken_from_the_bits_that_the_header_names(signed: bool, shift: int, packed: bool, tmp_path: Path) -> None:
    wanted = PIXELS.astype(np.int32) - (2048 if signed else 0)
    stored = ((wanted & 0xFFF) << shift).astype(np.uint16)
    stored |= np.uint16((1 << shift) - 1)  # an overlay below the values
    if signed and not shift:
        stored = wanted.astype(np.int16).view(np.uint16)
    path = write_dicom(tmp_path / "a.dcm", stored, PixelRepresentation=int(signed), BitsStored=12, HighBit=11 + shift)
    if packed:
        data = dcmread(path)
        data.compress(RLELossless)
        data.save_as(path)
    np.testing.assert_array_equal(read_slice(path).image, wanted)


@pytest.mark.parametrize("high", [10, 16])
def test_bits_that_can_not_be_are_refused(high: int, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", PIXELS, BitsStored=12, HighBit=high)
    with pytest.raises(InputError, match=rf"a\.dcm: values in bits {high - 11} to {high} of 16, which can't be told"):
        read_slice(path)


# --- padding --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_the_darkest_value_of_the_picture(kind: str, tmp_path: Path) -> None:
    stored = TINY.astype(np.int16) - 5
    stored[0, 0] = -2000
    path = write_dicom(tmp_path / "a.dcm", stored, kind=kind, slope=2.0, intercept=1.0)
    rewritten(path, PixelPaddingValue=-2000)
    wanted = (stored * 2.0 + 1.0)[~(stored == -2000)]
    found = read_slice(path).image.copy()
    if kind == "MONOCHROME1":
        wanted = wanted.max() + wanted.min() - wanted
    assert found[0, 0] == wanted.min()
    np.testing.assert_array_equal(found.ravel()[1:], wanted)


@pytest.mark.parametrize(("value", "limit"), [(4000, 65535), (65535, 4000)])
def test_padding_may_be_a_range(value: int, limit: int, tmp_path: Path) -> None:
    stored = TINY.copy()
    stored[0, 0] = 65535
    path = rewritten(write_dicom(tmp_path / "a.dcm", stored), PixelPaddingValue=value, PixelPaddingRangeLimit=limit)
    np.testing.assert_array_equal(read_slice(path).image, [[1, 1, 2], [10, 20, 1]])


def test_padding_that_is_nowhere_or_everywhere_changes_nothing(tmp_path: Path) -> None:
    path = rewritten(write_dicom(tmp_path / "a.dcm", TINY), PixelPaddingValue=77)
    np.testing.assert_array_equal(read_slice(path).image, TINY)
    rewritten(path, PixelPaddingValue=0, PixelPaddingRangeLimit=65535)
    np.testing.assert_array_equal(read_slice(path).image, TINY)


# --- colour spaces --------------------------------------------------------------------------------------------------------


def palette(path: Path, colours: np.ndarray, *, bits: int) -> Path:
    """A picture of indices and the palette (n, 3) of their colours."""
    write_dicom(path, np.arange(len(colours), dtype=np.uint8).reshape(3, -1))
    fields: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for number, name in enumerate(("Red", "Green", "Blue")):
        fields[f"{name}PaletteColorLookupTableDescriptor"] = [len(colours), 0, bits]
        fields[f"{name}PaletteColorLookupTableData"] = colours[:, number].astype(f"<u{bits // 8}").tobytes()
    return rewritten(path, **fields)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_of_greys_is_read(bits: int, tmp_path: Path) -> None:
    greys = np.random.default_rng(1).permutation(12) * (20 if bits == 8 else 5000)
    found = read_slice(palette(tmp_path / "a.dcm", np.stack([greys] * 3, axis=1), bits=bits))
    np.testing.assert_array_equal(found.image, greys.reshape(3, 4))


def test_a_palette_of_colours_or_in_segments_is_refused(tmp_path: Path) -> None:
    greys = np.stack([np.arange(12) * 20] * 3, axis=1)
    greys[3, 0] = 255
    with pytest.raises(InputError, match=r"a\.dcm: a coloured picture"):
        read_slice(palette(tmp_path / "a.dcm", greys, bits=8))
    path = rewritten(palette(tmp_path / "b.dcm", greys, bits=8), SegmentedRedPaletteColorLookupTableData=b"\0\0\1\0\0\0")
    with pytest.raises(InputError, match=r"b\.dcm: a palette in segments, which may unpack without end"):
        read_slice(path)


def test_luminance_without_colour_is_read_and_colour_is_refused(tmp_path: Path) -> None:
    grey = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
    array = np.dstack([grey, np.full_like(grey, 128), np.full_like(grey, 128)])
    path = rewritten(write_dicom(tmp_path / "a.dcm", array, kind="RGB"), PhotometricInterpretation="YBR_FULL")
    np.testing.assert_array_equal(read_slice(path).image, grey)
    array[1, 1, 2] = 200
    path = rewritten(write_dicom(tmp_path / "a.dcm", array, kind="RGB"), PhotometricInterpretation="YBR_FULL")
    with pytest.raises(InputError, match=r"a\.dcm: a coloured picture"):
        read_slice(path)


def test_sixteen_bits_of_rgb_keep_their_depth(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.dstack([PIXELS * 16] * 3), kind="RGB")
    np.testing.assert_array_equal(read_slice(path).image, PIXELS * 16)


# --- compressed -----------------------------------------------------------------------------------------------------------


def compressed(path: Path, syntax: str) -> Path:
    """`PIXELS`, losslessly compressed."""
    write_dicom(path, PIXELS, BitsStored=12, HighBit=11)
    if syntax != JPEGLosslessSV1:
        data = dcmread(path)
        data.compress(syntax)
        data.save_as(path)
        return path
    gdcm = pytest.importorskip("gdcm")
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()
    return path


@pytest.mark.parametrize(
    "syntax", [JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless], ids=lambda uid: uid.name[:14]
)
def test_lossless_compression_keeps_every_value(syntax: Any, tmp_path: Path) -> None:
    path = compressed(tmp_path / "a.dcm", syntax)
    assert dcmread(path).file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(read_slice(path).image, PIXELS)
    np.testing.assert_array_equal(read_scan_isolated(path).slices[0].image, PIXELS)


def test_without_a_decoder_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = compressed(tmp_path / "a.dcm", JPEGLSLossless)
    monkeypatch.setattr("pydicom.pixels.decoders.base.Decoder.available_plugins", property(lambda _self: ()))
    expected = (
        r"a\.dcm: compressed as JPEG-LS Lossless Image Compression, for which no decoder is installed: pip install 'bts\["
    )
    with pytest.raises(InputError, match=expected):
        read_slice(path)


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGLSLossless], ids=lambda uid: uid.name[:14])
def test_a_compressed_picture_of_another_size_is_refused(syntax: Any, tmp_path: Path) -> None:
    path = compressed(tmp_path / "a.dcm", syntax)
    rewritten(path, Rows=36)
    with pytest.raises(
        InputError, match=r"its compressed picture claims 37 rows, 53 columns and 1 channels, its header 36 rows"
    ):
        read_slice(path)
