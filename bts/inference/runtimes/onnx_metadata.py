"""ONNX files without any library: the metadata, and a check of the graph before a runtime opens it.

An ONNX file is one protobuf message, `ModelProto` of onnx.proto3: a row of fields, each a key (number and wire type) and a
value. Weights are stepped over, whatever their size.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from bts.errors import RequestError
from bts.models.card_rules import LARGEST_CARD
from bts.models.weights_file import LARGEST_WEIGHTS

LARGEST_FILE = LARGEST_WEIGHTS + 2**26
MOST_NODES, LARGEST_NODE, MOST_SIDES = 100_000, 2**24, 16
DOMAINS = ("", "ai.onnx")
"""Where the operations of an exported graph come from; those of another domain are code of another library."""
OPERATIONS = frozenset(
    """
    Abs Add And Ceil Clip Cos Div Equal Erf Exp Floor Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Log Max Mean Min Mod
    Mul Neg Not Or Pow Reciprocal Round Sign Sin Sqrt Sub Sum Tan Where Xor
    Celu Elu Gelu HardSigmoid HardSwish LeakyRelu LogSoftmax Mish PRelu Relu Selu Sigmoid Softmax Softplus Softsign Swish Tanh
    ThresholdedRelu
    Attention AveragePool BatchNormalization Conv ConvTranspose Dropout Einsum Gemm GlobalAveragePool GlobalMaxPool GridSample
    GroupNormalization InstanceNormalization LRN LayerNormalization LpNormalization MatMul MaxPool MeanVarianceNormalization
    RMSNormalization Resize
    ArgMax ArgMin CumSum ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
    TopK Trilu
    Cast CastLike Concat ConcatFromSequence Constant ConstantOfShape DepthToSpace Expand Flatten Gather GatherElements GatherND
    Identity Pad Range Reshape ScatterElements ScatterND SequenceAt Shape Size Slice SpaceToDepth Split SplitToSequence Squeeze
    Tile Transpose Unsqueeze
    ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul QuantizeLinear
    """.split()  # noqa: SIM905  a list would take 120 lines
)
"""Operations that an export of a network holds: no control flow, no random numbers, no texts, no files."""
SHAPES = {"ConstantOfShape": (0,), "Expand": (1,), "Pad": (1,), "Range": (0, 1), "Resize": (3,), "Tile": (1,)}
"""Operation -> those of its inputs that say how large its output becomes."""
LARGEST_SHAPE = 2**26
"""Values of an output, where its shape is written in the file."""

GRAPH, METADATA, TRAINING, FUNCTIONS = 7, 14, 20, 25
"""Numbers of fields in `ModelProto`."""
NODE, INITIALIZER, SPARSE_INITIALIZER = 1, 5, 15
"""Numbers of fields in `GraphProto`."""
NODE_INPUT, NODE_OUTPUT, OPERATION, ATTRIBUTE, DOMAIN = 1, 2, 4, 5, 7
"""Numbers of fields in `NodeProto`."""
ONE_INT, TENSOR, SUBGRAPH, INTS, TENSORS, SUBGRAPHS, SPARSE_TENSOR, SPARSE_TENSORS = 3, 5, 6, 8, 10, 11, 22, 23
"""Numbers of fields in `AttributeProto`."""
DIMS, DATA_TYPE, INT32_DATA, INT64_DATA, NAME, RAW_DATA, EXTERNAL_DATA, DATA_LOCATION = 1, 2, 5, 7, 8, 9, 13, 14
"""Numbers of fields in `TensorProto`."""
INT32_TYPE, INT64_TYPE, TEXT_TYPE = 6, 7, 8
"""Numbers of data types."""
MOST_LITERALS = 32
"""Values of the longest tensor that may be a shape, or the paddings of all sides."""
KEY, VALUE = 1, 2
"""Numbers of the fields of one entry of the metadata, `StringStringEntryProto`."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Protobuf's wire types."""
LARGEST_KEY = LARGEST_ENUM = 2**32 - 1
LARGEST_NUMBER, LONGEST_FIELD = 2**64 - 1, 2**31 - 1
"""What protobuf keeps of a key, an enumeration, a number and a length. It drops higher bits, which could hide a field."""


class Field(NamedTuple):
    """One field of a message: its number, wire type, its value where it is a number, and where its bytes lie."""

    number: int
    wire: int
    value: int
    start: int
    length: int


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of an ONNX file by name.

    Raises:
        RequestError: the file can't be read, is no whole ONNX file, or is larger than any that is exported.
    """
    with _Reading(path) as file:
        numbers, pairs, total = set(), [], 0
        for field in _fields(file, _size(file)):
            numbers.add(field.number)
            if field.number == METADATA:
                total += field.length
                if total > 2 * LARGEST_CARD:
                    raise ValueError(f"over {2 * LARGEST_CARD:,} bytes of metadata")
                pairs.append(_entry(file.read(field.length)))
    if GRAPH not in numbers:
        raise RequestError(f"{path}: not an ONNX file: no graph in it")
    return dict(pairs)


def check_graph(path: Path) -> None:
    """Refuse a graph that holds more than operations of ONNX and their weights.

    Raises:
        RequestError: external data, operations that no network is exported with, graphs within a graph (loops), functions, or
            tensors that declare more values than the file holds, or than an output of a network has.
    """
    with _Reading(path) as file:
        for field in _fields(file, _size(file)):
            if field.number in (TRAINING, FUNCTIONS):
                raise ValueError("training steps or functions in it, none are exported")
            if field.number == GRAPH:
                _check_graph(file, field.start + field.length)


class Node(NamedTuple):
    """One operation: its name, the names of its inputs and outputs, and the integers that it holds if it is a constant."""

    operation: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    literal: tuple[int, ...]


def _check_graph(file: BinaryIO, end: int) -> None:
    nodes = 0
    literals: dict[str, tuple[int, ...]] = {}
    shaped: list[Node] = []
    for field in _fields(file, end):
        if field.number == SPARSE_INITIALIZER:
            raise ValueError("sparse weights in it, none are exported")
        if field.number == INITIALIZER:
            name, values = _check_tensor(file, field.start + field.length)
            literals[name] = values
        elif field.number == NODE:
            nodes += 1
            if nodes > MOST_NODES or field.length > LARGEST_NODE:
                raise ValueError(f"over {MOST_NODES:,} operations, or one of {field.length:,} bytes")
            node = _check_node(BytesIO(file.read(field.length)), field.length)
            if node.operation == "Constant":
                literals |= dict.fromkeys(node.outputs, node.literal)
            elif node.operation in SHAPES:
                shaped.append(node)
    for node in shaped:
        for name in (node.inputs[place] for place in SHAPES[node.operation] if place < len(node.inputs)):
            count = math.prod(abs(side) for side in literals.get(name, ()) if side)
            if count > LARGEST_SHAPE:
                raise ValueError(f"operation '{node.operation}' makes {count:,} values, at most {LARGEST_SHAPE:,} are exported")


def _check_node(node: BinaryIO, length: int) -> Node:
    operation = ""
    literal: tuple[int, ...] = ()
    names: dict[int, list[str]] = {NODE_INPUT: [], NODE_OUTPUT: []}
    for field in _fields(node, length):
        if field.number in names:
            names[field.number].append(_text(node.read(field.length)))
        elif field.number == OPERATION:
            operation = _text(node.read(field.length))
        elif field.number == DOMAIN and (domain := _text(node.read(field.length))) not in DOMAINS:
            raise ValueError(f"an operation of '{domain[:40]}', only those of ONNX itself are exported")
        elif field.number == ATTRIBUTE:
            literal += _check_attribute(node, field.start + field.length)
    if operation not in OPERATIONS:
        raise ValueError(f"operation '{operation[:40]}', which no network is exported with")
    return Node(operation, tuple(names[NODE_INPUT]), tuple(names[NODE_OUTPUT]), literal)


def _check_attribute(node: BinaryIO, end: int) -> tuple[int, ...]:
    """Return the integers of an attribute, none where it holds other values or many."""
    tensors = 0
    found: tuple[int, ...] = ()
    for inner in _fields(node, end):
        if inner.number in (SUBGRAPH, SUBGRAPHS, SPARSE_TENSOR, SPARSE_TENSORS):
            raise ValueError("a graph within the graph or a sparse tensor, none are exported")
        if inner.number in (TENSOR, TENSORS):
            tensors += inner.number == TENSOR
            if tensors > 1:  # protobuf would merge them, and multiply their sides
                raise ValueError("an attribute with two tensors in the place of one")
            found += _check_tensor(node, inner.start + inner.length)[1]
        elif inner.number in (ONE_INT, INTS) and len(found) <= MOST_LITERALS:
            found += _integers(node, inner)
    return found


def _check_tensor(file: BinaryIO, end: int) -> tuple[str, tuple[int, ...]]:
    """Refuse a tensor with external values, or with more values than its bytes can hold.

    Returns:
        Its name, and its values if they are a few integers.
    """
    begin, name, kind, raw = file.tell(), "", 0, b""
    sides: list[int] = []
    integers: tuple[int, ...] = ()
    for field in _fields(file, end):
        if field.number == DIMS:
            sides += _sides(file, field)
        elif field.number == NAME:
            name = _text(file.read(field.length))
        elif field.number == EXTERNAL_DATA or (field.number == DATA_LOCATION and field.value):
            raise ValueError(f"tensor '{name[:100]}' keeps its values in another file, none is exported so")
        elif field.number == DATA_TYPE:
            kind = field.value & LARGEST_ENUM
        elif field.number in (INT32_DATA, INT64_DATA) and len(integers) <= MOST_LITERALS:
            integers += _integers(file, field)
        elif field.number == RAW_DATA:
            raw = file.read(field.length) if field.length <= 8 * MOST_LITERALS else b""
        if len(sides) > MOST_SIDES:
            raise ValueError(f"tensor '{name[:100]}' of over {MOST_SIDES} sides")
    if kind == TEXT_TYPE:
        raise ValueError(f"tensor '{name[:100]}' of texts, none is exported")
    if math.prod(sides) > 2 * (end - begin):  # values of four bits are the smallest
        raise ValueError(f"tensor '{name[:100]}' of {math.prod(sides):,} values in {end - begin:,} bytes")
    if kind in (INT32_TYPE, INT64_TYPE) and raw:
        width = 8 if kind == INT64_TYPE else 4
        integers = tuple(int.from_bytes(raw[at : at + width], "little", signed=True) for at in range(0, len(raw), width))
    return name, integers if kind in (INT32_TYPE, INT64_TYPE) else ()


def _integers(file: BinaryIO, field: Field) -> tuple[int, ...]:
    """Return the signed numbers of a field, none where there are many."""
    if field.wire not in (VARINT, BYTES) or field.length > 10 * MOST_LITERALS:
        return ()
    packed, found = BytesIO(file.read(field.length)), [field.value] if field.wire == VARINT else []
    while packed.tell() < field.length:
        found.append(_varint(packed))
    return tuple(each - 2**64 if each >= 2**63 else each for each in found)


def _sides(file: BinaryIO, field: Field) -> list[int]:
    """Return the sides in a field of a tensor: one number, or any count of them packed, which may be none."""
    if field.wire == VARINT:
        return [field.value]
    if field.wire != BYTES:
        raise ValueError(f"sides of a tensor of wire type {field.wire}")
    packed = BytesIO(file.read(field.length))
    sides: list[int] = []
    while packed.tell() < field.length and len(sides) <= MOST_SIDES:
        sides.append(_varint(packed))
    return sides


class _Reading:
    """Open file whose errors are one line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> BinaryIO:
        try:
            self.file = self.path.open("rb")
        except OSError as error:
            raise RequestError(f"{self.path}: can't be read ({error.strerror or error})") from error
        if _size(self.file) > LARGEST_FILE:
            self.file.close()
            raise RequestError(f"{self.path}: over {LARGEST_FILE:,} bytes, no exported file is so large")
        return self.file

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.file.close()
        if isinstance(error, OSError):
            raise RequestError(f"{self.path}: can't be read ({error.strerror or error})") from error
        if isinstance(error, (ValueError, EOFError)):
            raise RequestError(
                f"{self.path}: not an ONNX file that can be opened ({error}): export or copy it again"
            ) from error


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _fields(file: BinaryIO, end: int) -> Iterator[Field]:
    """Yield the fields of a message that ends at `end`; the file is at the bytes of the field, and may be moved.

    What a protobuf library may read in another way is refused: keys over 32 bits, field 0, groups, overlong numbers.
    """
    while (place := file.tell()) < end:
        key = _varint(file)
        number, wire = key >> 3, key & 7
        if key > LARGEST_KEY or number == 0:
            raise ValueError(f"a field with number {number:,}, no message has such")
        value, length = 0, 0
        if wire == VARINT:
            value = _varint(file)
        elif wire == BYTES:
            length = _varint(file)
            if length > LONGEST_FIELD:
                raise ValueError(f"a field of {length:,} bytes, at most {LONGEST_FIELD:,} are read")
        elif wire not in (FIXED64, FIXED32):
            raise ValueError(f"a field of wire type {wire}")
        start = file.tell()
        after = start + (length if wire == BYTES else {FIXED64: 8, FIXED32: 4}.get(wire, 0))
        if after > end or after <= place:
            raise EOFError(f"a field of {after - start:,} bytes where {end - start:,} are left")
        yield Field(number, wire, value, start, length)
        file.seek(after)


def _entry(data: bytes) -> tuple[str, str]:
    """Return name and text of a `StringStringEntryProto`."""
    file, found = BytesIO(data), {KEY: "", VALUE: ""}
    for field in _fields(file, len(data)):
        if field.number in found:
            found[field.number] = _text(file.read(field.length))
    return found[KEY], found[VALUE]


def _text(data: bytes) -> str:
    return data.decode("utf-8")


def _varint(file: BinaryIO) -> int:
    """Read a variable-length number: groups of seven bits, the lowest first."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError("it ends within a number")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            if value > LARGEST_NUMBER or (shift and not byte[0]):
                raise ValueError("a number of more than 64 bits, or not in its shortest form")
            return value
    raise ValueError("a number of more than 64 bits")
