import errno
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from fake_models import BrightRuntime, make_card, make_slice
from PIL import Image

from bts.errors import RequestError
from bts.inference.predictor import Predictor
from bts.inference.write import ResultFolders, safe_name, write_prediction

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "result.schema.json").read_text(encoding="utf-8"))
SEG = BrightRuntime(make_card("seg"))
CLS = BrightRuntime(make_card("cls"), logits=[0, 1, 0], cam=[[0, 0.5], [1, 0]])


def check_result(folder: Path) -> dict:
    """Return `result.json`, held to the schema in the docs."""
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(result, SCHEMA)
    return result


def read_picture(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_pictures_are_grey_in_the_scan_s_own_size_and_say_what_was_predicted(tmp_path):
    found = Predictor([SEG, CLS]).predict(make_slice(spacing_mm=(0.5, 0.5)))
    folder = write_prediction(found, tmp_path / "out" / "scan")
    mask, cam, page = (read_picture(folder / name) for name in ("mask.png", "cam.png", "overlay.png"))
    assert mask.dtype == cam.dtype == np.uint8
    assert np.array_equal(mask, 255 * found.mask)
    assert np.abs(cam / 255 - found.cam).max() <= 0.5 / 255 + 1e-6
    assert page.ndim == 3
    assert sorted(path.name for path in folder.iterdir()) == ["cam.png", "mask.png", "overlay.png", "result.json"]


@pytest.mark.parametrize("runtimes", [[SEG, CLS], [SEG], [CLS]])
@pytest.mark.parametrize("spacing_mm", [None, (0.5, 0.5)])
def test_every_result_keeps_the_schema(tmp_path, runtimes, spacing_mm):
    found = Predictor(runtimes).predict(make_slice(spacing_mm=spacing_mm))
    result = check_result(write_prediction(found, tmp_path))
    assert result == found.to_dict()
    assert (tmp_path / "mask.png").exists() == (SEG in runtimes)
    assert (tmp_path / "cam.png").exists() == (CLS in runtimes)


def test_the_schema_refuses_what_is_missing_or_too_much():
    result = Predictor([SEG, CLS]).predict(make_slice()).to_dict()
    jsonschema.validate(result, SCHEMA)
    for name in result:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({key: value for key, value in result.items() if key != name}, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(result | {"patient": "Smith"}, SCHEMA)


def test_an_earlier_result_in_the_folder_leaves_nothing_behind(tmp_path):
    write_prediction(Predictor([SEG, CLS]).predict(make_slice()), tmp_path)
    write_prediction(Predictor([CLS]).predict(make_slice()), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cam.png", "overlay.png", "result.json"]


def test_the_same_prediction_gives_the_same_bytes(tmp_path):
    found = Predictor([SEG, CLS]).predict(make_slice())
    first, second = write_prediction(found, tmp_path / "a"), write_prediction(found, tmp_path / "b")
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_inputs_that_share_a_name_get_folders_of_their_own(tmp_path):
    folders = ResultFolders(tmp_path)
    asked = ["a/scan.png", "b/scan.png", "scan.nii.gz", "c/SCAN.mat", "a/scan-2.png", "other.dcm"]
    names = [folders.folder(path).relative_to(tmp_path).as_posix() for path in asked]
    assert names == ["scan", "scan-2", "scan-3", "SCAN-4", "scan-2-2", "other"]


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
def test_a_folder_s_name_is_safe_whatever_the_input_is_called(path, name):
    assert safe_name(path) == name


def test_a_file_in_the_way_of_the_folder_is_told_in_one_line(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(
        RequestError, match=r"out.*: results can't be written there .*free space or name another --out"
    ) as error:
        write_prediction(Predictor([SEG]).predict(make_slice()), tmp_path / "out" / "scan")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_or_read_only_disk_is_told_and_leaves_no_half_file(tmp_path, monkeypatch, code):
    def fail(self, text, **_):
        with self.open("w") as file:
            file.write(text[:10])
        raise OSError(code, "the disk says no")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(RequestError, match=r"can't be written there .the disk says no.: free space"):
        write_prediction(Predictor([SEG]).predict(make_slice()), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.png", "overlay.png"], "no result.json, no .part"
