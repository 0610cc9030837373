"""Tables of results in the documents: sections of runs, comparison with the literature, and tables of recipes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_tables import made_cases, written

from bts.errors import RequestError
from bts.evaluation.intervals import Interval
from bts.evaluation.results import Evaluation, read_evaluation
from tools import __main__ as tools_main
from tools.documents import NOT_MEASURED, markers
from tools.literature import comparison_table, goal_reached, read_literature
from tools.recipes import (
    FOLDER,
    Measured,
    Recipe,
    by_split,
    read_benchmark,
    read_published,
    read_recipes,
    recipes_table,
    shortened,
)
from tools.results import COMPARISON, OURS, RECIPES, RESULTS, section

NAME = "npz_mobilenetv2"
SHIPPED = {
    "data.size": 224,
    "optim.epochs": 30,
    "model.weights": "imagenet",
    "trainer.limit_batches": None,
    "split.kind": "published",
}
RECIPE = Recipe(NAME, "cls", "accuracy 0.979", SHIPPED)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    return read_evaluation(written(tmp_path_factory.mktemp("made") / "report", made_cases()))


def used(**changes: Any) -> dict[str, Any]:
    """Settings of a run, nested: those of the recipe, except for some."""
    flat = SHIPPED | {"data.source": "folders", "data.root": "elsewhere", "split.leaks": "allow"}
    nested: dict[str, Any] = {}
    for key, value in (flat | {key.replace("__", "."): value for key, value in changes.items()}).items():
        group, _, name = key.partition(".")
        nested.setdefault(group, {})[name] = value
    return nested


def with_settings(evaluation: Evaluation, **changes: Any) -> Evaluation:
    return replace(evaluation, settings=used(**changes))


def on_figshare(evaluation: Evaluation, *, synthetic: bool = False, folds: bool = False) -> Evaluation:
    scores = evaluation.scores | {"source": "figshare", "by_fold": [{"fold": 1}] if folds else None}
    return replace(evaluation, scores=scores, summary=evaluation.summary | {"synthetic": synthetic})


def rows_of(table: str) -> dict[str, str]:
    return {line.split(" | ")[0].strip("| "): line for line in table.splitlines()[2:]}


def made_benchmark(folder: Path) -> Path:
    """A folder with two benchmarks of one recipe, on the published split and by patient, without a training."""
    cases = made_cases()
    for side in ("published", "by_patient"):
        run = written(folder / side / NAME / "cls" / "time", cases)
        (run / "finished.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_benchmark(tmp_path_factory.mktemp("benchmark"))


def test_a_section_gives_each_score_with_interval_patients_and_slices(evaluation: Evaluation) -> None:
    text = "\n".join(section(evaluation))
    dice = evaluation.summary["segmentation"]["slice"]["dice"]
    value = f"{dice.value:.3f} | {dice.low:.3f} to {dice.high:.3f} | {dice.n_patients} | {dice.n_slices}"
    assert f"| Dice, mean over slices with a tumour | {value} |" in text
    assert "tested on 120 slices of 27 patients" in text
    assert "20 draws of patients, seed 0" in text
    assert "| glioma |" in text


def test_a_section_of_a_run_gives_network_split_machine_and_operating_point(finished_runs: Any) -> None:
    done = read_evaluation(finished_runs["cls"].path)
    text = "\n".join(section(done))
    assert "resnet50, ImageNet weights, 32 px, at most 30 epochs" in text
    assert "split fingerprint" in text
    assert "- machine: " in text
    assert "operating point, chosen on validation" in text
    assert all(f"**{note}**" in text for note in done.scores["notes"])
    assert done.settings is not None
    leaky = replace(done, settings=done.settings | {"split": done.settings["split"] | {"leaks": "allow"}})
    assert "leaks were allowed" not in text
    assert "**leaks were allowed: the split was not audited**" in "\n".join(section(leaky))


def test_every_published_value_has_a_source_and_every_recipe_exists() -> None:
    rows = read_literature()
    assert rows
    assert all(value.source and value.split for row in rows for value in row.values)
    assert {row.recipe for row in rows if row.recipe} <= {file.stem for file in FOLDER.glob("*.yaml")}


def test_our_score_and_the_missing_points_are_beside_the_published_values(evaluation: Evaluation) -> None:
    done = on_figshare(evaluation)
    rows = rows_of(comparison_table([done]))
    dice = done.summary["segmentation"]["slice"]["dice"]
    assert dice.text() in rows["figshare: Dice per slice"]
    assert f"no, {0.83 - dice.value:.3f} missing" in rows["figshare: Dice per slice"]
    assert "at most 0.01" in rows["healthy slices with a mask drawn"]


def test_a_goal_outside_the_interval_is_reported() -> None:
    row = next(each for each in read_literature() if each.key == "segmentation.healthy_with_mask")
    none = Interval(0.0, 0.0, 0.027, 137, 181, 0, 2000)
    assert goal_reached(none, row) == "yes, but the interval extends to 0.027"
    assert goal_reached(replace(none, high=0.009), row) == "yes"
    assert goal_reached(replace(none, value=0.02), row) == "no, 0.010 missing"


def test_phantoms_and_other_sets_are_not_compared(evaluation: Evaluation) -> None:
    for done in (on_figshare(evaluation, synthetic=True), evaluation):
        assert f"| {NOT_MEASURED} |" in comparison_table([done]).splitlines()[2]


def test_pooled_folds_take_precedence_over_a_single_split(evaluation: Evaluation) -> None:
    single, pooled = on_figshare(evaluation), on_figshare(evaluation, folds=True)
    pooled = replace(pooled, scores=pooled.scores | {"part": "every fold once"})
    assert "every fold once" in comparison_table([single, pooled]).splitlines()[2]


def test_contradictions_without_a_healthy_class_have_their_own_row(evaluation: Evaluation) -> None:
    can = on_figshare(evaluation)
    classes = can.summary["classification"]["slice"]["class"]
    without = can.summary["classification"]["slice"] | {"class": {k: v for k, v in classes.items() if k != "no_tumour"}}
    cannot = replace(can, summary=can.summary | {"classification": can.summary["classification"] | {"slice": without}})
    for done, measured in ((can, (True, False)), (cannot, (False, True))):
        lines = comparison_table([done]).splitlines()
        about = [next(line for line in lines if line.startswith(f"| {text}")) for text in ("mask and class", "the same of")]
        assert tuple(NOT_MEASURED not in line for line in about) == measured


@pytest.mark.parametrize(("leaks", "split"), [("allow", "published split"), ("refuse", "by patient")])
@pytest.mark.parametrize(("source", "name"), [("folders", "Kaggle 7,023"), ("brisc", "BRISC")])
def test_a_score_is_only_in_the_row_of_its_own_split(
    leaks: str, split: str, source: str, name: str, evaluation: Evaluation
) -> None:
    done = with_settings(evaluation, split__leaks=leaks, data__source=source)
    accuracy = done.summary["classification"]["slice"]["overall"]["accuracy"].text()
    lines = zip(read_literature(), comparison_table([done]).splitlines()[2:], strict=True)
    assert {row.name for row, line in lines if row.data and accuracy in line} == {f"{name}: accuracy per slice, {split}"}
    assert ("leaks allowed" in done.sample) == (leaks == "allow")


def test_a_row_is_filled_only_by_the_recipe_that_it_names(evaluation: Evaluation) -> None:
    done = with_settings(evaluation, split__leaks="refuse", data__source="brisc")
    line = "BRISC: accuracy per slice, by patient"
    for name, filled in (("brisc_resnet18_cls", True), ("another", False)):
        assert (NOT_MEASURED not in rows_of(comparison_table([], {name: [done]}))[line]) == filled


def test_a_recipe_without_a_run_and_one_without_a_published_split() -> None:
    row = recipes_table([RECIPE], {}).splitlines()[2]
    assert row.count(NOT_MEASURED) == 2
    assert "| accuracy 0.979 |" in row
    own_split = replace(RECIPE, settings=SHIPPED | {"split.kind": "ratios"})
    assert "| none is published |" in recipes_table([own_split], {}).splitlines()[2]


def test_runs_with_leaks_allowed_and_refused_fill_the_two_columns(benchmark: Path) -> None:
    found = read_benchmark(benchmark)[NAME]
    assert len(found.done) == 2
    both = by_split(
        [with_settings(each, split__leaks=leaks) for each, leaks in zip(found.done, ("allow", "refuse"), strict=True)]
    )
    assert both.published is not None
    assert both.by_patient is not None
    assert both.published.value == pytest.approx(made_cases()["right"].mean())
    assert (both.published.n_slices, both.published.n_patients) == (120, 27)
    assert f"{both.by_patient.text()}, 120 slices of 27 patients" in recipes_table([RECIPE], {NAME: both}).splitlines()[2]


def test_a_single_run_counts_for_the_column_that_its_split_allows(evaluation: Evaluation) -> None:
    leaky = by_split([with_settings(evaluation)])
    assert (leaky.published is None, leaky.by_patient is None) == (False, True)
    honest = by_split([with_settings(evaluation, split__leaks="refuse")])
    assert (honest.published is None, honest.by_patient is None) == (True, False)


def test_the_shortening_is_the_difference_from_the_recipe(evaluation: Evaluation) -> None:
    def of(**changes: Any) -> str:
        return shortened(RECIPE, Measured(None, None, (with_settings(evaluation, **changes),)))

    assert of() == "as the recipe"
    assert (
        of(data__size=128, optim__epochs=3, model__weights="x/net.safetensors", trainer__limit_batches=60)
        == "128 px, not 224; 3 epochs, not 30; weights of net.safetensors; at most 60 batches per epoch"
    )
    assert of(optim__epochs=1) == "1 epoch, not 30"
    assert shortened(RECIPE, None) == "–"


def test_a_recipe_must_state_the_published_figure(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text("# Recipe: one\n# Published: accuracy 0.9\nseed: 1\n")
    assert read_published(file) == "accuracy 0.9"
    file.write_text("# Recipe: one\n")
    with pytest.raises(RequestError, match=r"one\.yaml: no line '# Published: \.\.\.' in its head"):
        read_published(file)


def test_every_shipped_recipe_has_a_row() -> None:
    recipes = read_recipes()
    assert {recipe.name for recipe in recipes} == {file.stem for file in FOLDER.glob("*.yaml")}
    assert len(recipes_table(recipes, {}).splitlines()) - 2 == len(recipes)


def test_the_command_fills_all_documents_and_keeps_what_is_asked_for(tmp_path: Path, benchmark: Path) -> None:
    pages = {
        "results.md": (RESULTS, RECIPES, COMPARISON),
        f"recipes/{NAME}.md": (OURS,),
        "recipes/two.md": (OURS,),
    }
    (tmp_path / "recipes").mkdir()
    for name, blocks in pages.items():
        (tmp_path / name).write_text("\n".join(line for block in blocks for line in markers(block)))
    page = tmp_path / "results.md"
    first, second = (str(written(tmp_path / name, made_cases())) for name in ("first", "second"))
    named = ["results", first, "--benchmark", str(benchmark), "--out", str(page)]
    assert tools_main.main([*named, "--add"]) == 0
    row = next(line for line in page.read_text().splitlines() if line.startswith(f"| `{NAME}` |"))
    assert row in (tmp_path / "recipes" / f"{NAME}.md").read_text()
    assert "| `" not in (tmp_path / "recipes" / "two.md").read_text()
    assert "| published | goal | ours |" in page.read_text()
    assert tools_main.main(["results", second, "--out", str(page), "--add"]) == 0
    text = page.read_text()
    assert row in text
    assert text.index("### second") < text.index("### first")
    assert tools_main.main(["results", second, "--benchmark", str(benchmark), "--out", str(page)]) == 0
    assert "### first" not in page.read_text()


def test_a_folder_without_a_finished_run_and_no_folder_at_all_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RequestError, match="no finished run in it"):
        read_benchmark(tmp_path)
    for arguments, message in ((["results"], "expected folders with scores"), (["results", str(tmp_path)], "no scores in it")):
        assert tools_main.main(arguments) == 2
        assert message in capsys.readouterr().err
