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
