"""Methods and scales of class activation maps that a user can choose between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bts.errors import RequestError
from bts.models.card import GRAD_CAM, ModelCard
from bts.registry import suggestion

CAM_METHODS = ("gradcam", "hirescam")
"""Grad-CAM (Selvaraju et al. 2017) and HiResCAM (Draelos and Carin 2020); equal behind an average over the slice."""
CAM_SCALES = ("slice", "model")
"""A map is divided by its own maximum, or by the model's scale (`cam_scale` of its card) and clipped."""
CAM_NAMES = {"gradcam": GRAD_CAM, "hirescam": "class map (HiResCAM)"}
"""Method -> its name where a map is shown."""


def check_choice(name: str | None, *, known: Sequence[str], option: str) -> None:
    """Raise `RequestError` for a method or scale that does not exist; None is the default."""
    if name is not None and name not in known:
        raise RequestError(f"{option}: received '{name}'{suggestion(name, known)}, expected one of {', '.join(known)}")


def usual_method(card: ModelCard) -> str:
    """Return the method of a model's maps where none is chosen: HiResCAM for a joint model with the offset of its cells."""
    return "hirescam" if card.task == "joint" and card.cell_offset_px is not None else "gradcam"


def with_method(card: ModelCard, method: str | None, place: Path) -> ModelCard:
    """Return the card of a model whose maps are computed with a method.

    Grad-CAM of a joint model has one cell per place of the last maps and values of another size: the card's scale, which was
    found on maps of the usual method, does not apply to it and is left out.

    Raises:
        RequestError: HiResCAM of a joint model whose card lacks the offset of its cells.
    """
    if card.task != "joint" or method in (None, usual_method(card)):
        return card
    if method == "hirescam":
        raise RequestError(
            f"{place}: its card has no cell_offset_px, which HiResCAM of a joint model needs: finish its run again"
        )
    return replace(card, cam_offset_px=float(card.cell_offset_px or 0.0), cell_offset_px=None, cam_scale=None)
