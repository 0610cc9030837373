"""The printable page of a volume: what it says, what it shows, and what must not reach it."""

from __future__ import annotations

import base64
import html
import io
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_series
import numpy as np
import pytest
from PIL import Image

from bts.data.readers.scan import Scan, VolumeGeometry
from bts.data.slice import Slice
from bts.inference.picture import CONTOUR
from bts.inference.volume import VolumeFindings
from bts.inference.write import write_volume


@pytest.fixture
def scan() -> Scan:
    """A volume as a NIfTI file would give it, of the size of the findings."""
    shape = (made_series.COLUMNS, made_series.ROWS, made_series.SLICES)
    geometry = VolumeGeometry(np.diag([-1.0, -1, 4, 1]), shape, 2, np.array([[0, 1], [1, 1], [2, 1]]), codes=(1, 1))
    slices = [
        Slice(image=plane, source="file", path="brain.nii", spacing_mm=(1.0, 1.0), index=index)
        for index, plane in enumerate(made_series.pixels())
    ]
    return Scan(path="folder/<b>brain.nii.gz", slices=slices, volume=geometry)


def page_of(scan: Scan, folder: Path, findings: VolumeFindings, change: Callable[[Any], Any] = lambda each: each) -> str:
    made = [change(each) for each in made_series.predictions(scan)]
    write_volume(scan, made, folder, findings=lambda: findings, writers=["report"])
    return (folder / "report.html").read_text(encoding="utf-8")


def words_of(page: str) -> str:
    """The text of a page without tags and double spaces."""
    body = page.partition("</style>")[2]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def pictures_of(page: str) -> list[Image.Image]:
    found = re.findall(r'<div class="picture"><img src="data:image/png;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def test_the_page_states_decision_measurements_doubts_and_model(scan: Scan, tmp_path: Path) -> None:
    words = words_of(page_of(scan, tmp_path, made_series.findings()))
    for text in (
        "Research software, not a medical device.",
        "6 axial slices of 24 x 20 pixels, 1.00 x 1.00 mm",
        "Tumour reported: 2 lesions",
        "Tumour score 0.93, reported from 0.40. The score is not a probability.",
        "Class of the tumour: glioma glioma 80.0% meningioma 10.0% pituitary 10.0%",
        "1 0.42 8.2 × 5.5 12.0 left 1 to 3 0.90 glioma 80%, meningioma 10%, pituitary 10%",
        "crosses the midline",
        "the spacing of the slices stands only in their positions",
        "Lesion 1 , slice 1; right: Grad-CAM of glioma",
        "(meningioma, glioma, pituitary), whatever the images show",
        "a model, weights 0123456789abcdef, trained on phantoms",
    ):
        assert text in words


def test_each_lesion_is_shown_in_its_largest_slice_with_contour_and_map(scan: Scan, tmp_path: Path) -> None:
    page = page_of(scan, tmp_path, made_series.findings())
    pictures = pictures_of(page)
    assert [picture.size for picture in pictures] == [(300, 360)] * 4
    for picture, (row, column) in zip(pictures[::2], [(8, 12), (16, 3)], strict=True):
        drawn = np.argwhere(np.all(np.asarray(picture) == CONTOUR, axis=2))
        assert len(drawn) > 10
        assert np.abs(drawn - [row * 15, column * 15]).min(0).max() < 15  # a line passes beside that pixel of the slice
    assert page.count('<span class="left">R</span><span class="right">L</span>') == 4


def test_without_a_lesion_the_page_says_what_that_does_not_mean(scan: Scan, tmp_path: Path) -> None:
    page = page_of(scan, tmp_path, made_series.findings(tumour=False))
    words = words_of(page)
    assert "No tumour reported" in words
    assert "does not mean that there is none" in words
    assert "Measurements" not in words
    assert "Middle slice , slice 3" in words
    assert len(pictures_of(page)) == 2


def test_a_volume_without_voxel_size_orientation_or_maps_has_none_on_its_page(scan: Scan, tmp_path: Path) -> None:
    assert scan.volume is not None
    plain = replace(
        scan,
        volume=replace(scan.volume, codes=(0, 0)),
        slices=[replace(item, spacing_mm=None) for item in scan.slices],
    )
    known = made_series.findings()
    unmeasured = dict.fromkeys(("volume_ml", "longest_mm", "perpendicular_mm", "extent_mm", "side", "centroid_mm"))
    findings = replace(known, lesions=tuple(replace(each, **unmeasured) for each in known.lesions))
    page = page_of(plain, tmp_path, findings, lambda each: replace(each, cam=None, cam_class=None))
    words = words_of(page)
    assert "6 slices of unknown orientation of 24 x 20 pixels" in words
    assert "1 – – × – – – 1 to 3 0.90 glioma 80%, meningioma 10%, pituitary 10%" in words
    assert "nothing is given in mm or ml" in words
    assert "class map" not in words
    assert '<span class="left">' not in page
    assert len(pictures_of(page)) == 2


@pytest.mark.parametrize("asked", [False, True])
def test_the_patient_is_named_only_where_that_is_asked_for(asked: bool, tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="pydicom is not installed: pip install 'bts[dicom]'")
    scan = made_series.scan_of(made_series.write_series(tmp_path / "series"))
    made = made_series.predictions(scan)
    write_volume(scan, made, tmp_path, findings=made_series.findings, writers=["report", "json"], report_patient=asked)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ("Patient Roehampton, Rita , ID SECRET-7 , born 1970-01-02 , study of 2020-01-01" in words_of(page)) is asked
    assert ("SECRET-7" in page) is asked
    assert "SECRET-7" not in (tmp_path / "result.json").read_text(encoding="utf-8")


def test_a_volume_that_is_no_series_names_nobody(scan: Scan, tmp_path: Path) -> None:
    write_volume(scan, made_series.predictions(scan), tmp_path, writers=["report"], report_patient=True)
    assert "Patient" not in words_of((tmp_path / "report.html").read_text(encoding="utf-8"))


def test_names_are_escaped_and_nothing_is_loaded_from_elsewhere(scan: Scan, tmp_path: Path) -> None:
    page = page_of(scan, tmp_path, replace(made_series.findings(), warnings=("<script>alert(1)</script>",)))
    assert "&lt;b&gt;brain" in page
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert not re.findall(r"https?:|url\(|@import", page)


def test_the_page_fits_one_sheet_of_paper(scan: Scan, tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    page_of(scan, tmp_path, made_series.findings())
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-pdf-header-footer",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    line = [chromium, *options, f"--print-to-pdf={tmp_path / 'page.pdf'}", (tmp_path / "report.html").as_uri()]
    subprocess.run(line, check=True, capture_output=True, timeout=120)
    assert re.findall(rb"/Count (\d+)", (tmp_path / "page.pdf").read_bytes()) == [b"1"]
