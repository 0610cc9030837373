"""`infer.py` on studies: each DICOM series in folders, DICOMDIRs and archives is answered as a volume."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_files import write_dicom
from dicom_series import noise, positions, write_enhanced, write_series
from fake_models import BrightRuntime, make_card
from PIL import Image

from bts.apps import infer
from bts.inference.predictor import Predictor

VALUES = noise(4, 20, 16)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[BrightRuntime]:
    """The segmenters that were loaded, one a call of the program; they need no weights."""
    segmenters: list[BrightRuntime] = []

    def load(*, workers: int, **how: Any) -> Predictor:
        segmenters.append(BrightRuntime(make_card("seg")))
        segmenters[-1].device = "cpu"
        return Predictor([segmenters[-1]], workers=workers)

    monkeypatch.setattr(Predictor, "load", load)
    monkeypatch.chdir(tmp_path)
    return segmenters


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two series of MR, a CT, a lone slice and a picture, in one folder."""
    write_series(tmp_path / "study", VALUES, series="1.5.100", SeriesDescription="T1 post", names=range(10, 14))
    write_series(tmp_path / "study", VALUES[:3], series="1.5.200", SeriesDescription="T1 post", names=range(20, 23))
    write_series(tmp_path / "study", VALUES, series="1.5.300", Modality="CT", names=range(30, 34))
    write_series(tmp_path / "study", VALUES[:1], series="1.5.400", names=["lone"])
    Image.fromarray(VALUES[0].astype(np.uint8)).save(tmp_path / "study" / "photo.png")
    return tmp_path / "study"


def sources(out: Path) -> dict[str, int | None]:
    """Source of each result, and its number of slices, None for a picture."""
    found = [json.loads(path.read_text()) for path in out.glob("*/result.json")]
    return {each["source"]: len(each["slices"]) if "slices" in each else None for each in found}


def test_every_series_of_a_folder_is_a_volume_named_after_it(loaded: Any, study: Path, tmp_path: Path, capsys: Any) -> None:
    assert infer.main(["study", "--out", "out"]) == 0
    told = capsys.readouterr().out
    assert "study/series-15300 is skipped: modality CT: only MR is answered (4 files)" in told
    assert "4 of 4 scans done" in told
    assert sources(tmp_path / "out") == {
        "study/T1_post-15100": 4,
        "study/T1_post-15200": 3,
        "study/lone.dcm": None,
        "study/photo.png": None,
    }
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["T1_post-15100", "T1_post-15200", "lone", "photo"]
    mask = nibabel.load(tmp_path / "out/T1_post-15100/mask.nii.gz")
    np.testing.assert_allclose(np.diag(mask.affine), [-1, -1, 5, 1])
    assert mask.shape == (16, 20, 4)


def test_one_series_is_selected_by_its_uid(loaded: Any, study: Path, tmp_path: Path, capsys: Any) -> None:
    assert infer.main(["study", "--series", "1.5.200", "--out", "out"]) == 0
    assert sources(tmp_path / "out") == {"study/T1_post-15200": 3}
    assert infer.main(["study", "--series", "1.5.999", "--out", "out"]) == 2
    line = "no series 1.5.999 in the inputs: found are 1.5.100 (T1_post-15100, axial, 4 slices, MR); 1.5.200 ("
    assert line in capsys.readouterr().err


def test_a_finished_series_is_not_done_again(loaded: Any, study: Path, tmp_path: Path, capsys: Any) -> None:
    infer.main(["study", "--series", "1.5.100", "--out", "out"])
    assert infer.main(["study", "--out", "out", "--resume"]) == 0
    assert "1 of 4 scans are already finished" in capsys.readouterr().out
    assert len(sources(tmp_path / "out")) == 4


def test_an_interrupted_study_keeps_its_finished_series(
    loaded: Any, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    run = BrightRuntime.run

    def stop(runtime: BrightRuntime, images: np.ndarray, **more: Any) -> Any:
        if sum(len(batch) for batch, _ in runtime.asked) >= 4:  # the first series is done
            raise KeyboardInterrupt
        return run(runtime, images, **more)

    monkeypatch.setattr(BrightRuntime, "run", stop)
    assert infer.main(["study", "--out", "out"]) == 130
    assert sources(tmp_path / "out") == {"study/T1_post-15100": 4}
    monkeypatch.setattr(BrightRuntime, "run", run)
    assert infer.main(["study", "--out", "out", "--resume"]) == 0
    assert "1 of 4 scans are already finished" in capsys.readouterr().out
    assert len(sources(tmp_path / "out")) == 4


def test_a_volume_that_was_interrupted_is_done_again_to_the_same_files(
    loaded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nibabel.save(nibabel.Nifti1Image(VALUES.transpose(2, 1, 0), np.diag([-1.0, -1, 5, 1])), tmp_path / "a.nii.gz")
    assert infer.main(["a.nii.gz", "--out", "whole"]) == 0
    run = BrightRuntime.run

    def stop(runtime: BrightRuntime, images: np.ndarray, **more: Any) -> Any:
        if len(runtime.asked) == 2:
            raise KeyboardInterrupt
        return run(runtime, images, **more)

    monkeypatch.setattr(BrightRuntime, "run", stop)
    assert infer.main(["a.nii.gz", "--out", "out"]) == 130
    assert sources(tmp_path / "out") == {}
    monkeypatch.setattr(BrightRuntime, "run", run)
    assert infer.main(["a.nii.gz", "--out", "out", "--resume"]) == 0
    for path in (tmp_path / "whole").rglob("*.*"):
        other = tmp_path / "out" / path.relative_to(tmp_path / "whole")
        assert other.read_bytes() == path.read_bytes() or path.suffix == ".gz", path  # gzip holds the time


def test_a_result_is_found_by_its_series_and_names_the_patient_only_on_request(
    loaded: Any, study: Path, tmp_path: Path
) -> None:
    result, page = tmp_path / "out/T1_post-15100/result.json", tmp_path / "out/T1_post-15100/report.html"
    for more, named in (([], False), (["--report-patient"], True)):
        assert infer.main(["study", "--series", "1.5.100", "--out", "out", *more]) == 0
        assert json.loads(result.read_text())["series_id"] == hashlib.sha256(b"1.5.100").hexdigest()[:16]
        assert "1.5.100" not in result.read_text()
        assert ("<p>Patient <b>" in page.read_text()) is named


def test_a_broken_series_fails_alone_with_its_reason(loaded: Any, study: Path, tmp_path: Path, capsys: Any) -> None:
    (study / "11.dcm").unlink()
    assert infer.main(["study", "--out", "out"]) == 1
    told = capsys.readouterr()
    assert told.err.startswith("error: study/T1_post-15100: slices 1 and 2 of 3 lie 10 mm apart, others")
    assert len(told.err.splitlines()) == 1
    assert "3 of 4 scans done" in told.out


def test_a_small_file_that_claims_two_gigabytes_fails_alone(loaded: Any, study: Path, tmp_path: Path, capsys: Any) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((1024, 1024, 512))
    header.set_data_dtype(np.float32)
    header["magic"], header["vox_offset"] = b"n+1", 352
    (study / "claims.nii").write_bytes(header.binaryblock + bytes(100))
    assert infer.main(["study", "--out", "out"]) == 1
    told = capsys.readouterr()
    assert told.err.startswith("error: study/claims.nii: its header claims ")
    assert len(told.err.splitlines()) == 1
    assert "4 of 5 scans done" in told.out


def test_a_slice_that_can_not_be_read_is_named_with_its_series(loaded: Any, study: Path, tmp_path: Path, capsys: Any) -> None:
    path = study / "12.dcm"
    path.write_bytes(path.read_bytes()[:-8])
    assert infer.main(["study", "--series", "1.5.100", "--out", "out"]) == 1
    assert "study/T1_post-15100: study/12.dcm: it ends within frame 1" in capsys.readouterr().err


def test_an_archive_of_a_study_is_as_its_folder(loaded: Any, study: Path, tmp_path: Path, capsys: Any) -> None:
    damaged = study / "12.dcm"
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for path in sorted(study.iterdir()):
            archive.write(path, f"IM/{path.stem if path.suffix == '.dcm' else path.name}")
    assert infer.main(["study.zip", "--out", "out"]) == 0
    assert sources(tmp_path / "out")["study.zip/IM/T1_post-15100"] == 4
    assert infer.main(["study.zip", "--out", "out", "--resume"]) == 0
    assert "4 of 4 scans are already finished" in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / "torn.zip", "w") as archive:
        for number in (10, 11, 13):
            archive.write(study / f"{number}.dcm")
        archive.writestr("12", damaged.read_bytes()[:-8])
    assert infer.main(["torn.zip", "--out", "out"]) == 1
    told = capsys.readouterr().err
    assert "torn.zip/12: it ends within" in told
    assert tempfile.gettempdir() not in told


def test_a_list_of_files_stands_for_its_folder(loaded: Any, study: Path, tmp_path: Path) -> None:
    write_dicom(study / "DICOMDIR", VALUES[0], SOPClassUID=pydicom.uid.MediaStorageDirectoryStorage)
    assert infer.main(["study/DICOMDIR", "--out", "out"]) == 0
    assert len(sources(tmp_path / "out")) == 4


def test_files_that_are_named_alone_are_pictures(loaded: Any, study: Path, tmp_path: Path) -> None:
    assert infer.main(["study/10.dcm", "study/12.dcm", "study/30.dcm", "--out", "out"]) == 0
    assert sources(tmp_path / "out") == {"study/10.dcm": None, "study/12.dcm": None, "study/30.dcm": None}


def test_a_file_of_several_frames_is_its_volume_and_one_of_two_echoes_both(loaded: Any, tmp_path: Path) -> None:
    write_enhanced(tmp_path / "one.dcm", VALUES)
    write_enhanced(
        tmp_path / "two.dcm",
        np.concatenate([VALUES, VALUES]),
        at=np.concatenate([positions(4)] * 2),
        each=lambda k: {"MREchoSequence": {"EffectiveEchoTime": 10.0 + k // 4}},
    )
    assert infer.main(["one.dcm", "two.dcm", "--out", "out"]) == 0
    assert sources(tmp_path / "out") == {"one.dcm": 4, "series-1234-echo_10": 4, "series-1234-echo_11": 4}


def test_series_of_one_name_get_folders_of_their_own(loaded: Any, tmp_path: Path) -> None:
    for study in ("1.1", "1.2"):
        write_series(tmp_path / "both", VALUES, study=study, names=[f"{study}.{k}" for k in range(4)])
    assert infer.main(["both", "--out", "out"]) == 0
    assert set(sources(tmp_path / "out")) == {"both/series-1234", "both/series-1234-2"}
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_folder_of_other_objects_is_refused_with_what_they_are(loaded: Any, tmp_path: Path, capsys: Any) -> None:
    write_series(tmp_path / "ct", VALUES, Modality="CT")
    assert infer.main(["ct", "--out", "out"]) == 2
    assert "no slice of MR in the inputs; ct/series-1234 is skipped: modality CT" in capsys.readouterr().err
    assert not loaded


def test_the_answer_of_a_series_is_that_of_its_nifti(loaded: Any, tmp_path: Path) -> None:
    values = VALUES.copy()
    values[:, 5:15, 4:12] = VALUES.max()  # bright enough to be reported
    write_series(tmp_path / "study", values)
    nibabel.save(nibabel.Nifti1Image(values.transpose(2, 1, 0), np.diag([-1.0, -1, 5, 1])), tmp_path / "a.nii.gz")
    assert infer.main(["study", "a.nii.gz", "--out", "out"]) == 0
    masks = [nibabel.load(tmp_path / "out" / name / "mask.nii.gz") for name in ("series-1234", "a")]
    np.testing.assert_array_equal(masks[0].get_fdata(), masks[1].get_fdata())
    assert masks[0].get_fdata().any()
    np.testing.assert_allclose(masks[0].affine, masks[1].affine)
