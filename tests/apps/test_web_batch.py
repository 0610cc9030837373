"""Many scans at once: a row each, the failures too, one archive, and what is done when somebody stops it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from web_models import paper_predictor, write_png, write_volume_file

from bts.apps.web.batch import Batch
from bts.apps.web.downloads import find_result_file
from bts.apps.web.limits import Limits
from bts.apps.web.service import AnalysisService, batch_size_for
from bts.apps.web.views import table
from bts.data.slice import Slice
from bts.errors import RequestError
from bts.inference.prediction import Prediction


@pytest.fixture
def service(tmp_path: Path) -> AnalysisService:
    return AnalysisService(paper_predictor(), root=tmp_path / "private")


def test_many_scans_give_a_row_each_and_one_archive(service: AnalysisService, tmp_path: Path) -> None:
    paths = [write_png(tmp_path / f"{number}.png") for number in range(10)]
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "other").mkdir()
    paths += [tmp_path / "broken.png", write_volume_file(tmp_path / "head.nii.gz"), write_png(tmp_path / "other" / "0.png")]
    session = service.sessions.get("anna")
    batch = Batch(service, session, session.new_batch())
    *_, rows = batch.run(paths)
    assert len(rows) == len(paths)
    assert [row.name for row in rows] == [path.name for path in paths]  # in the order of the files
    assert [row.name for row in rows if row.failed] == ["broken.png"]
    assert str(tmp_path) not in str(rows)
    (volume,) = (row for row in rows if row.name == "head.nii.gz")
    assert volume.note.endswith("4 of 5 slices with a mask")
    assert (volume.label, volume.refer) == ("glioma", True)
    archive = find_result_file(service.sessions, session.secret, "results.zip")
    assert archive is not None
    with zipfile.ZipFile(archive) as opened:
        assert {"0/result.json", "0-2/result.json", "head/mask.nii.gz"} <= set(opened.namelist())
        assert json.loads(opened.read("0-2/result.json"))["source"] == "0.png"
    page = table(rows, total=len(paths), secret=session.secret)
    assert "12 of 13 scans done, 1 failed" in page
    assert 'class="failed"' in page
    assert "<td><b>Refer to an expert</b>: the highest probability is 0.91" in page


@pytest.mark.parametrize("count", [0, 3])
def test_no_file_or_too_many_are_refused(count: int, tmp_path: Path) -> None:
    service = AnalysisService(paper_predictor(), root=tmp_path / "private", limits=Limits(files=2))
    session = service.sessions.get("anna")
    batch = Batch(service, session, session.new_batch())
    with pytest.raises(RequestError, match=f"{count} files: this page takes 1 to 2 at once"):
        next(batch.run([tmp_path / "scan.png"] * count))


def test_a_batch_over_its_time_says_so_in_the_rows(tmp_path: Path) -> None:
    service = AnalysisService(paper_predictor(), root=tmp_path / "private", limits=Limits(batch_seconds=0))
    session = service.sessions.get("anna")
    *_, rows = Batch(service, session, session.new_batch()).run([write_png(tmp_path / "scan.png")])
    assert "stopped after" in rows[0].note


def test_a_stopped_batch_keeps_what_is_done(service: AnalysisService, tmp_path: Path) -> None:
    paths = [write_png(tmp_path / f"{number}.png") for number in range(20)]
    session = service.sessions.get("anna")
    batch = Batch(service, session, session.new_batch())
    for rows in batch.run(paths):
        if len(rows) == 8:  # the first that went through the networks batch_size_for
            session.stopped = True
    assert [row.name for row in rows] == [f"{number}.png" for number in range(8)]
    archive = find_result_file(service.sessions, session.secret, "results.zip")
    assert archive is not None
    with zipfile.ZipFile(archive) as opened:
        assert {name.split("/")[0] for name in opened.namelist()} == {f"{number}" for number in range(8)}
    page = table(rows, total=len(paths), secret=session.secret, stopped=True)
    assert "Stopped: 8 of 20 scans done" in page
    assert "Results so far (ZIP)" in page


def test_a_batch_stopped_before_its_first_scan_offers_nothing(service: AnalysisService, tmp_path: Path) -> None:
    session = service.sessions.get("anna")
    session.stopped = True
    *_, rows = Batch(service, session, session.new_batch()).run([write_png(tmp_path / "scan.png")])
    assert rows == []
    assert "ZIP" not in table(rows, total=1, secret=session.secret, stopped=True)


def test_large_pictures_wait_for_no_others(service: AnalysisService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight scans of any size held at once took gigabytes of the server's memory."""
    sizes: list[int] = []
    asked = AnalysisService.predict

    def counted(self: AnalysisService, slices: Sequence[Slice]) -> list[Prediction]:
        sizes.append(sum(item.image.size for item in slices))
        return asked(self, slices)

    monkeypatch.setattr(AnalysisService, "predict", counted)
    monkeypatch.setattr("bts.apps.web.batch.BATCH_PIXELS", 3 * 48**2)
    sides = [48, 48, 48, 48, 100, 48]
    session = service.sessions.get("anna")
    paths = [write_png(tmp_path / f"{number}.png", side=side) for number, side in enumerate(sides)]
    *_, rows = Batch(service, session, session.new_batch()).run(paths)
    assert [row.name for row in rows if not row.failed] == [path.name for path in paths]
    assert sizes == [3 * 48**2, 48**2, 100**2, 48**2]


@pytest.mark.parametrize(("side", "expected"), [(512, 8), (1024, 8), (2048, 2), (4096, 1)])
def test_large_slices_go_through_the_networks_a_few_at_a_time(side: int, expected: int) -> None:
    image = np.zeros((side, side), np.float32)
    image[0, 0] = 1
    assert batch_size_for([Slice(image=image, source="file", path="a.nii")]) == expected
