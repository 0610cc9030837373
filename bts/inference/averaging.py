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
    answer = _mean(raw)
    if cam_class is None and raw.logits is not None and answer.logits is not None and answer.cam is not None:
        count, wanted = len(images), answer.logits.argmax(1)
        torn = (raw.logits.argmax(1).reshape(2, count) != wanted).any(0)
        for row in np.flatnonzero(torn):
            again = runtime.run(both[[row, row + count]], cam_class=int(wanted[row]))
            answer.cam[row] = _mean(again).cam[0]  # type: ignore[index]
    return answer


def _mean(raw: RawOutput) -> RawOutput:
    """Average the first half of a batch with the second, whose pictures are mirrored back."""
    return RawOutput(
        mask=None if raw.mask is None else _half_mean(raw.mask, mirror=True),
        logits=None if raw.logits is None else _half_mean(raw.logits, mirror=False),
        cam=None if raw.cam is None else _half_mean(raw.cam, mirror=True),
        features=None if raw.features is None else _half_mean(raw.features, mirror=False),
    )


def _half_mean(values: np.ndarray, *, mirror: bool) -> np.ndarray:
    upright, other = np.split(values, 2)
    return (upright + (other[..., ::-1] if mirror else other)) / 2
