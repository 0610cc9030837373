"""Exported files: their inputs and outputs, where they are found, and their model card, without any runtime's library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bts.errors import RequestError
from bts.glossary import Task
from bts.inference.runtimes.base import RawOutput
from bts.inference.runtimes.onnx_metadata import check_graph, read_metadata
from bts.inference.runtimes.openvino_ir import check_ir, read_ir
from bts.models.card import ModelCard, parse_card
from bts.models.folder import read_card

CARD_KEY = "bts_model_card"
"""Key of the model card in an exported file's metadata."""
INPUT = "image"
"""The only input: (B, 1, S, S) float32 in [0, 1], the bytes of the preprocessing divided by 255."""
OUTPUTS = {
    "mask_prob": "(B, 1, S, S) float32, probability of tumour",
    "class_logits": "(B, K) float32, before temperature and softmax",
    "class_prob": "(B, K) float32, softmax(class_logits / temperature), with the temperature of the card",
    "cam": "(B, K, h, w) float32, at least 0, unscaled Grad-CAM of every class; of a joint model (B, K, S/4, S/4), HiResCAM",
    "features": "(B, C) float32, the last feature maps, averaged over the image",
}
"""Output -> its content, in the order of the file."""
FILES = {"onnx": ("model.onnx",), "openvino": ("model.xml", "model.onnx")}
"""Kind of runtime -> files of a model folder that it can run; the first that exists is taken."""
SUFFIXES = {"onnx": (".onnx",), "openvino": (".xml", ".onnx")}


@dataclass(frozen=True)
class Exported:
    """An exported file and its model card.

    Attributes:
        file: `.onnx` or `.xml`.
        card: card of its model folder, or of the file itself if the file was given.
    """

    file: Path
    card: ModelCard

    @property
    def side(self) -> int:
        """Side S of the network's input in pixels."""
        return int(self.card.preprocessing["size"])


def outputs_of(task: Task) -> tuple[str, ...]:
    """Return the names of the outputs of a task's file, in order."""
    return tuple(name for name in OUTPUTS if (task != "cls" if name == "mask_prob" else task != "seg"))


def is_exported(place: Path) -> bool:
    """Return whether a path is that of an exported file, not of a model folder."""
    return place.suffix.lower() in (".onnx", ".xml") and not place.is_dir()


def read_any_card(place: Path, *, expect: Task | None = None) -> ModelCard:
    """Return the card of a model folder or of an exported file.

    Raises:
        RequestError: there is none, it is damaged, or it is not of the task in `expect`.
    """
    if not is_exported(place):
        return read_card(place, expect=expect)
    card = card_in(place)
    if expect is not None and card.task != expect:
        raise RequestError(f"{place}: a model for task '{card.task}', one for '{expect}' is needed here")
    return card


def card_in(file: Path) -> ModelCard:
    """Return the model card in an exported file.

    Raises:
        RequestError: there is no such file, it was not exported by bts, or it is damaged.
    """
    if not file.is_file():
        raise RequestError(f"{file}: no such file: export a model with `bts export MODEL`")
    text = read_metadata(file).get(CARD_KEY) if file.suffix.lower() == ".onnx" else read_ir(file, card_key=CARD_KEY).card
    if text is None:
        raise RequestError(f"{file}: not exported by `bts export`: it has no model card, so its classes are unknown")
    return parse_card(text, file)


def find_exported(kind: str, place: Path) -> Exported:
    """Return the file that a kind of runtime runs.

    Args:
        kind: `onnx` or `openvino`.
        place: an exported file, or a model folder that holds one.

    Raises:
        RequestError: there is none, it is of another kind, or it was exported from other weights than the folder's.
    """
    if is_exported(place):
        if place.suffix.lower() not in SUFFIXES[kind]:
            raise RequestError(
                f"{place}: runtime '{kind}' needs a file {' or '.join(SUFFIXES[kind])}: use `--runtime openvino`"
            )
        return Exported(place, card_in(place))
    card = read_card(place)
    file = file_in(place, kind)
    if file is None:
        raise RequestError(f"{place}: no {FILES[kind][0]} in it: make it with `bts export {place} --format {kind}`")
    inside = card_in(file)
    if inside.weights_sha256 != card.weights_sha256:
        raise RequestError(f"{file}: exported from other weights than the folder's: `bts export {place} --format {kind}` again")
    if inside.cell_offset_px != card.cell_offset_px:  # the map scale of the folder's card would not fit
        raise RequestError(
            f"{file}: computes its class map differently from the folder's: `bts export {place} --format {kind}` again"
        )
    return Exported(file, card)


def file_in(folder: Path, kind: str) -> Path | None:
    """Return the file of a model folder that a kind of runtime can run, None where there is none."""
    return next((folder / name for name in FILES[kind] if (folder / name).is_file()), None)


def check_before_opening(file: Path) -> None:
    """Refuse a file of a stranger that holds more than a network; called before a runtime's library sees it.

    Raises:
        RequestError: data outside of the file, operations of other libraries, or sizes that the file does not have.
    """
    if file.suffix.lower() == ".onnx":
        check_graph(file)
    else:
        check_ir(file, card_key=CARD_KEY)


def check_signature(exported: Exported, *, inputs: dict[str, list[object]], outputs: list[str]) -> None:
    """Raise `RequestError` where a file's input (name -> shape) and outputs (names) are not those of its card's task."""
    side, names = exported.side, list(outputs_of(exported.card.task))
    if list(inputs) != [INPUT] or inputs[INPUT][1:] != [1, side, side]:
        found = ", ".join(f"{name} {shape}" for name, shape in inputs.items())
        raise RequestError(f"{exported.file}: inputs {found}, expected {INPUT} [batch, 1, {side}, {side}]: export it again")
    if outputs != names:
        raise RequestError(f"{exported.file}: outputs {', '.join(outputs)}, expected {', '.join(names)}: export it again")


def wanted_outputs(task: Task) -> list[str]:
    """Return the outputs that a prediction needs: all but the class probabilities, which are computed from the logits."""
    return [name for name in outputs_of(task) if name != "class_prob"]


def as_input(images: np.ndarray) -> np.ndarray:
    """Return bytes (B, S, S) as the input (B, 1, S, S) float32."""
    return np.divide(images, np.float32(255), dtype=np.float32)[:, None]


def as_raw_output(found: dict[str, np.ndarray], *, cam_class: int | None) -> RawOutput:
    """Return the outputs of a file as a raw output, with the class map of one class per image.

    Args:
        found: outputs by name.
        cam_class: index of the class of the maps; None takes each image's most probable one.
    """
    mask_prob = found["mask_prob"][:, 0] if "mask_prob" in found else None
    if "class_logits" not in found:
        return RawOutput(mask_prob=mask_prob)
    class_logits = found["class_logits"]
    rows = np.arange(len(class_logits))
    cam = found["cam"][rows, class_logits.argmax(1) if cam_class is None else cam_class]
    return RawOutput(mask_prob=mask_prob, class_logits=class_logits, cam=cam, features=found["features"])
