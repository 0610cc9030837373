"""Does the page say how sure the model is of its mask?"""

from __future__ import annotations

import numpy as np
import pytest

from bts.apps.web.views import slice_facts
from bts.data.slice import Slice
from bts.inference.prediction import Prediction


@pytest.mark.parametrize(
    ("confidence", "doubtful", "shown"), [(0.831, True, "0.83, uncertain"), (0.94, False, "0.94"), (0.94, None, "0.94")]
)
def test_the_confidence_of_a_mask_is_shown_and_doubt_is_named(confidence: float, doubtful: bool | None, shown: str) -> None:
    mask = np.eye(8, dtype=bool)
    item = Slice(mask * 1.0, source="file", path="scan.png")
    facts = dict(slice_facts(Prediction(slice=item, mask=mask, mask_confidence=confidence, mask_uncertain=doubtful)))
    assert facts["Confidence of the mask"] == shown


def test_an_empty_mask_has_no_confidence() -> None:
    item = Slice(np.eye(8), source="file", path="scan.png")
    assert "Confidence of the mask" not in dict(slice_facts(Prediction(slice=item, mask=np.zeros((8, 8), bool))))
