"""Captions, margins and padding around a head change neither what a network sees nor where its answer lies."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from bts.data.enhance import head_box, padding_box, without_captions
from bts.data.phantom_scan import draw_slices
from bts.data.preprocess import Preprocessing
from bts.data.readers.catalogue import read_slice
from bts.settings import Settings

SIDE = 256
PLAIN, CROP = (Preprocessing(size=128, crop_brain=crop) for crop in (False, True))
EITHER = pytest.mark.parametrize("how", [PLAIN, CROP], ids=["plain", "crop"])
SEEDS = pytest.mark.parametrize("seed", range(4))


@cache
def phantom(seed: int) -> np.ndarray:
    """A slice (256, 256) float32 with noise around a head, none of which is constant."""
    label = ("meningioma", "glioma", "pituitary", "no_tumour")[seed % 4]
    ((image, _),) = draw_slices(label=label, n_slices=1, side=SIDE, seed=(seed, 0))
    return image.astype(np.float32)


def write(image: np.ndarray, place: tuple[int, int], text: str, *, value: float, height: int = 12) -> np.ndarray:
    """Burn a text in, its upper left corner at (column, row), as viewers do: antialiased."""
    layer = Image.new("L", image.shape[::-1])
    ImageDraw.Draw(layer).text(place, text, fill=255, font=ImageFont.load_default(height))
    share = np.asarray(layer, np.float32) / 255
    return image * (1 - share) + value * share


def padded(image: np.ndarray, value: float = 0.0) -> np.ndarray:
    """Half as large again, as 512 pixels become 768."""
    return np.pad(image, SIDE // 4, constant_values=value)


def captioned(image: np.ndarray, *, value: float | None = None) -> np.ndarray:
    """Four captions within the outer eighth, at the top and at the bottom."""
    value, low = float(image.max()) if value is None else value, image.shape[0] - 24
    for place, text in (((6, 6), "DOE^JANE 1970"), ((6, low), "SL 5.0 mm"), ((250, 6), "T1 AX"), ((300, low), "R L")):
        image = write(image, place, text, value=value)
    return image


def _inner(image: np.ndarray) -> np.ndarray:
    """Return the largest part (H, W) of what is left of a head without its outermost pixels, as skull stripping leaves it."""
    pieces, _ = ndimage.label(ndimage.binary_erosion(image > 0.15 * image.max(), iterations=5))
    return pieces == np.bincount(pieces.ravel())[1:].argmax() + 1


@EITHER
@SEEDS
@pytest.mark.parametrize("margin", [0.0, 0.4, 1.0], ids=["black", "grey", "white"])
def test_margins_with_captions_change_nothing(how: Preprocessing, seed: int, margin: float) -> None:
    """Also captions darker than their margin."""
    image = phantom(seed)
    value = margin * float(image.max())
    framed = padded(image, value)
    marked = captioned(framed, value=0.0 if margin == 1 else None)
    assert (marked != framed).sum() > 500
    assert padding_box(without_captions(marked)) == padding_box(framed) == (64, 64, 320, 320)
    np.testing.assert_array_equal(how.image(marked), how.image(image))
    box = how.box(marked)
    back = how.restore(np.ones((128, 128), np.float32), marked.shape, box=box)
    assert np.abs(np.array(box) - 64 - how.box(image)).max() == 0
    assert back[64:320, 64:320].sum() == back.sum()


@pytest.mark.parametrize("edge", [1, 7])
@pytest.mark.parametrize("margin", [64, 100])
def test_black_margins_around_a_frame_with_a_black_edge_of_its_own_change_nothing(edge: int, margin: int) -> None:
    """The edge of the frame can't be seen, but frames have sides of whole multiples of 32 pixels."""
    image = np.pad(phantom(1)[edge:-edge, edge:-edge], edge)
    assert PLAIN.box(np.pad(image, margin)) == (margin, margin, margin + SIDE, margin + SIDE)
    np.testing.assert_array_equal(PLAIN.image(np.pad(image, margin)), PLAIN.image(image))


@EITHER
@SEEDS
def test_captions_beside_the_head_are_painted_like_the_ground(how: Preprocessing, seed: int) -> None:
    """Within the frame, where no margin is cut off; noise that was under them is lost."""
    noise = np.random.default_rng(seed).random((SIDE + 80, SIDE + 80)).astype(np.float32) * 30
    image = noise.copy()
    image[40:-40, 40:-40] = phantom(seed)
    marked = write(image, (8, 8), "T1 AXIAL", value=float(image.max()))
    assert (np.abs(without_captions(marked) - image) <= 30).all()
    assert np.abs(how.image(marked).astype(int) - how.image(image)).max() <= 12


@pytest.mark.parametrize("seed", range(12))
def test_a_slice_without_captions_is_left_as_it_is(seed: int) -> None:
    image = phantom(seed)
    head = head_box(image)
    stripped = np.where(_inner(image), image, 0)
    variants = [image, head.cut(image), stripped, padded(image), padded(head.cut(image), float(image.max())), image * 0 + 3]
    variants += [(image / image.max() * 255).astype(np.uint8), image - 1000, image[::-1, ::-1], image[: SIDE // 2]]
    for number, each in enumerate(variants):
        assert without_captions(each) is each, number


def test_what_is_written_on_the_head_stays() -> None:
    image = phantom(0)
    box = head_box(image)
    inside = write(image, ((box.left + box.right) // 2, (box.top + box.bottom) // 2), "R1", value=float(image.max()))
    assert without_captions(inside) is inside


def test_bright_tissue_apart_from_the_head_stays() -> None:
    """A blurred blob, as a neck or an ear is, and noise of many values."""
    image = np.pad(phantom(1), 20)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    blob = image + image.max() * np.exp(-((rows - 8) ** 2 + (columns - 8) ** 2) / 18)
    assert without_captions(blob) is blob
    image[:8, -8:] = np.random.default_rng(0).random((8, 8)) * image.max()
    assert without_captions(image) is image


@pytest.mark.parametrize("turn", [np.fliplr, np.flipud, np.transpose])
def test_a_mirrored_picture_has_the_mirrored_captions(turn) -> None:
    marked = captioned(padded(phantom(2)))
    np.testing.assert_array_equal(without_captions(turn(marked)), turn(without_captions(marked)))


@pytest.mark.parametrize("value", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("width", [4, 20, 60])
def test_a_constant_border_of_any_brightness_leaves_the_head_s_box(value: float, width: int) -> None:
    image = phantom(3)
    framed = np.pad(image, width, constant_values=value * float(image.max()))
    assert np.abs(np.array(head_box(framed)) - width - head_box(image)).max() <= 1


def test_no_real_slice_is_taken_for_one_with_captions() -> None:
    root = Path(os.environ.get("BTS_FIGSHARE", "data/figshare"))
    files = sorted(root.glob("*.mat"))[:400:10]
    if not files:
        pytest.skip("needs the real slices (BTS_FIGSHARE or data/figshare)")
    for file in files:
        if file.name != "cvind.mat":
            image = read_slice(file).image
            assert without_captions(image) is image, file.name


def test_a_training_crops_to_the_head_unless_it_is_told_not_to() -> None:
    settings = Settings()
    assert Preprocessing.of(settings.data).crop_brain
    assert Preprocessing().crop_brain
    settings.data.crop_brain = False
    assert not Preprocessing.of(settings.data).crop_brain
