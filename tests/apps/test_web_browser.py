"""The page in headless Chromium: drop, look, move, download, and nothing asked of any other host."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from web_models import write_png, write_volume_file
from web_server import Served, serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("no chromium is installed: apt-get install chromium", allow_module_level=True)
pytest.importorskip("gradio_client", reason="the page needs Gradio: pip install 'bts[app]'")
playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright is installed: pip install playwright")

PATIENCE_MS = 60_000
"""A busy machine is no failure."""


class Visit:
    """One browser with one page, and what it asked for.

    Attributes:
        page: Playwright's.
        foreign: addresses on other hosts.
        complaints: errors in the console.
    """

    def __init__(self, browser: Any, served: Served, folder: Path) -> None:
        self.browser, self.served, self.folder = browser, served, folder
        self.foreign: list[str] = []
        self.complaints: list[str] = []
        self.page = self.open()

    def open(self, **how: Any) -> Any:
        page = self.browser.new_context(**how).new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", self._asked)
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(self.served.url)
        page.wait_for_selector("#bts-upload input[type=file]", state="attached")
        return page

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.served.url, "data:", "blob:")):
            self.foreign.append(request.url)

    def drop(self, path: Path) -> None:
        self.page.set_input_files("#bts-upload input[type=file]", str(path))

    def said(self, text: str) -> None:
        playwright.expect(self.page.locator("#bts-panel")).to_contain_text(text, timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    folder = tmp_path_factory.mktemp("browser")
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with serving(folder) as served, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        try:
            yield Visit(browser, served, folder)
        finally:
            browser.close()


def test_a_dropped_slice_is_answered_and_its_numbers_can_be_fetched(visit: Visit) -> None:
    visit.drop(write_png(visit.folder / "slice.png"))
    visit.said("glioma")
    visit.said("90.9%")  # e^3 / (e^3 + 2)
    assert visit.page.locator(".bts-layers img").count() == 3
    with visit.page.expect_download() as download:
        visit.page.get_by_role("link", name="Numbers (JSON)").click()
    assert json.loads(Path(download.value.path()).read_text(encoding="utf-8"))["source"] == "slice.png"


def test_the_strength_of_the_heat_is_mixed_in_the_browser(visit: Visit) -> None:
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url))
    visit.page.locator("#bts-strength input[type=range]").fill("0.25")
    visit.page.wait_for_function("getComputedStyle(document.querySelector('.bts-heat')).opacity === '0.25'")
    visit.page.locator("#bts-line input").uncheck()
    visit.page.wait_for_function("getComputedStyle(document.querySelector('.bts-contour')).opacity === '0'")
    visit.page.get_by_role("button", name="Zoom in").click()
    visit.page.wait_for_function("getComputedStyle(document.documentElement).getPropertyValue('--bts-zoom').trim() === '1.5'")
    assert not [url for url in asked if "queue" in url or "run" in url]
    visit.page.get_by_role("button", name="Show the whole slice").click()


def test_another_class_has_another_map(visit: Visit) -> None:
    before = visit.page.locator(".bts-heat").get_attribute("src")
    visit.page.locator("#bts-class").get_by_label("Pituitary").check()
    visit.page.wait_for_function("before => document.querySelector('.bts-heat').src !== before", arg=before)
    playwright.expect(visit.page.locator(".bts-legend")).to_contain_text("Grad-CAM of pituitary")


def test_a_volume_has_a_slider_and_a_strip(visit: Visit) -> None:
    visit.drop(write_volume_file(visit.folder / "head.nii.gz"))
    visit.said("Slices with a mask")
    visit.said("3 of 5")
    visit.page.locator("#bts-slice input[type=range]").fill("4")
    visit.said("blank slice")
    box = visit.page.locator(".bts-strip svg").bounding_box()
    visit.page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + 5)  # the middle one of five
    visit.said("Slice 2")
    assert visit.page.get_by_role("link", name="Mask (NIfTI)").count() == 1


def test_a_broken_file_is_one_line(visit: Visit) -> None:
    (visit.folder / "broken.png").write_bytes(b"no picture")
    visit.drop(visit.folder / "broken.png")
    alert = visit.page.get_by_role("alert").filter(has_text="not a readable")
    playwright.expect(alert).to_contain_text("broken.png: not a readable PNG, JPEG or TIFF", timeout=PATIENCE_MS)
    assert "Traceback" not in visit.page.content()


def test_two_at_once_stand_in_a_table_that_sorts(visit: Visit) -> None:
    visit.page.get_by_role("tab", name="Many scans").click()
    paths = [write_png(visit.folder / name, side=side) for name, side in (("b.png", 48), ("a.png", 60))]
    playwright.expect(visit.page.locator("#bts-start")).to_be_visible(timeout=PATIENCE_MS)
    visit.page.set_input_files("#bts-files input[type=file]", [str(path) for path in paths])
    listed = "document.querySelector('#bts-files').textContent.replace(/\\s/g, '').includes('a.png')"
    visit.page.wait_for_function(listed, timeout=PATIENCE_MS)
    visit.page.locator("#bts-start").click()
    table = visit.page.locator("#bts-table")
    playwright.expect(table).to_contain_text("All results (ZIP)", timeout=PATIENCE_MS)
    names = table.locator("tbody tr td:first-child")
    table.get_by_role("button", name="File").click()
    assert names.all_inner_texts() == ["a.png", "b.png"]
    table.get_by_role("button", name="File").click()
    assert names.all_inner_texts() == ["b.png", "a.png"]
    with visit.page.expect_download() as download:
        visit.page.get_by_role("link", name="All results (ZIP)").click()
    assert Path(download.value.path()).read_bytes()[:2] == b"PK"


def test_a_phone_needs_no_scrolling_sideways(visit: Visit) -> None:
    page = visit.open(viewport={"width": 390, "height": 800}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.body.classList.contains('dark')")
    page.context.close()


def test_every_control_has_a_name(visit: Visit) -> None:
    nameless = """() => [...document.querySelectorAll('button, a[href], input, select, textarea')]
        .filter(each => each.offsetParent !== null)
        .filter(each => !(each.innerText?.trim() || each.getAttribute('aria-label') || each.title || each.labels?.length))
        .map(each => each.outerHTML.slice(0, 200))"""
    visit.page.get_by_role("tab", name="One scan").click()
    assert visit.page.evaluate(nameless) == []


def test_no_other_host_was_asked_and_nothing_went_wrong(visit: Visit) -> None:
    assert visit.foreign == []
    assert visit.complaints == []
