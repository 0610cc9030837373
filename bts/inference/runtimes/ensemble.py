"""What do several models of one kind say together? The mean of their answers, behind the face of a single runtime."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bts.errors import RequestError
from bts.inference.runtimes.base import RawOutput, Runtime
from bts.models.folder import ModelCard


class Ensemble:
    """Models of the same network, trained on different folds or with different seeds (Lakshminarayanan 2017).

    Probabilities of the mask are averaged; class scores after each model's own temperature, so that each is calibrated before
    they are; maps after each model's own scale, of the class that the mean answers. Thresholds are the mean of the models' own.
    Nothing was chosen for the mean itself: its scores are those of `bts evaluate` with the same models. Whether a picture is
    out of place is judged by the first model's training slices.

    Attributes:
        members: the models.
        card: what stands for all of them.
    """

    def __init__(self, members: Sequence[Runtime]) -> None:
        """Take two models or more; raises `RequestError` where they are not of one kind."""
        _refuse_different([member.card for member in members])
        self.members = tuple(members)
        self.name = ", ".join(dict.fromkeys(member.name for member in members))
        self.device = ", ".join(dict.fromkeys(member.device for member in members))
        self.card = _card_of([member.card for member in members])
        self.versions = {name: version for member in members for name, version in member.versions.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """How many answer, and what each runtime tells."""
        told = dict.fromkeys(note for member in self.members for note in member.notes)
        return (f"the mean of {len(self.members)} models answers", *told)

    def run(self, images: np.ndarray, *, cam_class: int | None = None) -> RawOutput:
        """Answer a batch (B, S, S) uint8; the map is of the class that the mean answers, also where the models disagree."""
        answers = [_calibrated(member.run(images, cam_class=cam_class), member.card) for member in self.members]
        mean = _mean(answers)
        if cam_class is None and mean.class_logits is not None and mean.cam is not None:
            wanted = mean.class_logits.argmax(1)
            torn = np.any(
                [answer.class_logits.argmax(1) != wanted for answer in answers if answer.class_logits is not None], axis=0
            )
            for row in np.flatnonzero(torn):
                mean.cam[row] = self.run(images[row : row + 1], cam_class=int(wanted[row])).cam[0]  # type: ignore[index]
        return mean


def members_of(runtime: Runtime) -> tuple[Runtime, ...]:
    """Return the models behind a runtime: itself, where it is not an ensemble."""
    return runtime.members if isinstance(runtime, Ensemble) else (runtime,)


def _calibrated(raw: RawOutput, card: ModelCard) -> RawOutput:
    return raw._replace(
        class_logits=None if raw.class_logits is None else raw.class_logits / card.temperature,
        cam=None if raw.cam is None else raw.cam / (card.cam_scale or 1.0),
    )


def _mean(answers: Sequence[RawOutput]) -> RawOutput:
    return RawOutput(*(None if values[0] is None else np.mean(values, axis=0) for values in zip(*answers, strict=True)))


def _card_of(cards: Sequence[ModelCard]) -> ModelCard:
    """Return the card of the mean: what the models share, the means of what was chosen for each, all their patients."""
    points = [card.operating_point for card in cards]
    refer = [card.refer_below for card in cards if card.refer_below is not None]
    doubt = [card.doubt_mask_below for card in cards if card.doubt_mask_below is not None]
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
        cam_scale=1.0 if scaled else None,
        refer_below=float(np.mean(refer)) if len(refer) == len(cards) else None,
        doubt_mask_below=float(np.mean(doubt)) if len(doubt) == len(cards) else None,
        training_patients=sorted({patient for card in cards for patient in card.training_patients}),
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
                    f"'{cards[0].name}' and '{card.name}' differ in their {what}: only models of one kind can be averaged"
                )
