"""Charts of classes: same numbers as the tables, and no score, curve or chart where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_models import make_card
from made_tables import CLASSES, made_cases
from sklearn.metrics import precision_recall_fscore_support

from bts.evaluation.scores import summarise
from bts.report.charts import draw_class_scores, draw_dice
from bts.report.gallery import Tile
from bts.report.publish import Extras, publish
from bts.report.report import new_evaluated


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


def test_the_legend_is_complete_where_the_first_class_has_no_score(tmp_path: Path) -> None:
    scores = summarise(made_cases(), draws=20)["classification"]["slice"]["class"]
    nobody = {"abscess": dict.fromkeys(scores["glioma"])} | scores
    svg = draw_class_scores(tmp_path, nobody, about="made").svg
    assert [name for name in ("precision", "recall", "F1") if f">{name}<" not in svg] == []


def test_slices_of_one_class_have_no_roc_and_the_page_says_so(tmp_path: Path) -> None:
    cases = made_cases()
    only = cases[cases["label"] == "glioma"].reset_index(drop=True)
    found = new_evaluated("made", only, [make_card("joint", classes=CLASSES)], seed=0, draws=20)
    found.folders = ["made"]
    publish(found, tmp_path, Extras(lambda wanted: {path: Tile(path, "made", "data:,") for path in wanted["path"]}))
    assert {"roc", "precision_recall"} & found.panels.keys() == set()
    assert not (tmp_path / "roc.png").exists()
    assert "confusion" in found.panels
    assert "All slices are of one class, so there are no ROC" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_the_dice_of_slices_without_a_class_is_drawn(tmp_path: Path) -> None:
    cases = made_cases().assign(label=None)
    panel = draw_dice(tmp_path, cases, about="made")
    assert panel.data["unknown"].sum() == (cases["truth_area_px"] > 0).sum()
