"""Confounding of class and publisher: the table, the rule, the probe, and the refusal of a training."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from audit_files import phantom_pictures
from PIL import Image

from bts.apps import cli, train
from bts.audit.confounding import cramers_v, find_confounding, with_probe
from bts.audit.gate import check_confounding
from bts.data.sources.base import Record
from bts.data.sources.catalogue import open_source
from bts.data.split_making import make_split
from bts.errors import RequestError
from bts.experiments.finish import recorded_confounding
from bts.progress import Phase
from bts.runs import Run
from bts.settings import ClsSettings
from bts.training.run_data import RunData


def records(**counts: dict[str, int]) -> list[Record]:
    """Return records by class and publisher."""
    return [
        Record(path=f"{label}{publisher}{i}", label=label, source=publisher)
        for label, some in counts.items()
        for publisher, count in some.items()
        for i in range(count)
    ]


@pytest.mark.parametrize(
    ("counts", "single"),
    [
        ({"glioma": {"a": 20}, "no_tumour": {"b": 10, "c": 10}}, {"glioma": "a"}),
        ({"glioma": {"a": 20}, "no_tumour": {"b": 20}}, {"glioma": "a", "no_tumour": "b"}),
        ({"glioma": {"a": 20}, "no_tumour": {"a": 20}}, {}),
        ({"glioma": {"a": 10, "b": 10}, "no_tumour": {"a": 3, "b": 10}}, {}),
        ({"glioma": {"a": 96, "b": 4}, "no_tumour": {"b": 50, "a": 50}}, {"glioma": "a"}),
        ({"glioma": {"a": 95, "b": 5}, "no_tumour": {"b": 50, "a": 50}}, {}),
        ({"glioma": {"a": 100}, "no_tumour": {"a": 96, "b": 4}}, {}),
    ],
)
def test_a_class_of_one_publisher_is_found_if_another_class_comes_from_elsewhere(
    counts: dict[str, dict[str, int]], single: dict[str, str]
) -> None:
    assert find_confounding(records(**counts), "set").single == single


def test_a_set_that_names_no_publishers_has_one_and_no_finding() -> None:
    found = find_confounding([Record(path=str(i), label=label) for i, label in enumerate(("glioma", "no_tumour") * 9)], "set")
    assert (found.publishers, found.single, list(found.lines()), found.cramers_v) == (["set"], {}, [], None)


def test_cramers_v_is_1_where_the_publisher_determines_the_class_and_0_where_they_are_independent() -> None:
    apart = find_confounding(records(glioma={"a": 40}, no_tumour={"b": 60}), "set")
    assert apart.cramers_v == pytest.approx(1)
    assert apart.tumour_v == pytest.approx(1)
    assert find_confounding(records(glioma={"a": 20, "b": 30}, no_tumour={"a": 20, "b": 30}), "set").cramers_v == 0


def test_cramers_v_equals_bergsma_s_formula_by_hand() -> None:
    counts = find_confounding(records(glioma={"a": 30, "b": 10}, no_tumour={"a": 20, "b": 40}), "set").counts
    squared = 100 * (30 * 40 - 10 * 20) ** 2 / (40 * 60 * 50 * 50) / 100 - 1 / 99
    assert cramers_v(counts) == pytest.approx((squared / (1 - 1 / 99)) ** 0.5)


def write_set(folder: Path, *, classes: dict[str, str]) -> Path:
    """Write a manifest of 32 pictures: of publisher `wide` with a broad margin, of `tight` without; `classes` by publisher."""
    lines = ["path,label,patient_id,source"]
    for i, picture in enumerate((*phantom_pictures(), *(image[:, ::-1] for image in phantom_pictures()))):
        publisher = ("wide", "tight")[i % 2]
        rng = np.random.default_rng(i)
        image = np.pad(picture, 40) if publisher == "wide" else picture
        image = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{i}.png")
        label = classes.get(publisher) or ("glioma", "no_tumour")[i // 2 % 2]
        lines.append(f"{i}.png,{label},p{i % 16},{publisher}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_a_margin_gives_the_publisher_away_and_equal_pictures_do_not(tmp_path: Path) -> None:
    source = open_source("manifest", write_set(tmp_path, classes={}))
    found = with_probe(find_confounding(source.records(), "set"), source, source.records())
    scores = {one.properties: one for one in found.probe if one.publisher == "mean"}
    assert list(scores) == ["frame", "size", "sharpness", "histogram", "all"]
    assert scores["size"].auc == 1
    assert scores["frame"].auc > 0.95
    assert scores["size"].n_slices == 32
    assert scores["size"].n_patients == 16
    other = [Record(r.path, r.label, r.patient, source=("x", "y")[int(r.path[:-4]) // 2 % 2]) for r in source.records()]
    unrelated = with_probe(find_confounding(other, "set"), source, other)
    chance = next(one for one in unrelated.probe if (one.properties, one.publisher) == ("size", "mean"))
    assert chance.low < 0.5 < chance.high or chance.auc < 0.5


def test_no_probe_without_two_patients_of_each_publisher(tmp_path: Path) -> None:
    source = open_source("manifest", write_set(tmp_path, classes={}))
    few = [record for record in source.records() if record.source == "wide" or record.patient == "p1"]
    assert with_probe(find_confounding(few, "set"), source, few).probe == ()


APART = {"wide": "glioma", "tight": "no_tumour"}


def test_training_refuses_a_manifest_in_which_class_and_publisher_coincide(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_set(tmp_path, classes=APART)
    arguments = ["--data.source", "manifest", "--data.root", str(tmp_path), "--runs", str(tmp_path / "runs")]
    arguments += ["--model.weights", "none", "--model.encoder", "test_resnet", "--data.cache", ""]
    assert train.main("cls", arguments) == 2
    error = capsys.readouterr().err
    assert "glioma from wide alone; no_tumour from tight alone" in error
    assert "add slices of these classes from a second publisher" in error
    assert "--split.confounding allow" in error
    assert error.count("\n") == 1
    assert not list((tmp_path / "runs").glob("cls/*"))


def test_confounding_can_be_allowed_and_the_log_says_so_with_the_mitigation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = open_source("manifest", write_set(tmp_path, classes=APART))
    settings = ClsSettings()
    split, _ = make_split(source.records(), settings.split)
    with pytest.raises(RequestError, match="class and publisher coincide"):
        check_confounding(source, split, settings)
    settings.augment.remove_tumour = 0.3
    with pytest.raises(RequestError, match="class and publisher coincide"):
        check_confounding(source, split, settings)
    settings.split.confounding = "allow"
    with caplog.at_level(logging.INFO, logger="bts.audit"):
        check_confounding(source, split, settings)
    assert "remove_tumour 0.3, paste_tumour 0" in caplog.text
    assert "Cramér's V of publisher and class 1.00" in caplog.text


def test_the_audit_reports_confounding_in_text_tables_and_page_and_names_each_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], phases: list[Phase]
) -> None:
    out = tmp_path / "out"
    assert cli.main(["audit", str(write_set(tmp_path, classes=APART)), "--out", str(out)]) == 1
    steps = ["finding heads", "describing images", "searching for candidates", "aligning candidates"]
    names = [phase.name for phase in phases]
    assert names[:3] == ["starting", "auditing", "reading"]  # the second is open to the end
    assert [name for name in dict.fromkeys(names) if name in steps] == steps
    said = "".join(capsys.readouterr())
    assert "CONFOUNDED: class and publisher coincide (manifest: glioma from wide alone; no_tumour from tight alone)" in said
    assert "CONFOUNDED" in (out / "index.html").read_text(encoding="utf-8")
    rows = (out / "publishers.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "set,label,publisher,slices,alone"
    assert "manifest,glioma,wide,16,True" in rows
    assert (
        (out / "probe.csv").read_text(encoding="utf-8").startswith("set,properties,publisher,auc,low,high,n_slices,n_patients")
    )
    assert json.loads((out / "audit.json").read_text(encoding="utf-8"))["confounded"] is True


def test_a_finished_run_records_the_finding_for_its_card_and_its_scores(tmp_path: Path) -> None:
    source = open_source("manifest", write_set(tmp_path, classes=APART))
    split, _ = make_split(source.records(), ClsSettings().split)
    settings = {"augment": {"remove_tumour": 0.25, "paste_tumour": 0.5}}
    text = recorded_confounding(RunData(Run(tmp_path / "run"), settings, source, split))
    assert "glioma from wide alone; no_tumour from tight alone" in text
    assert "remove_tumour 0.25, paste_tumour 0.5" in text
