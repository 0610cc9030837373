"""Export to OpenVINO's own format through the ONNX graph: two files, with the card inside."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path

from bts.errors import RequestError
from bts.export.base import Trained, Written, file_at, writing
from bts.export.check import Differences, check_pictures, compare, require_equal
from bts.export.onnx import make_onnx
from bts.inference.runtimes.exported import CARD_KEY, FILES
from bts.inference.runtimes.openvino import OpenVinoRuntime
from bts.inference.runtimes.pytorch import TorchRuntime
from bts.models.card import published, to_json


def write_openvino(model: Trained, out: Path | None) -> Written:
    """Write `model.xml` and `model.bin`, weights in 32 bits, and compare them with PyTorch in full precision.

    Raises:
        RequestError: a library is missing, the place can't be written to, or the answers differ.
    """
    if find_spec("openvino") is None:
        raise RequestError("format 'openvino' needs openvino: pip install 'bts[onnx,openvino]'")
    path = file_at(out, usual=model.folder / FILES["openvino"][0])
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as temporary:
            part = Path(temporary, path.name)
            save(model, part)
            differences, own = check_openvino(model, part)
            for suffix in (".bin", ".xml"):  # the card is in the second: with it the model is there
                part.with_suffix(suffix).replace(path.with_suffix(suffix))
    size = path.with_suffix(".bin").stat().st_size / 2**20
    notes = [f"{path} and {path.stem}.bin: {size:.1f} MiB", f"largest difference from PyTorch: {differences}"]
    return Written(path, (*notes, f"in the precision that OpenVINO chooses on this CPU: {own}"))


def save(model: Trained, path: Path) -> None:
    """Write the two files, unchecked."""
    import openvino

    onnx = path.with_suffix(".onnx")
    onnx.write_bytes(make_onnx(model).SerializeToString())
    graph = openvino.Core().read_model(onnx)
    graph.set_rt_info(to_json(published(model.card)), CARD_KEY)
    openvino.save_model(graph, path, compress_to_fp16=False)


def check_openvino(model: Trained, file: Path) -> tuple[Differences, Differences]:
    """Return how far the answers are from PyTorch's in full precision, and as OpenVINO computes by itself.

    Raises:
        RequestError: in full precision that is too far.
    """
    pictures, reference = check_pictures(model.card), TorchRuntime(model.network, model.card, device="cpu")
    full, own = (OpenVinoRuntime.open(file, device="cpu", name=name) for name in ("openvino-f32", "openvino"))
    differences = compare(reference, full, pictures)
    require_equal(differences, what="the OpenVINO file")
    return differences, compare(reference, own, pictures)
