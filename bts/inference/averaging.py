"""What does a network say of a picture and of its mirror image, taken together?"""

from __future__ import annotations

import numpy as np

from bts.inference.runtimes.base import RawOutput, Runtime


def run_averaged(runtime: Runtime, images: np.ndarray, *, flip: bool, cam_class: int | None = None) -> RawOutput:
    """Run a batch; with `flip` also mirrored left to right, and average.

    Probabilities of the mask and raw maps are averaged where they belong in the upright picture, class scores before the
    softmax. The map is of the averaged answer's class, also where a picture and its mirror image disagree.

    Args:
        runtime: who answers.
        images: (B, S, S) uint8.
        flip: whether the mirror image is asked too.
        cam_class: class of the map; None takes the most probable one.
    """
    if not flip:
        return runtime.run(images, cam_class=cam_class)
    both = np.concatenate([images, images[:, :, ::-1]])
    raw = runtime.run(both, cam_class=cam_class)
    offset = runtime.card.cam_offset_px / images.shape[-1]
    answer = _mean(raw, offset)
    if cam_class is None and raw.class_logits is not None and answer.class_logits is not None and answer.cam is not None:
        count, wanted = len(images), answer.class_logits.argmax(1)
        torn = (raw.class_logits.argmax(1).reshape(2, count) != wanted).any(0)
        for row in np.flatnonzero(torn):
            again = runtime.run(both[[row, row + count]], cam_class=int(wanted[row]))
            answer.cam[row] = _mean(again, offset).cam[0]  # type: ignore[index]
    return answer


def _mean(raw: RawOutput, offset: float) -> RawOutput:
    """Average the first half of a batch with the second, whose pictures are mirrored back.

    `offset` is how far the cells of the maps lie off their even places, as a share of the side. Mirrored back they lie as far
    off on the other side, so the second half's maps are moved by twice that before.
    """
    return RawOutput(
        mask_prob=None if raw.mask_prob is None else _half_mean(raw.mask_prob, mirror=True),
        class_logits=None if raw.class_logits is None else _half_mean(raw.class_logits, mirror=False),
        cam=None if raw.cam is None else _half_mean(_moved(raw.cam, offset), mirror=True),
        features=None if raw.features is None else _half_mean(raw.features, mirror=False),
    )


def _moved(maps: np.ndarray, offset: float) -> np.ndarray:
    """Return maps (2B, h, w), the second half moved by 2 x offset x w columns to the right, the outermost continued."""
    count, _, width = maps.shape
    place = np.clip(np.arange(width) - 2 * offset * width, 0, width - 1)
    left = np.floor(place).astype(int)
    share = (place - left).astype(maps.dtype)
    right = np.minimum(left + 1, width - 1)
    other = maps[count // 2 :]
    return np.concatenate([maps[: count // 2], other[..., left] * (1 - share) + other[..., right] * share])


def _half_mean(values: np.ndarray, *, mirror: bool) -> np.ndarray:
    upright, other = np.split(values, 2)
    return (upright + (other[..., ::-1] if mirror else other)) / 2
