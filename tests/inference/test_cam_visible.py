"""Visibility of class activation maps: the drawn colour differs from the scan on tissue of any brightness."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
from fake_models import BrightRuntime, make_card, make_slice
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from bts.apps.infer import main as infer
from bts.data.readers.catalogue import read_slice
from bts.data.slice import Slice
from bts.errors import RequestError
from bts.inference.picture import grey, heat_layer, heated
from bts.inference.prediction import Prediction
from bts.inference.predictor import Predictor
from bts.models.bundled_model import bundled_models

VISIBLE = 20.0
"""Difference in CIELAB that is seen at a glance."""
SEEN = 0.95
SLICES = 60
BUNDLED = next(iter(bundled_models()))


def share_visible(prediction: Prediction) -> float:
    """Return the share of the strongest tenth of a map whose drawn colour differs visibly from the scan."""
    item, cam = prediction.slice, prediction.cam
    assert cam is not None
    scan = grey(item.image, item.image.shape[::-1])
    difference = deltaE_ciede2000(rgb2lab(np.asarray(scan.convert("RGB"))), rgb2lab(np.asarray(heated(scan, cam))))
    return float((difference[cam >= 0.9 * cam.max()] > VISIBLE).mean())


def tumour_of(brightness: float, strength: float, shape: tuple[int, int] = (64, 64)) -> Prediction:
    """Return the prediction for a head with a tumour of a brightness, and a map with a peak that strong on it."""
    row, column = np.mgrid[: shape[0], : shape[1]]
    head = ((row / shape[0] - 0.5) ** 2 + (column / shape[1] - 0.5) ** 2) < 0.2
    image = np.where(head, 0.5 + 0.1 * np.sin(row / 3) * np.sin(column / 4), 0.0)
    image[:2, :2] = 1.0
    tumour = (row - 30) ** 2 + (column - 24) ** 2 < 64
    image[tumour] = brightness
    cam = strength * np.exp(-((row - 30) ** 2 + (column - 24) ** 2) / 60).astype(np.float32)
    runtime = BrightRuntime(make_card("cls", size=64), class_logits=[0, 5, 0], cam=cam)
    return Predictor([runtime]).predict(make_slice(image))


@pytest.mark.parametrize("brightness", [0.0, 0.25, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("strength", [0.02, 0.3, 1.0, 5.0])
def test_a_map_is_seen_on_black_and_on_white_tissue_however_strong_it_is(brightness: float, strength: float) -> None:
    assert share_visible(tumour_of(brightness, strength)) >= SEEN


def test_the_colours_do_not_depend_on_the_tissue() -> None:
    cam = np.full((8, 8), 0.6, np.float32)
    drawn = [rgb2lab(np.asarray(heated(Image.new("L", (8, 8), value), cam)))[0, 0] for value in (0, 255)]
    assert deltaE_ciede2000(*drawn) < 12


def test_the_layer_of_the_page_over_the_scan_is_the_picture() -> None:
    random_numbers = np.random.default_rng(0)
    scan = Image.fromarray(random_numbers.integers(0, 256, (40, 50), dtype=np.uint8))
    cam = random_numbers.random((40, 50)).astype(np.float32)
    page = scan.convert("RGBA")
    page.alpha_composite(heat_layer(cam, scan.size))
    difference = np.abs(np.asarray(page.convert("RGB")).astype(int) - np.asarray(heated(scan, cam)))
    assert difference.max() <= 2


def folders() -> tuple[Path, Path]:
    """Return the folders of real figshare and BRISC slices, where they are."""
    return Path(os.environ.get("BTS_FIGSHARE", "data/figshare")), Path(os.environ.get("BTS_BRISC", "data/brisc"))


def real_slices() -> list[Slice]:
    """Return slices with a tumour of two sets, half of each."""
    figshare, brisc = folders()
    names = [sorted(figshare.glob("*.mat")), sorted(brisc.glob("segmentation_task/test/images/*.jpg"))]
    if not all(names):
        pytest.skip("needs real slices of both sets: BTS_FIGSHARE or data/figshare, and BTS_BRISC or data/brisc")
    return [read_slice(path) for files in names for path in random.Random(0).sample(files, SLICES // 2)]


@pytest.mark.parametrize("method", ["gradcam", "hirescam"])
def test_the_map_of_the_bundled_model_is_seen_on_real_tumours(method: str) -> None:
    predictor = Predictor.load(joint=BUNDLED, device="cpu", cam_method=method, flip=False)
    seen = [share_visible(predictor.predict(item)) for item in real_slices()]
    assert np.mean(np.array(seen) >= SEEN) >= SEEN, sorted(seen)[:10]


def test_strength_is_stated_relative_to_the_model_and_the_scale_can_be_chosen() -> None:
    cam = np.array([[0.0, 0.25], [0.5, 0.0]], np.float32)
    runtime = BrightRuntime(make_card("cls", cam_scale=2.0), class_logits=[0, 5, 0], cam=cam)
    by_slice, by_model = (Predictor([runtime], cam_scale=scale).predict(make_slice()) for scale in ("slice", "model"))
    assert by_slice.cam is not None
    assert by_model.cam is not None
    assert (by_slice.cam.max(), by_model.cam.max()) == pytest.approx((1.0, 0.25), rel=0.02)
    assert by_slice.cam_strength == by_model.cam_strength == 0.25
    assert by_slice.to_dict()["cam_scale"] == "slice"
    assert by_model.to_dict()["cam_scale"] == "model"


def test_unknown_scales_and_methods_are_refused_with_the_nearest() -> None:
    runtime = BrightRuntime(make_card("cls"), class_logits=[0, 5, 0], cam=[[1.0]])
    with pytest.raises(RequestError, match=r"--cam-scale: received 'slise' \(did you mean 'slice'\?\), expected one of"):
        Predictor([runtime], cam_scale="slise")
    with pytest.raises(RequestError, match="--cam-method: received 'gradcam\\+\\+'"):
        Predictor.load(joint=BUNDLED, cam_method="gradcam++")


def test_a_map_of_zeros_stays_empty() -> None:
    runtime = BrightRuntime(make_card("cls"), class_logits=[0, 5, 0], cam=[[0.0]])
    found = Predictor([runtime]).predict(make_slice())
    assert found.cam is not None
    assert not found.cam.any()
    assert found.cam_strength == 0


@pytest.mark.parametrize("runtime", ["onnx", "openvino-f32"])
def test_an_exported_joint_model_has_no_grad_cam_and_says_what_to_do(runtime: str) -> None:
    with pytest.raises(RequestError, match="class maps of hirescam only, not of gradcam: name the model folder and use `--run"):
        Predictor.load(joint=BUNDLED, runtime=runtime, cam_method="gradcam")


def test_auto_takes_pytorch_for_the_other_method_and_both_methods_are_named(tmp_path: Path) -> None:
    found = [
        Predictor.load(joint=BUNDLED, device="cpu", runtime="auto", cam_method=method) for method in ("gradcam", "hirescam")
    ]
    assert any("runtime torch: class maps of gradcam need it" in note for note in found[0].notes)
    first, second = (each.predict(make_slice()) for each in found)
    assert (first.cam_method, second.cam_method) == ("gradcam", "hirescam")
    assert first.cam_strength is None, "the scale of the card is that of the other method"
    assert np.array_equal(first.mask, second.mask)  # type: ignore[arg-type]
    assert first.cam is not None
    assert second.cam is not None
    assert not np.array_equal(first.cam, second.cam)


def test_the_command_line_takes_method_and_scale_and_resumes_only_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.uint8(200 * make_slice().image)).save("scan.png")
    arguments = ["scan.png", "--joint", str(BUNDLED), "--out", "out", "--resume"]
    for options, done in ((["--cam-scale", "model"], 0), (["--cam-scale", "model"], 1), ([], 0), ([], 1)):
        assert infer([*arguments, *options]) == 0
        assert f"{done} of 1 scans are already finished" in capsys.readouterr().out or not done
    assert infer([*arguments, "--cam-method", "gradcam"]) == 0
    assert '"cam_method": "gradcam"' in Path("out/scan/result.json").read_text(encoding="utf-8")
