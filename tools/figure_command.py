"""How are scan, truth, prediction and Grad-CAM drawn beside each other from the command line?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bts.apps.run import DONE, OneLineParser
from bts.errors import RequestError


def command(argv: Sequence[str]) -> int:
    """Draw some slices of a labelled source and return the exit status."""
    options = make_parser().parse_args(argv)
    if options.count < 1:
        raise RequestError(f"--count {options.count}: expected 1 or more")
    from bts.data.sources.catalogue import open_source
    from bts.data.split import Split
    from bts.inference.predictor import Predictor
    from tools.side_by_side import pick, side_by_side

    source = open_source(options.source, options.data)
    records = source.records()
    if options.split is not None:
        named = {row.path for row in Split.read(options.split, group="family").part(options.part)}
        records = [record for record in records if record.path in named]
    chosen = pick(records, options.count, seed=options.seed)
    if not chosen:
        raise RequestError(f"{options.data}: none of its slices is in the {options.part} part of {options.split}: check both")
    predictor = Predictor.load(seg=options.seg, cls=options.cls, runs=options.runs, device=options.device)
    for note in predictor.notes:
        print(note)
    picture = side_by_side(list(predictor.predict_many(source.read(record) for record in chosen)))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(options.out, optimize=True)
    print(f"{len(chosen)} slices are drawn in {options.out}")
    return DONE


def make_parser() -> OneLineParser:
    """Return the parser of `python -m tools figure`."""
    parser = OneLineParser(
        prog="python -m tools figure", description="Scan, truth, prediction and Grad-CAM of some slices, side by side."
    )
    parser.add_argument("--data", type=Path, default=Path("data/figshare"), metavar="FOLDER", help="[data/figshare]")
    parser.add_argument("--source", default="figshare", metavar="NAME", help="how the folder is laid out [figshare]")
    parser.add_argument(
        "--split", type=Path, metavar="CSV", help="draw only slices of one part of this split (a run's split.csv)"
    )
    parser.add_argument("--part", choices=("train", "val", "test"), default="test", help="the part, with --split [test]")
    parser.add_argument("--count", type=int, default=3, metavar="N", help="slices, the classes in turn [3]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the draw [0]")
    parser.add_argument("--seg", type=Path, metavar="FOLDER", help="run or model folder of a segmenter")
    parser.add_argument("--cls", type=Path, metavar="FOLDER", help="run or model folder of a classifier")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="where the runs lie [runs]")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:1 [auto]")
    parser.add_argument("--out", type=Path, default=Path("figure.png"), metavar="FILE", help="[figure.png]")
    return parser
