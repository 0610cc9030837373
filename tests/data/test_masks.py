"""One disc in every encoding that masks come in, and encodings that can be read in two ways."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from figshare_files import write_mat7
from PIL import Image

from bts.data.masks import describe_values, to_mask
from bts.data.readers.mat import read_mat
from bts.data.sources.catalogue import open_source
from bts.data.sources.mask_files import read_mask
from bts.errors import InputError

ROWS, COLUMNS = np.mgrid[:96, :96]
DISTANCE = np.hypot(ROWS - 40, COLUMNS - 60)
DISC = DISTANCE < 20
CORE = DISTANCE < 8
"""A second label inside of the disc."""
ONE = DISC.astype(np.uint8)
LABELS = ONE + CORE.astype(np.uint8)
SOFT = np.exp(-((DISTANCE / 20) ** 2) * np.log(2))
"""Exactly half at a distance of 20."""
HALF = SOFT >= 0.5


def colour(red: int, green: int, blue: int) -> Image.Image:
    """Return the disc in one colour on black."""
    return Image.fromarray(np.stack([ONE * red, ONE * green, ONE * blue], axis=2))


def palette(index: np.ndarray, *colours: tuple[int, int, int]) -> Image.Image:
    """Return a picture with a palette."""
    picture = Image.fromarray(index).convert("L")
    made = Image.frombytes("P", picture.size, picture.tobytes())
    made.putpalette([value for each in colours for value in each])
    return made


def rgba(red: np.ndarray, green: np.ndarray, blue: np.ndarray, alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.stack([red, green, blue, alpha], axis=2))


ZERO, FULL = ONE * 0, ONE * 0 + 255
HARD = {
    "0/1": Image.fromarray(ONE),
    "0/2/4": Image.fromarray(LABELS * 2),
    "0/1/2, one label thin": Image.fromarray(ONE + (np.abs(DISTANCE - 15) < 0.6)),
    "0/50/100": Image.fromarray(LABELS * 50),
    "0/85/170/255": Image.fromarray(LABELS * 85 + (DISTANCE < 4).astype(np.uint8) * 85),
    "0/100": Image.fromarray(ONE * 100),
    "0/127": Image.fromarray(ONE * 127),
    "0/255": Image.fromarray(ONE * 255),
    "1 bit": Image.fromarray(DISC),
    "16 bits 0/300": Image.fromarray(ONE.astype(np.uint16) * 300),
    "16 bits 0/65535": Image.fromarray(ONE.astype(np.uint16) * 65535),
    "palette black, red": palette(ONE, (0, 0, 0), (255, 0, 0)),
    "palette black, dark red, green": palette(LABELS, (0, 0, 0), (128, 0, 0), (0, 64, 0)),
    "palette white, black": palette(1 - ONE, (255, 255, 255), (0, 0, 0)),
    "red": colour(255, 0, 0),
    "blue": colour(0, 0, 255),
    "dark red": colour(128, 0, 0),
    "two hues": Image.fromarray(np.stack([(ONE - CORE) * 128, CORE * np.uint8(64), ZERO], axis=2)),
    "alpha, white": rgba(FULL, FULL, FULL, ONE * 255),
    "alpha, black": rgba(ZERO, ZERO, ZERO, ONE * 255),
    "alpha half, red": rgba(ONE * 255, ZERO, ZERO, ONE * 128),
    "opaque alpha": rgba(ONE * 255, ONE * 255, ONE * 255, FULL),
    "grey and alpha": Image.merge("LA", [Image.fromarray(ZERO), Image.fromarray(ONE * 255)]),
}


@pytest.mark.parametrize("name", HARD)
def test_exact_masks_give_the_disc_in_every_encoding(name: str, tmp_path: Path) -> None:
    HARD[name].save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), DISC)


@pytest.mark.parametrize("name", ["0/255", "red", "dark red", "blue", "0/100"])
@pytest.mark.parametrize("quality", [60, 95])
def test_a_jpeg_of_the_disc_gives_it_but_for_pixels_of_its_edge(name: str, quality: int, tmp_path: Path) -> None:
    HARD[name].convert("RGB").save(tmp_path / "mask.jpg", quality=quality)
    different = read_mask(tmp_path / "mask.jpg") ^ DISC
    assert different.sum() <= 16
    assert (np.abs(DISTANCE - 20)[different] < 1.5).all()


@pytest.mark.parametrize("value", [100, 200, 255])
@pytest.mark.parametrize("way", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.BOX])
@pytest.mark.parametrize("side", [48, 77, 96, 192, 250])
def test_an_interpolated_mask_is_cut_at_half_so_that_its_area_stays(value: int, way: Any, side: int, tmp_path: Path) -> None:
    Image.fromarray(ONE * np.uint8(value)).resize((side, side), way).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").mean() == pytest.approx(DISC.mean(), rel=0.03)


def test_soft_maps_are_cut_at_half_of_their_range(tmp_path: Path) -> None:
    np.testing.assert_array_equal(to_mask(SOFT), HALF)
    np.testing.assert_array_equal(to_mask(SOFT.astype(np.float32)), HALF)
    ramp = np.tile(np.linspace(0, 1, 96), (96, 1))
    np.testing.assert_array_equal(to_mask(ramp), ramp >= 0.5)
    for picture, suffix, top in (
        (SOFT.astype(np.float32), ".tif", 1),
        (np.round(SOFT * 255).astype(np.uint8), ".png", 255),
        (np.round(SOFT * 65535).astype(np.uint16), ".png", 65535),
    ):
        Image.fromarray(picture).save(tmp_path / f"mask{suffix}")
        np.testing.assert_array_equal(read_mask(tmp_path / f"mask{suffix}"), picture >= top / 2)


def test_the_labels_of_a_setting_are_the_tumour_whatever_holds_them(tmp_path: Path) -> None:
    Image.fromarray(LABELS).save(tmp_path / "grey.png")
    palette(LABELS, (0, 0, 0), (0, 0, 0), (255, 0, 0)).save(tmp_path / "palette.png")
    nibabel.save(nibabel.Nifti1Image(LABELS.T[..., None].astype(np.float32), np.diag([-1, -1, 1, 1])), tmp_path / "mask.nii.gz")
    write_mat7(tmp_path / "1.mat", image=DISTANCE, mask=LABELS)
    for name in ("grey.png", "palette.png", "mask.nii.gz", "1.mat"):
        np.testing.assert_array_equal(read_mask(tmp_path / name, labels=[2]), CORE, err_msg=name)
        np.testing.assert_array_equal(read_mask(tmp_path / name, labels=[1, 2]), DISC, err_msg=name)
    np.testing.assert_array_equal(read_mat(tmp_path / "1.mat", mask_labels=[2]).mask, CORE)


def test_labels_reach_every_source_and_other_labels_are_another_entry_of_the_cache(tmp_path: Path) -> None:
    picture = DISTANCE.astype(np.uint8)
    np.savez(tmp_path / "train.npz", images=picture[None], masks=LABELS[None], labels=np.array(["glioma"]))
    Image.fromarray(picture).save(tmp_path / "1.png")
    Image.fromarray(LABELS).save(tmp_path / "mask.png")
    write_mat7(tmp_path / "1.mat", image=DISTANCE, mask=LABELS)
    (tmp_path / "manifest.csv").write_text("path,label,mask\n1.png,glioma,mask.png\n1.mat,glioma,\n")
    for name, root in (("npz", "train.npz"), ("figshare", "."), ("manifest", ".")):
        source = open_source(name, tmp_path / root, mask_labels=[2])
        for record in source.records():
            np.testing.assert_array_equal(source.read(record).mask, CORE, err_msg=record.path)
            np.testing.assert_array_equal(source.mask_values(record), LABELS, err_msg=record.path)
        for record in (plain := open_source(name, tmp_path / root)).records():
            np.testing.assert_array_equal(plain.read(record).mask, DISC, err_msg=record.path)


@pytest.mark.parametrize("name", ["0/255", "0/2/4", "palette white, black", "red"])
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".gif"])
def test_the_container_of_a_mask_does_not_matter(name: str, suffix: str, tmp_path: Path) -> None:
    HARD[name].save(tmp_path / f"mask{suffix}")
    np.testing.assert_array_equal(read_mask(tmp_path / f"mask{suffix}"), DISC)


def test_labels_of_a_deep_colour_file_are_not_cut(tmp_path: Path) -> None:
    """A value of 1 in 16 bits is lost where only the high byte is read."""
    png = tmp_path / "mask.png"
    rows = np.repeat(ONE[:, :, None], 3, axis=2).astype(">u2")
    write_deep_png(png, rows)
    np.testing.assert_array_equal(read_mask(png), DISC)


def write_deep_png(path: Path, rgb: np.ndarray) -> None:
    """Write 16-bit RGB, which Pillow does not."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", rgb.shape[1], rgb.shape[0], 16, 2, 0, 0, 0)
    lines = b"".join(b"\0" + row.tobytes() for row in rgb)
    whole = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + whole)


def test_an_animation_is_no_mask(tmp_path: Path) -> None:
    frames = [HARD["0/255"], Image.fromarray(CORE.astype(np.uint8) * 255)]
    frames[0].save(tmp_path / "mask.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="only its first frame was read: expected one picture in a mask file"):
        read_mask(tmp_path / "mask.gif")


def test_an_empty_mask_is_a_mask_in_every_container(tmp_path: Path) -> None:
    Image.fromarray(ZERO).save(tmp_path / "a.png")
    Image.fromarray(ZERO).save(tmp_path / "a.jpg")
    palette(ZERO, (0, 0, 0), (255, 0, 0)).save(tmp_path / "palette.png")
    nibabel.save(nibabel.Nifti1Image(ZERO[..., None], np.eye(4)), tmp_path / "a.nii.gz")
    for name in ("a.png", "a.jpg", "palette.png", "a.nii.gz"):
        mask = read_mask(tmp_path / name)
        assert mask.shape == DISC.shape
        assert not mask.any()


def test_a_mask_is_turned_as_its_own_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # 180 degrees
    Image.fromarray(np.rot90(ONE * 255, 2)).save(tmp_path / "mask.jpg", quality=95, exif=exif)
    assert (read_mask(tmp_path / "mask.jpg") ^ DISC).sum() <= 16


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (Image.fromarray(FULL), r"no pixel of the mask is 0 or black \(255\)"),
        (Image.fromarray(LABELS + 1), r"no pixel of the mask is 0 or black \(1, 2, 3\)"),
        (palette(ONE, (255, 255, 255), (255, 0, 0)), "no pixel of the mask is 0 or black"),
        (palette(LABELS, (0, 0, 0), (0, 0, 0), (255, 0, 0)), "2 palette entries of the mask are black"),
        (rgba(*[FULL - ONE * 255] * 3, ONE * 255), "colour and transparency of the mask outline different areas"),
        (Image.fromarray(np.round(SOFT * 80).astype(np.uint8)), r"a soft mask of an unknown range \(0 to 80"),
        (Image.fromarray(LABELS * 85).resize((150, 150), Image.Resampling.BILINEAR), "fill areas as labels do"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_in_one_line(picture: Image.Image, message: str, tmp_path: Path) -> None:
    picture.save(tmp_path / "mask.png")
    with pytest.raises(InputError, match=rf"mask\.png: .*{message}") as error:
        read_mask(tmp_path / "mask.png")
    assert "\n" not in str(error.value)


def test_a_labelled_jpeg_and_a_scan_in_place_of_a_mask_are_refused(tmp_path: Path) -> None:
    Image.fromarray(LABELS * 85).save(tmp_path / "labels.jpg", quality=90)
    with pytest.raises(InputError, match=r"labels\.jpg: .*are not exact: export the labels as PNG"):
        read_mask(tmp_path / "labels.jpg")
    noise = np.random.default_rng(0).normal(0, 12, (96, 96)) + 120 * (DISTANCE < 36) * (1 + 0.7 * np.sin(ROWS / 3))
    Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(tmp_path / "scan.png")
    with pytest.raises(InputError, match="pieces when cut at half: is it a scan"):
        read_mask(tmp_path / "scan.png")


@pytest.mark.parametrize(
    ("values", "labels", "message"),
    [
        (SOFT * 0.3, (), "a soft mask of an unknown range"),
        (np.where(DISC, np.nan, 0), (), "NaN or infinite"),
        (LABELS.astype(int) - 1, (), "mask values from -1 to 1"),
        (SOFT, (1,), "a soft mask .* beside data.mask_labels"),
        (np.zeros((3, 4, 4)), (), r"a mask of shape \(3, 4, 4\)"),
    ],
)
def test_arrays_that_are_no_mask_are_refused(values: np.ndarray, labels: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_mask(values, labels=labels)


def test_a_coloured_mask_beside_label_numbers_is_refused(tmp_path: Path) -> None:
    colour(255, 0, 0).save(tmp_path / "mask.png")
    with pytest.raises(InputError, match="a coloured mask beside"):
        read_mask(tmp_path / "mask.png", labels=[1])


def test_values_are_described_in_a_few_words() -> None:
    assert describe_values(LABELS * 2) == "0, 2, 4"
    assert describe_values(SOFT[:, 60:61]).endswith("different")
