"""The page without a browser: what is answered, what is kept, what is refused, and what is left behind."""

from __future__ import annotations

import io
import os
import shutil
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
from PIL import Image
from web_models import claims, paper_predictor, write_png, write_volume_file

from bts.apps import infer
from bts.apps.web import examples
from bts.apps.web.downloads import find_result_file, keep_files_only
from bts.apps.web.limits import Deadline, Limits
from bts.apps.web.result import SIDE, make_layers
from bts.apps.web.service import AnalysisService, format_error
from bts.apps.web.sessions import Session, SessionClosedError
from bts.apps.web.upload_reader import read_upload
from bts.apps.web.views import head, panel, stage
from bts.data.readers.scan import PLANES
from bts.errors import InputError, RequestError
from bts.inference.picture import STRENGTH, contour_of, fitted, grey, heated
from bts.inference.predictor import Predictor


@pytest.fixture
def service(tmp_path: Path) -> AnalysisService:
    return AnalysisService(paper_predictor(), root=tmp_path / "private")


def asked(service: AnalysisService) -> list[int]:
    return [runtime.asked for runtime in service.predictor.runtimes]  # type: ignore[attr-defined]


def analysed(service: AnalysisService, path: Path, *, visitor: str = "anna") -> Session:
    session = service.sessions.get(visitor)
    service.analyse(service.receive(path, session=session), session=session)
    return session


def test_the_files_are_those_of_infer_py(service: AnalysisService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Predictor, "load", lambda **how: paper_predictor())
    write_png(tmp_path / "scan.png")
    write_volume_file(tmp_path / "head.nii.gz")
    assert infer.main(["scan.png", "head.nii.gz", "--out", "out"]) == 0
    for name in ("scan.png", "head.nii.gz"):
        result = analysed(service, tmp_path / name).result
        assert result is not None
        expected = {file.relative_to(tmp_path / "out" / name.split(".")[0]) for file in (tmp_path / "out").rglob("*.*")
                    if name.split(".")[0] in file.parts}  # fmt: skip
        assert len(expected) >= 4
        for file in expected - {Path("mask.nii.gz")}:  # gzip writes the time
            assert (result.folder / file).read_bytes() == (tmp_path / "out" / name.split(".")[0] / file).read_bytes(), file


def test_nothing_is_computed_twice(service: AnalysisService, tmp_path: Path) -> None:
    session = analysed(service, write_png(tmp_path / "scan.png"))
    result = session.result
    assert result is not None
    assert asked(service) == [1, 1]
    assert service.explain(session, index=0, cam_class="glioma") is result.predictions[0]  # the predicted class
    assert asked(service) == [1, 1]
    for _ in range(2):
        other = service.explain(session, index=0, cam_class="pituitary")
        assert other is not None
        assert other.cam_class == "pituitary"
    assert asked(service) == [1, 2]  # the classifier alone, and once
    assert other.mask is result.predictions[0].mask


def test_downloads_follow_the_chosen_class(service: AnalysisService, tmp_path: Path) -> None:
    session = analysed(service, write_png(tmp_path / "scan.png"))
    assert session.result is not None
    before = (session.result.folder / "cam.png").read_bytes()
    service.explain(session, index=0, cam_class="pituitary")
    assert session.result.read()["cam_class"] == "pituitary"
    assert (session.result.folder / "cam.png").read_bytes() != before
    service.explain(session, index=0, cam_class="glioma")
    assert (session.result.folder / "cam.png").read_bytes() == before


def test_the_browser_s_mixture_is_the_overlay(service: AnalysisService, tmp_path: Path) -> None:
    session = analysed(service, write_png(tmp_path / "scan.png"))
    assert session.result is not None
    answer = session.result.predictions[0]
    layers = make_layers(answer)

    def opened(address: str) -> Image.Image:
        import base64

        return Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGBA")

    mixed = opened(layers.scan)
    assert layers.heat is not None
    assert layers.contour is not None
    heat = opened(layers.heat)
    heat.putalpha(heat.getchannel("A").point([round(STRENGTH * value) for value in range(256)]))  # CSS opacity
    for layer in (heat, opened(layers.contour)):
        mixed = Image.alpha_composite(mixed, layer)
    scan = grey(answer.slice.image, fitted(answer.slice.image.shape, side=SIDE))
    assert answer.cam is not None
    assert answer.mask is not None
    expected = heated(scan, answer.cam)
    contour = contour_of(answer.mask, scan.size)
    assert contour is not None
    contour.draw(expected)
    difference = np.abs(np.asarray(mixed.convert("RGB"), int) - np.asarray(expected, int))
    assert difference.max() <= 3  # two roundings of 8 bits


def test_a_volume_marks_slices_with_a_mask_and_says_which_are_blank(service: AnalysisService, tmp_path: Path) -> None:
    session = analysed(service, write_volume_file(tmp_path / "head.nii.gz"))
    result = session.result
    assert result is not None
    assert result.is_volume
    assert result.slices_with_mask == (0, 1, 2, 3)  # as in the mask of the volume, which fills the second slice
    assert "4 of 5 slices have a mask: slices 0–3" in stage(result, 2)
    assert "Slice 4 is blank" in stage(result, 4)
    assert "Blank slice" in panel(result, 4)
    assert nibabel.load(result.folder / "mask.nii.gz").shape == (48, 48, 5)
    before = asked(service)
    for index in range(5):
        stage(result, index)
    assert asked(service) == before  # the slider asks no network


# --- bad input ------------------------------------------------------------------------------------------------------------


def hollow(path: Path) -> Path:
    """A MATLAB file of a few kilobytes whose picture, never written, has 10^10 pixels."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_group("cjdata").create_dataset("image", shape=(100_000, 100_000), dtype="i2", chunks=(256, 256))
    return path


def wide(path: Path) -> None:
    """A volume of one slice that is larger than the largest picture."""
    array = np.zeros((4097, 4096, 1), np.uint8)
    array[0, 0] = 1
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)


def written(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("report.docx", written(b"words"), "a file of an unknown kind '.docx'"),
        ("scan.png", written(b"no picture"), "not a readable picture"),
        ("empty.png", written(b""), "empty"),
        ("bomb.nii", lambda path: claims(path, (8000, 8000, 8000)), "its header claims 512000000000 voxels"),
        ("under_infer_s_limit.nii", lambda path: claims(path, (8000, 8000, 4)), "this page takes at most 67108864"),
        ("hollow.mat", hollow, "its header claims 10000000000 pixels"),
        (
            "large.png",
            lambda path: Image.new("L", (4097, 4096)).save(path),
            "its header claims 16781312 pixels: this page takes at",
        ),
        ("large.tif", lambda path: Image.new("L", (4097, 4096)).save(path, compression="packbits"), "claims 16781312 pixels"),
        ("wide.nii", lambda path: wide(path), "a slice of 16781312 pixels: this page takes at most 16777216"),
        ("gone.png", lambda path: None, "the upload has been removed"),
    ],
)
def test_a_bad_file_is_one_line_without_a_folder(
    name: str, write: Callable[[Path], object], message: str, service: AnalysisService, tmp_path: Path
) -> None:
    path = tmp_path / name
    write(path)
    with pytest.raises(InputError) as raised:
        service.receive(path, session=service.sessions.get("anna"))
    line = format_error(raised.value, path=path)
    assert line.startswith(f"{name}: ")
    assert message in line
    assert "\n" not in line
    assert str(tmp_path) not in line


def test_a_file_over_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = write_png(tmp_path / "scan.png", side=400)
    with pytest.raises(InputError, match=r"scan\.png: a file of \d+ MiB: this page takes at most 0.001 MiB"):
        read_upload([path], limits=Limits(upload_mib=0.001))


@pytest.mark.parametrize(
    "name", ["..\\..\\secret\\scan<b>.png", "\x1b[2J\nscan<b>.png", "=1+1scan<b>.png", "x" * 239 + "scan<b>.png"]
)
def test_a_hostile_name_is_only_its_last_part_and_inert(name: str, service: AnalysisService, tmp_path: Path) -> None:
    """Path parts, control characters, formulas, and 250 characters, each with markup."""
    path = write_png(tmp_path / name)
    session = analysed(service, path)
    assert session.result is not None
    shown = session.result.summary["source"]
    assert shown.endswith("scan<b>.png")
    assert shown.isprintable()
    assert "\\" not in shown
    assert session.result.folder.resolve().is_relative_to(service.sessions.results.resolve())
    page = stage(session.result, 0) + panel(session.result, 0)
    assert "scan&lt;b&gt;.png" in page
    assert "<b>.png" not in page


def test_a_visitor_who_leaves_in_the_middle_leaves_nothing(service: AnalysisService, tmp_path: Path) -> None:
    path = write_volume_file(service.sessions.uploads / "head.nii.gz", slices=30)
    session = service.sessions.get("anna")
    scan = service.receive(path, session=session)
    told_of: list[float] = []

    def leave(share: float, what: str) -> None:
        told_of.append(share)
        if len(told_of) == 3:
            service.sessions.close("anna")

    with pytest.raises(SessionClosedError):
        service.analyse(scan, session=session, on_progress=leave)
    assert len(told_of) == 3
    assert not session.folder.exists()
    assert not path.exists()
    assert len(service.sessions) == 0


def test_a_request_ends_with_its_time(tmp_path: Path) -> None:
    service = AnalysisService(paper_predictor(), root=tmp_path / "private", limits=Limits(seconds=0))
    with pytest.raises(InputError, match="stopped after 0 s, the time limit of this page"):
        analysed(service, write_png(tmp_path / "scan.png"))
    assert not list(service.sessions.results.rglob("*.png"))


def test_a_model_folder_that_disappears_is_one_line_for_who_would_read_it_late(
    service: AnalysisService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(images: np.ndarray, *, cam_class: int | None = None) -> Any:
        return (tmp_path / "model" / "model.onnx").read_bytes()  # models are held in memory; this one looks into its folder

    monkeypatch.setattr(service.predictor.runtimes[0], "run", run)
    with pytest.raises(FileNotFoundError) as raised:
        analysed(service, write_png(tmp_path / "scan.png"))
    assert format_error(raised.value) == "the server could not read or write a file: try again later"
    assert not list(service.sessions.results.rglob("*.png"))


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_a_model_whose_folder_disappears_answers_on(runtime: str, exported_models: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(exported_models["joint"], tmp_path / "model")
    service = AnalysisService(Predictor.load(joint=folder, runtime=runtime, device="cpu"), root=tmp_path / "private")
    shutil.rmtree(folder)
    session = analysed(service, write_png(tmp_path / "scan.png"))
    assert session.result is not None
    other = next(name for name in service.predictor.classes if name != session.result.predictions[0].cam_class)
    assert service.explain(session, index=0, cam_class=other) is not None  # the network is asked again
    assert find_result_file(service.sessions, session.secret, "print.html") is not None


def test_an_unexpected_error_tells_nothing_of_the_scan() -> None:
    assert format_error(ValueError("patient Smith, value 17")) == "unexpected ValueError: please report it"
    assert (
        format_error(OSError(28, "No space left", "/private/secret"))
        == "the server could not read or write a file: try again later"
    )


# --- sessions -------------------------------------------------------------------------------------------------------------


def test_closing_removes_uploads_and_results(service: AnalysisService) -> None:
    path = write_png(service.sessions.uploads / "scan.png")
    session = analysed(service, path)
    assert find_result_file(service.sessions, session.secret, "mask.png") is not None
    service.sessions.close("anna")
    assert not path.exists()
    assert not session.folder.exists()
    assert find_result_file(service.sessions, session.secret, "mask.png") is None


def test_a_file_that_somebody_else_uploaded_meanwhile_stays(service: AnalysisService) -> None:
    path = write_png(service.sessions.uploads / "scan.png")
    session = analysed(service, path)
    session.uploads[path] -= 100  # read long before the file that lies there now
    service.sessions.close("anna")
    assert path.exists()


def test_visitors_do_not_see_each_other(service: AnalysisService, tmp_path: Path) -> None:
    anna = analysed(service, write_png(tmp_path / "anna.png"))
    bert = analysed(service, write_png(tmp_path / "bert.png"), visitor="bert")
    assert anna.secret != bert.secret
    assert anna.result is not None
    assert anna.result.scan.path == "anna.png"
    service.sessions.close("bert")
    assert find_result_file(service.sessions, anna.secret, "mask.png") is not None


def test_the_idle_are_swept_and_the_oldest_scan_makes_room(tmp_path: Path) -> None:
    service = AnalysisService(paper_predictor(), root=tmp_path / "private", limits=Limits(held_voxels=2 * 48 * 48))
    for visitor in ("anna", "bert", "carl"):
        analysed(service, write_png(tmp_path / "scan.png"), visitor=visitor)
    assert [service.sessions.get(name).result is None for name in ("anna", "bert", "carl")] == [True, False, False]
    with pytest.raises(RequestError, match="no longer available: choose the file again"):
        service.explain(service.sessions.get("anna"), index=0, cam_class="glioma")
    service.sessions.get("bert").last_seen -= 10_000
    service.sessions.sweep()
    assert len(service.sessions) == 2


def test_what_was_sent_long_ago_is_swept_with_its_folder(service: AnalysisService) -> None:
    def sent(name: str, *, age: float) -> Path:
        folder = service.sessions.uploads / name
        folder.mkdir()
        path = write_png(folder / "scan.png")
        for each in (path, folder):
            os.utime(each, (time.time() - age,) * 2)
        return path

    old, new = sent("old", age=10_000), sent("new", age=0)
    service.sessions.sweep()  # takes the file, whose folder then is as young as that
    assert not old.exists()
    os.utime(old.parent, (time.time() - 10_000,) * 2)
    service.sessions.sweep()
    assert not old.parent.exists()
    assert new.is_file()
    assert service.sessions.uploads.is_dir()


def test_only_files_of_the_result_can_be_fetched(service: AnalysisService, tmp_path: Path) -> None:
    session = analysed(service, write_png(tmp_path / "scan.png"))
    for name in ("../scan.png", "..", "cam.png.part", "/etc/passwd", "model.json", ""):
        assert find_result_file(service.sessions, session.secret, name) is None
    assert find_result_file(service.sessions, "guess", "mask.png") is None
    page = find_result_file(service.sessions, session.secret, "print.html")
    assert page is not None
    html = page.read_text(encoding="utf-8")
    assert "Research software, not a medical device." in html
    assert "paper seg" in html
    assert "http" not in html.replace("xmlns", "")
    archive = find_result_file(service.sessions, session.secret, "all.zip")
    assert archive is not None
    with zipfile.ZipFile(archive) as opened:
        assert {"mask.png", "cam.png", "overlay.png", "result.json"} <= set(opened.namelist())


def test_a_program_s_scan_is_let_go_and_its_files_stay(service: AnalysisService, tmp_path: Path) -> None:
    session = analysed(service, write_png(tmp_path / "scan.png"))
    keep_files_only(session)
    assert session.result is None
    for name in ("mask.png", "print.html", "all.zip"):
        assert find_result_file(service.sessions, session.secret, name) is not None


# --- what is said ---------------------------------------------------------------------------------------------------------


def test_the_top_names_the_models_and_what_this_is_not(service: AnalysisService) -> None:
    top = head(service.predictor, Limits())
    assert "paper seg" in top
    assert "trained on nothing &lt;at all&gt;" in top
    assert "Research software, not a medical device." in top


@pytest.mark.parametrize(("tasks", "name"), [(("seg", "cls"), "Grad-CAM"), (("joint",), "class map (HiResCAM)")])
def test_the_map_is_called_what_it_is_on_screen_and_on_paper(tasks: tuple[str, ...], name: str, tmp_path: Path) -> None:
    service = AnalysisService(paper_predictor(*tasks), root=tmp_path / "private")
    session = analysed(service, write_png(tmp_path / "scan.png"))
    assert session.result is not None
    printed = find_result_file(service.sessions, session.secret, "print.html")
    assert printed is not None
    shown = {
        "top": head(service.predictor, Limits()),
        "stage": stage(session.result, 0),
        "print": printed.read_text(encoding="utf-8"),
    }
    assert [place for place, html in shown.items() if name not in html] == []
    assert [place for place, html in shown.items() if ("Grad-CAM" in html) != (name == "Grad-CAM")] == []
    assert "cam_name" not in session.result.read()  # a word for people: `cam_class` is what programs read


def test_no_answer_is_called_certain(service: AnalysisService, tmp_path: Path) -> None:
    session = analysed(service, write_png(tmp_path / "scan.png"))
    assert session.result is not None
    sure = replace(session.result.predictions[0], class_prob=np.array([1e-9, 1 - 2e-9, 1e-9]))
    session.result.predictions[0] = sure
    shown = panel(session.result, 0)
    assert "&gt;99%" in shown
    assert "&gt;99.9%" in shown
    assert shown.count("&lt;0.1%") == 2
    assert ">100.0%<" not in shown


def test_a_single_slice_is_not_counted(service: AnalysisService, tmp_path: Path) -> None:
    told_of: list[str] = []
    session = service.sessions.get("anna")
    for name, write in (("scan.png", write_png), ("head.nii.gz", write_volume_file)):
        scan = service.receive(write(tmp_path / name), session=session)
        service.analyse(scan, session=session, on_progress=lambda share, what: told_of.append(what))
    assert told_of[0] == "slice 1 of 4"


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        (("seg",), "<p>Tumour mask of brain MRI slices</p>"),
        (("cls",), "<p>Class and Grad-CAM of brain MRI slices</p>"),
        (("seg", "cls"), "<p>Tumour mask, class and Grad-CAM of brain MRI slices</p>"),
    ],
)
def test_the_top_promises_what_is_answered(tasks: tuple[str, ...], words: str) -> None:
    assert words in head(paper_predictor(*tasks), Limits())


def test_the_panel_refers_where_the_threshold_says_so(service: AnalysisService, tmp_path: Path) -> None:
    session = analysed(service, write_png(tmp_path / "scan.png"))
    assert session.result is not None
    shown = panel(session.result, 0, secret="s3cret")
    assert "Refer to an expert: the highest probability is 0.91" in shown  # e^3 / (e^3 + 2) = 0.909
    assert "90.9%" in shown
    assert 'href="results/s3cret/mask.png"' in shown
    assert "Mask and class</dt><dd>agree" in shown


def test_a_segmenter_alone_has_no_bars_and_no_map(tmp_path: Path) -> None:
    service = AnalysisService(Predictor(paper_predictor().runtimes[:1]), root=tmp_path / "private")
    session = analysed(service, write_png(tmp_path / "scan.png"))
    assert session.result is not None
    shown = stage(session.result, 0) + panel(session.result, 0)
    assert "bts-heat" not in shown
    assert "bts-bars" not in shown
    with pytest.raises(RequestError, match="no classifier is loaded"):
        service.explain(session, index=0, cam_class="glioma")


@pytest.mark.parametrize("name", examples.NAMES)
def test_an_example_says_that_it_is_synthetic(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "web_examples"
    folder.mkdir(exist_ok=True)
    scan = examples.example(name, folder)
    assert all(item.synthetic for item in scan.slices)
    assert (scan.volume is not None) == (name == "Volume")
    if scan.volume is not None:
        assert PLANES[scan.volume.axis] == "sagittal"  # as they are drawn: sides are labelled
    assert str(folder) not in scan.path


def test_the_clock_of_a_deadline_runs() -> None:
    Deadline(1000).check()
    late = Deadline(1000)
    late.began -= 1001
    with pytest.raises(InputError, match="stopped after 1000 s"):
        late.check()


def test_two_at_once_both_get_their_own_answer(service: AnalysisService, tmp_path: Path) -> None:
    sessions: dict[str, Session] = {}

    def visit(name: str) -> None:
        sessions[name] = analysed(service, write_png(tmp_path / f"{name}.png"), visitor=name)

    threads = [threading.Thread(target=visit, args=(name,)) for name in ("anna", "bert")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found: dict[str, Any] = {name: session.result for name, session in sessions.items()}
    assert {name: result.scan.path for name, result in found.items()} == {"anna": "anna.png", "bert": "bert.png"}


def test_a_result_keeps_no_patient(service: AnalysisService, phantom_set: Path) -> None:
    session = analysed(service, phantom_set / "1.mat")
    assert session.result is not None
    assert all(item.patient is None for item in session.result.scan.slices)
    assert replace(session.result.scan.slices[0]).path == "1.mat"
