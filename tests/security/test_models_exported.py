"""Exported files of strangers: the card in them is checked as any other, and the graph before a library opens it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import bts
from bts.errors import RequestError
from bts.inference.runtimes.catalogue import open_runtime
from bts.inference.runtimes.exported import CARD_KEY, card_in, check_before_opening
from bts.inference.runtimes.onnx_metadata import check_graph, read_metadata

BUNDLED = Path(bts.__file__).parent / "bundled" / "joint-mobilenetv2"
RUNTIMES = ("onnx", "openvino")


@pytest.fixture
def file(exported_models: dict[str, Path], tmp_path: Path) -> Path:
    """The ONNX file of a small joint model, alone."""
    return Path(shutil.copy(exported_models["joint"] / "model.onnx", tmp_path / "model.onnx"))


@pytest.fixture(scope="module")
def ir(exported_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OpenVINO's two files of that model."""
    import openvino

    source, folder = exported_models["joint"] / "model.onnx", tmp_path_factory.mktemp("ir")
    graph = openvino.Core().read_model(source)
    graph.set_rt_info(read_metadata(source)[CARD_KEY], CARD_KEY)
    openvino.save_model(graph, folder / "model.xml", compress_to_fp16=False)
    return folder / "model.xml"


@pytest.fixture
def xml(ir: Path, tmp_path: Path) -> Path:
    for each in (ir, ir.with_suffix(".bin")):
        shutil.copy(each, tmp_path / each.name)
    return tmp_path / ir.name


def change(file: Path, spoil: Callable[[onnx.ModelProto], Any]) -> Path:
    proto = onnx.load(file)
    spoil(proto)
    file.write_bytes(proto.SerializeToString())
    return file


def loop(proto: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    proto.graph.node.insert(0, helper.make_node("Loop", ["", ""], [], body=body))


def huge(proto: onnx.ModelProto) -> None:
    """Let a weight say that it has 10^11 values."""
    del proto.graph.initializer[0].dims[:]
    proto.graph.initializer[0].dims.extend([10**6, 10**5])


def external(proto: onnx.ModelProto, place: str) -> None:
    weight = next(each for each in proto.graph.initializer if len(each.raw_data) > 1000)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=place)


def constant(proto: onnx.ModelProto) -> None:
    """Put a constant whose values lie in another file into a node."""
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "constant")
    external_in = TensorProto(data_type=tensor.data_type, dims=[4], data_location=TensorProto.EXTERNAL)
    external_in.external_data.add(key="location", value="secret")
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["none"], value=external_in))


SPOILED: list[tuple[str, Callable[[onnx.ModelProto], Any], str]] = [
    ("custom domain", lambda proto: setattr(proto.graph.node[0], "domain", "com.microsoft"), "an operation of 'com.microsoft'"),
    ("loop", loop, "a graph within the graph"),
    ("random", lambda proto: setattr(proto.graph.node[0], "op_type", "RandomNormalLike"), "operation 'RandomNormalLike'"),
    ("function", lambda proto: proto.functions.add(name="f", domain="x"), "functions in it"),
    ("external weight", lambda proto: external(proto, "weights.bin"), "keeps its values in another file"),
    ("weight above the folder", lambda proto: external(proto, "../secret"), "keeps its values in another file"),
    ("weight by its whole path", lambda proto: external(proto, "/etc/hostname"), "keeps its values in another file"),
    ("external constant", constant, "keeps its values in another file"),
    ("huge weight", huge, "of 100,000,000,000 values in"),
    ("negative side", lambda proto: proto.graph.initializer[0].dims.insert(0, -1), "values in"),
    ("sparse", lambda proto: proto.graph.sparse_initializer.add(), "sparse weights"),
]


def made_large(proto: onnx.ModelProto, *, operation: str, inputs: list[str], how: str) -> None:
    """Let an operation make 2^29 values, or as many times more, of a shape in a weight or in one of the ways of a constant."""
    values = [1, 2**20, 2**9] if operation != "Range" else [2**29]
    dims = [] if operation == "Range" else [len(values)]
    if how == "weight":
        proto.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64).reshape(dims), "large"))
    elif how == "numbers":
        proto.graph.initializer.append(helper.make_tensor("large", TensorProto.INT64, dims, values))
    elif how == "value":
        value = numpy_helper.from_array(np.array(values, np.int64).reshape(dims))
        proto.graph.node.insert(0, helper.make_node("Constant", [], ["large"], value=value))
    else:
        proto.graph.node.insert(0, helper.make_node("Constant", [], ["large"], value_ints=values))
    proto.graph.node.append(helper.make_node(operation, inputs, ["made"]))


@pytest.mark.parametrize("how", ["weight", "numbers", "value", "value_ints"])
@pytest.mark.parametrize(
    ("operation", "inputs"),
    [
        ("ConstantOfShape", ["large"]),
        ("Expand", ["image", "large"]),
        ("Tile", ["image", "large"]),
        ("Pad", ["image", "large"]),
        ("Range", ["zero", "large", "one"]),
        ("Resize", ["image", "", "", "large"]),
    ],
)
def test_a_shape_of_gigabytes_in_a_file_is_refused(operation: str, inputs: list[str], how: str, file: Path) -> None:
    change(file, lambda proto: made_large(proto, operation=operation, inputs=inputs, how=how))
    with pytest.raises(RequestError, match=rf"operation '{operation}' makes 536,870,912 values"):
        check_graph(file)


def test_openvino_opens_no_layer_of_gigabytes(xml: Path) -> None:
    """Each side alone is small; OpenVINO multiplies them."""
    import openvino
    from openvino import opset13

    graph = openvino.Core().read_model(xml)
    first = graph.inputs[0].get_node()
    sides = opset13.constant(np.array([2**14, 1, 2**8 * 64, 64], np.int64))
    large = opset13.broadcast(opset13.constant(np.float32(1)), sides)
    total = opset13.reduce_max(large, opset13.constant(np.arange(4)), keep_dims=True)
    changed = opset13.multiply(first, total)
    for user in graph.inputs[0].get_target_inputs():
        if user.get_node() != changed:
            user.replace_source_output(changed.output(0))
    changed.input(0).replace_source_output(first.output(0))
    openvino.save_model(graph, xml.with_name("large.xml"), compress_to_fp16=False)
    with pytest.raises(RequestError, match=r"large\.xml: a layer 'Broadcast' of 17,179,869,184 values, at most 268,435,456"):
        open_runtime("openvino-f32", xml.with_name("large.xml"), device="cpu")


def varint(number: int) -> bytes:
    groups = [number >> shift & 0x7F for shift in range(0, max(1, number.bit_length()), 7)]
    return bytes([*(0x80 | each for each in groups[:-1]), groups[-1]])


def written(number: int, value: bytes | int, *, beyond: int = 0) -> bytes:
    """Return a field as protobuf writes it, with `beyond` added to its key."""
    if isinstance(value, int):
        return varint((number << 3) + beyond) + varint(value)
    return varint((number << 3 | 2) + beyond) + varint(len(value)) + value


def graph_with(file: Path, part: bytes) -> Path:
    """Add the bytes of fields to the graph of a file."""
    proto = onnx.load(file)
    graph = proto.graph.SerializeToString() + part
    proto.ClearField("graph")
    file.write_bytes(proto.SerializeToString() + written(7, graph))
    return file


BITS_LOST = 2**32
"""What protobuf drops from a key: it keeps 32 bits."""
OTHER_FILE = onnx.StringStringEntryProto(key="location", value="*/_ORT_MEM_ADDR_/*").SerializeToString()
PLAIN = TensorProto(name="added", data_type=TensorProto.FLOAT, dims=[4]).SerializeToString()
HUGE = TensorProto(name="added", data_type=TensorProto.FLOAT, dims=[2**29], raw_data=bytes(4)).SerializeToString()
SQUARED = TensorProto(data_type=TensorProto.FLOAT, dims=[1000], raw_data=bytes(4000)).SerializeToString()
HIDDEN: list[tuple[str, bytes, str]] = [
    ("subgraph", written(1, written(4, b"Loop") + written(5, written(6, b"", beyond=BITS_LOST))), "a field with number"),
    ("location", written(5, PLAIN + written(13, OTHER_FILE, beyond=BITS_LOST)), "a field with number"),
    ("data location", written(5, PLAIN + written(14, 1, beyond=BITS_LOST)), "a field with number"),
    ("domain", written(1, written(4, b"Add") + written(7, b"com.microsoft", beyond=BITS_LOST)), "a field with number"),
    ("texts", written(5, PLAIN + written(2, TensorProto.STRING + BITS_LOST)), "of texts"),
    ("node", written(1, b"", beyond=7 * BITS_LOST), "a field with number"),
    ("field 0", written(0, b""), "a field with number 0"),
    ("overlong key", b"\x8a\x00\x00", "not in its shortest form"),
    ("number of 66 bits", written(5, PLAIN + written(1, 2**65)), "a number of more than 64 bits"),
    ("group", b"\x0b\x0c", "a field of wire type 3"),
    ("end of a group", b"\x0c", "a field of wire type 4"),
    ("unknown wire type", b"\x0e", "a field of wire type 6"),
    ("no packed sides", written(5, HUGE + written(1, b"")), "of 536,870,912 values in"),
    ("sides as fixed numbers", written(5, HUGE + b"\x09" + bytes(8)), "sides of a tensor of wire type 1"),
    ("two tensors that merge", written(1, written(4, b"Constant") + written(5, written(5, SQUARED) * 2)), "with two tensors"),
]
"""Fields that a check of ours could read otherwise than protobuf does."""


@pytest.mark.parametrize(("part", "message"), [case[1:] for case in HIDDEN], ids=[case[0] for case in HIDDEN])
def test_a_field_that_protobuf_reads_in_another_way_is_refused(part: bytes, message: str, file: Path) -> None:
    with pytest.raises(RequestError, match=rf"model\.onnx: .*{message}") as caught:
        check_graph(graph_with(file, part))
    assert "\n" not in str(caught.value)


def test_tensors_as_every_protobuf_library_may_write_them_are_read(file: Path) -> None:
    packed = TensorProto(name="added", data_type=TensorProto.FLOAT, raw_data=bytes(24)).SerializeToString()
    check_graph(graph_with(file, written(5, packed + written(1, varint(2) + varint(3)))))  # sides packed
    check_graph(graph_with(file, written(5, packed + written(1, 2) + written(1, 3))))
    check_graph(graph_with(file, written(100, -1 % 2**64)))  # negative number in a field of a later version


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(("spoil", "message"), [case[1:] for case in SPOILED], ids=[case[0] for case in SPOILED])
def test_a_graph_that_is_more_than_a_network_is_refused(
    spoil: Callable[[onnx.ModelProto], Any], message: str, runtime: str, file: Path
) -> None:
    (file.parent / "weights.bin").write_bytes(bytes(10**6))
    change(file, spoil)
    with pytest.raises(RequestError, match=rf"model\.onnx: .*{message}") as caught:
        open_runtime(runtime, file, device="cpu")
    assert "\n" not in str(caught.value)


def test_the_package_s_own_file_and_every_export_are_opened(exported_models: dict[str, Path]) -> None:
    check_graph(BUNDLED / "model.onnx")
    for folder in exported_models.values():
        check_graph(folder / "model.onnx")
    open_runtime("onnx", BUNDLED / "model.onnx", device="cpu")


def test_random_changes_of_a_file_are_refused_or_read(file: Path) -> None:
    data, draw = file.read_bytes(), random.Random(0)
    card_starts = data.index(CARD_KEY.encode())
    read = 0
    for _ in range(300):
        spoiled = bytearray(data)
        for _ in range(draw.randint(1, 3)):
            place = draw.randrange(card_starts - 50, len(spoiled)) if draw.random() < 0.5 else draw.randrange(len(spoiled))
            spoiled[place] = draw.randrange(256)
        file.write_bytes(spoiled if draw.random() < 0.8 else spoiled[: draw.randrange(len(spoiled))])
        try:
            card = card_in(file)
            check_before_opening(file)
        except RequestError as error:
            assert "\n" not in str(error)  # noqa: PT017  refusing is one of the two right answers
        else:
            read += 1
            assert 0 < card.temperature <= 1000
    assert 0 < read < 300


@pytest.mark.parametrize(
    ("way", "value", "message"),
    [
        (("temperature",), "$1", "would evaluate"),
        (("preprocessing", "size"), 10**6, "size: expected a multiple of 32 from 32 to 1024"),
        (("operating_point", "flip"), "yes", "flip"),
        (("classes",), ["a", "a", "b"], "duplicate name"),
    ],
)
def test_the_card_in_an_exported_file_is_checked_as_any_other(
    way: tuple[str, ...], value: Any, message: str, file: Path, xml: Path
) -> None:
    card = json.loads(read_metadata(file)[CARD_KEY])
    inner = card
    for step in way[:-1]:
        inner = inner[step]
    inner[way[-1]] = value
    text = json.dumps(card)
    change(file, lambda proto: next(each for each in proto.metadata_props if each.key == CARD_KEY).__setattr__("value", text))
    with_card(xml, text)
    for place in (file, xml):
        with pytest.raises(RequestError, match=rf"model\.(onnx|xml): .*{message}") as caught:
            card_in(place)
        assert "\n" not in str(caught.value)


def with_card(xml: Path, text: str) -> None:
    from xml.etree import ElementTree

    tree = ElementTree.parse(xml)
    found = tree.getroot().find(f"./rt_info/{CARD_KEY}")
    assert found is not None
    found.set("value", text)
    tree.write(xml)


def test_metadata_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    length = 2**30
    varint = bytes(0x80 | (length >> shift) & 0x7F for shift in (0, 7, 14, 21)) + bytes([length >> 28])
    with (tmp_path / "model.onnx").open("wb") as handle:
        handle.write(b"\x72" + varint)  # field 14 with a gigabyte
        handle.truncate(len(varint) + 1 + length)
    with pytest.raises(RequestError, match="over 16,777,216 bytes of metadata"):
        read_metadata(tmp_path / "model.onnx")


BOMB = '<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a "aaaaaaaaaa">{}]><net>&z;</net>'
ENTITIES = "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(25))


@pytest.mark.parametrize(
    "text",
    [
        BOMB.format(ENTITIES),
        '<?xml version="1.0"?><!DOCTYPE net SYSTEM "http://example.org/x.dtd"><net/>',
        '<!DOCTYPE net [<!ENTITY x SYSTEM "file:///etc/passwd">]><net><rt_info><bts_model_card value="&x;"/></rt_info></net>',
        "<net>" * 100_000,
        "<net",
        "",
        "\0" * 100,
    ],
    ids=["bomb", "external type", "external entity", "nested", "broken", "empty", "zeros"],
)
def test_xml_with_entities_or_none_at_all_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text(text)
    with pytest.raises(RequestError, match=r"model\.xml: no OpenVINO file, or only a part of one") as caught:
        card_in(tmp_path / "model.xml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('type="Convolution" version="opset1"', 'type="Convolution" version="extension"', "layer 'Convolution' of 'extension'"),
        ('type="Convolution" version="opset1"', 'type="Loop" version="opset5"', "layer 'Loop'"),
        ('type="Convolution" version="opset1"', 'type="loop" version="opset5"', "layer 'loop'"),
        ('type="Convolution" version="opset1"', 'type="LOOP" version="opset5"', "layer 'LOOP'"),
        ('type="Convolution" version="opset1"', 'type="ReadValue" version="opset6"', "layer 'ReadValue'"),
        ('type="Convolution" version="opset1"', 'type="tensorIterator" version="opset1"', "layer 'tensorIterator'"),
        ('offset="0"', 'offset="99999999999"', "weights up to byte"),
        ('offset="0"', 'offset="-1"', "a place in the weights of '-1'"),
    ],
)
def test_an_openvino_graph_that_is_more_than_a_network_is_refused(old: str, new: str, message: str, xml: Path) -> None:
    text = xml.read_text()
    assert old in text
    xml.write_text(text.replace(old, new, 1))
    with pytest.raises(RequestError, match=message) as caught:
        open_runtime("openvino", xml, device="cpu")
    assert "\n" not in str(caught.value)


def test_openvino_s_own_files_are_opened(xml: Path) -> None:
    answers = open_runtime("openvino-f32", xml, device="cpu").run(np.zeros((1, 64, 64), np.uint8))
    assert answers.mask_prob is not None
    xml.with_suffix(".bin").unlink()
    with pytest.raises(RequestError, match=r"weights up to byte [\d,]+, model.bin has 0"):
        open_runtime("openvino-f32", xml, device="cpu")
