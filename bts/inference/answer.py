"""How do the numbers of one or two models become the answer for one slice?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bts.data.preprocess import Preprocessing
from bts.data.slice import Slice
from bts.glossary import NO_TUMOUR
from bts.inference import decision
from bts.inference.outside import Outside
from bts.inference.prediction import ModelMark, Prediction, UnfusedHeads, origin_fields
from bts.inference.runtimes.base import RawOutput
from bts.models.folder import ModelCard


@dataclass(frozen=True)
class Origin:
    """What stands in every answer of the same models, whatever the slice."""

    models: tuple[ModelMark, ...] = ()
    runtime: str = ""
    versions: dict[str, str] | None = None
    warnings: tuple[str, ...] = ()

    def fields(self) -> dict[str, Any]:
        """Return who answers and with what, as it stands in every `result.json`."""
        return origin_fields(self.models, self.runtime, self.versions or {})


@dataclass(frozen=True)
class ModelOutput:
    """What one model says of one slice: a batch's row, without its B."""

    card: ModelCard
    preprocessing: Preprocessing
    raw: RawOutput


def make_prediction(item: Slice, said: Sequence[ModelOutput], *, origin: Origin, cam_class: int | None = None) -> Prediction:
    """Return the prediction of one slice.

    Args:
        item: the slice.
        said: what each model says of it.
        origin: who answered.
        cam_class: class that the map explains; None where it is the predicted one.
    """
    found: dict[str, Any] = {}
    for model in said:
        found |= _joined(item, model) if model.card.task == "joint" else _mask(item, model) | _class(model)
        found |= _confidence(found, model)
        found |= _cam(item, model, cam_class)
    found["outside"] = _outside(said)
    prediction = Prediction(slice=item, models=origin.models, runtime=origin.runtime, versions=origin.versions or {}, **found)
    known = (*item.warnings, *([decision.PHANTOM_SLICE] if item.synthetic else []), *origin.warnings)
    return replace(prediction, warnings=(*known, *_doubts(prediction, said)))


def _mask(item: Slice, model: ModelOutput) -> dict[str, Any]:
    if model.raw.mask_prob is None:
        return {}
    point = model.card.operating_point
    probability = model.preprocessing.restore(model.raw.mask_prob, item.image.shape, box=model.preprocessing.box(item.image))
    mask = decision.decide_mask(probability, threshold=float(point["threshold"]), min_area=float(point["min_area"]))
    return {"mask_prob": probability, "mask": mask}


def _confidence(found: dict[str, Any], model: ModelOutput) -> dict[str, Any]:
    """Return how sure a model is of its mask, and whether that is too little; the second is None where it was never learned."""
    if model.raw.mask_prob is None:
        return {}
    sure, below = decision.mask_confidence(found["mask_prob"], found["mask"]), model.card.doubt_mask_below
    return {"mask_confidence": sure, "mask_doubtful": None if sure is None or below is None else sure < below}


def _class(model: ModelOutput) -> dict[str, Any]:
    raw, card = model.raw, model.card
    if raw.class_logits is None:
        return {}
    probabilities = decision.softmax(raw.class_logits, temperature=card.temperature)
    return {
        "classes": tuple(card.classes),
        "class_logits": raw.class_logits,
        "class_prob": probabilities,
        "features": raw.features,
        "refer": card.refer_below is not None and bool(probabilities.max() < card.refer_below),
    }


def _joined(item: Slice, model: ModelOutput) -> dict[str, Any]:
    """Return a joint model's mask and class, put together by their probabilities so that they can't contradict each other.

    A model without the class "no tumour" can only say by an empty mask that it sees none: both answers stay as they are.
    """
    alone, card, point = _mask(item, model) | _class(model), model.card, model.card.operating_point
    if NO_TUMOUR not in card.classes:
        return alone
    probability, probabilities = alone["mask_prob"], alone["class_prob"]
    tumour = float(probability.max())
    none = card.classes.index(NO_TUMOUR)
    joined = decision.fuse_evidence(model.raw.class_logits, temperature=card.temperature, tumour=tumour, none=none)  # type: ignore[arg-type]
    there = int(joined.argmax()) != none
    given = decision.conditional_mask_prob(probability, tumour=there)
    mask = decision.decide_mask(given, threshold=float(point["threshold"]), min_area=float(point["min_area"]), one_stays=there)
    own = UnfusedHeads(card.classes[int(probabilities.argmax())], probabilities, int(alone["mask"].sum()), tumour)
    return alone | {"class_prob": joined, "mask_prob": given, "mask": mask, "alone": own}


def _cam(item: Slice, model: ModelOutput, cam_class: int | None) -> dict[str, Any]:
    raw, card = model.raw, model.card
    if raw.cam is None or raw.class_logits is None:
        return {}
    explained = int(raw.class_logits.argmax()) if cam_class is None else cam_class
    box = model.preprocessing.box(item.image)
    restored = model.preprocessing.restore(raw.cam, item.image.shape, offset_px=card.cam_offset_px, box=box)
    return {
        "cam": decision.scale_cam(restored, scale=card.cam_scale),
        "cam_class": card.classes[explained],
        "cam_name": card.cam_name,
        "cam_peak": float(raw.cam.max()),
    }


def _outside(said: Sequence[ModelOutput]) -> Outside | None:
    """Return how unlike its training slices the model finds the picture that finds it strangest, None where none can tell."""
    told = [
        Outside(float(one.raw.ood_distance), float(one.card.outside["limit"]))
        for one in said
        if one.raw.ood_distance is not None
    ]
    return max(told, key=lambda each: each.distance / each.limit, default=None)


def _doubts(prediction: Prediction, said: Sequence[ModelOutput]) -> Iterator[str]:
    """Yield a sentence for everything that makes this very answer doubtful."""
    if prediction.outside is not None and prediction.outside.is_outside:
        yield prediction.outside.sentence
    if prediction.consistent is False:
        yield decision.contradiction(label=str(prediction.label))
    if prediction.alone is not None and not prediction.alone.consistent:
        yield decision.outvoted(label=prediction.alone.label, tumour=prediction.alone.tumour)
    for card in (model.card for model in said if model.raw.mask_prob is not None):
        if prediction.mask_doubtful and prediction.mask_confidence is not None:
            yield decision.doubtful_mask(confidence=prediction.mask_confidence, below=float(card.doubt_mask_below or 0))
    for card in (model.card for model in said if model.raw.class_logits is not None):
        asked = prediction.class_prob if prediction.alone is None else prediction.alone.class_prob
        if prediction.refer and asked is not None:  # the threshold was chosen on the class head's own probabilities
            limit, alone = float(card.refer_below or 0), prediction.alone is not None
            yield decision.referral(highest=float(asked.max()), refer_below=limit, alone=alone)
        if prediction.cam is not None and card.cam_scale is None:
            yield decision.NO_CAM_SCALE
