"""Out-of-distribution reference: distances, model card, warnings, and equality between runtimes."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from fake_models import BrightRuntime, make_card, make_slice

from bts.data.phantom_scan import draw_slices
from bts.data.preprocess import Preprocessing
from bts.errors import RequestError
from bts.evaluation.ood import AXES, fit_features, fit_reference
from bts.inference.averaging import Ensemble, run_averaged
from bts.inference.ood import LENGTH, FeatureReference, OodReference, OodScore, describe
from bts.inference.predictor import Predictor
from bts.inference.runtimes.exported import CARD_KEY
from bts.inference.statements import OOD_CAP
from bts.models.card import ModelCard, parse_card, published, to_json
from bts.models.folder import update_card

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "result.schema.json").read_text(encoding="utf-8"))
LABELS = ("glioma", "meningioma", "pituitary", "no_tumour")
SIZE = 64


@cache
def heads(first: int, count: int) -> np.ndarray:
    """Pictures (N, 64, 64) of that many persons, two slices each."""
    prepare = Preprocessing(size=SIZE, crop_brain=False).image
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
    return {name: Preprocessing(size=SIZE, crop_brain=False).image(scene) for name, scene in scenes.items()}


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


def answered(image: np.ndarray, logits=(1, 0, 0), **cards):
    runtimes = [
        BrightRuntime(make_card(task, size=SIZE, ood=outside), class_logits=logits, cam=np.ones((2, 2)))
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


CHANNELS = 60


def pooled(count: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Network features (N, 60) of two classes that lie apart, in which three channels vary most."""
    random = np.random.default_rng(seed)
    labels = [("glioma", "pituitary")[number % 2] for number in range(count)]
    centre = np.where(np.array(labels) == "glioma", 3.0, -3.0)[:, None]
    return centre + random.normal(size=(count, CHANNELS)) * np.where(np.arange(CHANNELS) < 3, 5.0, 0.2), labels


@pytest.fixture(scope="module")
def familiar() -> FeatureReference:
    return fit_features(*pooled(600, 0), pooled(300, 1)[0])


def test_the_distance_of_features_is_mahalanobis_own_from_the_nearest_class() -> None:
    train, labels = pooled(600, 0)
    train = train[:, :5]  # fewer channels than directions: all of the covariance counts
    known = fit_features(train, labels, train)
    number = (np.array(labels) == "pituitary").astype(int)
    means = np.stack([train[number == each].mean(axis=0) for each in range(2)])
    inverse = np.linalg.inv(np.cov((train - means[number]).T, bias=True))
    off = train[:20, None] - means
    expected = np.sqrt(np.einsum("nkc,cd,nkd->nk", off, inverse, off).min(axis=1) / 5)
    np.testing.assert_allclose(known.distance(train[:20]), expected, rtol=0.01)


def test_features_of_other_persons_pass_and_those_between_the_classes_do_not(familiar: FeatureReference) -> None:
    others, _ = pooled(300, 2)
    found = familiar.distance(others)
    assert (found > familiar.limit).mean() <= 0.05
    assert found.mean() == pytest.approx(1, abs=0.1)
    assert familiar.distance(np.zeros((1, CHANNELS)))[0] > familiar.limit  # as far from each class as they allow


def test_the_directions_are_those_with_the_largest_variance_within_the_classes() -> None:
    known = fit_features(*pooled(600, 0), pooled(300, 1)[0])
    assert known.axes.shape == (AXES, CHANNELS)
    size = np.linalg.norm(known.axes[:3, :3], axis=1)
    np.testing.assert_allclose(size, 1 / 5, rtol=0.1)  # the three channels with a deviation of 5, and none between the classes


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_slices_give_a_finite_distance(count: int) -> None:
    known = fit_features(*pooled(count, 0), pooled(4, 1)[0])
    assert np.isfinite(known.distance(pooled(5, 2)[0])).all()
    assert parse_card(to_json(card_with(known)), Path("card"))


def card_with(known: FeatureReference):
    return make_card(ood=fit_reference(describe(heads(0, 3)), describe(heads(3, 3))).to_dict() | {"features": known.to_dict()})


def test_a_card_carries_the_features_through_json(familiar: FeatureReference) -> None:
    again = FeatureReference.from_dict(parse_card(to_json(card_with(familiar)), Path("card")).ood["features"])
    assert again is not None
    assert again.limit == familiar.limit
    np.testing.assert_array_equal(again.distance(pooled(5, 3)[0]), familiar.distance(pooled(5, 3)[0]))


def test_features_of_another_network_are_told_in_a_line(familiar: FeatureReference) -> None:
    with pytest.raises(RequestError, match="describes 60 features, the network gives 2: copy the model folder again"):
        familiar.distance(np.ones((1, 2)))


def far(channels: int, *, limit: float = 0.5) -> dict[str, object]:
    """A reference whose class lies at 9 in each channel, of which one counts: features of 1 have a distance of 8."""
    means = np.full((1, channels), 9, np.float32)
    return FeatureReference(means, np.eye(channels, dtype=np.float32)[:1], limit).to_dict()


@pytest.mark.parametrize(("limit", "is_ood"), [(0.5, True), (100.0, False)])
def test_a_slice_is_out_of_distribution_by_its_features_alone(reference: OodReference, limit: float, is_ood: bool) -> None:
    head = heads(0, 50)[0]
    ood = reference.to_dict() | {"features": far(2, limit=limit)}
    found = answered(head, (5, 0, 0), cls=ood)
    assert found.ood is not None
    assert found.ood.is_ood is found.refer is is_ood
    assert found.class_prob is not None
    assert found.class_prob.max() == pytest.approx(OOD_CAP if is_ood else 0.987, abs=1e-3)
    if is_ood:
        assert (found.ood.distance, found.ood.limit) == (pytest.approx(8), limit)
    assert answered(strangers()["noise"], cls=ood).ood.is_ood


class Sided(BrightRuntime):
    """Runtime whose features are the brightness of either half."""

    def run(self, images, *, cam_class=None):
        left, right = (half.mean(axis=(1, 2)) for half in np.split(images.astype(np.float32), 2, axis=2))
        return super().run(images, cam_class=cam_class)._replace(features=np.stack([left, right], axis=1))


def test_features_are_those_of_the_slice_itself_and_of_the_first_model() -> None:
    image = np.zeros((1, 32, 32), np.uint8)
    image[:, :, 16:] = 100
    first, second = (Sided(make_card(), class_logits=[1, 0, 0], cam=np.ones((2, 2))) for _ in range(2))
    assert run_averaged(first, image, flip=True).features.tolist() == [[0, 100]]
    second.run = lambda images, cam_class=None: first.run(images)._replace(features=np.zeros((len(images), 2)))
    assert Ensemble([first, second]).run(image).features.tolist() == [[0, 100]]


def with_card(file: Path, card: ModelCard) -> Path:
    """Move an ONNX file into a folder of its own, with another card."""
    import onnx

    proto = onnx.load(file)
    (entry,) = (each for each in proto.metadata_props if each.key == CARD_KEY)
    entry.value = to_json(published(card))
    file.unlink()
    (file.parent / "apart").mkdir()
    onnx.save(proto, file.parent / "apart" / file.name)
    return file.parent / "apart" / file.name


@pytest.mark.parametrize("by_features", [False, True])
def test_every_runtime_says_the_same_distance(
    reference: OodReference, exported_models: dict[str, Path], tmp_path: Path, by_features: bool
) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed: pip install 'bts[openvino]'")
    folder = Path(shutil.copytree(exported_models["cls"], tmp_path / "model"))
    ood = reference.to_dict() | ({"features": far(96, limit=1e-6)} if by_features else {})
    file = with_card(folder / "model.onnx", update_card(folder, ood=ood))
    scan = make_slice(strangers()["noise"].astype(np.float32))
    found = [
        Predictor.load(cls=place, device="cpu", runtime=runtime).predict(scan).ood
        for runtime, place in (("torch", folder), ("onnx", file), ("openvino-f32", file))
    ]
    assert all(each is not None and each.is_ood for each in found)
    assert {each.limit for each in found} == {1e-6 if by_features else reference.limit}
    np.testing.assert_allclose([each.distance for each in found], found[0].distance, rtol=1e-4 if by_features else 0)
