"""`bts dicomweb` with stand-in models: fetch, predict, store, resume, and what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import made_series
import numpy as np
import pacs_servers
import pytest
from fake_models import BrightRuntime, make_card

from bts.apps import cli
from bts.data.dicomweb import DicomWeb
from bts.inference.predictor import Predictor

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed: pip install 'bts[dicom]'")
pytest.importorskip("highdicom", reason="highdicom is not installed: pip install 'bts[dicom]'")
pytest.importorskip("dicomweb_client", reason="dicomweb-client is not installed: pip install 'bts[pacs]'")


@pytest.fixture(autouse=True)
def _models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    classifier = BrightRuntime(make_card("cls"), class_logits=[0.0, 3.0, 0.0], cam=np.ones((2, 2)))
    monkeypatch.setattr(Predictor, "load", lambda **_: Predictor([BrightRuntime(make_card("seg")), classifier]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[pacs_servers.SmallPacs]:
    with pacs_servers.SmallPacs(made_series.write_series(tmp_path / "series")).running() as running:
        yield running


def ask(pacs: pacs_servers.SmallPacs, *more: str) -> int:
    return cli.main(["dicomweb", pacs.url, "--study", pacs.study, "--out", "out", *more])


@pytest.mark.skipif(not pacs_servers.has_orthanc(), reason=pacs_servers.NO_ORTHANC)
def test_a_study_of_an_orthanc_is_answered_by_objects_in_it(tmp_path: Path, capsys: Any) -> None:
    sent = sorted(made_series.write_series(tmp_path / "series").glob("*.dcm"))
    source = pydicom.dcmread(sent[0])
    study = source.StudyInstanceUID
    with pacs_servers.orthanc(tmp_path / "orthanc") as url:
        DicomWeb(url).store(study, sent)
        assert cli.main(["dicomweb", url, "--study", study, "--out", "out", "--store"]) == 0, capsys.readouterr().err
        found = {each.modality: each for each in DicomWeb(url).series(study)}
        assert sorted(found) == ["MR", "SEG", "SR"]
        list(DicomWeb(url).fetch(study, found["SEG"].uid, tmp_path / "back"))
    (path,) = (tmp_path / "back").iterdir()
    back = pydicom.dcmread(path)
    assert back.PatientID == source.PatientID
    (own,) = (tmp_path / "out").rglob("seg.dcm")
    assert (back.pixel_array == pydicom.dcmread(own).pixel_array).all()
    told = capsys.readouterr().out
    assert "6 instances" in told
    assert f"2 objects are stored in study {study}" in told
    assert not (tmp_path / "out" / ".fetched").exists()


def test_what_was_fetched_before_a_break_is_not_fetched_again(
    pacs: pacs_servers.SmallPacs, tmp_path: Path, capsys: Any
) -> None:
    uids = list(pacs.files)
    pacs.answers[uids[3]] = "broken"
    assert ask(pacs) == 2
    assert "3 of 6 instances fetched: the answer broke off: run the command again with --resume" in capsys.readouterr().err
    assert ask(pacs) == 2
    assert capsys.readouterr().err == (
        f"error: {Path('out', '.fetched')}: an unfinished fetch: continue it with --resume, or name another --out\n"
    )
    pacs.answers.clear()
    pacs.asked.clear()
    assert ask(pacs, "--resume") == 0
    assert [path.rpartition("/")[2] for path in pacs.asked if "/instances/" in path] == uids[3:]
    assert list((tmp_path / "out").rglob("report.dcm"))


def test_refused_objects_are_one_line_and_stay_in_the_results(
    pacs: pacs_servers.SmallPacs, tmp_path: Path, capsys: Any
) -> None:
    assert ask(pacs, "--store") == 2
    assert "objects were refused (reason 0x0110): report.dcm, seg.dcm" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "out").rglob("*.dcm")} >= {"report.dcm", "seg.dcm"}
    pacs.asked.clear()
    assert ask(pacs, "--store", "--resume") == 2
    assert "1 of 1 scans are already finished" in capsys.readouterr().out
    assert [asked for asked in pacs.asked if "/instances/" in asked or "POST" in asked] == [f"POST /studies/{pacs.study}"]


def test_the_patient_is_named_in_the_page_only_on_request(pacs: pacs_servers.SmallPacs, tmp_path: Path) -> None:
    for more, named in (([], False), (["--report-patient"], True)):
        assert ask(pacs, *more) == 0
        (page,) = (tmp_path / "out").rglob("report.html")
        assert ("SECRET-7" in page.read_text()) is named


def test_only_series_of_mr_are_taken_unless_one_is_named(pacs: pacs_servers.SmallPacs, capsys: Any) -> None:
    pacs.modality = "CT"
    assert ask(pacs) == 2
    told = capsys.readouterr()
    assert "1 series of other modalities are skipped (CT)" in told.out
    assert told.err == "error: no series of MR in this study: name one with --series\n"
    assert ask(pacs, "--series", "1.2.3") == 2
    assert capsys.readouterr().err == f"error: no series 1.2.3 in this study; it has {pacs.series}\n"


def test_a_wrong_line_is_refused_before_anything_is_asked(pacs: pacs_servers.SmallPacs, capsys: Any) -> None:
    assert cli.main(["dicomweb", pacs.url, "--study", "../x"]) == 2
    assert "'../x' is not a UID (study)" in capsys.readouterr().err
    assert cli.main(["dicomweb", pacs.url, "--study", pacs.study, "--resume"]) == 2
    assert capsys.readouterr().err == "error: --resume needs the folder to resume in: name it with --out\n"
    assert pacs.asked == []
