"""Contract of the metric registry: every registered score is computed, reported and compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_tables import made_cases

from bts.evaluation.counterfactual import KINDS, summarise_counterfactuals
from bts.evaluation.intervals import Interval
from bts.evaluation.metric_registry import GROUPS, METRICS, Metric, Row, find, grouped, headline, register, text_table
from bts.evaluation.scores import summarise
from bts.report.card import headline_table


@pytest.fixture(scope="module")
def cases() -> pd.DataFrame:
    cases = made_cases()
    both = {"cam_energy_hirescam": cases["cam_energy"], "cam_energy_gradcam": cases["cam_energy"].astype(float) ** 2}
    both["refer_across"] = cases["confidence"] < 0.6
    return cases.assign(mask_confidence=0.5, mask_uncertain=np.arange(len(cases)) % 2 == 0, **both)


@pytest.fixture(scope="module")
def summary(cases: pd.DataFrame) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    changed = pd.DataFrame({"kind": np.repeat(list(KINDS), 30), "source": "made", "path": [f"{i}.mat" for i in range(120)]})
    changed["patient"] = [f"p{i % 9}" for i in range(120)]
    for name in ("called_tumour", "with_mask", "right"):
        changed[name] = rng.random(120) < 0.5
    changed["dice"] = rng.random(120)
    return summarise(cases, draws=30) | {"counterfactual": summarise_counterfactuals(changed, {}, draws=30)}


@pytest.mark.parametrize("key", METRICS)
def test_every_metric_is_computed_and_reported_with_its_interval(key: str, summary: dict[str, Any]) -> None:
    metric, score = METRICS[key], find(summary, key)
    assert metric.key == key
    assert metric.better in ("higher", "lower", "")
    assert isinstance(score, Interval)
    assert score.low is not None
    assert score.n_patients > 1
    assert f"{metric.label}  " in f"{text_table(summary)}  "
    assert f"| {metric.label} | {score.text(metric.digits)} | {score.n_patients} |" in headline_table(summary)


@pytest.mark.parametrize("key", [key for key, metric in METRICS.items() if metric.column])
def test_a_column_s_mean_is_the_metric_s_value(key: str, cases: pd.DataFrame, summary: dict[str, Any]) -> None:
    values = pd.to_numeric(cases[METRICS[key].column])
    assert find(summary, key).value == pytest.approx(values.mean())


def test_labels_are_unique_and_rows_keep_the_order_of_the_registry(summary: dict[str, Any]) -> None:
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)
    assert [row.key for row in headline(summary)] == list(METRICS)


def test_a_metric_is_registered_once() -> None:
    with pytest.raises(ValueError, match="registered twice"):
        register(next(iter(METRICS.values())))


def test_a_headline_is_grouped_by_what_is_scored_and_no_row_is_lost():
    rows = [
        Row(Metric(key, key), Interval(0.5, None, None, 1, 1, seed=0, draws=1))
        for key in ("explanation.a", "own.b", "segmentation.c")
    ]
    assert {heading: [row.key for row in own] for heading, own in grouped(rows).items()} == {
        "Masks": ["segmentation.c"],
        "Class activation maps": ["explanation.a"],
        "Others": ["own.b"],
    }
    assert {metric.key.partition(".")[0] for metric in METRICS.values()} == set(GROUPS)
