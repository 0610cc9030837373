"""Tags that all name the same bytes: Pillow copies those for each tag, so that 4 MiB became 4 GB."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hostile_files import MIB, allocating_at_most, chunk
from PIL import Image

from bts.data.readers.bounds import MAX_TAG_VALUES, MAX_TAGS
from bts.data.readers.catalogue import read_scan
from bts.errors import InputError

GREY = np.arange(12 * 8, dtype=np.uint8).reshape(12, 8)
SHORT, LONG, BYTE, RATIONAL = 3, 4, 1, 5
Entry = tuple[int, int, int, int]
"""Number, type, count and value of a tag."""


def directory(entries: list[Entry], *, order: str = "<", big: bool = False, following: int = 0) -> bytes:
    form, width = ("HHQ", "Q") if big else ("HHL", "L")
    packed = struct.pack(f"{order}{'Q' if big else 'H'}", len(entries))
    for number, kind, count, value in sorted(entries):
        field = struct.pack(f"{order}{'H' if kind == SHORT else width}", value).ljust(8 if big else 4, b"\0")
        packed += struct.pack(f"{order}{form}", number, kind, count) + field
    return packed + struct.pack(f"{order}{width}", following)


def tiff(path: Path, more: list[Entry], *, order: str = "<", big: bool = False, tail: bytes = b"") -> Path:
    """A TIFF of one strip with further tags; `tail` stands at its end, behind 4096 bytes from which a tag can take."""
    start = 16 if big else 8
    rows, columns = GREY.shape
    entries = [(256, SHORT, 1, columns), (257, SHORT, 1, rows), (258, SHORT, 1, 8), (259, SHORT, 1, 1), (262, SHORT, 1, 1)]
    entries += [(273, LONG, 1, start), (277, SHORT, 1, 1), (278, SHORT, 1, rows), (279, LONG, 1, GREY.size), *more]
    pixels = GREY.tobytes() + bytes(4096)
    mark = b"II" if order == "<" else b"MM"
    at = start + len(pixels)
    head = struct.pack(f"{order}HHHQ", 43, 8, 0, at) if big else struct.pack(f"{order}HL", 42, at)
    path.write_bytes(mark + head + pixels + directory(entries, order=order, big=big) + tail)
    return path


def over_the_same(count: int, size: int, *, at: int) -> list[Entry]:
    return [(40000 + number, BYTE, size, at) for number in range(count)]


def refused(path: Path, message: str) -> None:
    with allocating_at_most(20), pytest.raises(InputError, match=message) as caught:
        read_scan(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_tags_over_the_same_bytes_of_a_tiff(order: str, big: bool, tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", over_the_same(100, MIB, at=300), order=order, big=big, tail=bytes(MIB))
    refused(path, r"the tags of the picture claim \d+ bytes and the file has \d+: it is damaged or made to exhaust")


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_usual_tags_of_a_tiff_are_read(order: str, big: bool, tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", over_the_same(2, 1000, at=300), order=order, big=big)
    np.testing.assert_array_equal(read_scan(path).slices[0].image, GREY)


@pytest.mark.parametrize("leading", [34665, 34853])
def test_tags_within_tags_of_a_tiff(leading: int, tmp_path: Path) -> None:
    size = tiff(tmp_path / "a.tif", [(leading, LONG, 1, 0)]).stat().st_size
    inner = directory(over_the_same(100, MIB, at=300))
    refused(tiff(tmp_path / "a.tif", [(leading, LONG, 1, size)], tail=inner + bytes(MIB)), "the tags of the picture claim")


def test_tags_of_a_later_page_of_a_tiff(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", [])
    first = path.read_bytes()
    second = directory(over_the_same(100, MIB, at=300))
    path.write_bytes(first[:-4] + struct.pack("<L", len(first)) + second + bytes(MIB))
    refused(path, "the tags of the picture claim")


def test_numbers_that_would_become_objects(tmp_path: Path) -> None:
    count = MAX_TAG_VALUES + 1
    path = tiff(tmp_path / "a.tif", [(282, RATIONAL, count, 300)], tail=bytes(8 * count))
    refused(path, f"tag 282 of the picture has {count} values: at most {MAX_TAG_VALUES} are accepted")


def test_more_tags_than_a_picture_has(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", [(40000, BYTE, 1, 0)] * MAX_TAGS)
    refused(path, f"a picture of more than {MAX_TAGS} tags")


def test_a_bigtiff_that_pillow_and_libtiff_read_at_different_places(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"MM\0\x2b" + bytes(100))
    refused(tmp_path / "a.tif", "a big-endian BigTIFF")


# --- EXIF -----------------------------------------------------------------------------------------------------------------


def exif(more: list[Entry], *, turned: int = 6, tail: bytes = b"") -> bytes:
    return b"II*\0" + struct.pack("<L", 8) + directory([(274, SHORT, 1, turned), *more]) + tail


def with_exif(path: Path, data: bytes) -> Path:
    """A grey picture with EXIF of any bytes."""
    packed = io.BytesIO()
    if path.suffix == ".png":
        Image.fromarray(GREY).save(packed, "PNG")
        path.write_bytes(packed.getvalue()[:33] + chunk(b"eXIf", data) + packed.getvalue()[33:])
    else:
        Image.fromarray(GREY).save(packed, "JPEG", quality=100)
        data = b"Exif\0\0" + data
        segment = b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data
        path.write_bytes(packed.getvalue()[:2] + segment + packed.getvalue()[2:])
    return path


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_exif_over_the_same_bytes_turns_a_picture_and_costs_nothing(name: str, tmp_path: Path) -> None:
    size = 60_000 if name == "a.jpg" else MIB
    path = with_exif(tmp_path / name, exif(over_the_same(300, size - 4000, at=100), tail=bytes(size - 4000)))
    with allocating_at_most(20):
        image = read_scan(path).slices[0].image
    np.testing.assert_allclose(image, np.rot90(GREY, -1), atol=2)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize(
    ("turned", "expected"),
    [(1, GREY), (2, GREY[:, ::-1]), (3, GREY[::-1, ::-1]), (4, GREY[::-1]), (5, GREY.T), (6, np.rot90(GREY, -1)),
     (7, GREY[::-1, ::-1].T), (8, np.rot90(GREY)), (9, GREY)],
)  # fmt: skip
def test_every_orientation_is_followed(turned: int, expected: np.ndarray, name: str, tmp_path: Path) -> None:
    image = read_scan(with_exif(tmp_path / name, exif([], turned=turned))).slices[0].image
    np.testing.assert_allclose(image, expected, atol=2)


@pytest.mark.parametrize("data", [b"", b"II", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff" + bytes(7), b"words"])
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_damaged_exif_turns_nothing(name: str, data: bytes, tmp_path: Path) -> None:
    image = read_scan(with_exif(tmp_path / name, data)).slices[0].image
    np.testing.assert_allclose(image, GREY, atol=2)


@pytest.mark.parametrize("name", ["a.jpg", "a.mpo"])
def test_the_first_of_several_pictures_in_a_jpeg_is_read_and_the_others_are_counted(name: str, tmp_path: Path) -> None:
    first, second = Image.fromarray(GREY), Image.fromarray(GREY.T.copy())
    first.save(tmp_path / name, "MPO", save_all=True, append_images=[second], quality=100)
    found = read_scan(tmp_path / name).slices[0]
    np.testing.assert_allclose(found.image, GREY, atol=2)
    assert found.warnings == ("2 pictures in one file: only the first was read",)
