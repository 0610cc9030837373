import numpy as np
from fake_models import BrightRuntime, make_card

from bts.inference.averaging import run_averaged
from bts.inference.runtimes.base import RawOutput

PICTURES = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4)


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
        return RawOutput(logits=logits, cam=cam + 100 * explained[:, None, None], mask=images / np.float32(255))


def test_without_flip_the_runtime_is_asked_once_with_the_pictures_alone():
    runtime = BrightRuntime(make_card("seg"))
    run_averaged(runtime, PICTURES, flip=False)
    assert [images.shape for images, _ in runtime.asked] == [(2, 4, 4)]


def test_a_mask_that_follows_the_picture_is_the_same_with_flip():
    runtime = BrightRuntime(make_card("seg"))
    assert np.allclose(run_averaged(runtime, PICTURES, flip=True).mask, PICTURES / 255, atol=1e-6)


def test_scores_and_maps_are_the_mean_of_both_views_where_they_belong():
    answer = run_averaged(SideRuntime(make_card()), PICTURES, flip=True, cam_class=0)
    assert np.allclose(answer.logits[:, 0], PICTURES.mean((1, 2)))
    assert np.allclose(answer.cam, PICTURES / 2)  # each half is seen in one of the two views


def test_the_map_is_of_the_averaged_class_where_both_views_disagree():
    picture = np.zeros((2, 4, 4), np.uint8)
    picture[0, :, :2] = 30  # upright class 0 (30 > 10), mirrored class 1, averaged class 0 (15 > 10)
    answer = run_averaged(SideRuntime(make_card()), picture, flip=True)
    assert answer.logits.argmax(1).tolist() == [0, 1]
    assert np.allclose(answer.cam[0], picture[0] / 2)
    assert np.allclose(answer.cam[1], 100.0)
