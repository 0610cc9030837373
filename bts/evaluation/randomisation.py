"""Parameter-randomisation check of class activation maps (Adebayo et al. 2018).

Weights are re-initialised from the head backwards; at each depth the map of the same class is compared with that of the trained
network. A map that is unchanged by random weights shows the image, not the reason for the class.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity
from torch import nn

from bts.data.preprocess import Preprocessing
from bts.data.slice import Slice
from bts.evaluation.intervals import Interval, draw_patients, mean_interval
from bts.inference.runtimes.pytorch import TorchRuntime

SIDE = 64
"""Side in pixels at which maps are compared, after bilinear enlargement."""
DEPTHS = (("head", 0.0), ("a third", 1 / 3), ("two thirds", 2 / 3), ("all layers", 1.0))
"""Depth of the randomisation, as the share of layers with weights before the head."""


@dataclass(frozen=True)
class Randomised:
    """Similarity of the maps after the weights of some layers are re-initialised.

    Attributes:
        depth: which layers, from the head backwards.
        layers: number of re-initialised layers.
        correlation: Spearman's rank correlation of the maps; 0 where one of them is constant.
        similarity: structural similarity (SSIM) of the maps, each divided by its maximum.
    """

    depth: str
    layers: int
    correlation: Interval | None
    similarity: Interval | None


def weighted_layers(network: nn.Module) -> list[nn.Module]:
    """Return the layers whose weights can be re-initialised, in the order in which they were built."""
    return [
        module for module in network.modules() if hasattr(module, "reset_parameters") and list(module.parameters(recurse=False))
    ]


def randomise(network: nn.Module, *, share: float, seed: int) -> tuple[nn.Module, int]:
    """Return a copy with the head and the last `share` of the layers before it re-initialised, and the number of these layers.

    Layers count in the order in which the network was built; the statistics of batch norms are reset too.
    """
    made = copy.deepcopy(network)
    layers = weighted_layers(made)
    head = getattr(made, "class_head", None)
    heads = weighted_layers(head) if isinstance(head, nn.Module) else layers[-1:]
    body = [layer for layer in layers if not any(layer is one for one in heads)]
    chosen = heads + body[len(body) - round(share * len(body)) :]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in chosen:
            layer.reset_parameters()  # type: ignore[operator]
    return made.eval(), len(chosen)


def map_similarity(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return rank correlation and SSIM of two raw maps (h, w); both 0 where one is constant."""
    if np.ptp(first) <= 0 or np.ptp(second) <= 0:
        return 0.0, 0.0
    one, other = _enlarged(first), _enlarged(second)
    correlation = float(spearmanr(one.ravel(), other.ravel()).statistic)
    return correlation, float(structural_similarity(one / one.max(), other / other.max(), data_range=1.0))


def _enlarged(values: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=np.float64).clip(0)


def _maps(runtime: TorchRuntime, images: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the raw maps (N, h, w) of the wanted class of each image."""
    found = [runtime.run(image[None], cam_class=int(number)).cam for image, number in zip(images, wanted, strict=True)]
    return np.concatenate([one for one in found if one is not None])


def check_randomisation(
    runtime: Any, slices: Sequence[Slice], patients: Sequence[str], *, seed: int = 0
) -> list[Randomised] | None:
    """Return the similarity of the maps at each depth of randomisation, with intervals over patients.

    Args:
        runtime: a loaded model with classes; the result is None for one that is not PyTorch's or has no map.
        slices: a few dozen slices.
        patients: patient of each slice.
        seed: seed of the random weights and of the bootstrap.
    """
    if not isinstance(runtime, TorchRuntime) or runtime.gradcam is None or not slices:
        return None
    preprocessing = Preprocessing.from_dict(runtime.card.preprocessing)
    images = np.stack([preprocessing.image(item.image) for item in slices])
    logits = np.concatenate([runtime.run(image[None]).class_logits for image in images])
    wanted = logits.argmax(axis=1)
    trained = _maps(runtime, images, wanted)
    bootstrap = draw_patients(list(patients), seed=seed)
    rows = []
    for name, share in DEPTHS:
        network, layers = randomise(runtime.network, share=share, seed=seed)
        other = _maps(TorchRuntime(network, runtime.card, device=runtime.device), images, wanted)
        scores = np.array([map_similarity(one, two) for one, two in zip(trained, other, strict=True)])
        rows.append(Randomised(name, layers, *(mean_interval(column, bootstrap) for column in scores.T)))
    return rows
