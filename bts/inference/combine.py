"""Combine the outputs of the models into the prediction of one slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bts.data.enhance import Box
from bts.data.preprocess import Preprocessing
from bts.data.slice import Slice
from bts.glossary import NO_TUMOUR
from bts.inference import postprocess
from bts.inference.cam_methods import CAM_NAMES, usual_method
from bts.inference.ood import OodScore
from bts.inference.prediction import ModelMark, Prediction, UnfusedHeads, origin_fields
from bts.inference.runtimes.base import RawOutput
from bts.inference.statements import conclude
from bts.models.folder import ModelCard


@dataclass(frozen=True)
class Origin:
    """What all predictions of the same models share."""

    models: tuple[ModelMark, ...] = ()
    runtime: str = ""
    versions: dict[str, str] | None = None
    warnings: tuple[str, ...] = ()

    def fields(self) -> dict[str, Any]:
        """Return the fields of `result.json` about models, runtime and versions."""
        return origin_fields(self.models, self.runtime, self.versions or {})


@dataclass(frozen=True)
class ModelOutput:
    """Raw output of one model for one slice: a row of a batch, without its B."""

    card: ModelCard
    preprocessing: Preprocessing
    raw: RawOutput
    cam_method: str | None = None

    def box_in(self, item: Slice) -> Box:
        """Return the part of the slice that the network's input shows."""
        known = self.raw.box
        return self.preprocessing.box(item.image, content=item.content) if known is None else Box(*map(int, known))


def make_prediction(
    item: Slice,
    outputs: Sequence[ModelOutput],
    *,
    origin: Origin,
    cam_class: int | None = None,
    cam_scale: str = "slice",
    fuse: bool = True,
) -> Prediction:
    """Return the prediction of one slice.

    Args:
        item: the slice.
        outputs: outputs of each model.
        origin: origin of the prediction.
        cam_class: index of the class that the map explains; None where it is the predicted one.
        cam_scale: `slice` or `model`, by which the map is divided.
        fuse: whether the heads of a joint model are fused; False is for fitting the fusion.
    """
    found: dict[str, Any] = {}
    for model in outputs:
        found |= _fused(item, model) if fuse and model.card.task == "joint" else _mask(item, model) | _class(model)
        found |= _confidence(found, model)
        found |= _cam(item, model, cam_class, cam_scale)
    found["ood"] = _ood(outputs)
    known = (*item.warnings, *([postprocess.PHANTOM_SLICE] if item.synthetic else []), *origin.warnings)
    prediction = Prediction(
        slice=item, warnings=known, models=origin.models, runtime=origin.runtime, versions=origin.versions or {}, **found
    )
    return conclude(prediction, [model.card for model in outputs], cam_scale=cam_scale)


def _mask(item: Slice, model: ModelOutput) -> dict[str, Any]:
    if model.raw.mask_prob is None:
        return {}
    point = model.card.operating_point
    mask_prob = model.preprocessing.restore(model.raw.mask_prob, item.image.shape, box=model.box_in(item))
    mask = postprocess.decide_mask(mask_prob, threshold=float(point["threshold"]), min_area=float(point["min_area"]))
    return {"mask_prob": mask_prob, "mask": mask, "volume_threshold": model.card.volume_threshold}


def _confidence(found: dict[str, Any], model: ModelOutput) -> dict[str, Any]:
    if model.raw.mask_prob is None:
        return {}
    confidence, below = postprocess.mask_confidence(found["mask_prob"], found["mask"]), model.card.uncertain_mask_below
    uncertain = None if confidence is None or not below else confidence < below  # 0: no threshold was chosen
    return {"mask_confidence": confidence, "mask_uncertain": uncertain}


def _class(model: ModelOutput) -> dict[str, Any]:
    raw, card = model.raw, model.card
    if raw.class_logits is None:
        return {}
    class_prob = postprocess.softmax(raw.class_logits, temperature=card.temperature)
    return {
        "classes": tuple(card.classes),
        "class_logits": raw.class_logits,
        "class_prob": class_prob,
        "features": raw.features,
    }


def _fused(item: Slice, model: ModelOutput) -> dict[str, Any]:
    """Return a joint model's mask and class, fused such that they can't contradict each other.

    A model without the class "no tumour" can express that there is none only by an empty mask: its heads are not fused.
    """
    unfused, card, point = _mask(item, model) | _class(model), model.card, model.card.operating_point
    if NO_TUMOUR not in card.classes or model.raw.class_logits is None:
        return unfused
    mask_prob, class_prob = unfused["mask_prob"], unfused["class_prob"]
    tumour_prob, no_tumour = float(mask_prob.max()), card.classes.index(NO_TUMOUR)
    fused = postprocess.fuse_evidence(
        model.raw.class_logits,
        temperature=card.temperature,
        tumour_prob=tumour_prob,
        no_tumour=no_tumour,
        exponent=card.mask_evidence_exponent,
        bias=card.no_tumour_bias,
    )
    tumour = int(fused.argmax()) != no_tumour
    conditional = postprocess.conditional_mask_prob(mask_prob, tumour=tumour)
    mask = postprocess.decide_mask(
        conditional, threshold=float(point["threshold"]), min_area=float(point["min_area"]), keep_largest=tumour
    )
    heads = UnfusedHeads(card.classes[int(class_prob.argmax())], class_prob, int(unfused["mask"].sum()), tumour_prob, mask_prob)
    return unfused | {"class_prob": fused, "mask_prob": conditional, "mask": mask, "unfused": heads}


def _cam(item: Slice, model: ModelOutput, cam_class: int | None, cam_scale: str) -> dict[str, Any]:
    raw, card = model.raw, model.card
    if raw.cam is None or raw.class_logits is None:
        return {}
    explained = int(raw.class_logits.argmax()) if cam_class is None else cam_class
    restored = model.preprocessing.restore(raw.cam, item.image.shape, offset_px=card.cam_offset_px, box=model.box_in(item))
    peak, method = float(raw.cam.max()), model.cam_method or usual_method(card)
    by_model = cam_scale == "model" and bool(card.cam_scale)
    return {
        "cam": postprocess.scale_cam(restored, scale=card.cam_scale if by_model else None),
        "cam_class": card.classes[explained],
        "cam_method": method,
        "cam_name": CAM_NAMES[method],
        "cam_scale": "model" if by_model else "slice",
        "cam_strength": peak / card.cam_scale if card.cam_scale else None,
        "cam_peak": peak,
    }


def _ood(outputs: Sequence[ModelOutput]) -> OodScore | None:
    """Return the score with the largest distance relative to its limit, of input or features; None without a reference."""
    found = []
    for model in outputs:
        ood = model.card.ood
        if model.raw.ood_distance is not None:
            found.append(OodScore(float(model.raw.ood_distance), float(ood["limit"])))
        if model.raw.feature_distance is not None:
            found.append(OodScore(float(model.raw.feature_distance), float(ood["features"]["limit"])))
    return max(found, key=lambda score: score.distance / score.limit, default=None)
