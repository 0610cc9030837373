"""The page in headless Chromium: drop, look, move, download, and nothing asked of any other host.

Every test opens the page anew in one tab, whose cache holds Gradio's scripts, and at its end the page has asked no other host
and complained of nothing.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_series import positions, write_series
from PIL import Image
from web_models import claims, picture, write_png, write_volume_file
from web_server import Served, serving

pytest.importorskip("gradio_client", reason="the page needs Gradio: pip install 'bts[app]'")
from web_client import everything_in

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("no chromium is installed: apt-get install chromium", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright is installed: pip install playwright")

PATIENCE_MS = 300_000
"""A busy machine is no failure."""
OWN, FOREIGN = "scans.test", "evil.test"
"""Names that the browser finds on this machine: the page is called the first one too."""
WIDE = {"width": 1280, "height": 720}
MOVE_UNNOTICED = """() => {
  const slider = document.getElementById('bts-slice');
  slider.querySelector('input[type=range]').value = 4;
  slider.dispatchEvent(new Event('input', { bubbles: true }));  // to the page; Gradio listens to the inputs inside
}"""
"""Move the slider as if Gradio had lost the change."""
FLAGS = [
    f"--host-resolver-rules=MAP {OWN} 127.0.0.1, MAP {FOREIGN} 127.0.0.1",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
]
if hasattr(os, "geteuid") and os.geteuid() == 0:  # Chromium's sandbox refuses root
    FLAGS.append("--no-sandbox")


class Visit:
    """One visitor with one tab, and what the page in it asked for.

    Attributes:
        page: Playwright's.
        asked: every address.
        complaints: errors in the console.
    """

    def __init__(self, browser: Any, served: Served, **how: Any) -> None:
        self.served, self.url = served, served.url
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page = browser.new_context(**how).new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self, *, url: str | None = None, viewport: dict[str, int] = WIDE, color_scheme: str = "light") -> Visit:
        """Open the page anew."""
        self.url = url or self.served.url
        self.page.set_viewport_size(viewport)
        self.page.emulate_media(color_scheme=color_scheme)
        self.page.goto(self.url)
        self.page.wait_for_selector("#bts-upload input[type=file]", state="attached")
        return self

    @property
    def foreign(self) -> list[str]:
        return [url for url in self.asked if not url.startswith((self.url + "/", "data:", "blob:"))]

    def drop(self, path: Path) -> None:
        self.page.set_input_files("#bts-upload input[type=file]", str(path))

    def drop_folder(self, folder: Path) -> None:
        box, devtools = self.page.locator("#bts-upload").bounding_box(), self.page.context.new_cdp_session(self.page)
        middle = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            devtools.send("Input.dispatchDragEvent", {"type": kind, "data": data, **middle})

    def shows(self, text: str, where: str = "#bts-panel") -> None:
        playwright.expect(self.page.locator(where)).to_contain_text(text, timeout=PATIENCE_MS)

    def leave(self) -> None:
        """Leave the page, which has asked no other host and complained of nothing."""
        foreign, complaints = self.foreign, list(self.complaints)
        self.page.goto("about:blank")  # which ends what the page still asks for, and it may complain of that
        self.asked.clear()
        self.complaints.clear()
        assert (foreign, complaints) == ([], [])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("browser"), upload_mib=1, host_names=(OWN,)) as page:
        yield page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=PATIENCE_MS)
        try:
            yield opened
        finally:
            opened.close()


@pytest.fixture(scope="module")
def tab(browser: Any, served: Served) -> Visit:
    return Visit(browser, served)


@pytest.fixture
def enter(tab: Visit) -> Iterator[Callable[..., Visit]]:
    """Opens the page."""
    yield tab.open
    tab.leave()


@pytest.fixture
def visit(enter: Callable[..., Visit]) -> Visit:
    return enter()


def test_a_dropped_slice_is_answered_and_its_numbers_can_be_fetched(visit: Visit, tmp_path: Path) -> None:
    visit.drop(write_png(tmp_path / "slice.png"))
    visit.shows("glioma")
    visit.shows("90.9%")  # e^3 / (e^3 + 2)
    assert visit.page.locator(".bts-layers img").count() == 3
    with visit.page.expect_download() as download:
        visit.page.get_by_role("link", name="Numbers (JSON)").click()
    assert json.loads(Path(download.value.path()).read_text(encoding="utf-8"))["source"] == "slice.png"


def test_strength_contour_and_zoom_are_mixed_in_the_browser(visit: Visit, tmp_path: Path) -> None:
    visit.drop(write_png(tmp_path / "slice.png"))
    visit.shows("glioma")
    before = len(visit.asked)
    visit.page.locator("#bts-strength input[type=range]").fill("0.25")
    visit.page.wait_for_function("getComputedStyle(document.querySelector('.bts-heat')).opacity === '0.25'")
    visit.page.locator("#bts-line input").uncheck()
    visit.page.wait_for_function("getComputedStyle(document.querySelector('.bts-contour')).opacity === '0'")
    visit.page.get_by_role("button", name="Zoom in").click()
    visit.page.wait_for_function("getComputedStyle(document.documentElement).getPropertyValue('--bts-zoom').trim() === '1.5'")
    assert not [url for url in visit.asked[before:] if "queue" in url or "run" in url]
    visit.drop(write_png(tmp_path / "next.png"))  # another scan is shown whole
    visit.page.wait_for_function("getComputedStyle(document.documentElement).getPropertyValue('--bts-zoom').trim() === '1'")


def test_another_class_has_another_map(visit: Visit, tmp_path: Path) -> None:
    visit.drop(write_png(tmp_path / "slice.png"))
    visit.shows("Grad-CAM of glioma", ".bts-legend")
    before = visit.page.locator(".bts-heat").get_attribute("src")
    visit.page.locator("#bts-class").get_by_label("Pituitary").check()
    visit.shows("Grad-CAM of pituitary", ".bts-legend")
    assert visit.page.locator(".bts-heat").get_attribute("src") != before


def test_a_volume_has_a_slider_and_a_strip(visit: Visit, tmp_path: Path) -> None:
    visit.drop(write_volume_file(tmp_path / "head.nii.gz"))
    visit.shows("Tumour reported: 1 lesion")
    visit.shows("4 of 5")
    visit.page.locator("#bts-slice input[type=range]").fill("4")
    visit.shows("Slice 4 is blank", "#bts-stage")
    visit.page.locator(".bts-strip svg").hover()  # once it lies still, in its middle, where the third of five slices is
    visit.page.mouse.down()
    visit.shows("Slice 2")  # before the release, at which the strip may be another
    visit.page.mouse.up()
    assert visit.page.get_by_role("link", name="Mask (NIfTI)").count() == 1
    visit.page.evaluate(MOVE_UNNOTICED)
    visit.shows("Slice 4 is blank", "#bts-stage")
    assert visit.page.locator("#bts-slice input[type=range]").input_value() == "4"


def test_a_series_has_a_table_three_planes_and_dicom_objects(visit: Visit, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="highdicom is not installed: pip install 'bts[dicom]'")
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        slices = np.repeat(np.roll(picture(), 12, axis=1)[None].astype(np.uint16), 16, axis=0)  # a disc at high columns
        for file in write_series(tmp_path / "study", slices, at=positions(16, step=3.0), SeriesDescription="T1 post"):
            archive.write(file, f"IM/{file.stem}")
    page = visit.page
    visit.drop(tmp_path / "study.zip")
    visit.shows("Tumour reported: 1 lesion")
    visit.shows("glioma 91%", "#bts-volume tbody")
    assert [page.locator(f".bts-side.{side}").inner_text() for side in ("left", "right")] == ["R", "L"]
    with page.expect_download() as download:
        page.get_by_role("link", name="Segmentation (DICOM SEG)").click()
    assert Path(download.value.path()).read_bytes()[128:132] == b"DICM"
    planes = page.locator(".bts-planes")
    planes.scroll_into_view_if_needed()
    page.wait_for_selector(".bts-planes[data-ready]", timeout=PATIENCE_MS)
    shown = np.asarray(Image.open(io.BytesIO(planes.locator("canvas").screenshot())).convert("RGB")).astype(int)
    axial = shown[:, : shown.shape[1] // 3]  # the volume is a cube, so the planes are thirds
    columns = np.nonzero(axial[..., 1] - axial[..., 0] > 80)[1]  # of the colour of the mask
    assert len(columns) > 50
    assert columns.mean() > axial.shape[1] * 0.55  # high columns run to the left of the patient, which is on the right
    box = planes.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.15)  # high in the coronal plane
    page.wait_for_function("Number(document.querySelector('#bts-slice input[type=range]').value) > 10")  # of 0 to 15
    visit.shows(f"Slice {page.locator('#bts-slice input[type=range]').input_value()}")


def test_on_a_phone_one_of_a_folder_of_series_is_chosen_by_keyboard(enter: Callable[..., Visit], tmp_path: Path) -> None:
    """Nothing has to be scrolled sideways."""
    visit = enter(viewport={"width": 390, "height": 800}, color_scheme="dark")
    sideways = "document.documentElement.scrollWidth"
    assert visit.page.evaluate(sideways) <= 390
    page, slices = visit.page, np.repeat(picture()[None].astype(np.uint16), 4, axis=0)
    for number, name in enumerate(("T1 post", "FLAIR", "T2"), start=1):
        write_series(tmp_path / "study" / name, slices, series=f"1.9.{number}", SeriesDescription=name)
    visit.drop_folder(tmp_path / "study")
    visit.shows("choose the one")
    choices = page.locator("#bts-series label")
    names = ["FLAIR-192, axial, 4 slices, MR", "T1_post-191, axial, 4 slices, MR", "T2-193, axial, 4 slices, MR"]
    assert sorted(choices.all_inner_texts()) == names
    assert page.evaluate(sideways) <= 390
    page.locator("#bts-series input").first.focus()
    for key in ("Tab", "Space", "Tab", "Tab", "Enter"):  # to the second one, and past the third to the button
        page.keyboard.press(key)
    visit.shows("Tumour reported")
    visit.shows(choices.nth(1).inner_text().split(",")[0], "#bts-stage")
    playwright.expect(page.locator("#bts-series")).to_be_visible()
    visit.drop(write_png(tmp_path / "slice.png"))
    visit.shows("90.9%")
    playwright.expect(page.locator("#bts-series")).not_to_be_visible()


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {  # the last one never leaves the browser
    "broken.png": (lambda path: path.write_bytes(b"no picture"), "broken.png: not a readable picture"),
    "empty.png": (lambda path: path.write_bytes(b""), "empty.png: "),
    "report.docx": (lambda path: path.write_bytes(b"words"), "report.docx: a file of an unknown kind '.docx'"),
    "bomb.nii": (lambda path: claims(path, (8000, 8000, 8000)), "bomb.nii: its header claims 512000000000 voxels"),
    "large.png": (lambda path: path.write_bytes(bytes(2**21)), "large.png: a file of 2 MiB: this page takes at most 1 MiB"),
}


def test_bad_files_are_one_line_each_and_the_next_one_is_answered(visit: Visit, tmp_path: Path) -> None:
    for name, (write, line) in BAD_FILES.items():
        write(tmp_path / name)
        visit.drop(tmp_path / name)
        alert = visit.page.get_by_role("alert").filter(has_text=name)
        playwright.expect(alert).to_contain_text(line, timeout=PATIENCE_MS)
        assert "Traceback" not in visit.page.content()
    visit.drop(write_png(tmp_path / "slice.png"))
    visit.shows("90.9%")


def test_two_visitors_at_once_see_their_own_scans(visit: Visit, browser: Any, tmp_path: Path) -> None:
    anna, bert = visit, Visit(browser, visit.served).open()
    anna.drop(write_volume_file(tmp_path / "anna.nii.gz", slices=40))
    bert.drop(write_png(tmp_path / "bert.png"))
    for each, theirs, other in ((bert, "bert.png", "anna"), (anna, "anna.nii.gz", "bert")):
        each.shows(theirs, "#bts-stage")
        assert other not in each.page.content()
    bert.leave()


def test_two_files_at_once_stand_in_a_table_that_sorts(visit: Visit, tmp_path: Path) -> None:
    visit.page.get_by_role("tab", name="Many scans").click()
    paths = [write_png(tmp_path / name, side=side) for name, side in (("b.png", 48), ("a.png", 60))]
    playwright.expect(visit.page.locator("#bts-start")).to_be_visible(timeout=PATIENCE_MS)
    visit.page.set_input_files("#bts-files input[type=file]", [str(path) for path in paths])
    listed = "document.querySelector('#bts-files').textContent.replace(/\\s/g, '').includes('a.png')"
    visit.page.wait_for_function(listed)
    visit.page.locator("#bts-start").click()
    visit.shows("All results (ZIP)", "#bts-table")
    table = visit.page.locator("#bts-table")
    names = table.locator("tbody tr td:first-child")
    visit.page.set_viewport_size({"width": 390, "height": 800})  # the table scrolls, the page does not
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    table.get_by_role("button", name="File").click()
    assert names.all_inner_texts() == ["a.png", "b.png"]
    table.get_by_role("button", name="File").click()
    assert names.all_inner_texts() == ["b.png", "a.png"]
    with visit.page.expect_download() as download:
        visit.page.get_by_role("link", name="All results (ZIP)").click()
    assert Path(download.value.path()).read_bytes()[:2] == b"PK"


def test_a_stopped_batch_says_so_and_gives_what_is_done(visit: Visit, tmp_path: Path) -> None:
    visit.page.get_by_role("tab", name="Many scans").click()
    paths = [write_png(tmp_path / f"head{number}.png") for number in range(24)]
    playwright.expect(visit.page.locator("#bts-start")).to_be_visible(timeout=PATIENCE_MS)
    visit.page.set_input_files("#bts-files input[type=file]", [str(path) for path in paths])
    visit.page.wait_for_function("document.querySelector('#bts-files').textContent.replace(/\\s/g, '').includes('head23')")
    with visit.served.held_back():
        visit.page.locator("#bts-start").click()
        visit.shows("head0.png", "#bts-table")
        visit.page.locator("#bts-stop").click()
        visit.shows("Stopped: ", "#bts-table")
    visit.shows("Results so far (ZIP)", "#bts-table")
    visit.page.locator("#bts-start").click()
    playwright.expect(visit.page.locator("#bts-table")).not_to_contain_text("Stopped", timeout=PATIENCE_MS)


CONTRAST = """() => {
  const paint = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => {
    paint.clearRect(0, 0, 1, 1); paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1);
    return [...paint.getImageData(0, 0, 1, 1).data];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((value, i) => (value * a + under[i] * (255 - a)) / 255);
  const ground = (each) => {
    const above = each.parentElement ? ground(each.parentElement) : [255, 255, 255];
    return over(rgba(getComputedStyle(each).backgroundColor), above);
  };
  const light = (rgb) => rgb.map((value) => value / 255)
    .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0);
  const found = {};
  for (const each of document.querySelectorAll('body *')) {
    const words = [...each.childNodes].filter((node) => node.nodeType === 3).map((node) => node.textContent.trim()).join('');
    if (!words || !each.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (each.closest('script, style, noscript, .bts-view')) continue;
    const under = ground(each), ink = over(rgba(getComputedStyle(each).color), under);
    const [low, high] = [light(ink), light(under)].sort((a, b) => a - b);
    found[words] = (high + 0.05) / (low + 0.05);
  }
  return found;
}"""
"""Contrast of every text that is seen with what lies under it, by the definition of WCAG 2."""


NAMELESS = """() => [...document.querySelectorAll('button, a[href], input, select, textarea')]
  .filter(each => each.offsetParent !== null)
  .filter(each => !(each.innerText?.trim() || each.getAttribute('aria-label') || each.title || each.labels?.length))
  .map(each => each.outerHTML.slice(0, 200))"""
"""Controls without a name."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_and_every_control_has_a_name(scheme: str, enter: Callable[..., Visit], tmp_path: Path) -> None:
    visit = enter(color_scheme=scheme)
    visit.drop(write_volume_file(tmp_path / "head.nii.gz"))
    visit.shows("90.9%")
    found = visit.page.evaluate(CONTRAST)
    assert {"Research software, not a medical device.", "Glioma", "90.9%", "Numbers (JSON)"} <= set(found)
    assert {words: ratio for words, ratio in found.items() if ratio < 4.5} == {}  # WCAG 2.2, 1.4.3, AA
    assert visit.page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
    assert visit.page.evaluate(NAMELESS) == []


def test_a_file_dropped_before_the_head_is_drawn_is_answered(visit: Visit, tmp_path: Path) -> None:
    visit.page.evaluate("document.querySelector('.bts-head').remove()")
    visit.drop(write_volume_file(tmp_path / "head.nii.gz"))
    visit.shows("90.9%")


def test_the_keyboard_alone_reaches_everything(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    visit.drop(write_volume_file(tmp_path / "head.nii.gz"))
    visit.shows("Slice 3")  # the one with the largest mask
    name = "(each => each.getAttribute('aria-label') || each.labels?.[0]?.innerText || each.innerText)(document.activeElement)"
    page.get_by_role("tab", name="One scan").focus()
    reached = [str(page.evaluate(name)).strip()]
    while page.evaluate("document.activeElement !== document.body") and len(reached) < 60:
        if reached[-1] == "range slider for Slice":
            page.keyboard.press("ArrowLeft")
            visit.shows("Slice 2")
        page.keyboard.press("Tab")
        reached.append(str(page.evaluate(name)).strip())
    wanted = ["One scan", "Click to upload or drop files", "Volume", "Zoom in", "range slider for Slice"]
    wanted += ["range slider for Heat strength", "Contour of the mask", "Mask (NIfTI)", "Report for printing"]
    assert set(wanted) <= set(reached), reached
    assert reached.count("Glioma") == 2, reached  # the example, and the choice of the map's class
    places = [reached.index(each) for each in wanted]
    assert places == sorted(places), reached  # as they stand on the page


# --- other sites ------------------------------------------------------------------------------------------------------------

REACH = """async (url) => {
  const form = () => { const data = new FormData(); data.append('files', new File(['planted'], 'planted.png')); return data; };
  const said = async (address, how) => {
    try { const answer = await fetch(url + address, how); return answer.type === 'opaque' ? 'opaque' : answer.status; }
    catch { return 'refused by the browser'; }
  };
  const plain = { method: 'POST', mode: 'no-cors', headers: { 'content-type': 'text/plain' }, body: '{"data": []}' };
  return [
    await said('/config', { credentials: 'include' }),
    await said('/gradio_api/upload', { method: 'POST', body: form(), credentials: 'include' }),
    await said('/gradio_api/upload', { method: 'POST', body: form(), mode: 'no-cors', credentials: 'include' }),
    await said('/gradio_api/call/predict', plain),
  ];
}"""
"""Asks the page from another site, with and without wanting to read the answer."""


@pytest.fixture
def foreign_site(served: Served) -> Iterator[str]:
    """Address of another site with a link to the page."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f'<!DOCTYPE html><title>other</title><a href="{served.url}/">scans</a>'.encode()
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{FOREIGN}:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_a_page_of_another_site_reaches_nothing_but_a_link(browser: Any, served: Served, foreign_site: str) -> None:
    before = everything_in(served.root)
    page = browser.new_context().new_page()
    page.goto(foreign_site)
    came = page.evaluate(REACH, served.url)
    assert came == ["refused by the browser"] * 4
    assert everything_in(served.root) <= before  # what the browser sends all the same is refused by the server
    with page.expect_navigation() as followed:
        page.get_by_role("link", name="scans").click()
    assert followed.value.status == 200
    page.context.close()


def test_a_name_that_is_pointed_at_this_machine_is_refused(browser: Any, served: Served) -> None:
    page = browser.new_context().new_page()
    answer = page.goto(served.url.replace("127.0.0.1", FOREIGN))
    assert answer.status == 421
    assert "add --host-name evil.test" in page.content()
    page.context.close()


def test_the_page_works_by_a_name_that_it_was_given(enter: Callable[..., Visit], served: Served, tmp_path: Path) -> None:
    visit = enter(url=served.url.replace("127.0.0.1", OWN))
    visit.drop(write_png(tmp_path / "slice.png"))
    visit.shows("90.9%")


def test_the_page_works_with_its_password(browser: Any, tmp_path: Path) -> None:
    with serving(tmp_path, password="sesam, öffne") as page:
        visit = Visit(browser, page, http_credentials={"username": "anyone", "password": "sesam, öffne"}).open()
        visit.drop(write_png(tmp_path / "slice.png"))
        visit.shows("90.9%")
        (cookie,) = visit.page.context.cookies()
        assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("bts-known", True, "Strict")
        visit.leave()
