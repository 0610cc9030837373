"""ImageNet weights from timm's hub, a quick refusal without a network, and the input that they expect."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor

from bts.errors import RequestError
from bts.models.encoders import TIMM

PROBE_SECONDS = 5.0
"""How long the hub may take to answer at all before only what was downloaded earlier is looked at."""


def fetch_imagenet(name: str, ways_out: str) -> dict[str, Tensor]:
    """Return the RGB ImageNet weights of encoder `name` (as `resolve` returns it), from the hub or its local cache.

    Raises:
        RequestError: the hub can't be reached and the cache has none, or there are none for this encoder.
    """
    if name.startswith(TIMM) and not timm.models.is_model_pretrained(name.removeprefix(TIMM)):
        raise RequestError(f"there are no ImageNet weights for encoder '{name}': {ways_out}")
    try:
        with offline_unless_reachable():
            return download_state(name)
    except no_answer() as error:
        raise RequestError(f"ImageNet weights of '{name}' can't be downloaded, the hub does not respond: {ways_out}") from error
    except (KeyError, RuntimeError) as error:
        raise RequestError(f"there are no ImageNet weights for encoder '{name}': {ways_out}") from error


def hub_normalisation(name: str) -> tuple[float, float]:
    """Return mean and deviation that the hub's weights of `name` expect of RGB in [0, 1], averaged over the channels."""
    config = timm.get_pretrained_cfg(name.removeprefix(TIMM)) if timm.is_model(name.removeprefix(TIMM)) else None
    if not name.startswith(TIMM) or config is None:
        from timm.data import IMAGENET_DEFAULT_MEAN as MEAN
        from timm.data import IMAGENET_DEFAULT_STD as STD

        return sum(MEAN) / 3, sum(STD) / 3
    return sum(config.mean) / len(config.mean), sum(config.std) / len(config.std)


def known_classifier_keys(name: str, plain: Callable[[str], str]) -> set[str]:
    """Return the keys, through `plain`, that ImageNet files of this encoder hold beyond the encoder: its classifier."""
    keys = {f"{head}.{part}" for head in ("fc", "classifier", "head", "last_linear", "_fc") for part in ("weight", "bias")}
    if timm.is_model(name.removeprefix(TIMM)):
        with torch.device("meta"):
            keys |= set(timm.create_model(name.removeprefix(TIMM)).state_dict())
    return {plain(key) for key in keys}


def download_state(name: str) -> dict[str, Tensor]:
    """Return the ImageNet weights of an encoder by its name in smp, from the hub or its local cache."""
    if name.startswith(TIMM):
        return timm.create_model(name.removeprefix(TIMM), pretrained=True).state_dict()
    return smp.encoders.get_encoder(name, in_channels=3, weights="imagenet").state_dict()


def no_answer() -> tuple[type[Exception], ...]:
    """Return what a silent or refusing hub raises; which HTTP client its library uses depends on the library's version."""
    clients = [sys.modules[name] for name in ("httpx2", "httpx", "requests") if name in sys.modules]
    return (OSError, *(client.HTTPError for client in clients))


@contextmanager
def offline_unless_reachable() -> Iterator[None]:
    """Query the hub once with its own client, which supports proxies and mirrors; without a response, use the local cache only.

    Without this a machine without a network waits 20 to 50 seconds in the hub's retries before it hears of it.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    before = constants.HF_HUB_OFFLINE
    try:
        if not before:
            get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
    except no_answer() as error:
        logging.getLogger(__name__).debug("the hub does not respond: %s", error)
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
