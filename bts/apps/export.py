"""The `bts export` command: export a trained model to other formats."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bts.apps.run import DONE, OneLineParser, say
from bts.errors import RequestError
from bts.glossary import DISCLAIMER
from bts.progress import phase

if TYPE_CHECKING:
    from bts.data.sources.base import Record
    from bts.export.base import Written
    from bts.inference.predictor import Predictor
    from bts.training.run_data import RunData

FORMATS = "onnx, openvino or monai-bundle"


def command(argv: Sequence[str]) -> int:
    """Export a model and return the exit status."""
    options = make_parser().parse_args(argv)
    written = export_quantised(options) if options.int8 else export_float(options)
    for note in written.notes:
        say(note)
    say(DISCLAIMER)
    return DONE


def export_float(options: Namespace) -> Written:
    """Export to the selected format."""
    from bts.export.formats import export_model

    with phase("exporting"):
        return export_model(options.model, format=options.format, out=options.out)


def export_quantised(options: Namespace) -> Written:
    """Export a quantised ONNX file, and score both on the test part."""
    if options.format != "onnx":
        raise RequestError(f"--int8 with --format {options.format}: quantised models are exported as ONNX only")
    from bts.evaluation.cases import evaluate_cases, mean_scores
    from bts.export.quantised import export_int8

    def score(name: str, predictor: Predictor, data: RunData, records: Sequence[Record]) -> str:
        return mean_scores(evaluate_cases(predictor, data.source, records, name=f"scoring {name}"))

    with phase("quantising"):
        return export_int8(options.model, score=score, out=options.out, root=options.root)


def make_parser() -> OneLineParser:
    """Return the parser of `bts export`."""
    parser = OneLineParser(
        prog="bts export",
        description="Export a trained model to ONNX, OpenVINO or a MONAI bundle, and compare it with PyTorch.\n"
        "`infer.py` uses the exported files beside a model with --runtime onnx, openvino or auto.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="run or model folder")
    parser.add_argument("--format", default="onnx", metavar="NAME", help=f"{FORMATS} [onnx]")
    parser.add_argument(
        "--int8",
        action="store_true",
        help="quantise the convolutions to 8 bits and score the test part; MODEL is a run",
    )
    parser.add_argument("--root", metavar="FOLDER", help="with --int8: folder of the data [that of the run]")
    parser.add_argument("--out", type=Path, metavar="PATH", help="output file or folder [beside the model]")
    return parser
