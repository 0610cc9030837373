"""Averages of raw outputs: over a slice and its mirror image (test-time augmentation), and over an ensemble of models."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bts.errors import RequestError
from bts.inference.referral import SIGNALS
from bts.inference.runtimes.base import RawOutput, Runtime
from bts.models.folder import ModelCard


def run_averaged(runtime: Runtime, images: np.ndarray, *, flip: bool, cam_class: int | None = None) -> RawOutput:
    """Run a batch; with `flip` also mirrored left to right, and average.

    Mask probabilities and class maps are mirrored back and averaged, class logits are averaged. The map is that of the class
    predicted by the average, also where the two images disagree. The features are those of the slice itself, as the
    out-of-distribution reference was fitted without mirror images.

    Args:
        runtime: the model.
        images: (B, S, S) uint8.
        flip: whether to average with the mirror image.
        cam_class: index of the map's class; None takes the most probable one.
    """
    if not flip:
        return runtime.run(images, cam_class=cam_class)
    both = np.concatenate([images, images[:, :, ::-1]])
    raw = runtime.run(both, cam_class=cam_class)
    offset = runtime.card.cam_offset_px / images.shape[-1]
    mean = _mirror_mean(raw, offset)
    if cam_class is None and raw.class_logits is not None and mean.class_logits is not None and mean.cam is not None:
        count, predicted = len(images), mean.class_logits.argmax(1)
        disagree = (raw.class_logits.argmax(1).reshape(2, count) != predicted).any(0)
        for row in np.flatnonzero(disagree):
            again = runtime.run(both[[row, row + count]], cam_class=int(predicted[row]))
            mean.cam[row] = _mirror_mean(again, offset).cam[0]  # type: ignore[index]
    return mean


def _mirror_mean(raw: RawOutput, offset: float) -> RawOutput:
    """Average the first half of a batch with the second, whose images are mirrored.

    `offset` is the distance of the map's cells from their regular positions, as a share of the side. Mirrored, they lie as far
    off on the other side, so the maps of the second half are first moved by twice that.
    """
    return RawOutput(
        mask_prob=None if raw.mask_prob is None else _half_mean(raw.mask_prob, mirror=True),
        class_logits=None if raw.class_logits is None else _half_mean(raw.class_logits, mirror=False),
        cam=None if raw.cam is None else _half_mean(_moved(raw.cam, offset), mirror=True),
        features=None if raw.features is None else np.split(raw.features, 2)[0],
    )


def _moved(maps: np.ndarray, offset: float) -> np.ndarray:
    """Return maps (2B, h, w), the second half moved right by 2 x offset x w columns, edge columns repeated."""
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


class Ensemble:
    """Deep ensemble (Lakshminarayanan 2017) as a runtime: one architecture, trained on different folds or with different seeds.

    Mask probabilities are averaged; class logits after each model's own temperature, so that each is calibrated first; class
    maps after each model's own scale, of the class that the mean predicts. Thresholds are the means of the models' own. The
    out-of-distribution reference is the first model's. Nothing is chosen for the mean itself: `bts evaluate` scores it.

    Attributes:
        members: the models.
        card: stands for all of them.
    """

    def __init__(self, members: Sequence[Runtime]) -> None:
        """Take two or more models; raises `RequestError` where their architecture, preprocessing or classes differ."""
        _refuse_different([member.card for member in members])
        self.members = tuple(members)
        self.name = ", ".join(dict.fromkeys(member.name for member in members))
        self.device = ", ".join(dict.fromkeys(member.device for member in members))
        self.card = _card_of([member.card for member in members])
        self.versions = {name: version for member in members for name, version in member.versions.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """Number of models, and the notes of each runtime."""
        notes = dict.fromkeys(note for member in self.members for note in member.notes)
        return (f"predictions are the mean of {len(self.members)} models", *notes)

    def run(self, images: np.ndarray, *, cam_class: int | None = None) -> RawOutput:
        """Run a batch (B, S, S) uint8; the map is that of the class predicted by the mean, also where the models disagree."""
        outputs = [_calibrated(member.run(images, cam_class=cam_class), member.card) for member in self.members]
        mean = _mean(outputs)
        if cam_class is None and mean.class_logits is not None and mean.cam is not None:
            predicted = mean.class_logits.argmax(1)
            own = [output.class_logits.argmax(1) for output in outputs if output.class_logits is not None]
            for row in np.flatnonzero(np.any([classes != predicted for classes in own], axis=0)):
                mean.cam[row] = self.run(images[row : row + 1], cam_class=int(predicted[row])).cam[0]  # type: ignore[index]
        return mean


def members_of(runtime: Runtime) -> tuple[Runtime, ...]:
    """Return the models of an ensemble; of any other runtime itself."""
    return runtime.members if isinstance(runtime, Ensemble) else (runtime,)


def _calibrated(raw: RawOutput, card: ModelCard) -> RawOutput:
    return raw._replace(
        class_logits=None if raw.class_logits is None else raw.class_logits / card.temperature,
        cam=None if raw.cam is None else raw.cam / (card.cam_scale or 1.0),
    )


def _mean(outputs: Sequence[RawOutput]) -> RawOutput:
    mean = RawOutput(*(None if values[0] is None else np.mean(values, axis=0) for values in zip(*outputs, strict=True)))
    return mean._replace(features=outputs[0].features)


def _card_of(cards: Sequence[ModelCard]) -> ModelCard:
    """Return the ensemble's card: what the models share, the means of what was chosen for each, and all training patients."""
    points = [card.operating_point for card in cards]
    rules = [card.referral for card in cards if card.referral]
    refer = [card.refer_below for card in cards if card.refer_below is not None]
    uncertain = [card.uncertain_mask_below for card in cards if card.uncertain_mask_below is not None]
    volume = [card.volume_threshold for card in cards if card.volume_threshold is not None]
    scaled = all(card.cam_scale is not None for card in cards)
    together = hashlib.sha256("".join(card.weights_sha256 for card in cards).encode()).hexdigest()
    return replace(
        cards[0],
        name=f"mean of {len(cards)} models",
        operating_point={
            "threshold": float(np.mean([point["threshold"] for point in points])),
            "min_area": float(np.mean([point["min_area"] for point in points])),
            "flip": any(point["flip"] for point in points),
        },
        temperature=1.0,
        mask_evidence_exponent=float(np.mean([card.mask_evidence_exponent for card in cards])),
        no_tumour_bias=float(np.mean([card.no_tumour_bias for card in cards])),
        cam_scale=1.0 if scaled else None,
        refer_below=float(np.mean(refer)) if len(refer) == len(cards) else None,
        referral={name: float(np.mean([rule[name] for rule in rules])) for name in (*SIGNALS, "intercept", "below")}
        if len(rules) == len(cards)
        else {},
        uncertain_mask_below=float(np.mean(uncertain)) if len(uncertain) == len(cards) else None,
        volume_threshold=float(np.mean(volume)) if len(volume) == len(cards) else None,
        mask_flaw="; ".join(dict.fromkeys(card.mask_flaw for card in cards if card.mask_flaw)),
        training_patients=[],  # each member has its own, under a key of its own
        patients_key="",
        synthetic=any(card.synthetic for card in cards),
        trained_on="; ".join(dict.fromkeys(card.trained_on for card in cards)),
        scores={},
        weights_sha256=together,
    )


def _refuse_different(cards: Sequence[ModelCard]) -> None:
    for what in ("architecture", "preprocessing", "classes"):
        for card in cards[1:]:
            if getattr(card, what) != getattr(cards[0], what):
                raise RequestError(
                    f"models '{cards[0].name}' and '{card.name}' differ in {what}: only models of one architecture, "
                    "preprocessing and classes can be averaged"
                )
