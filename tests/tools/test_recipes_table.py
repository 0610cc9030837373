"""Do the recipes' rows come from recipe files and benchmarks alone, each column from the split it is named after?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from test_compare import written
from test_score_tables import made_cases

from bts.errors import RequestError
from bts.evaluation.finished import Finished, measured_on, read_finished
from bts.experiments.gap import find_gaps, gap_rows, make_side
from tools import __main__ as tools_main
from tools import results_command as results
from tools.anchors import ANCHORS, beside_others
from tools.recipes_table import (
    LEAKS,
    OURS,
    RECIPES,
    Measured,
    Recipe,
    leak_rows,
    read_benchmark,
    read_head,
    recipes_table,
    shortened,
)
from tools.results_kept import NOT_YET, keep_lines
from tools.results_page import BESIDE, RESULTS, markers

SHIPPED = {
    "data.size": 224,
    "optim.epochs": 30,
    "model.weights": "imagenet",
    "trainer.limit_batches": None,
    "split.kind": "published",
}
HEAD_ROWS = "| recipe | published |\n|---|---|"
RECIPE = Recipe("one", "cls", "accuracy 0.979", "rates are ours", SHIPPED)


def used(**changes: Any) -> dict[str, Any]:
    """Settings of a run, nested, as the recipe's but for some."""
    flat = (
        SHIPPED
        | {"data.root": "elsewhere", "split.leaks": "allow"}
        | {key.replace("__", "."): value for key, value in changes.items()}
    )
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        group, _, name = key.partition(".")
        nested.setdefault(group, {})[name] = value
    return nested


def done_with(settings: dict[str, Any], tmp_path: Path, *, source: str = "folders") -> Finished:
    """A finished run with made scores and these settings."""
    found = read_finished(written(tmp_path, made_cases()))
    settings = settings | {"data": settings["data"] | {"source": source}}
    return replace(found, settings=settings, summary=found.summary | {"synthetic": False}, card=None)


def made_benchmark(folder: Path) -> Path:
    """A folder of `bts benchmark --by-patient` for the recipe `one`, without a training."""
    cases = made_cases()
    for side in ("published", "by_patient"):
        run = written(folder / side / "one" / "cls" / "time", cases)
        (run / "finished.json").write_text("{}")
    patients = dict(zip(cases["path"], cases["family"], strict=True))
    sides = [make_side(cases, patients, seed=seed) for seed in (0, 1)]
    classes_first = sorted(find_gaps(*sides), key=lambda gap: gap.score != "accuracy per slice")
    gap_rows({"one": classes_first}).to_csv(folder / "benchmark.csv", index=False)
    return folder


def test_a_recipe_without_a_run_says_so_and_one_without_a_published_split_too() -> None:
    row = recipes_table([RECIPE], {}).splitlines()[2]
    assert row.count(NOT_YET) == 2
    assert "| accuracy 0.979 |" in row
    assert row.endswith("| rates are ours |")
    own_split = replace(RECIPE, settings=SHIPPED | {"split.kind": "ratios"})
    assert "| none is published |" in recipes_table([own_split], {}).splitlines()[2]


def test_both_columns_and_the_gap_come_from_the_benchmark(tmp_path: Path) -> None:
    found = read_benchmark(made_benchmark(tmp_path))
    rows = pd.read_csv(tmp_path / "benchmark.csv")
    one = found["one"]
    assert one.published is not None
    assert one.by_patient is not None
    assert one.gap is not None
    assert one.published.value == pytest.approx(made_cases()["right"].mean())
    assert (one.published.n_slices, one.published.n_patients) == (120, 27)
    assert one.gap.low == pytest.approx(rows["gap_low"][0])
    assert len(one.done) == 2
    row = recipes_table([RECIPE], found).splitlines()[2]
    assert f"{one.by_patient.text()}, 120 slices of 27 patients" in row
    assert one.gap.text() in leak_rows([RECIPE], found)
    assert leak_rows([RECIPE], {}) == ""


def test_a_run_alone_counts_for_the_column_that_its_split_allows(tmp_path: Path) -> None:
    from tools.recipes_table import _alone

    leaky = _alone([done_with(used(), tmp_path / "a")])
    assert (leaky.published is None, leaky.by_patient is None) == (False, True)
    honest = _alone([done_with(used(split__leaks="refuse"), tmp_path / "b")])
    assert (honest.published is None, honest.by_patient is None) == (True, False)


def test_a_shortening_is_told_by_what_differs_from_the_recipe(tmp_path: Path) -> None:
    whole = Measured(None, None, None, (done_with(used(), tmp_path / "a"),))
    assert shortened(RECIPE, whole) == "as the recipe"
    short = used(data__size=128, optim__epochs=3, model__weights="x/net.safetensors", trainer__limit_batches=60)
    told = shortened(RECIPE, Measured(None, None, None, (done_with(short, tmp_path / "b"),)))
    assert told == "128 px, not 224; 3 epochs, not 30; weights of net.safetensors; at most 60 batches an epoch"
    once = Measured(None, None, None, (done_with(used(optim__epochs=1), tmp_path / "c"),))
    assert shortened(RECIPE, once) == "1 epoch, not 30"
    assert shortened(RECIPE, None) == "–"


def test_a_recipe_must_say_what_was_published_and_what_differs(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text("# Recipe: one\n# Published: accuracy 0.9\n# Gap: rates: ours\nseed: 1\n")
    assert read_head(file) == ("accuracy 0.9", "rates: ours")
    file.write_text("# Recipe: one\n# Published: accuracy 0.9\n")
    with pytest.raises(RequestError, match=r"one\.yaml: no line '# Gap: \.\.\.' in its head"):
        read_head(file)


def test_every_shipped_recipe_has_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", Path(__file__).parents[2] / "configs" / "recipes")
    recipes = results.read_recipes()
    assert len(recipes) == len(list(results.FOLDER.glob("*.yaml"))) == len(recipes_table(recipes, {}).splitlines()) - 2


def test_the_command_fills_page_recipe_pages_and_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "read_recipes", lambda: [RECIPE])
    bench, report = made_benchmark(tmp_path / "bench"), written(tmp_path / "report", made_cases())
    pages = {
        "results.md": (RESULTS, RECIPES),
        "recipes/one.md": (OURS,),
        "recipes/two.md": (OURS,),
        "readme.md": (RESULTS, LEAKS),
    }
    (tmp_path / "recipes").mkdir()
    for name, blocks in pages.items():
        (tmp_path / name).write_text("\n".join(line for block in blocks for line in markers(block)))
    out, readme = str(tmp_path / "results.md"), str(tmp_path / "readme.md")
    assert tools_main.main(["results", str(report), "--benchmark", str(bench), "--out", out, "--readme", readme]) == 0
    assert "| `one` |" in Path(out).read_text()
    assert "| `one` |" in (tmp_path / "recipes" / "one.md").read_text()
    assert "| `one` |" not in (tmp_path / "recipes" / "two.md").read_text()
    assert "what a leaking split is worth" in Path(readme).read_text()
    assert "on patients never seen | score" in Path(readme).read_text()


def test_what_is_not_measured_now_stays_where_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "read_recipes", lambda: [RECIPE])
    page = tmp_path / "results.md"
    page.write_text("\n".join(line for block in (RESULTS, RECIPES, BESIDE) for line in markers(block)))
    bench = made_benchmark(tmp_path / "bench")
    first, second = (written(tmp_path / name, made_cases()) for name in ("first", "second"))
    assert tools_main.main(["results", str(first), "--benchmark", str(bench), "--out", str(page)]) == 0
    row = next(line for line in page.read_text().splitlines() if line.startswith("| `one` |"))
    assert tools_main.main(["results", str(second), "--out", str(page), "--add"]) == 0
    assert row in page.read_text()
    assert page.read_text().index("### second") < page.read_text().index("### first")
    assert tools_main.main(["results", str(second), "--out", str(page)]) == 0
    assert "### first" not in page.read_text()


def test_a_line_measured_on_one_side_now_takes_no_side_from_before() -> None:
    before = f"{HEAD_ROWS}\n| `one` | said | accuracy | 0.5 | 0.6 | – | short | old |"
    now = f"{HEAD_ROWS}\n| `one` | said | accuracy | {NOT_YET} | 0.8 | – | long | new |"
    assert keep_lines(before, now, measured={"`one`"}) == now
    assert keep_lines(before, now, measured=set()).endswith("| 0.5 | 0.6 | – | short | new |")


def test_a_line_of_pooled_folds_stays_where_a_single_split_was_measured_now() -> None:
    pooled, again = (
        "| a | 0.9 | 209 patients, every fold once (cvind, 5) | no |",
        "| a | 0.8 | every fold once (folds, 3) | no |",
    )
    single = "| a | 0.95 | 31 patients, split `ratios` | yes |"
    assert keep_lines(pooled, single) == pooled
    assert keep_lines(pooled, again) == again
    assert keep_lines(single, pooled) == pooled


def test_the_leaks_of_recipes_not_named_now_stay_on_the_first_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "read_recipes", lambda: [RECIPE])
    page, readme = tmp_path / "results.md", tmp_path / "README.md"
    page.write_text("\n".join(markers(RECIPES)))
    other = "| `another`, accuracy per slice | 0.9 | 0.8 | 0.1 |"
    start, end = markers(LEAKS)
    readme.write_text(f"{start}\n| what a leaking split is worth |\n|---|\n{other}\n{end}")
    bench = made_benchmark(tmp_path / "bench")
    named = ["results", "--benchmark", str(bench), "--out", str(page), "--readme", str(readme)]
    assert tools_main.main([*named, "--add"]) == 0
    rows = [line for line in readme.read_text().splitlines() if line.startswith("| `")]
    assert rows[0] == other
    assert rows[1].startswith("| `one`")
    assert tools_main.main(named) == 0
    assert other not in readme.read_text()


def test_a_line_beside_others_comes_from_the_recipe_that_it_names(tmp_path: Path) -> None:
    done = done_with(used(split__leaks="refuse"), tmp_path / "run", source="brisc")
    line = "BRISC: accuracy per slice, by patient"
    named = {anchor.recipe for anchor in ANCHORS if anchor.name == line}
    assert named == {"brisc_resnet18_cls"}
    tables = {name: beside_others([], {name: [done]}) for name in ("brisc_resnet18_cls", "another")}
    rows = {name: next(row for row in table.splitlines() if row.startswith(f"| {line}")) for name, table in tables.items()}
    assert "not measured yet" in rows["another"]
    assert "not measured yet" not in rows["brisc_resnet18_cls"]


def test_every_recipe_beside_others_exists() -> None:
    shipped = {file.stem for file in (Path(__file__).parents[2] / "configs" / "recipes").glob("*.yaml")}
    assert {anchor.recipe for anchor in ANCHORS if anchor.recipe} <= shipped


def test_a_folder_without_a_finished_run_and_no_folder_at_all_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RequestError, match="no finished run in it"):
        read_benchmark(tmp_path)
    assert tools_main.main(["results"]) == 2
    assert "expected folders with scores" in capsys.readouterr().err


@pytest.mark.parametrize(("leaks", "split"), [("allow", "published"), ("refuse", "by patient")])
@pytest.mark.parametrize("source", ["folders", "brisc"])
def test_ours_stand_only_in_the_line_of_their_own_split(leaks: str, split: str, source: str, tmp_path: Path) -> None:
    done = done_with(used(split__leaks=leaks), tmp_path / "run", source=source)
    table = beside_others([done]).splitlines()[2:]
    accuracy = done.summary["classification"]["slice"]["overall"]["accuracy"].text()
    filled = {anchor.name for anchor, line in zip(ANCHORS, table, strict=True) if anchor.source and accuracy in line}
    name = {"folders": "Kaggle 7,023", "brisc": "BRISC"}[source]
    assert filled == {f"{name}: accuracy per slice, {'published split' if split == 'published' else split}"}
    assert ("leaks allowed" in measured_on(done)) == (leaks == "allow")
