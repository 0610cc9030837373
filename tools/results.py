"""Write the scores of finished runs into docs/results.md, README.md and the pages of the recipes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bts.apps.run import DONE, OneLineParser
from bts.errors import RequestError
from bts.evaluation.metric_registry import find, headline
from bts.evaluation.results import Evaluation, read_evaluation
from bts.models.folder import ModelCard
from bts.report.rendering import span, table
from tools.documents import has_block, keep_lines, keep_sections, read_block, write_block
from tools.literature import comparison_table
from tools.recipes import Measured, Recipe, read_benchmark, read_recipes, recipes_table

RESULTS, COMPARISON, RECIPES, OURS = "results", "comparison", "recipes", "ours"
"""Names of generated blocks."""


def command(argv: Sequence[str]) -> int:
    """Write the tables and return the exit status."""
    parser = OneLineParser(
        prog="python -m tools results",
        description="Write the test scores of finished runs, cross-validations or reports into docs/results.md.",
    )
    parser.add_argument(
        "runs",
        nargs="*",
        type=Path,
        metavar="RUN",
        help="folders with scores",
    )
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"), metavar="FILE", help="[docs/results.md]")
    parser.add_argument(
        "--benchmark",
        nargs="+",
        type=Path,
        default=[],
        metavar="FOLDER",
        help="folders of `bts benchmark`: tables of the recipes, here and on their pages",
    )
    parser.add_argument("--add", action="store_true", help="keep what the documents hold of runs and recipes not named now")
    options = parser.parse_args(argv)
    if not options.runs and not options.benchmark:
        raise RequestError("expected folders with scores, such as runs/cls/TIME, or --benchmark FOLDER")
    runs = [read_evaluation(path) for path in options.runs]
    recipes, measured = read_recipes(), read_benchmarks(options.benchmark)
    write_runs(options.out, runs, {name: each.done for name, each in measured.items()}, add=options.add)
    if measured:
        write_recipes(options.out, recipes, measured, add=options.add)
    print(f"{len(runs) + len(measured)} results are in {options.out}")
    return DONE


def read_benchmarks(folders: Sequence[Path]) -> dict[str, Measured]:
    """Return the measurements of benchmarks by recipe; the first folder that has one counts."""
    found: dict[str, Measured] = {}
    for folder in folders:
        found = read_benchmark(folder) | found
    return found


def write_runs(out: Path, runs: Sequence[Evaluation], of_recipes: Mapping[str, Sequence[Evaluation]], *, add: bool) -> None:
    """Write the section of every run, and the comparison with published scores."""
    if runs:
        text = "\n\n".join("\n".join(section(done)) for done in runs)
        write_block(out, keep_sections(read_block(out, RESULTS), text) if add else text, RESULTS)
    if (runs or of_recipes) and has_block(out, COMPARISON):
        text = comparison_table(runs, of_recipes)
        write_block(out, keep_lines(read_block(out, COMPARISON), text) if add else text, COMPARISON)


def write_recipes(out: Path, recipes: Sequence[Recipe], measured: Mapping[str, Measured], *, add: bool) -> None:
    """Write the table of all recipes into the document, and its rows into the recipes' own pages."""
    now = {f"`{each}`" for each in measured}
    pages = [(page, OURS) for page in sorted((out.parent / "recipes").glob("*.md"))]
    for page, name in [(out, RECIPES), *pages]:
        own = [each for each in recipes if name == RECIPES or each.name.startswith(page.stem)]
        if own and has_block(page, name):
            text = recipes_table(own, measured)
            write_block(page, keep_lines(read_block(page, name), text, measured=now) if add else text, name)


def section(done: Evaluation) -> Iterator[str]:
    """Yield the lines of the section of one run."""
    yield f"### {done.title}\n"
    yield table(
        ("score", "value", "95% interval", "patients", "slices"),
        [
            (row.name, f"{row.score.value:.{digits}f}", span(row.score, digits), row.score.counted, row.score.n_slices)
            for row in headline(done.summary)
            for digits in [row.metric.digits]
        ],
    )
    yield from _class_table(done.summary)
    folds = done.scores.get("by_fold")
    if folds:
        cells = [[f"{value:.3f}" if isinstance(value, float) else value for value in row.values()] for row in folds]
        yield "\n" + table(list(folds[0]), cells)
    yield ""
    yield from (f"- {line}" for line in facts(done))


def _class_table(summary: dict[str, Any]) -> Iterator[str]:
    masks, classes = find(summary, "segmentation.class") or {}, find(summary, "classification.slice.class") or {}
    columns = [("Dice", masks, "dice")] if masks else []
    columns += [(name, classes, name.lower()) for name in ("precision", "recall", "F1") if classes]
    rows = [
        (label, *("–" if (cell := group.get(label, {}).get(key)) is None else cell for _, group, key in columns))
        for label in dict.fromkeys([*classes, *masks])
    ]
    if columns:
        yield "\n" + table(("class", *(name for name, _, _ in columns)), rows)


def facts(done: Evaluation) -> Iterator[str]:
    """Yield the facts needed to judge or repeat the scores."""
    yield f"model: {done.recipe}"
    yield f"tested on {done.sample}"
    if done.card is not None and done.settings is not None:
        yield f"split fingerprint {done.scores.get('split_fingerprint')}, seed {done.settings['split']['seed']}"
        yield f"trained on {done.card.trained_on}; model fingerprint {done.card.fingerprint}, seed {done.settings['seed']}"
        yield _operating_point(done.card)
    if done.leaks_allowed:
        yield "**leaks were allowed: the split was not audited**"
    yield f"intervals over {done.summary['draws']} draws of {done.summary['unit']}s, seed {done.summary['seed']}"
    made = done.scores.get("made") or {}
    yield from (f"{name}: {made[name]}" for name in ("machine", "device", "commit", "time", "versions") if made.get(name))
    yield from done.log
    yield from (f"**{line}**" for line in done.scores.get("notes") or [])


def _operating_point(card: ModelCard) -> str:
    point = card.operating_point
    flip = "mean with the mirror image" if point["flip"] else "no mirror image"
    masks = f"mask threshold {point['threshold']:g}, smallest region {point['min_area']:.2%} of the image, "
    return f"operating point, chosen on validation: {masks if card.task != 'cls' else ''}{flip}"
