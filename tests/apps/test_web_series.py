"""Uploads of a DICOM series, as files or as a zip, to the page: one volume, or one line."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_series import positions, write_enhanced, write_series
from web_models import paper_predictor, picture, write_png

from bts.apps import infer
from bts.apps.web.downloads import find_result_file
from bts.apps.web.limits import Limits
from bts.apps.web.result import available_files
from bts.apps.web.service import AnalysisService, format_error
from bts.apps.web.sessions import Session
from bts.apps.web.upload_reader import read_upload
from bts.apps.web.views import sides_of, volume_section
from bts.errors import InputError, SeveralSeriesError
from bts.inference.predictor import Predictor

SAGITTAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))
SLICES = np.repeat(picture()[None].astype(np.uint16), 3, axis=0)


def series(folder: Path, *, slices: np.ndarray = SLICES, **more: object) -> list[Path]:
    return write_series(folder, slices, SeriesDescription="T1 post", **more)  # type: ignore[arg-type]


def pack(path: Path, files: Sequence[Path], *, more: dict[str, bytes] | None = None) -> list[Path]:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, f"IM/{file.stem}")
        for name, data in (more or {}).items():
            archive.writestr(name, data)
    return [path]


@pytest.fixture
def service(tmp_path: Path) -> AnalysisService:
    return AnalysisService(paper_predictor(), root=tmp_path / "private")


def sent(service: AnalysisService, paths: Sequence[Path]) -> list[Path]:
    """Copies of files where the page puts uploads, each in a folder of its own."""
    copies = [service.sessions.new_upload() / path.name for path in paths]
    for path, copy in zip(paths, copies, strict=True):
        copy.write_bytes(path.read_bytes())
    return copies


def analysed(service: AnalysisService, paths: Sequence[Path]) -> Session:
    session = service.sessions.get("anna")
    for path in paths:
        service.sessions.claim(path, session)
    service.analyse(service.receive(paths, session=session), session=session)
    return session


@pytest.mark.parametrize("kind", ["zip of files", "enhanced"])
def test_a_series_is_answered_as_infer_py_does(
    kind: str, service: AnalysisService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "study").mkdir()
    if kind == "enhanced":
        more = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4.1", "FrameOfReferenceUID": "1.2.9"}
        files = [write_enhanced(tmp_path / "study/all.dcm", SLICES, SeriesDescription="T1 post", **more)]
    else:
        files = series(tmp_path / "study")
    session = analysed(service, sent(service, files if kind == "enhanced" else pack(tmp_path / "a.zip", files)))
    assert session.result is not None
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Predictor, "load", lambda **how: paper_predictor())
    assert infer.main(["study", "--out", "out"]) == 0
    (expected,) = (tmp_path / "out").iterdir()
    found = session.result.folder
    assert {file.name for file in found.iterdir()} == {file.name for file in expected.iterdir()}
    assert {"mask.nii.gz", "seg.dcm", "report.dcm", "report.html"} <= {file.name for file in found.iterdir()}
    masks = [nibabel.load(folder / "mask.nii.gz") for folder in (found, expected)]
    np.testing.assert_array_equal(masks[0].get_fdata(), masks[1].get_fdata())
    np.testing.assert_array_equal(masks[0].affine, masks[1].affine)
    objects = [pydicom.dcmread(folder / "seg.dcm") for folder in (found, expected)]
    for name in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "ReferencedSeriesSequence"):
        assert objects[0][name] == objects[1][name], name
    assert objects[0].PixelData == objects[1].PixelData
    assert objects[0].PatientName == "Doe^Jane"
    assert "Doe" not in (found / "result.json").read_text() + (found / "report.html").read_text()
    name = "all.dcm" if kind == "enhanced" else expected.name
    assert json.loads((found / "result.json").read_text())["source"] == name


def test_a_volume_offers_all_its_files_and_the_viewer_gets_it_in_its_place(service: AnalysisService, tmp_path: Path) -> None:
    array = np.zeros((20, 24, 6), np.float32)
    array[12:17, 5:12, 1:4] = 900
    affine = np.array([[0, 0, 4.0, 1], [-1, 0, 0, 2], [0, -1, 0, 3], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(array + np.arange(24)[:, None], affine), tmp_path / "head.nii.gz")
    session = analysed(service, sent(service, [tmp_path / "head.nii.gz"]))
    assert session.result is not None
    assert available_files(session.result.folder) == ["mask.nii.gz", "result.json", "report.html", "all.zip"]
    path = find_result_file(service.sessions, session.secret, "view.nii.gz")
    assert path is not None
    view = nibabel.load(path)
    assert view.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(view.affine, affine)
    shown = np.asarray(view.dataobj)
    assert shown[array > 0].min() > 250
    assert shown[array == 0].max() < 10
    section = volume_section(session.result, secret="s3cret")
    assert (
        'data-view="results/s3cret/view.nii.gz" data-mask="results/s3cret/mask.nii.gz" data-axis="0" data-count="6"' in section
    )
    shares = [float(share) for share in re.findall(r'data-at="([^"]+)"', section)[0].split(",")]
    mask = nibabel.as_closest_canonical(nibabel.load(session.result.folder / "mask.nii.gz"))
    assert mask.dataobj[tuple(int(share * size) for share, size in zip(shares, mask.shape, strict=True))] == 1
    assert "Lesions" in section
    archive = find_result_file(service.sessions, session.secret, "all.zip")
    assert archive is not None
    assert "view.nii.gz" not in zipfile.ZipFile(archive).namelist()
    assert dict(zip(("left", "right"), sides_of(session.result.scan) or (), strict=True)) == {"left": "A", "right": "P"}


def test_only_headers_of_a_series_are_kept_and_they_go_with_the_session(service: AnalysisService, tmp_path: Path) -> None:
    files = series(tmp_path / "study")
    for file in files:
        data = pydicom.dcmread(file)
        data.private_block(0x0029, "MAKER", create=True).add_new(1, "LO", "secret")
        data.save_as(file)
    uploads = sent(service, pack(tmp_path / "a.zip", files))
    session = analysed(service, uploads)
    assert session.result is not None
    series_found = session.result.scan.series
    assert series_found is not None
    kept = {Path(file) for file in series_found.files}
    assert {path for path in uploads[0].parent.rglob("*") if path.is_file()} == {*uploads, *kept}
    for file in kept:
        header = pydicom.dcmread(file)
        assert "PixelData" not in header
        assert b"secret" not in file.read_bytes()
        assert header.ImagePositionPatient is not None
    service.sessions.close("anna")
    assert not [path for path in service.sessions.root.rglob("*") if path.is_file()]


def test_other_objects_beside_the_series_are_skipped_with_a_note(tmp_path: Path) -> None:
    files = series(tmp_path / "study") + series(tmp_path / "ct", series="1.5.3", Modality="CT", names="abc")
    (upload,) = pack(tmp_path / "a.zip", files, more={"photo.png": write_png(tmp_path / "photo.png").read_bytes()})
    scan = read_upload([upload], limits=Limits())
    assert scan.path == "T1_post-1234"
    assert scan.slices[0].warnings == (
        "T1_post-153 is skipped: modality CT: only MR is answered (3 files)",
        "files that are no DICOM are skipped: 1",
    )


def test_an_archive_of_one_file_is_that_file(tmp_path: Path) -> None:
    (upload,) = pack(tmp_path / "a.zip", [], more={"x/scan.png": write_png(tmp_path / "scan.png").read_bytes()})
    assert read_upload([upload], limits=Limits()).path == "scan.png"


def without_middle(folder: Path) -> list[Path]:
    files = series(folder / "study", slices=np.repeat(SLICES, 2, axis=0), names=range(6))
    return [file for file in files if file.stem != "2"]


def two_studies(folder: Path) -> list[Path]:
    return series(folder / "a") + series(folder / "b", study="1.9", series="1.9.1", names=["x", "y", "z"])


def torn(folder: Path) -> list[Path]:
    files = series(folder / "study", names=range(3))
    files[1].write_bytes(files[1].read_bytes()[:-8])
    return files


def many_series(folder: Path) -> list[Path]:
    return [series(folder / "s", slices=SLICES[:1], series=f"1.7.{k}", names=[f"s{k}"])[0] for k in range(30)]


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def pictures(folder: Path) -> list[Path]:
    return [write_png(folder / "a.png"), write_png(folder / "b.png")]


def other_modality(folder: Path) -> list[Path]:
    return series(folder / "ct", Modality="CT", names="abc")


Make = Callable[[Path], list[Path]]


def zipped(folder: Path, make: Make | None = None, **members: bytes) -> list[Path]:
    """An archive of the files that `make` writes and of other members."""
    files = make(folder) if make else []
    return pack(folder / "a.zip", files, more={name.replace("_", "."): data for name, data in members.items()})


def several_series(folder: Path) -> list[Path]:
    """Two series, the second without its middle slice, and a single file with two echoes."""
    sparse = series(folder / "sparse", slices=np.repeat(SLICES, 2, axis=0), series="1.9.1", names=[f"x{n}" for n in range(6)])
    echoes = write_enhanced(
        folder / "echoes.dcm",
        np.concatenate([SLICES, SLICES]),
        at=np.tile(positions(3, directions=SAGITTAL), (2, 1)),
        directions=SAGITTAL,
        each=lambda index: {"MREchoSequence": {"EffectiveEchoTime": 10.0 + 20 * (index // 3)}},
        SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1",
        SeriesInstanceUID="1.9.2",
        SeriesDescription="echoes",
    )
    return [*series(folder / "whole"), *(file for file in sparse if file.stem != "x2"), echoes]


def test_of_several_series_the_one_that_is_chosen_is_answered(service: AnalysisService, tmp_path: Path) -> None:
    (upload,) = sent(service, zipped(tmp_path, several_series))
    session = service.sessions.get("anna")
    with pytest.raises(SeveralSeriesError) as raised:
        service.receive(upload, session=session)
    assert raised.value.choices[:3] == (
        "T1_post-1234, axial, 3 slices, MR",
        "echoes-192-echo_10, sagittal, 3 slices, MR",
        "echoes-192-echo_30, sagittal, 3 slices, MR",
    )
    assert raised.value.choices[3].startswith("T1_post-191, can't be read: slices 2 and 3 of 5 lie 10 mm apart")
    for number, name in enumerate(("T1_post-1234", "echoes-192-echo_10", "echoes-192-echo_30")):
        scan = service.receive(upload, session=session, series=number)
        assert scan.path == name
        assert scan.series is not None
        assert scan.series.faults == ()
        assert len(scan.slices) == 3
    with pytest.raises(InputError, match="T1_post-191: slices 2 and 3 of 5 lie 10 mm apart"):
        service.receive(upload, session=session, series=3)
    with pytest.raises(InputError, match="series 4 of 4"):
        service.receive(upload, session=session, series=4)


def test_of_several_volumes_in_one_file_one_is_chosen(service: AnalysisService, tmp_path: Path) -> None:
    (upload,) = sent(service, [file for file in several_series(tmp_path) if file.stem == "echoes"])
    session = service.sessions.get("anna")
    with pytest.raises(
        SeveralSeriesError, match=r"^echoes\.dcm: 2 series: echoes-192-echo_10, sagittal, 3 slices, MR; "
    ) as raised:
        service.receive(upload, session=session)
    assert len(raised.value.choices) == 2
    scan = service.receive(upload, session=session, series=1)
    assert scan.series is not None
    assert scan.series.frame_numbers == (4, 5, 6)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda folder: zipped(folder, notes_txt=b"x"), "a.zip: no scan in it, of 1 files: name an archive of scans"),
        (lambda folder: zipped(folder, in_zip=b"x"), "a.zip: in.zip: an archive in an archive is not opened: unpack"),
        (lambda folder: zipped(folder, bomb_dcm=bytes(2**23)), "a.zip: it unpacks to 8 MiB: at most 4 MiB are accepted"),
        (lambda folder: [written(folder / "a.zip", b"PK")], "a.zip: not a readable zip archive (File is not a zip file)"),
        (lambda folder: zipped(folder, without_middle), "a.zip: T1_post-1234: slices 2 and 3 of 5 lie 10 mm apart, others"),
        (
            lambda folder: zipped(folder, two_studies),
            "a.zip: 2 series of 2 studies: T1_post-1234, axial, 3 slices, MR; T1_post-191",
        ),
        (
            lambda folder: zipped(folder, many_series),
            "a.zip: 30 series: T1_post-170, axial, 1 slice, MR; T1_post-171, axial, 1 slice, MR; ",
        ),
        (lambda folder: zipped(folder, torn), "a.zip: IM/1: it ends within frame 1"),
        (torn, "0.dcm and 2 other files: 1.dcm: it ends within frame 1"),
        (other_modality, "a.dcm and 2 other files: no slice of MR in it; T1_post-1234 is skipped: modality CT"),
        (pictures, "a.png and 1 other file: 2 files, none of them DICOM: several files at once are the slices of one"),
    ],
)
def test_what_is_no_series_is_one_line(make: Make, line: str, service: AnalysisService, tmp_path: Path) -> None:
    uploads = sent(service, make(tmp_path))
    with pytest.raises(InputError) as raised:
        read_upload(uploads, limits=Limits(unpacked_mib=4))
    told = format_error(raised.value, path=uploads[0])
    assert told.startswith(line)
    assert "\n" not in told
    assert str(service.sessions.root) not in told
    assert {path for path in service.sessions.uploads.rglob("*") if path.is_file()} == set(uploads)


def test_limits_of_a_series_are_those_of_the_page(service: AnalysisService, tmp_path: Path) -> None:
    uploads = sent(service, series(tmp_path / "study", names=range(3)))
    with pytest.raises(
        InputError, match=r"^0\.dcm and 2 other files: its header claims 6912 voxels: this page takes at most 99"
    ):
        read_upload(uploads, limits=Limits(voxels=99))
    with pytest.raises(InputError, match="3 files: this page takes 2 at once, pack a longer series as a zip"):
        read_upload(uploads, limits=Limits(files=2))
    with pytest.raises(InputError, match=r"files of 0 MiB: this page takes at most 0\.01 MiB"):
        read_upload(uploads, limits=Limits(upload_mib=0.01))
