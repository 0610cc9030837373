"""How do the scores of finished runs get into the documents from the command line?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bts.apps.run import DONE, OneLineParser
from bts.errors import RequestError

if TYPE_CHECKING:
    from bts.evaluation.finished import Finished
    from tools.recipes_table import Measured, Recipe

FOLDER = Path("configs") / "recipes"
"""Where the settings files of the recipes lie in a clone."""


def command(argv: Sequence[str]) -> int:
    """Write the tables of finished runs into the documents and return the exit status."""
    parser = OneLineParser(
        prog="python -m tools results",
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
    parser.add_argument("--add", action="store_true", help="keep what the documents say of runs and recipes not named now")
    options = parser.parse_args(argv)
    if not options.runs and not options.benchmark:
        raise RequestError("expected folders with scores, such as runs/cls/TIME, or --benchmark FOLDER")
    from bts.evaluation.finished import read_finished

    runs = [read_finished(path) for path in options.runs]
    recipes, measured = read_recipes(), read_benchmarks(options.benchmark)
    write_runs(options.out, runs, {name: each.done for name, each in measured.items()}, add=options.add)
    if measured:
        write_recipes(options.out, recipes, measured, add=options.add)
    print(f"{len(runs) + len(measured)} results are in {options.out}")
    if options.readme is not None:
        write_readme(options.readme, runs, recipes, measured, add=options.add)
    return DONE


def write_runs(out: Path, runs: Sequence[Finished], of_recipes: Mapping[str, Sequence[Finished]], *, add: bool) -> None:
    """Write the section of every run, and what runs and recipes score beside others."""
    from tools.anchors import beside_others
    from tools.results_kept import keep_lines, keep_sections
    from tools.results_page import BESIDE, block_of, fill, has_markers, long_table

    if runs:
        table = long_table(runs)
        fill(out, keep_sections(block_of(out), table) if add else table)
    if (runs or of_recipes) and has_markers(out, BESIDE):
        table = beside_others(runs, of_recipes)
        fill(out, keep_lines(block_of(out, BESIDE), table) if add else table, BESIDE)


def write_readme(
    path: Path, runs: Sequence[Finished], recipes: Sequence[Recipe], measured: Mapping[str, Measured], *, add: bool
) -> None:
    """Write the short table of the runs, and what a leaking split is worth, each where the document has a place for it."""
    from tools.recipes_table import LEAKS, leak_rows
    from tools.results_kept import keep_rows
    from tools.results_page import block_of, fill, has_markers, short_table

    if runs:
        fill(path, short_table(runs))
    if measured and has_markers(path, LEAKS):
        table = leak_rows(recipes, measured)
        fill(path, keep_rows(block_of(path, LEAKS), table) if add else table, LEAKS)
    print(f"the short tables are in {path}")


def read_recipes() -> list[Recipe]:
    """Return the recipes of this clone, in the order of their names; none where it has no `configs/recipes`."""
    from bts.apps.recipe_files import read_recipe
    from bts.training.run_data import flat_settings
    from tools.recipes_table import Recipe, read_head

    found = []
    for file in sorted(FOLDER.glob("*.yaml")):
        task, settings = read_recipe(file, [])
        published, gap = read_head(file)
        found.append(Recipe(file.stem, task, published, gap, flat_settings(settings)))
    return found


def read_benchmarks(folders: Sequence[Path]) -> dict[str, Measured]:
    """Return what the benchmarks measured, by recipe; the first folder that has one counts."""
    from tools.recipes_table import read_benchmark

    found: dict[str, Measured] = {}
    for folder in folders:
        found = read_benchmark(folder) | found
    return found


def write_recipes(out: Path, recipes: Sequence[Recipe], measured: Mapping[str, Measured], *, add: bool) -> None:
    """Write the table of all recipes into the document, and its rows into the recipes' own pages."""
    from tools.recipes_table import OURS, RECIPES, recipes_table
    from tools.results_kept import keep_lines
    from tools.results_page import block_of, fill, has_markers

    def write(page: Path, some: Sequence[Recipe], name: str) -> None:
        table = recipes_table(some, measured)
        now = {f"`{each}`" for each in measured}
        fill(page, keep_lines(block_of(page, name), table, measured=now) if add else table, name)

    if has_markers(out, RECIPES):
        write(out, recipes, RECIPES)
    for page in sorted((out.parent / "recipes").glob("*.md")):
        own = [each for each in recipes if each.name.startswith(page.stem)]
        if own and has_markers(page, OURS):
            write(page, own, OURS)
