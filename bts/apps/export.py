"""How does a trained model leave this project from the command line?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bts.apps.run import DONE, OneLineParser
from bts.glossary import DISCLAIMER

FORMATS = "onnx, openvino or monai-bundle"


def command(argv: Sequence[str]) -> int:
    """Export a model and return the exit status."""
    options = make_parser().parse_args(argv)
    from bts.export.formats import export_model

    written = export_model(options.model, format=options.format, out=options.out)
    for note in written.notes:
        print(note)
    print(DISCLAIMER)
    return DONE


def make_parser() -> OneLineParser:
    """Return the parser of `bts export`."""
    parser = OneLineParser(
        prog="bts export",
        description="Write a trained model as one ONNX file, for OpenVINO, or as a MONAI bundle, checked against PyTorch.\n"
        "`infer.py` answers from what lies beside the model: --runtime onnx, openvino, auto.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="run or model folder")
    parser.add_argument("--format", default="onnx", metavar="NAME", help=f"{FORMATS} [onnx]")
    parser.add_argument("--out", type=Path, metavar="PATH", help="file or folder to write to [beside the model]")
    return parser
