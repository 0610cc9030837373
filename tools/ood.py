"""Fit the out-of-distribution reference of a run and count what it flags, on real slices and on other images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from bts.apps.audit import open_sets
from bts.apps.run import DONE, OneLineParser
from bts.data.preprocess import Preprocessing
from bts.data.sources.base import Source
from bts.errors import RequestError
from bts.evaluation.ood import FittedReference, fit_to_run, format_reference, part_images
from bts.inference.ood import OodReference
from bts.models.folder import read_card, update_card
from bts.report.rendering import Raw, table
from bts.runs import Run
from bts.training.run_data import RunData, read_run
from tools.documents import write_block
from tools.ood_images import altered_slices, made_images

EPILOG = """
examples:
  python -m tools ood runs/joint/TIME
  python -m tools ood runs/joint/TIME --external brisc:data/brisc --out docs/explanations/out_of_distribution.md
"""
BLOCK = "ood"
Row = tuple[str, int, int]
"""Kind of image, number of images, number of them flagged."""


def command(argv: Sequence[str]) -> int:
    """Write the reference into a run's model, print what it flags, and return the exit status."""
    parser = OneLineParser(
        prog="python -m tools ood",
        description="Fit the out-of-distribution reference of a run, write it into its model folder, and count what it flags: "
        "false alarms on real slices; photographs, noise, screenshots and other images that are no slices.",
        epilog=EPILOG,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--root", metavar="FOLDER", help="where the run's data lies [as the run says]")
    parser.add_argument(
        "--external", action="append", default=[], metavar="SOURCE:FOLDER", help="a set of another publisher; may be repeated"
    )
    parser.add_argument("--slices", type=int, default=100, metavar="N", help="largest number of each kind [100]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of what is drawn [0]")
    parser.add_argument("--out", type=Path, metavar="FILE", help="document with the block 'ood' for the table")
    options = parser.parse_args(argv)
    if options.slices < 1:
        raise RequestError(f"--slices {options.slices}: expected 1 or more")
    external = {each.source.root.name: each.source for each in open_sets(options.external)}
    data = read_run(Run(options.run), root=options.root)
    fitted, found = measure(data, external, slices=options.slices, seed=options.seed, note=lambda kind: print(f"  {kind}"))
    reference = format_reference(fitted.card)
    print(f"{reference}\n\n{as_markdown(found)}")
    if options.out is not None:
        about = f"Written by `python -m tools ood`, seed {options.seed}: {reference}."
        write_block(options.out, f"{about}\n\n{as_markdown(found)}", BLOCK)
    return DONE


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` of `count` positions, evenly spaced.

    >>> spread(9, 3)
    [0, 4, 8]
    """
    return [int(place) for place in np.linspace(0, count - 1, min(most, count)).round()]


def measure(
    data: RunData,
    external: Mapping[str, Source],
    *,
    slices: int,
    seed: int = 0,
    note: Callable[[str], None] = lambda kind: None,
) -> tuple[FittedReference, list[tuple[str, list[Row]]]]:
    """Fit the reference of a run, write it into its model folder if there is one, and count the flagged images.

    Args:
        data: the run.
        external: sets of other publishers by name.
        slices: largest number of slices of each external set, and of test slices from which other images are made.
        seed: of what is drawn.
        note: called with each kind before it is counted.

    Returns:
        The reference, and the rows of the table under their headings.
    """
    trained = (data.run.model / "model.json").is_file()
    preprocessing = Preprocessing.from_dict(read_card(data.run.model).preprocessing) if trained else _asked_for(data)
    fitted = fit_to_run(data, preprocessing)
    if trained:
        update_card(data.run.model, ood=fitted.card)
    real = [("test slices of held-out patients", len(fitted.test), fitted.card["n_test_ood"])]
    others = []
    for name, source in external.items():
        note(name)
        records = source.records()
        squares = [preprocessing.image(source.read(records[place]).image) for place in spread(len(records), slices)]
        others.append((f"slices of {name}", len(squares), _flagged(fitted.reference, squares)))
    test = list(part_images(data, "test", preprocessing))
    strange = made_images(seed=seed) | altered_slices([test[place] for place in spread(len(test), slices)])
    detected = []
    for kind, images in strange.items():
        note(kind)
        detected.append((kind, len(images), _flagged(fitted.reference, [preprocessing.image(image) for image in images])))
    return fitted, [
        ("real slices: false alarms", real),
        ("slices of other sets", others),
        ("other images: detected", detected),
    ]


def _flagged(reference: OodReference, squares: Sequence[np.ndarray]) -> int:
    return int((reference.distance(np.stack(squares)) > reference.limit).sum())


def _asked_for(data: RunData) -> Preprocessing:
    names = [field.name for field in fields(Preprocessing)]
    return Preprocessing.from_dict({name: value for name, value in data.settings["data"].items() if name in names})


def as_markdown(found: Sequence[tuple[str, list[Row]]]) -> str:
    """Return the table.

    >>> print(as_markdown([("real slices", [("test", 200, 3)])]))
    | | images | flagged | share |
    |---|---|---|---|
    | **real slices** |  |  |  |
    | test | 200 | 3 | 1.5% |
    """
    rows: list[Sequence[object]] = []
    for heading, kinds in found:
        rows += [(Raw(f"**{heading}**"), None, None, None)] if kinds else []
        rows += [(Raw(kind), count, flagged, f"{flagged / count:.1%}") for kind, count, flagged in kinds]
    return table(("", "images", "flagged", "share"), rows).replace("|  | images", "| | images", 1)
