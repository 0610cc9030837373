"""Weights of strangers: the header is compared with the network before memory is taken for a tensor."""

from __future__ import annotations

import hashlib
import json
import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import start

from bts.data.preprocess import Preprocessing
from bts.errors import RequestError
from bts.models.architecture import Architecture
from bts.models.folder import ModelCard, load_network, write_model_folder
from bts.models.networks import create_network
from bts.models.weights_file import build_without_memory, expected_tensors

ARCHITECTURE = Architecture("joint", "test_resnet", size=64, num_classes=3, channels=(8, 8, 8, 4, 4))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "model"
    card = ModelCard(
        "joint", "small", ARCHITECTURE.to_dict(), Preprocessing(size=64, crop_brain=False).to_dict(), classes=["a", "b", "c"]
    )
    write_model_folder(folder, card, create_network(ARCHITECTURE).state_dict())
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    new = tmp_path / "model"
    new.mkdir()
    for file in original.iterdir():
        (new / file.name).write_bytes(file.read_bytes())
    return new


def split(data: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join(header: object, tensors: bytes, *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + tensors


def replace_weights(folder: Path, data: bytes) -> None:
    """Put other weights into a folder, with the right SHA-256: whoever sends a folder computes it too."""
    (folder / "model.safetensors").write_bytes(data)
    card = json.loads((folder / "model.json").read_text())
    card["weights_sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "model.json").write_text(json.dumps(card))


def on_header(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    def spoil(data: bytes) -> bytes:
        header, tensors = split(data)
        return join(change(header) or header, tensors)

    return spoil


def first(header: dict[str, Any]) -> dict[str, Any]:
    return header[min(name for name in header if name != "__metadata__")]


def grow(header: dict[str, Any]) -> None:
    """Let the last tensor say that it has 2^40 values."""
    last = max((name for name in header if name != "__metadata__"), key=lambda name: header[name]["data_offsets"][1])
    header[last]["shape"] = [2**40]


SPOILED: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("empty", lambda _: b"", r"0 bytes, a header of 0 bytes"),
    ("cut in the length", lambda data: data[:5], "a header of"),
    ("cut in the header", lambda data: data[:500], "500 bytes, a header of"),
    ("cut in the tensors", lambda data: data[:-4], "its header tells of"),
    ("bytes behind", lambda data: data + b"\0" * 8, "its header tells of"),
    ("a header of 2^63 bytes", lambda data: join(split(data)[0], split(data)[1], length=2**63), "a header of 9,223,372"),
    ("no JSON", lambda data: join(b"\xff\xfe{", b""), "no whole safetensors file"),
    ("nested", lambda data: join(b"[" * 100_000, b""), "nested too deeply|no whole safetensors file"),
    ("no object", lambda data: join([], b""), "a header without tensors"),
    ("twice", lambda data: join(b'{"a":{"dtype":"F32"},"a":1}', b""), "a duplicate name"),
    ("no entry", on_header(lambda header: header | {"x": 1}), "tensor x without type, shape and place"),
    ("unknown type", on_header(lambda header: first(header).update(dtype="F8_E5M2")), "of type 'F8_E5M2'"),
    ("negative shape", on_header(lambda header: first(header).update(shape=[-1, -8])), "of shape"),
    ("shape of texts", on_header(lambda header: first(header).update(shape=["8"])), "of shape"),
    ("huge shape", on_header(grow), "of shape|at bytes"),
    ("overlap", on_header(lambda header: first(header).update(data_offsets=[0, 4])), "at bytes"),
    ("offsets behind", on_header(lambda header: first(header).update(data_offsets=[0, 2**60])), "tensor .* of shape"),
]


@pytest.mark.parametrize(("spoil", "message"), [case[1:] for case in SPOILED], ids=[case[0] for case in SPOILED])
def test_a_broken_header_is_refused_in_one_line(spoil: Callable[[bytes], bytes], message: str, folder: Path) -> None:
    replace_weights(folder, spoil((folder / "model.safetensors").read_bytes()))
    with pytest.raises(RequestError, match=message) as caught:
        load_network(folder)
    assert "\n" not in str(caught.value)
    assert "model" in str(caught.value)


def other(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[bytes], bytes]:
    """Write whole and valid weights, of another network."""

    def spoil(data: bytes) -> bytes:
        from safetensors.torch import load, save

        state = load(data)
        change(state)
        return save(state)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other(lambda state: state.pop("class_head.1.bias")), r"class_head.1.bias is missing"),
        (other(lambda state: state.update(more=torch.zeros(4))), r"more is unknown to the network"),
        (other(lambda state: state.update({"class_head.1.bias": torch.zeros(9)})), r"has shape \[9\], expected \[3\]"),
        (other(lambda state: state.update({"class_head.1.bias": torch.zeros(3).long()})), r"is of type I64, expected F32"),
        (other(lambda state: state.update({"class_head.1.bias": torch.zeros(3).double()})), r"is of type F64, expected F32"),
        (other(lambda state: state.update({"input_mean": torch.zeros(1)})), r"input_mean has shape \[1\], expected \[\]"),
    ],
)
def test_weights_of_another_network_are_refused(spoil: Callable[[bytes], bytes], message: str, folder: Path) -> None:
    replace_weights(folder, spoil((folder / "model.safetensors").read_bytes()))
    with pytest.raises(RequestError, match=f"the weights are not those of the card .*{message}") as caught:
        load_network(folder)
    assert "\n" not in str(caught.value)


def test_kernels_in_sixteen_bits_are_taken(folder: Path) -> None:
    spoil = other(lambda state: state.update({name: value.half() for name, value in state.items() if value.ndim > 1}))
    replace_weights(folder, spoil((folder / "model.safetensors").read_bytes()))
    network, _ = load_network(folder)
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32, torch.int64}


def test_random_changes_of_the_file_are_refused_or_read(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    draw, refused = random.Random(0), 0
    for _ in range(60):
        spoiled = bytearray(data)
        for _ in range(draw.randint(1, 3)):
            spoiled[draw.randrange(8 + length)] = draw.randrange(256)
        replace_weights(folder, bytes(spoiled))
        try:
            load_network(folder)
        except RequestError as error:
            refused += "\n" not in str(error)
    assert refused >= 50


def test_the_expected_tensors_are_those_of_the_network() -> None:
    state = create_network(ARCHITECTURE).state_dict()
    found = expected_tensors(ARCHITECTURE)
    assert {name: each.shape for name, each in found.items()} == {name: tuple(value.shape) for name, value in state.items()}


@pytest.mark.parametrize(
    "encoder", ["resnet18", "mit_b0", "mobilenetv2_100", "convnext_atto", "efficientnet-b0", "cnn_scratch"]
)
def test_networks_of_every_kind_are_built_without_memory(encoder: str) -> None:
    architecture = Architecture("cls", encoder, num_classes=2)
    assert {name: value.shape for name, value in build_without_memory(architecture).items()} == {
        name: value.shape for name, value in create_network(architecture).state_dict().items()
    }


def tell_and_measure(folder: Path) -> None:
    """Write what is told of a model folder, and how many KiB of memory that took."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        load_network(folder)
    except RequestError as error:
        sys.stdout.write(f"{error}\n")
    sys.stdout.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before}\n")


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of the largest memory is Linux's")
def test_a_card_that_asks_for_gigabytes_takes_none(folder: Path, tmp_path: Path) -> None:
    card = json.loads((folder / "model.json").read_text())
    card["architecture"] |= {"hidden": [8192] * 8}
    (folder / "model.json").write_text(json.dumps(card))
    log = tmp_path / "log.txt"
    start(tell_and_measure, folder, log=log, temporary=tmp_path / "temporary", copy=True).join(300)
    told, kilobytes = log.read_text(encoding="utf-8").strip().splitlines()[-2:]
    assert "the weights are not those of the card" in told
    assert int(kilobytes) < 300_000, "the layers of that card have 1.8 GiB"


def test_a_sparse_file_of_gigabytes_is_not_read(folder: Path) -> None:
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(60 * 2**30)
    with pytest.raises(RequestError, match=r"model\.safetensors: 64,424,509,440 bytes, at most"):
        load_network(folder)
