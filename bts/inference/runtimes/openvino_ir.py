"""OpenVINO's XML files without any library: the model card in them, and a check of the graph before OpenVINO opens it.

The file is read as a stream. Document types are refused: they are what XML's entity bombs and external entities need.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from bts.errors import RequestError
from bts.models.weights_file import LARGEST_WEIGHTS

LARGEST_XML = 2**26
DEEPEST = 32
OPSET = re.compile(r"opset\d{1,2}")
LAYERS = frozenset(
    """
    const parameter result identity
    abs add ceiling clamp cos divide equal erf exp floor floormod greater greaterequal isfinite isinf isnan less lessequal log
    logicaland logicalnot logicalor logicalxor maximum minimum mod multiply negative notequal power round select sign sin sqrt
    squareddifference subtract tan
    elu gelu hardsigmoid hsigmoid hswish logsoftmax mish prelu relu selu sigmoid softmax softplus softsign swish tanh
    adaptiveavgpool adaptivemaxpool avgpool batchnorminference convolution convolutionbackpropdata einsum gridsample
    groupconvolution groupconvolutionbackpropdata groupnormalization interpolate lrn matmul maxpool mvn normalizel2 rms
    scaleddotproductattention
    cumsum reducel1 reducel2 reducelogicaland reducelogicalor reducemax reducemean reducemin reduceprod reducesum topk
    broadcast concat convert convertlike depthtospace gather gatherelements gathernd pad range reshape roll
    scatterelementsupdate scatterndupdate scatterupdate shapeof shufflechannels slice spacetodepth split squeeze stridedslice
    tile transpose unsqueeze variadicsplit
    fakeconvert fakequantize
    """.split()  # noqa: SIM905  a list would take 100 lines
)
"""Types of the layers that an export of a network holds, without case, as OpenVINO finds them: none with a graph of its own."""


@dataclass
class IrFile:
    """What an XML file holds.

    Attributes:
        card: text of the model card, or None.
        problem: why OpenVINO must not open it, or None.
        weights_end: bytes of the `.bin` file that the layers refer to.
    """

    card: str | None = None
    problem: str | None = None
    weights_end: int = 0


def read_ir(file: Path, *, card_key: str) -> IrFile:
    """Return what an XML file holds.

    Raises:
        RequestError: it can't be read, is no whole XML file, is too large, or has a document type.
    """
    found, stack = IrFile(), []

    def start(name: str, attributes: dict[str, str]) -> None:
        stack.append(name)
        if len(stack) > DEEPEST:
            raise ValueError(f"nested over {DEEPEST} levels")
        if stack[1:] == ["rt_info", card_key]:
            found.card = attributes.get("value")
        elif name == "layer":
            found.problem = found.problem or _layer_problem(attributes)
        elif name == "data" and "offset" in attributes and "size" in attributes:
            offset, size = (_number(attributes[each]) for each in ("offset", "size"))
            found.weights_end = max(found.weights_end, offset + size)

    def refuse(*_: object) -> None:
        raise ValueError("a document type")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, lambda name: stack.pop()
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        with file.open("rb") as handle:
            if file.stat().st_size > LARGEST_XML:
                raise ValueError(f"over {LARGEST_XML:,} bytes")
            parser.ParseFile(handle)
    except OSError as error:
        raise RequestError(f"{file}: can't be read ({error.strerror or error})") from error
    except (expat.ExpatError, ValueError) as error:
        raise RequestError(f"{file}: no OpenVINO file, or only a part of one ({error}): export or copy it again") from error
    return found


def check_ir(file: Path, *, card_key: str) -> None:
    """Refuse a graph with layers that no network is exported with, or with weights outside the `.bin` file beside it.

    Raises:
        RequestError: as `read_ir`, or one of these.
    """
    found, weights = read_ir(file, card_key=card_key), file.with_suffix(".bin")
    size = weights.stat().st_size if weights.is_file() else 0
    problem = found.problem
    if problem is None and found.weights_end > size:
        problem = f"weights up to byte {found.weights_end:,}, {weights.name} has {size:,}"
    if problem is None and size > LARGEST_WEIGHTS:
        problem = f"{weights.name} has {size:,} bytes, at most {LARGEST_WEIGHTS:,} are read"
    if problem is not None:
        raise RequestError(f"{file}: it is not opened ({problem}): export or copy it again")


def _layer_problem(attributes: dict[str, str]) -> str | None:
    kind, version = attributes.get("type", ""), attributes.get("version", "")
    if not OPSET.fullmatch(version):
        return f"layer '{kind[:40]}' of '{version[:40]}', only those of OpenVINO itself are exported"
    return None if kind.lower() in LAYERS else f"layer '{kind[:40]}', which no network is exported with"


def _number(text: str) -> int:
    if not re.fullmatch(r"\d{1,15}", text):
        raise ValueError(f"a place in the weights of {text[:40]!r}")
    return int(text)
