"""The report: self-contained page, numbers in JSON, charts, and refusals."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made_runs import made_run, write_made_model

from bts.data.split import Split
from bts.errors import RequestError
from bts.evaluation.subject import Request
from bts.models.folder import read_card
from bts.report.evaluated import Evaluated
from bts.report.report import write_report
from bts.runs import Run
from bts.training.run_data import read_run


@pytest.fixture(scope="module")
def runs(finished_runs: Any) -> dict[str, Run]:
    return {task: finished_runs[task] for task in ("seg", "cls")}


@pytest.fixture(scope="module")
def report(runs: dict[str, Run], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evaluated]:
    out = tmp_path_factory.mktemp("out") / "report"
    models: Any = {task: run.path for task, run in runs.items()}
    return out, write_report(Request(models=models, device="cpu", draws=200), out)


class Page(HTMLParser):
    """Collects what a page would fetch, its open tags and its table cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.cells: list[str] = []
        self.tags: list[str] = []
        self.scripts = 0
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in ("meta", "img", "br", "link"):
            self.tags.append(tag)
        if tag == "td":
            self.cells.append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        assert self.tags.pop() == tag
        self._in_cell = self._in_cell and tag != "td"

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.cells[-1] += data + " "


def numbers_in(value: object) -> set[str]:
    """Every number of a JSON value, as a page would print it with one and with three decimals, or whole."""
    if isinstance(value, dict):
        return set().union(*map(numbers_in, value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*map(numbers_in, value)) if value else set()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return set()
    return {f"{value:.3f}", f"{value:.1f}", str(value)}


def test_the_page_needs_no_other_file_and_no_script(report: tuple[Path, Evaluated]) -> None:
    out, _ = report
    text = (out / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.scripts == 0
    assert page.tags == []
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert not re.search(r"url\((?!#)|@import|https?://(?!www\.w3\.org)", text)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_every_number_in_a_table_of_the_page_stands_in_the_json(report: tuple[Path, Evaluated]) -> None:
    out, _ = report
    page = Page((out / "index.html").read_text(encoding="utf-8"))
    known = numbers_in(json.loads((out / "metrics.json").read_text(encoding="utf-8")))
    shown = [number for cell in page.cells for number in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w%])", cell)]
    assert len(shown) > 200
    missing = {number for number in shown if number not in known}
    assert missing - {"0.5", "15", "2", "0"} == set()  # thresholds and bins in a row's own name


def test_the_headline_comes_first_with_patients_and_slices(report: tuple[Path, Evaluated]) -> None:
    out, found = report
    text = (out / "index.html").read_text(encoding="utf-8")
    assert text.index("Dice, mean over slices") < text.index("<h2>")
    assert text.index("synthetic phantoms") < text.index("<h2>")
    assert "at most 2 batches per epoch" in text
    assert f"{found.summary['n_slices']} slices of {found.summary['n_patients']} patients" in text


def test_every_chart_is_on_the_page_and_a_png(report: tuple[Path, Evaluated]) -> None:
    out, found = report
    text = (out / "index.html").read_text(encoding="utf-8")
    assert {
        "confusion",
        "class_scores",
        "roc",
        "precision_recall",
        "reliability",
        "risk_coverage",
        "confidence",
        "dice",
        "split",
    } <= set(found.panels)
    assert text.count("<svg") == len(found.panels)
    assert all((out / f"{name}.png").stat().st_size > 1000 for name in found.panels)
    assert "currentColor" in text


def test_the_worst_masks_and_every_misclassified_patient_are_shown(report: tuple[Path, Evaluated]) -> None:
    out, found = report
    patients = pd.read_csv(out / "patients.csv")
    assert len(found.misclassified) == (~patients["right"]).sum() > 0
    imperfect = found.cases[found.cases["dice"] < 1]
    assert len(found.worst) == min(24, len(imperfect))
    assert found.worst[0].path in set(imperfect.loc[imperfect["dice"] == imperfect["dice"].min(), "path"])
    assert (out / "index.html").read_text().count("<img") == len(found.worst) + len(found.changed) + sum(
        len(one.tiles) for one in found.misclassified
    )


def test_the_csv_has_every_test_slice(report: tuple[Path, Evaluated], runs: dict[str, Run]) -> None:
    out, _ = report
    wanted = [row.path for row in Split.read(runs["seg"].split_file).part("test")]
    assert list(pd.read_csv(out / "slices.csv")["path"]) == wanted


def test_random_weights_are_compared_at_every_depth(report: tuple[Path, Evaluated]) -> None:
    _, found = report
    assert found.randomised is not None
    assert [row.depth for row in found.randomised] == ["head", "a third", "two thirds", "all layers"]
    layers = [row.layers for row in found.randomised]
    assert layers[0] == 1
    assert layers == sorted(layers)


def test_no_model_and_an_unknown_part_are_refused(tmp_path: Path, runs: dict[str, Run]) -> None:
    with pytest.raises(RequestError, match="no model is named"):
        write_report(Request(models={}), tmp_path)
    with pytest.raises(RequestError, match=r"unknown part 'tset' \(did you mean 'test'\?\)"):
        write_report(Request(models={"seg": runs["seg"].path}, part="tset"), tmp_path)  # type: ignore[arg-type]


def test_a_model_without_a_run_needs_another_set(tmp_path: Path) -> None:
    write_made_model(tmp_path / "alone", "seg", name="alone", classes=[], trained=[], seed=0)
    with pytest.raises(RequestError, match="the model is not in a run folder"):
        write_report(Request(models={"seg": tmp_path / "alone"}), tmp_path / "out")


def test_a_second_model_that_was_trained_on_the_test_patients_is_refused(tmp_path: Path, runs: dict[str, Run]) -> None:
    patients = [row.patient for row in Split.read(runs["seg"].split_file).part("test")]
    other = made_run(tmp_path, "cls", data=Path(read_run(runs["seg"]).source.root))
    write_made_model(other.model, "cls", name="other", classes=["glioma", "meningioma"], trained=patients, seed=0)
    models: Any = {"seg": runs["seg"].path, "cls": other.path}
    with pytest.raises(RequestError, match="patients that 'other' was trained on"):
        write_report(Request(models=models), tmp_path / "out")


def test_another_part_than_test_is_said_on_the_page(tmp_path: Path, runs: dict[str, Run]) -> None:
    found = write_report(Request(models={"seg": runs["seg"].path}, part="val", device="cpu", draws=20), tmp_path)
    assert "part 'val', not the test part" in html.unescape((tmp_path / "index.html").read_text())
    assert "confusion" not in found.panels


def test_a_folder_that_can_not_be_made_is_refused(tmp_path: Path, runs: dict[str, Run]) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RequestError, match="can't be made"):
        write_report(Request(models={"seg": runs["seg"].path}), tmp_path / "file" / "report")


def test_the_mean_of_several_models_is_scored_and_every_one_is_named(mixed_set: Path, tmp_path: Path) -> None:
    runs = [made_run(tmp_path / "runs", "cls", data=mixed_set, name=name, seed=seed) for seed, name in enumerate("ab")]
    found = write_report(Request(models={"cls": [run.path for run in runs]}, device="cpu", draws=20), tmp_path / "report")
    assert found.title == "Classification by an ensemble of 2 models on the test part of synthetic phantoms"
    page = html.unescape((tmp_path / "report" / "index.html").read_text())
    assert "cls/a" in page
    assert "cls/b" in page


def test_an_ensemble_is_not_scored_on_a_patient_that_one_of_its_models_was_trained_on(mixed_set: Path, tmp_path: Path) -> None:
    first, second = (made_run(tmp_path, "cls", data=mixed_set, name=name) for name in "ab")
    split = Split.read(first.split_file)
    of_test = [row.patient for row in split.part("test")]
    classes = read_card(first.model).classes
    write_made_model(second.model, "cls", name="cls/b", classes=classes, trained=of_test, seed=1)
    with pytest.raises(RequestError, match="that 'cls/b' was trained on"):
        write_report(Request(models={"cls": [first.path, second.path]}, device="cpu"), tmp_path / "report")
