"""Results of pictures: files, schema, safe folders, and errors of the disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from fake_models import BrightRuntime, make_slice
from PIL import Image

from bts.errors import RequestError
from bts.inference.predictor import Predictor
from bts.inference.resume import ResultFolders, is_finished, safe_name
from bts.inference.write import write_prediction
from bts.inference.writers.json_result import read_result, source_id


def read_picture(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_pictures_are_grey_in_the_scan_s_own_size_and_show_the_prediction(
    tmp_path: Path, seg: BrightRuntime, cls: BrightRuntime
) -> None:
    found = Predictor([seg, cls]).predict(make_slice(spacing_mm=(0.5, 0.5)))
    folder = write_prediction(found, tmp_path / "out" / "scan")
    mask, cam, page = (read_picture(folder / name) for name in ("mask.png", "cam.png", "overlay.png"))
    assert mask.dtype == cam.dtype == np.uint8
    assert np.array_equal(mask, 255 * found.mask)
    assert np.abs(cam / 255 - found.cam).max() <= 0.5 / 255 + 1e-6
    assert page.ndim == 3
    assert sorted(path.name for path in folder.iterdir()) == ["cam.png", "mask.png", "overlay.png", "result.json"]


@pytest.mark.parametrize("tasks", ["both", "seg", "cls"])
@pytest.mark.parametrize("spacing_mm", [None, (0.5, 0.5)])
def test_every_result_keeps_the_schema(
    tmp_path: Path,
    tasks: str,
    spacing_mm: tuple[float, float] | None,
    seg: BrightRuntime,
    cls: BrightRuntime,
    check_result: Callable[[Path], dict[str, Any]],
) -> None:
    runtimes = {"both": [seg, cls], "seg": [seg], "cls": [cls]}[tasks]
    found = Predictor(runtimes).predict(make_slice(spacing_mm=spacing_mm))
    result = check_result(write_prediction(found, tmp_path))
    assert result == read_result(tmp_path)
    assert result == found.to_dict() | {"source_id": source_id("scan.png")}
    assert (tmp_path / "mask.png").exists() == (tasks != "cls")
    assert (tmp_path / "cam.png").exists() == (tasks != "seg")


def test_the_schema_refuses_what_is_missing_or_too_much(seg: BrightRuntime, cls: BrightRuntime, schema: dict[str, Any]) -> None:
    result = Predictor([seg, cls]).predict(make_slice()).to_dict()
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(result)
    for name in result:
        assert not validator.is_valid({key: value for key, value in result.items() if key != name}), name
    for change in ({"patient": "Smith"}, {"schema_version": 1}):
        assert not validator.is_valid(result | change)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"source": "scan.png"}', r"result\.json: schema version 1, expected 2: run infer\.py again with this version"),
        ('{"schema_version": 3}', r"schema version 3, expected 2"),
        ("[]", r"schema version list, expected 2"),
        ('{"source', r"result\.json: not valid JSON"),
        (None, r"result\.json: can't be read \(No such file"),
    ],
)
def test_a_result_of_another_version_is_refused_and_not_resumed(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "result.json").write_text(text)
    with pytest.raises(RequestError, match=message) as error:
        read_result(tmp_path)
    assert "\n" not in str(error.value)
    assert not is_finished(tmp_path, source="scan.png", origin={})


def test_a_result_is_resumed_only_for_the_same_input_models_and_class(
    tmp_path: Path, seg: BrightRuntime, cls: BrightRuntime
) -> None:
    found = Predictor([seg, cls]).predict(make_slice())
    folder = write_prediction(found, tmp_path)
    origin = found.origin()
    assert is_finished(folder, source="scan.png", origin=origin)
    assert is_finished(folder, source="scan.png", origin=origin, cam_class="glioma")
    assert not is_finished(folder, source="other.png", origin=origin)
    assert not is_finished(folder, source="scan.png", origin=origin, cam_scale="model")
    assert is_finished(folder, source="scan.png", origin=origin, cam_method="gradcam")
    assert not is_finished(folder, source="scan.png", origin=origin, cam_method="hirescam")
    assert not is_finished(folder, source="scan.png", origin=origin, cam_class="pituitary")
    assert not is_finished(folder, source="scan.png", origin={**origin, "runtime": "another"})


def test_an_earlier_result_in_the_folder_leaves_nothing_behind(tmp_path: Path, seg: BrightRuntime, cls: BrightRuntime) -> None:
    write_prediction(Predictor([seg, cls]).predict(make_slice()), tmp_path)
    write_prediction(Predictor([cls]).predict(make_slice()), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cam.png", "overlay.png", "result.json"]


def test_inputs_that_share_a_name_get_folders_of_their_own(tmp_path: Path) -> None:
    folders = ResultFolders(tmp_path)
    asked = ["a/scan.png", "b/scan.png", "scan.nii.gz", "c/SCAN.mat", "a/scan-2.png", "other.dcm"]
    names = [folders.folder(path).relative_to(tmp_path).as_posix() for path in asked]
    assert names == ["scan", "scan-2", "scan-3", "SCAN-4", "scan-2-2", "other"]


def test_an_input_keeps_its_folder_and_gets_none_of_another_input(
    tmp_path: Path, seg: BrightRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two patients' `scan.png`, in one call, in two, and by the same relative path from two folders."""
    out = tmp_path / "out"
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()

    def write(path: str | Path) -> str:
        folder = ResultFolders(out).folder(path)
        return write_prediction(Predictor([seg]).predict(make_slice(path=str(path))), folder).name

    monkeypatch.chdir(tmp_path / "one")
    assert write("scan.png") == "scan"
    monkeypatch.chdir(tmp_path / "two")
    assert write("scan.png") == "scan-2"
    assert write(tmp_path / "three" / "scan.png") == "scan-3"
    monkeypatch.chdir(tmp_path / "one")
    assert write("scan.png") == "scan"
    folders = ResultFolders(out)  # in another order, with another input of the name, and with one result lost
    (out / "scan-2" / "result.json").unlink()
    lost = ResultFolders(out)
    asked = [tmp_path / "scan.png", tmp_path / "three" / "scan.png", tmp_path / "two" / "scan.png", "scan.png"]
    assert [folders.folder(path).name for path in asked] == ["scan-4", "scan-3", "scan-2", "scan"]
    assert [lost.folder(path).name for path in asked] == ["scan-2", "scan-3", "scan-4", "scan"]


def test_a_result_of_an_unknown_input_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "result.json").write_text('{"schema_version": 1, "source": "scan.png"}')
    assert ResultFolders(tmp_path).folder("scan.png").name == "scan-2"


def test_a_name_that_is_no_utf_8_is_written_and_resumed(tmp_path: Path, seg: BrightRuntime) -> None:
    name = os.fsdecode(b"scan\xff\x1b<b>.png")
    found = Predictor([seg]).predict(make_slice(path=name))
    folder = write_prediction(found, tmp_path / "scan")
    (folder / "result.json").read_text(encoding="utf-8")
    assert read_result(folder)["source"] == name
    assert is_finished(folder, source=name, origin=found.origin())


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("../../etc/passwd", "passwd"),
        ("..", "scan"),
        ("a/.png", "scan"),
        ("C:\\scans\\brain.png", "brain"),
        ("Scan 1 (copy).NII.GZ", "Scan_1_copy"),
        ("1.2.840.113619.2", "1.2.840.113619.2"),
        ("Gehirn_ä.png", "Gehirn_ä"),
        ("x" * 300 + ".png", "x" * 100),
        ("a:b*c?.png", "a_b_c"),
    ],
)
def test_a_folder_s_name_is_safe_whatever_the_input_is_called(path: str, name: str) -> None:
    assert safe_name(path) == name


def test_a_file_in_the_way_of_the_folder_is_reported_in_one_line(tmp_path: Path, seg: BrightRuntime) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(
        RequestError, match=r"out.*: results can't be written there .*free space or name another --out"
    ) as error:
        write_prediction(Predictor([seg]).predict(make_slice()), tmp_path / "out" / "scan")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_or_read_only_disk_is_reported_and_leaves_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, seg: BrightRuntime
) -> None:
    def fail(self: Path, text: str, **_: object) -> None:
        with self.open("w") as file:
            file.write(text[:10])
        raise OSError(code, "the disk says no")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(RequestError, match=r"can't be written there .the disk says no.: free space"):
        write_prediction(Predictor([seg]).predict(make_slice()), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.png", "overlay.png"], "no result.json, no partial file"
