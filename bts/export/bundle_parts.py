"""Parts of a MONAI bundle's inference that MONAI does not have: network, preprocessing, restoring, mirror image.

`configs/inference.json` of a bundle names these, so a bundle needs bts installed. The arithmetic is that of `Predictor`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.inferers import SimpleInferer
from monai.transforms import MapTransform
from monai.utils import ImageMetaKey
from torch import Tensor, nn

from bts.data.enhance import Box
from bts.data.preprocess import Preprocessing
from bts.export.bundle_configs import Answer
from bts.inference.postprocess import decide_mask
from bts.models.architecture import Architecture
from bts.models.base import Output
from bts.models.networks import build_network

SHAPE = "slice_shape"
"""Name under which a picture's metadata keep the rows and columns of the slice that it was made from."""
BOX = "slice_box"
"""Name of the part of that slice which the picture shows, where the preprocessing crops."""


def answer_in(output: Output, answer: Answer) -> Tensor | None:
    """Return the logits of one answer."""
    return output.mask_logits if answer == "mask" else output.class_logits


class BundleNetwork(nn.Module):
    """One answer of a network as a plain tensor, as MONAI's engines take it."""

    def __init__(self, architecture: dict[str, Any], answer: Answer) -> None:
        """Build the network with random weights.

        Args:
            architecture: the fields of `Architecture`.
            answer: `mask`, (B, 1, S, S) logits, or `classes`, (B, K) logits.
        """
        super().__init__()
        self.network = build_network(Architecture.from_dict(architecture))
        self.answer = answer

    def forward(self, x: Tensor) -> Tensor:
        """Return the answer to `x (B, 1, S, S)` in [0, 1]."""
        found = answer_in(self.network(x), self.answer)
        assert found is not None, f"a network for task '{self.network.architecture.task}' has no {self.answer}"
        return found


class PrepareSliced(MapTransform):
    """Makes the network's picture (1, S, S) in [0, 1] of a slice as MONAI loads it, (1, columns, rows)."""

    def __init__(self, keys: KeysCollection, preprocessing: dict[str, Any]) -> None:
        super().__init__(keys)
        self.preprocessing = Preprocessing.from_dict(preprocessing)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with the pictures in place of the slices."""
        found = dict(data)
        for key in self.key_iterator(found):
            array = np.asarray(found[key])[0].T  # (rows, columns)
            picture = self.preprocessing.image(array).astype(np.float32) / 255
            meta = {ImageMetaKey.FILENAME_OR_OBJ: found[key].meta[ImageMetaKey.FILENAME_OR_OBJ], SHAPE: array.shape}
            meta[BOX] = tuple(self.preprocessing.box(array))
            found[key] = MetaTensor(torch.from_numpy(picture[None]), meta=meta)
        return found


class RestoreMaskd(MapTransform):
    """Makes the mask (1, columns, rows) of a slice, in its own size, of the logits (1, S, S)."""

    def __init__(
        self, keys: KeysCollection, image_key: str, preprocessing: dict[str, Any], threshold: float, min_area: float
    ) -> None:
        super().__init__(keys)
        self.image_key, self.threshold, self.min_area = image_key, threshold, min_area
        self.preprocessing = Preprocessing.from_dict(preprocessing)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with the masks in place of the logits."""
        found = dict(data)
        meta = found[self.image_key].meta
        rows, columns = (int(side) for side in meta[SHAPE])
        box = Box(*(int(edge) for edge in meta[BOX]))
        for key in self.key_iterator(found):
            square = torch.sigmoid(found[key])[0].cpu().numpy()
            probability = self.preprocessing.restore(square, (rows, columns), box=box)
            mask = decide_mask(probability, threshold=self.threshold, min_area=self.min_area)
            named = {ImageMetaKey.FILENAME_OR_OBJ: meta[ImageMetaKey.FILENAME_OR_OBJ]}
            found[key] = MetaTensor(torch.from_numpy(mask.T.astype(np.uint8))[None], meta=named)
        return found


class Softmaxd(MapTransform):
    """Makes class probabilities (K,) of class scores, each divided by the temperature before."""

    def __init__(self, keys: KeysCollection, temperature: float) -> None:
        super().__init__(keys)
        self.temperature = temperature

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with the probabilities in place of the scores."""
        found = dict(data)
        for key in self.key_iterator(found):
            found[key] = torch.softmax(found[key] / self.temperature, dim=0)
        return found


class MirrorInferer(SimpleInferer):
    """Asks a network for the picture and its mirror image: masks are averaged as probabilities, class scores as they are."""

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Return logits of the average, in the geometry of `inputs (B, 1, S, S)`."""
        upright, mirrored = network(inputs), network(inputs.flip(-1))
        if upright.ndim == 2:
            return (upright + mirrored) / 2
        return torch.logit((torch.sigmoid(upright) + torch.sigmoid(mirrored.flip(-1))) / 2, eps=1e-7)
