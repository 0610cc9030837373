"""Averages over the mirror image and over an ensemble: where values belong, and maps of the predicted class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fake_models import BrightRuntime, make_card, make_slice, write_model

from bts.errors import RequestError
from bts.inference.averaging import Ensemble, run_averaged
from bts.inference.predictor import Predictor
from bts.inference.runtimes.base import RawOutput

PICTURES = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4)
DARK = np.full((2, 4, 4), 51, np.uint8)


class SideRuntime(BrightRuntime):
    """Sees only the left half: class 0 by its brightness, class 1 always a little; the map of class c is c + left half."""

    def run(self, images, *, cam_class=None):
        """Answer with different things for a picture and its mirror image."""
        self.asked.append((images, cam_class))
        left = images[:, :, :2].astype(np.float32)
        logits = np.stack([left.mean((1, 2)), np.full(len(images), 10.0, np.float32)], 1)
        explained = logits.argmax(1) if cam_class is None else np.full(len(images), cam_class)
        cam = np.zeros(images.shape, np.float32)
        cam[:, :, :2] = left
        return RawOutput(class_logits=logits, cam=cam + 100 * explained[:, None, None], mask_prob=images / np.float32(255))


def test_without_flip_the_runtime_is_asked_once_with_the_pictures_alone():
    runtime = BrightRuntime(make_card("seg"))
    run_averaged(runtime, PICTURES, flip=False)
    assert [images.shape for images, _ in runtime.asked] == [(2, 4, 4)]


def test_a_mask_that_follows_the_picture_is_the_same_with_flip():
    runtime = BrightRuntime(make_card("seg"))
    assert np.allclose(run_averaged(runtime, PICTURES, flip=True).mask_prob, PICTURES / 255, atol=1e-6)


def test_scores_and_maps_are_the_mean_of_both_views_where_they_belong():
    answer = run_averaged(SideRuntime(make_card()), PICTURES, flip=True, cam_class=0)
    assert np.allclose(answer.class_logits[:, 0], PICTURES.mean((1, 2)))
    assert np.allclose(answer.cam, PICTURES / 2)  # each half is seen in one of the two views


def test_the_map_is_of_the_averaged_class_where_both_views_disagree():
    picture = np.zeros((2, 4, 4), np.uint8)
    picture[0, :, :2] = 30  # upright class 0 (30 > 10), mirrored class 1, averaged class 0 (15 > 10)
    answer = run_averaged(SideRuntime(make_card()), picture, flip=True)
    assert answer.class_logits.argmax(1).tolist() == [0, 1]
    assert np.allclose(answer.cam[0], picture[0] / 2)
    assert np.allclose(answer.cam[1], 100.0)


class OffRuntime(BrightRuntime):
    """Its map shows the picture's brightness at places that lie 4 pixels left of the middles of its 8-pixel cells."""

    def run(self, images, *, cam_class=None):
        """Answer with the columns' brightness at pixels 0, 8, 16 and 24."""
        cam = np.repeat(images[:, :4, ::8].astype(np.float32), 1, axis=1)
        return RawOutput(class_logits=np.zeros((len(images), 3), np.float32), cam=cam, mask_prob=None)


def test_maps_of_cells_that_lie_off_their_even_places_are_averaged_where_they_belong():
    ramp = np.broadcast_to(np.arange(0, 96, 3, dtype=np.uint8), (1, 32, 32)).copy()  # 3 a pixel to the right
    runtime = OffRuntime(make_card(cam_offset_px=-3.5))  # pixel 0 against the even place 3.5
    upright = run_averaged(runtime, ramp, flip=False).cam
    both = run_averaged(runtime, ramp, flip=True).cam
    assert np.allclose(both[:, :, 1:], upright[:, :, 1:], atol=1e-4)  # the first column has no cell left of it


class ClassRuntime(BrightRuntime):
    """A map of class c holds c + 1 everywhere, or of the most probable class where none is named."""

    def run(self, images, *, cam_class=None):
        """Answer with the class's number in the map."""
        raw = super().run(images, cam_class=cam_class)
        wanted = raw.class_logits.argmax(1) if cam_class is None else np.full(len(images), cam_class)
        return raw._replace(cam=np.ones((len(images), 2, 2), np.float32) * (wanted[:, None, None] + 1))


def two(first: list[float], second: list[float], **changes) -> Ensemble:
    cards = [make_card(weights_sha256="a" * 64), make_card(weights_sha256="b" * 64, **changes)]
    return Ensemble([ClassRuntime(card, class_logits=logits) for card, logits in zip(cards, (first, second), strict=True)])


def test_masks_are_averaged_pixel_by_pixel():
    class Half(BrightRuntime):
        def run(self, images, *, cam_class=None):
            return RawOutput(mask_prob=images.astype(np.float32) / 510)

    both = Ensemble([BrightRuntime(make_card("seg")), Half(make_card("seg"))])
    assert np.allclose(both.run(DARK).mask_prob, 0.15)  # of 0.2 and 0.1


def test_class_scores_are_averaged_after_each_models_own_temperature():
    answer = two([2.0, 0.0, 0.0], [0.0, 6.0, 0.0], temperature=2.0).run(DARK)
    assert answer.class_logits[0].tolist() == [1.0, 1.5, 0.0]  # (2 + 0) / 2, (0 + 6 / 2) / 2


def test_the_map_is_of_the_class_that_the_mean_answers():
    answer = two([4.0, 3.0, 0.0], [0.0, 3.0, 0.0]).run(DARK)  # the first alone would answer class 0
    assert answer.class_logits.argmax(1).tolist() == [1, 1]
    assert (answer.cam == 2.0).all()


def test_maps_are_averaged_after_each_models_own_scale():
    answer = two([1.0, 0.0, 0.0], [1.0, 0.0, 0.0], cam_scale=4.0).run(DARK)
    assert np.allclose(answer.cam, (1 + 1 / 4) / 2)


def test_what_was_chosen_for_each_model_is_averaged_and_all_their_patients_count_as_trained_on():
    points = [{"threshold": 0.4, "min_area": 0.0, "flip": False}, {"threshold": 0.6, "min_area": 0.002, "flip": True}]
    cards = [
        make_card("seg", operating_point=point, training_patients=[name])
        for point, name in zip(points, ("one", "two"), strict=True)
    ]
    card = Ensemble([BrightRuntime(each) for each in cards]).card
    assert card.operating_point == {"threshold": 0.5, "min_area": 0.001, "flip": True}
    assert card.training_patients == []


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("architecture", {"architecture": {"encoder": "another"}}),
        ("classes", {"classes": ["glioma", "meningioma", "pituitary"]}),
        ("preprocessing", {"preprocessing": {"size": 32, "low_percentile": 1.0, "high_percentile": 99.0}}),
    ],
)
def test_models_of_different_kinds_are_refused(what, change):
    cards = [make_card(), make_card(**change)]
    with pytest.raises(RequestError, match=f"differ in {what}: only models of one architecture"):
        Ensemble([BrightRuntime(card) for card in cards])


def test_several_named_models_answer_together_and_are_all_named(tmp_path: Path):
    folders = [write_model(tmp_path / str(seed), "joint", seed=seed, name=f"fold {seed}") for seed in (0, 1)]
    together = Predictor.load(joint=folders, device="cpu")
    each = [Predictor.load(joint=folder, device="cpu").predict(make_slice()) for folder in folders]
    said = together.predict(make_slice())
    assert [mark.name for mark in said.models] == ["fold 0", "fold 1"]
    assert "predictions are the mean of 2 models" in together.notes
    assert np.allclose(said.mask_prob, np.mean([one.mask_prob for one in each], axis=0), atol=1e-5)
    assert np.allclose(said.class_logits, np.mean([one.class_logits for one in each], axis=0), atol=1e-5)
