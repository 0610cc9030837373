"""Out-of-distribution reference: distances, model card, warnings, and equality between runtimes."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from fake_models import BrightRuntime, make_card, make_slice, write_model

from bts.data.phantom_scan import draw_slices
from bts.data.preprocess import Preprocessing
from bts.errors import RequestError
from bts.evaluation.ood import fit_reference
from bts.export.formats import export_model
from bts.inference.ood import LENGTH, OodReference, OodScore, describe
from bts.inference.predictor import Predictor
from bts.models.card import parse_card, to_json

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "result.schema.json").read_text(encoding="utf-8"))
LABELS = ("glioma", "meningioma", "pituitary", "no_tumour")
SIZE = 64


@cache
def heads(first: int, count: int) -> np.ndarray:
    """Pictures (N, 64, 64) of that many persons, two slices each."""
    prepare = Preprocessing(size=SIZE).image
    return np.stack(
        [
            prepare(image)
            for person in range(first, first + count)
            for image, _ in draw_slices(label=LABELS[person % 4], n_slices=2, side=64, seed=(3, person))
        ]
    )


@pytest.fixture(scope="module")
def reference() -> OodReference:
    return fit_reference(describe(heads(0, 50)), describe(heads(100, 20)))


def strangers() -> dict[str, np.ndarray]:
    row, column = np.mgrid[:SIZE, :SIZE]
    random = np.random.default_rng(0)
    scenes = {
        "blank": np.zeros((SIZE, SIZE)),
        "noise": random.normal(size=(SIZE, SIZE)),
        "gradient": row + column,
        "checkerboard": (row // 8 + column // 8) % 2,
        "white page": 255 - 255 * ((row % 8 < 3) & (random.random((SIZE, SIZE)) < 0.5)),
    }
    return {name: Preprocessing(size=SIZE).image(scene) for name, scene in scenes.items()}


def test_most_heads_of_other_persons_pass(reference: OodReference) -> None:
    assert (reference.distance(heads(300, 12)) > reference.limit).mean() <= 0.1


@pytest.mark.parametrize("name", strangers())
def test_what_is_no_head_is_noticed(reference: OodReference, name: str) -> None:
    assert reference.distance(strangers()[name][None])[0] > reference.limit


def test_an_inverted_head_is_noticed(reference: OodReference) -> None:
    assert (reference.distance(255 - heads(400, 3)) > reference.limit).all()


def test_the_distance_is_mahalanobis_own(reference: OodReference) -> None:
    images = heads(400, 3)
    off = describe(images).astype(np.float64) - reference.mean
    factor = reference.factor.astype(np.float64)
    inverse = factor @ factor.T
    expected = np.sqrt([each @ inverse @ each / LENGTH for each in off])
    np.testing.assert_allclose(reference.distance(images), expected, rtol=1e-5)


def test_a_picture_is_described_by_means_counted_by_hand() -> None:
    image = np.zeros((1, 32, 32), np.uint8)
    image[0, :, 16:] = 255  # one edge down the middle, half of the pixels in the brightest bin
    thumbnail, down, across, greys = np.split(describe(image)[0] ** 2, [64, 80, 96])
    assert thumbnail.reshape(8, 8)[3].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert not down.any()
    np.testing.assert_allclose(across.reshape(4, 4)[0], [0, 1 / 8, 0, 0], atol=1e-6)
    np.testing.assert_allclose([greys[0], greys[-1], greys.sum()], [0.5, 0.5, 1], rtol=1e-6)


def test_one_picture_gets_the_same_distance_alone_and_in_a_batch(reference: OodReference) -> None:
    images = heads(400, 3)
    alone = [reference.distance(image[None])[0] for image in images]
    np.testing.assert_allclose(reference.distance(images), alone, rtol=1e-5)


def test_a_card_carries_it_through_json(reference: OodReference) -> None:
    card = make_card(ood=reference.to_dict() | {"n_test": 3})
    again = OodReference.from_dict(parse_card(to_json(card), Path("card")).ood)
    assert again is not None
    assert again.limit == reference.limit
    np.testing.assert_array_equal(again.distance(heads(400, 3)), reference.distance(heads(400, 3)))


def test_a_card_without_a_reference_has_no_distance() -> None:
    assert OodReference.from_dict(parse_card(to_json(make_card()), Path("card")).ood) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": "no base64!"}, "can't be read"),
        ({"factor": ""}, "112 and 0 numbers"),
        ({"limit": 0}, "a limit above 0"),
        ({"limit": None}, "can't be read"),
    ],
)
def test_a_damaged_one_is_told_in_a_line(reference: OodReference, change: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message) as told:
        OodReference.from_dict(reference.to_dict() | change)
    assert "\n" not in str(told.value)


def test_what_is_no_object_is_told() -> None:
    with pytest.raises(RequestError, match="ood: expected a mapping, each item any value, received"):
        parse_card(to_json(make_card(ood=[1])), Path("card"))


def answered(image: np.ndarray, **cards):
    runtimes = [
        BrightRuntime(make_card(task, size=SIZE, ood=outside), class_logits=[1, 0, 0], cam=np.ones((2, 2)))
        for task, outside in cards.items()
    ]
    return Predictor(runtimes).predict(make_slice(image.astype(np.float32)))


@pytest.mark.parametrize("task", ["seg", "cls", "joint"])
def test_a_stranger_is_said_and_stands_in_the_result(reference: OodReference, task: str) -> None:
    found = answered(strangers()["noise"], **{task: reference.to_dict()})
    assert found.ood is not None
    assert any(line.startswith("out of distribution: unlike") for line in found.warnings)
    assert found.refer
    assert found.to_dict()["ood"]["is_ood"] is True
    jsonschema.validate(found.to_dict(), SCHEMA)


def test_a_head_is_not_warned_of(reference: OodReference) -> None:
    found = answered(heads(0, 50)[0], seg=reference.to_dict())
    assert found.ood is not None
    assert not found.ood.is_ood
    assert not any("unlike" in line for line in found.warnings)
    jsonschema.validate(found.to_dict(), SCHEMA)


def test_an_old_folder_gives_no_such_warning() -> None:
    found = answered(strangers()["noise"], seg={})
    assert found.ood is None
    assert found.to_dict()["ood"] is None
    assert not any("unlike" in line for line in found.warnings)
    jsonschema.validate(found.to_dict(), SCHEMA)


def test_of_two_models_the_one_that_finds_it_strangest_speaks(reference: OodReference) -> None:
    easy = reference.to_dict() | {"limit": 1000.0}
    found = answered(strangers()["noise"], seg=easy, cls=reference.to_dict())
    assert found.ood is not None
    assert found.ood.limit == reference.limit


def test_a_distance_at_the_limit_is_in_distribution() -> None:
    assert OodScore(9.31, 5.09).is_ood
    assert not OodScore(5.0, 5.0).is_ood


def test_every_runtime_says_the_same_distance(reference: OodReference, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'bts[onnx]'")
    pytest.importorskip("openvino", reason="openvino is not installed: pip install 'bts[openvino]'")
    folder = write_model(tmp_path / "model", "cls", encoder="test_resnet", size=SIZE, ood=reference.to_dict())
    file = export_model(folder, format="onnx", out=tmp_path / "apart" / "model.onnx").path
    scan = make_slice(strangers()["noise"].astype(np.float32))
    found = [
        Predictor.load(cls=place, device="cpu", runtime=runtime).predict(scan).ood
        for runtime, place in (("torch", folder), ("onnx", file), ("openvino", file))
    ]
    assert found[0] is not None
    assert found[0].is_ood
    assert found == [found[0]] * 3
