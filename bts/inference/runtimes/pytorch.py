"""PyTorch: the reference runtime that all others are compared with."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bts.errors import RequestError
from bts.inference.cam_methods import with_method
from bts.inference.gradcam import GradCam
from bts.inference.parallel import threads_per_worker
from bts.inference.runtimes.base import RawOutput
from bts.models.base import Output
from bts.models.folder import ModelCard, load_network


class TorchRuntime:
    """A network of a model folder on a CPU or a GPU."""

    name = "torch"

    def __init__(
        self, network: nn.Module, card: ModelCard, *, device: str = "auto", workers: int = 1, cam_method: str | None = None
    ) -> None:
        self.device, self.why = choose_device(device)
        if workers > 1 and self.device == "cpu":
            torch.set_num_threads(threads_per_worker(workers))  # applies to every thread of the process
        self.card = card
        # oneDNN prefers channels-last (10% faster here); on some GPUs it is far slower in 32 bits
        self.layout = torch.channels_last if self.device == "cpu" else torch.contiguous_format
        self.network = network.to(self.device).to(memory_format=self.layout).eval().requires_grad_(False)
        self.versions = {"torch": str(torch.__version__)}
        self.gradcam = None
        if card.classes and card.task != "seg":
            by_place = cam_method == "hirescam"
            offset_px = card.cell_offset_px
            self.gradcam = GradCam(self.network, example=self._example(), offset_px=offset_px, by_place=by_place)
            if by_place and self.gradcam.layer is not None:
                self.card = replace(card, cam_scale=None)  # found on maps of Grad-CAM, which differ from these
        # one batch at a time in a GPU's memory; the hooks of the autograd method are shared by all callers
        one_by_one = self.device != "cpu" or (self.gradcam is not None and self.gradcam.layer is not None)
        self._turn: AbstractContextManager[object] = threading.Lock() if one_by_one else nullcontext()

    @classmethod
    def open(cls, folder: Path, *, device: str = "auto", workers: int = 1, cam_method: str | None = None) -> TorchRuntime:
        """Load a model folder, with the class maps of a method (`bts.inference.cam_methods`); raises `RequestError`."""
        network, card = load_network(folder)
        return cls(network, with_method(card, cam_method, folder), device=device, workers=workers, cam_method=cam_method)

    @property
    def notes(self) -> tuple[str, ...]:
        """Device and reason; how the class map is computed."""
        device = f"torch on {self.device}: {self.why}"
        return (device,) if self.gradcam is None else (device, self.gradcam.how)

    def run(self, images: np.ndarray, *, cam_class: int | None = None) -> RawOutput:
        """Run a batch (B, S, S) uint8; several threads may call it."""
        with self._turn:
            return self._run(images, cam_class)

    def _run(self, images: np.ndarray, cam_class: int | None) -> RawOutput:
        x = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
        x = (x[:, None].float() / 255).to(memory_format=self.layout)  # (B, 1, S, S)
        if self.gradcam is not None:
            output, cam = self.gradcam(x, cam_class=cam_class)
        else:
            with torch.no_grad():
                output, cam = self.network(x), None
        return _to_numpy(output, cam)

    def _example(self) -> Tensor:
        size = int(self.card.preprocessing["size"])
        return torch.linspace(0, 1, size * size, device=self.device).reshape(1, 1, size, size)


def choose_device(device: str) -> tuple[str, str]:
    """Return the device and why it was chosen.

    Raises:
        RequestError: for an unknown name, or a GPU where there is none.
    """
    kind, _, number = device.partition(":")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        if not found:
            return "cpu", "no CUDA device found"
        return "cuda", f"{torch.cuda.get_device_name(0)} found"
    if kind not in ("cpu", "cuda") or (number and not (kind == "cuda" and number.isdigit())):
        raise RequestError(f"unknown device '{device}': choose one of auto, cpu, cuda, cuda:1")
    if kind == "cuda" and int(number or 0) >= found:
        raise RequestError(f"device '{device}': {found} CUDA devices found: use `--device cpu` or auto")
    return device, "requested"


def _to_numpy(output: Output, cam: Tensor | None) -> RawOutput:
    mask_prob = None if output.mask_logits is None else output.mask_logits.sigmoid()[:, 0]
    features = None if output.features is None or output.class_logits is None else output.features.mean((2, 3))
    values = (mask_prob, output.class_logits, cam, features)
    return RawOutput(*(None if value is None else value.float().cpu().numpy() for value in values))
