"""Overlay page: size, texts, contour, class map and colours."""

from dataclasses import replace

import numpy as np
import pytest
from fake_models import make_card, make_slice
from PIL import Image, ImageDraw

from bts.inference import drawing, panel
from bts.inference.drawing import SIDE, overlay
from bts.inference.panel import clean, font, panel_blocks, wrapped
from bts.inference.picture import CONTOUR, HEAT, contour_of, fitted, grey, heat_strip, heated
from bts.inference.prediction import Prediction

WARNING = "model trained on synthetic phantoms: the answer means nothing for a patient"


def predicted(shape=(48, 36), **changes):
    row, column = np.mgrid[: shape[0], : shape[1]]
    disc = (row - shape[0] // 3) ** 2 + (column - shape[1] // 3) ** 2 <= (min(shape) // 6) ** 2
    image = 10 + 100.0 * disc + row + 0.5 * column
    fields = {
        "slice": make_slice(image, path="scans/a_scan.png"),
        "mask": disc,
        "classes": ("meningioma", "glioma", "no_tumour"),
        "class_prob": np.array([0.2, 0.7, 0.1]),
        "cam": disc.astype(np.float32),
        "cam_class": "glioma",
    }
    return Prediction(**(fields | changes))


def written(prediction, monkeypatch):
    """Return all text that is drawn on the page."""
    texts = []
    for module in (panel, drawing):
        monkeypatch.setattr(module, "write_text", lambda draw, at, text, **_: texts.append(text))
    overlay(prediction)
    return " ".join(texts)


@pytest.mark.parametrize("shape", [(512, 512), (256, 256), (40, 40), (512, 128), (64, 300), (2048, 1024), (2, 500)])
@pytest.mark.parametrize("warnings", [(), (WARNING,) * 6])
def test_a_scan_of_any_size_is_drawn_at_the_same_size_and_all_text_fits(shape, warnings):
    found = predicted(shape, warnings=warnings)
    page = overlay(found)
    height = sum(block.height for block in panel_blocks(found, width=336))
    assert max(fitted(shape, side=SIDE)) == SIDE
    assert page.height >= max(fitted(shape, side=SIDE)[1], height)
    assert page.width <= 2 * SIDE + 450


@pytest.mark.parametrize("anchor", ["la", "ra", "ma", "ld"])
@pytest.mark.parametrize("text", ["glioma", "0.5", "Research software, not a medical device.", "Tj"])
def test_a_text_that_is_kept_looks_as_pillow_draws_it(text, anchor):
    pages = [Image.new("RGB", (320, 60), "#14171b") for _ in range(3)]
    ImageDraw.Draw(pages[0]).text((150, 30), text, fill="#f2f4f5", font=font(14), anchor=anchor)
    for page in pages[1:]:
        panel.write_text(ImageDraw.Draw(page), (150, 30), text, fill="#f2f4f5", size=14, anchor=anchor)
    assert np.array_equal(pages[0], pages[1])
    assert np.array_equal(pages[0], pages[2])


def test_the_page_says_class_probabilities_area_and_that_it_is_no_medical_device(monkeypatch):
    text = written(predicted(), monkeypatch)
    for part in ("a_scan.png", "glioma", "70.0%", "20.0%", "no tumour", "113 px", "agree", "heat inside the mask 100%"):
        assert part in text
    assert "Research software, not a medical device." in text
    assert "Grad-CAM: glioma" in text


def test_the_map_is_called_what_it_is_and_its_title_fits_the_smallest_frame(monkeypatch):
    from bts.inference.drawing import LEAST

    joint = make_card("joint", cell_offset_px=0.0)
    before, classifier = make_card("joint"), make_card("cls")  # a joint folder of before has Grad-CAM
    assert (before.cam_name, classifier.cam_name) == ("Grad-CAM", "Grad-CAM")
    text = written(predicted(cam_name=joint.cam_name), monkeypatch)
    assert "Class map (HiResCAM): glioma" in text
    assert "Grad-CAM" not in text
    assert max(font(18).getlength(f"Class map (HiResCAM): {name}") for name in ("meningioma", "no tumour")) <= LEAST


def test_square_millimetres_are_written_where_they_are_known(monkeypatch):
    item = replace(predicted().slice, spacing_mm=(2.0, 1.0))
    assert "113 px = 226 sq mm" in written(predicted(slice=item), monkeypatch)


def test_every_warning_is_written_out(monkeypatch):
    text = written(predicted(warnings=(WARNING, "refer to an expert: the highest probability is 0.41")), monkeypatch)
    assert WARNING in text
    assert "refer to an expert: the highest probability is 0.41" in text


def test_a_contradiction_and_an_empty_mask_are_written(monkeypatch):
    text = written(predicted(mask=np.zeros((48, 36), bool)), monkeypatch)
    for part in ("contradict each other", "none outlined", "no tumour outlined"):
        assert part in text


def test_what_is_not_answered_is_not_drawn(monkeypatch):
    alone = predicted(cam=None, cam_class=None, class_prob=None, classes=())
    assert "Grad-CAM" not in written(alone, monkeypatch)
    assert overlay(alone).width < overlay(predicted()).width
    assert "tumour area" not in written(predicted(mask=None), monkeypatch)


def test_a_slice_of_a_volume_is_named_with_its_index(monkeypatch):
    assert "a_scan.png, slice 7" in written(predicted(slice=replace(predicted().slice, index=7)), monkeypatch)


@pytest.mark.parametrize("background", [0.0, 1.0])
def test_the_contour_shows_on_a_dark_and_on_a_bright_scan(background):
    image = np.full((64, 64), background)
    image[0, 0] = 1 - background
    mask = np.zeros((64, 64), bool)
    mask[20:40, 20:40] = True
    picture = grey(image, (512, 512)).convert("RGB")
    contour_of(mask, picture.size).draw(picture)
    pixels = np.asarray(picture).astype(int)
    line = (np.abs(pixels - CONTOUR).sum(2) < 60).sum()
    assert 1000 < line < 4 * 160 * 2.2  # a square of 160 pixels with a line of two
    assert np.array_equal(pixels[240, 240], np.asarray(grey(image, (512, 512)).convert("RGB"))[240, 240])


def test_the_line_runs_along_the_edge_and_is_two_pixels_wide():
    mask = np.zeros((128, 128), bool)
    mask[32:96, 32:96] = True
    contour = contour_of(mask, (512, 512))
    page = Image.new("L", (512, 512))
    page.paste(255, contour.at, contour.line)
    cover = np.asarray(page) / 255
    across = cover[256, 100:160]  # the left edge lies at 128
    assert across.sum() == pytest.approx(2, abs=0.3)
    assert (across * np.arange(100.5, 160)).sum() / across.sum() == pytest.approx(128, abs=0.5)
    assert cover[200:300, 200:300].max() == 0


def test_a_region_at_the_border_of_the_scan_is_outlined_and_one_pixel_does_not_vanish():
    border = np.zeros((64, 64), bool)
    border[:10, :10] = True
    picture = Image.new("RGB", (512, 512))
    contour_of(border, picture.size).draw(picture)
    assert np.asarray(picture)[78:83, 20].max() > 200
    for side in (32, 512, 4096):
        pixel = np.zeros((side, side), bool)
        pixel[side // 2, side // 2] = True
        assert np.asarray(contour_of(pixel, (512, 512)).line).max() > 100
    assert contour_of(np.zeros((8, 8), bool), (16, 16)) is None


def test_heat_grows_with_the_map_and_a_zero_leaves_the_dimmed_scan():
    scan = Image.new("L", (100, 10), 80)
    cam = np.tile(np.linspace(0, 1, 100, dtype=np.float32), (10, 1))
    drawn = np.asarray(heated(scan, cam))[5]
    assert np.array_equal(drawn[0], (40, 40, 40))
    brightness = drawn @ (0.2126, 0.7152, 0.0722)
    assert brightness[30] < brightness[60] < brightness[99]


def test_the_table_of_colours_grows_brighter_all_the_way():
    brightness = np.array(HEAT) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(brightness) > 0).all()
    strip = np.asarray(heat_strip((256, 4)))[0]
    assert strip.shape == (256, 3)
    assert np.array_equal(strip[0], (55, 55, 55))


def test_a_dark_scan_with_a_few_bright_pixels_is_still_readable():
    image = np.random.default_rng(0).uniform(0, 1, (64, 64))
    image[0, :5] = 1000
    assert np.asarray(grey(image, (64, 64))).mean() > 80
    flat = np.zeros((64, 64))
    flat[3, 3] = 1
    assert np.asarray(grey(flat, (64, 64))).max() > 200


def test_lines_fit_their_width_and_lose_no_word():
    text = "refer to an expert: " + "x" * 90 + " and go on"
    lines = wrapped(text, size=14, width=200)
    assert all(font(14).getlength(line) <= 200 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert wrapped("", size=14, width=200) == ("",)


def test_signs_that_the_font_lacks_become_question_marks():
    assert clean("no_tumour Ж²") == "no tumour ??"
