"""Chart of class scores: same numbers as the tables, none where undefined."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_tables import made_cases
from sklearn.metrics import precision_recall_fscore_support

from bts.evaluation.scores import summarise
from bts.report.charts import draw_class_scores


def test_the_chart_holds_precision_recall_and_f1_of_each_class(tmp_path: Path) -> None:
    cases = made_cases()
    scores = summarise(cases, draws=20)["classification"]["slice"]["class"]
    panel = draw_class_scores(tmp_path, scores, about="made")
    labels = list(scores)
    expected = precision_recall_fscore_support(cases["label"], cases["predicted"], labels=labels, zero_division=0)
    for number, key in enumerate(("precision", "recall", "f1")):
        for place, label in enumerate(labels):
            value, low, high = panel.data[label][key]
            assert value == pytest.approx(expected[number][place])
            assert low <= value <= high
    assert (tmp_path / "class_scores.png").stat().st_size > 1000
    assert "scores of each class" in panel.svg


def test_a_class_without_a_slice_keeps_its_line_and_has_no_score(tmp_path: Path) -> None:
    scores = summarise(made_cases(), draws=20)["classification"]["slice"]["class"]
    nobody = scores | {"abscess": dict.fromkeys(scores["glioma"])}
    assert draw_class_scores(tmp_path, nobody, about="made").data["abscess"] == {}
