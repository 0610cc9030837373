"""Agreement, referral and warnings: no line on page, picture, terminal or JSON contradicts another, for any outputs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from fake_models import make_card, make_slice
from hypothesis import given, settings
from hypothesis import strategies as st

from bts.apps.infer_job import format_prediction
from bts.apps.web.views import ordered_warnings, slice_facts
from bts.data.preprocess import Preprocessing
from bts.glossary import NO_TUMOUR
from bts.inference.combine import ModelOutput, Origin, make_prediction
from bts.inference.panel import table_rows
from bts.inference.prediction import ModelMark, Prediction
from bts.inference.runtimes.base import RawOutput
from bts.inference.statements import AGREEMENT, OOD_CAP, REFER, cap_probabilities, format_apart

ORIGIN = Origin((ModelMark("made", "0" * 16, "nothing"),), "paper")
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "result.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
SHARE = st.floats(0, 1)
TUMOURS = ["glioma", "pituitary"]


@st.composite
def predictions(draw: st.DrawFn) -> Prediction:
    """Return the prediction of one joint model, or of a segmenter and a classifier, with any outputs and thresholds."""
    joint, healthy = draw(st.booleans()), draw(st.booleans())
    classes = [*TUMOURS, NO_TUMOUR if healthy else "meningioma"]
    peak = draw(st.sampled_from([0.0, 1e-30, 1e-6, 0.2, 0.3499, 0.35, 0.5, 0.99, 1.0]))
    spots = np.random.default_rng(draw(st.integers(0, 999))).random((32, 32)) < draw(st.sampled_from([0.0, 0.002, 0.3]))
    mask = np.where(spots, peak, peak / 1000).astype(np.float32)
    logits = np.array(draw(st.lists(st.floats(-40, 40, width=32), min_size=3, max_size=3)), np.float32)
    point = {
        "threshold": draw(st.sampled_from([0.2, 0.35, 0.8])),
        "min_area": draw(st.sampled_from([0.0, 0.01, 0.5])),
        "flip": False,
    }
    limit = draw(st.one_of(st.none(), st.floats(0.1, 3)))
    changes = {
        "classes": classes,
        "temperature": draw(st.floats(0.1, 5)),
        "refer_below": draw(st.one_of(st.none(), SHARE)),
        "uncertain_mask_below": draw(st.one_of(st.none(), SHARE)),
        "cam_scale": draw(st.one_of(st.none(), st.floats(0.01, 2))),
        "ood": {} if limit is None else {"limit": limit},
    }
    distance = None if limit is None else np.float64(draw(st.floats(0, 5)))
    cam = np.full((2, 2), draw(st.sampled_from([0.0, 1e-3, 1.0])), np.float32)
    both = {"class_logits": logits, "cam": cam, "ood_distance": distance}
    outputs = (
        [({"mask_prob": mask} | both, "joint")]
        if joint
        else [({"mask_prob": mask, "ood_distance": distance}, "seg"), (both, "cls")]
    )
    models = [
        ModelOutput(
            make_card(task, **({"operating_point": point} | changes | ({"classes": []} if task == "seg" else {}))),
            Preprocessing(size=32, crop_brain=False),
            RawOutput(**raw),
        )
        for raw, task in outputs
    ]
    scale = draw(st.sampled_from(["slice", "model"]))
    return make_prediction(make_slice(), models, origin=ORIGIN, cam_scale=scale)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(predictions())
def test_no_statement_contradicts_another(found: Prediction) -> None:
    result = found.to_dict()
    VALIDATOR.validate(result)
    lines, rows = list(found.warnings), dict(slice_facts(found)) | dict(table_rows(found))
    assert len(set(lines)) == len(lines)

    referrals = [line for line in lines if line.startswith(REFER)]
    assert len(referrals) == found.refer == result["refer"]
    assert [is_referral for _, is_referral in ordered_warnings(found.warnings, found.refer)].count(True) == found.refer

    disagree = any("heads disagree" in line or "head disagree" in line for line in lines)
    contradict = any("contradict each other" in line for line in lines)
    is_ood = bool(result["ood"] and result["ood"]["is_ood"])
    words = None if is_ood else AGREEMENT[str(result["agreement"])]
    assert rows.get("Mask and class") == rows.get("mask and class") == words
    assert (result["agreement"] == "agree") is not (disagree or contradict)
    assert contradict is (result["consistent"] is False)
    if result["agreement"] == "agree":
        assert (result["mask_area_px"] > 0) == (result["class"] != NO_TUMOUR)

    assert found.class_prob is not None
    assert any("out of distribution: unlike" in line for line in lines) is is_ood
    if is_ood:
        assert found.refer
        reported = [*result["probabilities"].values(), *((result["unfused"] or {}).get("probabilities") or {}).values()]
        assert max(reported) <= OOD_CAP + 1e-6
        assert ">9" not in format_prediction(found)
    assert any(line.startswith("the mask is uncertain") for line in lines) is (found.mask_uncertain is True)
    assert (rows.get("Confidence of the mask", "").endswith("uncertain")) is (found.mask_uncertain is True)

    for line in lines:  # "0.87, below the model's threshold of 0.87"
        if compared := re.search(r"is ([0-9.]+), below the model's threshold of ([0-9.]+)", line):
            assert float(compared[1]) < float(compared[2]), line
        if compared := re.search(r"distance ([0-9.]+), limit ([0-9.]+)\)", line):
            assert float(compared[1]) > float(compared[2]), line
    assert not re.search(r"\b(100|0)%", format_prediction(found).split(",")[0])


def test_a_slice_out_of_distribution_is_referred_and_no_class_is_sure() -> None:
    card = make_card("cls", classes=[*TUMOURS, NO_TUMOUR], ood={"limit": 1.5})
    raw = RawOutput(class_logits=np.array([0, 0, 20], np.float32), ood_distance=np.float64(1.54))
    found = make_prediction(make_slice(), [ModelOutput(card, Preprocessing(size=32, crop_brain=False), raw)], origin=ORIGIN)
    assert found.label == NO_TUMOUR
    assert found.class_prob == pytest.approx([0.2, 0.2, 0.6], abs=1e-6)
    assert found.refer
    assert any("(distance 1.54, limit 1.50)" in line for line in found.warnings)
    assert f"{REFER}: the slice is out of distribution, the prediction can't be trusted; no probability above 60% is" in str(
        found.warnings
    )


def test_every_answer_of_a_model_whose_masks_are_useless_says_so() -> None:
    raw = RawOutput(mask_prob=np.zeros((32, 32), np.float32))
    for flaw in ("every mask was empty on validation", ""):
        output = ModelOutput(make_card("seg", mask_flaw=flaw), Preprocessing(size=32, crop_brain=False), raw)
        found = make_prediction(make_slice(), [output], origin=ORIGIN)
        assert (f"the masks are of no use: {flaw}" in found.warnings) is bool(flaw)


def test_heads_that_disagree_are_not_called_in_agreement() -> None:
    card = make_card("joint", classes=[*TUMOURS, NO_TUMOUR])
    mask = np.full((32, 32), 0.01, np.float32)
    mask[10:20, 10:20] = 0.7
    raw = RawOutput(mask_prob=mask, class_logits=np.array([0, 0, 5], np.float32))
    found = make_prediction(make_slice(), [ModelOutput(card, Preprocessing(size=32, crop_brain=False), raw)], origin=ORIGIN)
    assert found.consistent is True
    assert found.agreement == "heads_disagree"
    assert ("Mask and class", "heads disagree") in slice_facts(found)


@given(st.lists(st.floats(1e-6, 1), min_size=2, max_size=6).map(np.array))
def test_capped_probabilities_keep_their_order_and_their_sum(weights: np.ndarray) -> None:
    class_prob = weights / weights.sum()
    capped = cap_probabilities(class_prob)
    assert capped.sum() == pytest.approx(1)
    assert capped.max() <= OOD_CAP + 1e-12
    assert (np.argsort(capped, kind="stable") == np.argsort(class_prob, kind="stable")).all() or np.ptp(class_prob) < 1e-6


@given(SHARE, SHARE)
def test_two_numbers_are_written_apart(value: float, limit: float) -> None:
    first, second = format_apart(value, limit)
    if value < limit and limit - value > 1e-15:
        assert float(first) < float(second)
