"""How do the scores of finished runs get into the documents from the command line?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bts.apps.run import DONE, OneLineParser
from bts.errors import RequestError

if TYPE_CHECKING:
    from bts.evaluation.recipes_table import Measured, Recipe

FOLDER = Path("configs") / "recipes"
"""Where the settings files of the recipes lie in a clone."""


def command(argv: Sequence[str]) -> int:
    """Write the tables of finished runs into the documents and return the exit status."""
    parser = OneLineParser(
        prog="bts results",
        description="Write the test scores of finished runs, cross-validations or reports into docs/results.md and README.md.",
    )
    parser.add_argument(
        "runs",
        nargs="*",
        type=Path,
        metavar="RUN",
        help="folders with scores; README.md takes each score from the first that has it",
    )
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"), metavar="FILE", help="[docs/results.md]")
    parser.add_argument("--readme", type=Path, default=None, metavar="FILE", help="the short table too, into this file")
    parser.add_argument(
        "--benchmark",
        nargs="+",
        type=Path,
        default=[],
        metavar="FOLDER",
        help="folders of `bts benchmark`: the tables of the recipes, here, on their pages and with --readme",
    )
    options = parser.parse_args(argv)
    if not options.runs and not options.benchmark:
        raise RequestError("expected folders with scores, such as runs/cls/TIME, or --benchmark FOLDER")
    if options.readme is not None and not options.runs:
        raise RequestError("--readme: the short table needs the runs that it is made of, in front of --benchmark")
    from bts.evaluation.anchors import beside_others
    from bts.evaluation.recipes_table import leak_rows
    from bts.evaluation.results_page import BESIDE, fill, has_markers, long_table, read_finished, short_table

    runs = [read_finished(path) for path in options.runs]
    recipes, measured = read_recipes(), read_benchmarks(options.benchmark)
    if runs:
        fill(options.out, long_table(runs))
    if runs and has_markers(options.out, BESIDE):
        fill(options.out, beside_others([*runs, *(done for each in measured.values() for done in each.done)]), BESIDE)
    if measured:
        write_recipes(options.out, recipes, measured)
    print(f"{len(runs) + len(measured)} results are in {options.out}")
    if options.readme is not None:
        fill(options.readme, "\n\n".join(filter(None, [short_table(runs), leak_rows(recipes, measured)])))
        print(f"the short table is in {options.readme}")
    return DONE


def read_recipes() -> list[Recipe]:
    """Return the recipes of this clone, in the order of their names; none where it has no `configs/recipes`."""
    from bts.apps.recipe_files import read_recipe
    from bts.evaluation.recipes_table import Recipe, read_head
    from bts.training.resolved import flat_settings

    found = []
    for file in sorted(FOLDER.glob("*.yaml")):
        task, settings = read_recipe(file, [])
        published, gap = read_head(file)
        found.append(Recipe(file.stem, task, published, gap, flat_settings(settings)))
    return found


def read_benchmarks(folders: Sequence[Path]) -> dict[str, Measured]:
    """Return what the benchmarks measured, by recipe; the first folder that has one counts."""
    from bts.evaluation.recipes_table import read_benchmark

    found: dict[str, Measured] = {}
    for folder in folders:
        found = read_benchmark(folder) | found
    return found


def write_recipes(out: Path, recipes: Sequence[Recipe], measured: Mapping[str, Measured]) -> None:
    """Write the table of all recipes into the document, and its rows into the recipes' own pages."""
    from bts.evaluation.recipes_table import OURS, RECIPES, recipes_table
    from bts.evaluation.results_page import fill, has_markers

    if has_markers(out, RECIPES):
        fill(out, recipes_table(recipes, measured), RECIPES)
    for page in sorted((out.parent / "recipes").glob("*.md")):
        own = [each for each in recipes if each.name.startswith(page.stem)]
        if own and has_markers(page, OURS):
            fill(page, recipes_table(own, measured), OURS)
