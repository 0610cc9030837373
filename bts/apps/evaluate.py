"""The `bts evaluate` command: score models on unseen patients and write a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bts.apps.run import DONE, OneLineParser, add_model_options, say
from bts.glossary import DISCLAIMER, TASKS
from bts.progress import phase


def command(argv: Sequence[str]) -> int:
    """Evaluate the models, write the report, print its headline, and return the exit status."""
    options = make_parser().parse_args(argv)
    with phase("starting"):
        from bts.evaluation.metric_registry import text_table
        from bts.evaluation.subject import Request
        from bts.report.report import write_report

    models = {task: path for task in TASKS if (path := getattr(options, task)) is not None}
    request = Request(
        models=models,
        part=options.split,
        data=options.data,
        root=options.root,
        mask_labels=tuple(options.mask_labels),
        device=options.device,
        seed=options.seed,
        draws=options.draws,
    )
    out = options.out or default_folder(
        [path for paths in models.values() for path in paths], data=options.data, part=options.split
    )
    found = write_report(request, out)
    say(f"{found.title}\n{text_table(found.summary)}")
    for line in [*(f"left out: {count} {why}" for why, count in found.removed.items()), *found.notes]:
        say(line)
    say(f"\nreport  {out / 'index.html'}   {DISCLAIMER}")
    return DONE


def default_folder(models: Sequence[Path], *, data: str | None, part: str) -> Path:
    """Return the default folder of a report: in the run of the first model, one per set, else in `results`."""
    from bts.inference.model_selection import model_folder

    first = model_folder(models[0]) if models else Path("runs")
    if models and not Path(models[0]).exists():  # a bundled model, or one in the cache of the hub
        first = Path("results")
    beside = first.parent if first.name.startswith("model") else first
    return beside / ("report" if data is None and part == "test" else f"report_{data or part}")


def make_parser() -> OneLineParser:
    """Return the parser of `bts evaluate`."""
    parser = OneLineParser(
        prog="bts evaluate",
        description="Score models on slices they were not trained on and write a report: index.html, metrics.json, "
        "slices.csv, PNGs. Give a segmenter, a classifier, both, or a joint model; several of one task form an ensemble.",
    )
    add_model_options(parser, what="run or model folder")
    parser.add_argument("--split", default="test", metavar="PART", help="part of the run's split: test, val or train [test]")
    parser.add_argument("--data", metavar="SOURCE", help="score an external set instead (`bts sources` lists the names)")
    parser.add_argument("--root", metavar="FOLDER", help="folder of the data [that of the run, or data/SOURCE]")
    parser.add_argument(
        "--mask-labels", type=int, nargs="+", default=[], metavar="N", help="mask values of --data that are tumour [all but 0]"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder of the report [RUN/report]")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:1 [auto]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="bootstrap seed [0]")
    parser.add_argument("--draws", type=int, default=2000, metavar="N", help="number of bootstrap draws [2000]")
    return parser
