"""Which values of settings make no sense, whatever the data are? All mistakes are told at once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from bts.registry import suggestion
from bts.settings import Settings

MONITORS = {
    "SegSettings": ("auto", "loss", "dice", "iou"),
    "ClsSettings": ("auto", "loss", "balanced_accuracy", "accuracy", "f1"),
    "JointSettings": ("auto", "loss", "joint", "dice", "iou", "balanced_accuracy", "accuracy", "f1"),
}
"""Validation scores that can pick the best epoch, by the settings of their task."""

TRAINABLE = ("all", "head", "last_block", "last:N")
"""What may learn in a stage."""


class Rule(NamedTuple):
    """What must hold for one value, in words and as a test."""

    words: str
    holds: Callable[[float], bool]


POSITIVE = Rule("a number above 0", lambda value: value > 0)
NOT_NEGATIVE = Rule("0 or more", lambda value: value >= 0)
ONE_OR_MORE = Rule("1 or more", lambda value: value >= 1)
SHARE = Rule("a share between 0 and 1, such as 0.15", lambda value: 0 < value < 1)
SHARE_OR_NONE = Rule("a share from 0 to 1", lambda value: 0 <= value <= 1)
LESS_THAN_ALL = Rule("a share from 0 to below 1", lambda value: 0 <= value < 1)

RULES = {
    "data.size": Rule("a multiple of 32 from 32 to 2048, such as 224", lambda value: 32 <= value <= 2048 and value % 32 == 0),
    "model.rim_px": Rule("0 or a multiple of 4, such as 8", lambda value: value >= 0 and value % 4 == 0),
    "model.slice_dropout": LESS_THAN_ALL,
    "data.clahe_clip_limit": SHARE_OR_NONE,
    "data.clahe_tiles": Rule("1 or more tiles, and a quarter of the size at most", lambda value: 1 <= value <= 512),
    "data.sharpen_amount": Rule("0 to 10, such as 0.5", lambda value: 0 <= value <= 10),
    "data.sharpen_sigma_px": Rule("a width above 0 px and up to 32", lambda value: 0 < value <= 32),
    "data.cache_gib": POSITIVE,
    "data.batch_size": ONE_OR_MORE,
    "data.workers": NOT_NEGATIVE,
    "split.train": SHARE,
    "split.val": SHARE,
    "split.folds": Rule("2 or more", lambda value: value >= 2),
    "split.fold": ONE_OR_MORE,
    "split.seed": NOT_NEGATIVE,
    "augment.share": SHARE_OR_NONE,
    "augment.rotate": Rule("degrees from 0 to 180", lambda value: 0 <= value <= 180),
    "augment.crop": LESS_THAN_ALL,
    "augment.scale": LESS_THAN_ALL,
    "augment.zoom_out": LESS_THAN_ALL,
    "augment.shift": LESS_THAN_ALL,
    "augment.shear": Rule("degrees from 0 to 45", lambda value: 0 <= value <= 45),
    "augment.brightness": LESS_THAN_ALL,
    "augment.remove_tumour": SHARE_OR_NONE,
    "augment.paste_tumour": SHARE_OR_NONE,
    "optim.epochs": ONE_OR_MORE,
    "optim.lr": POSITIVE,
    "optim.lr_random": POSITIVE,
    "optim.momentum": LESS_THAN_ALL,
    "optim.weight_decay": NOT_NEGATIVE,
    "optim.step_epochs": ONE_OR_MORE,
    "optim.step_factor": SHARE,
    "optim.warmup_epochs": NOT_NEGATIVE,
    "optim.plateau_factor": SHARE,
    "optim.plateau_patience": NOT_NEGATIVE,
    "optim.plateau_min_delta": NOT_NEGATIVE,
    "optim.clip": NOT_NEGATIVE,
    "optim.ema_decay": LESS_THAN_ALL,
    "freeze.epochs": NOT_NEGATIVE,
    "freeze.lr": POSITIVE,
    "trainer.devices": Rule("1 or more, or -1 for all", lambda value: value >= 1 or value == -1),
    "trainer.nodes": ONE_OR_MORE,
    "trainer.patience": NOT_NEGATIVE,
    "trainer.min_delta": NOT_NEGATIVE,
    "trainer.images": NOT_NEGATIVE,
    "trainer.limit_batches": ONE_OR_MORE,
    "seed": Rule("a whole number from 0 to 4294967295", lambda value: 0 <= value < 2**32),
    "model.dropout": LESS_THAN_ALL,
    "model.input_mean": SHARE_OR_NONE,
    "model.input_std": POSITIVE,
    "loss.dice": NOT_NEGATIVE,
    "loss.bce": NOT_NEGATIVE,
    "loss.focal_gamma": NOT_NEGATIVE,
    "loss.cross_entropy": POSITIVE,
    "loss.label_smoothing": LESS_THAN_ALL,
}
"""What must hold for each number, by the setting's whole name; None (where a type allows it) is always right."""


def check(settings: Settings) -> list[str]:
    """Return one message for each value that makes no sense; an empty list where all is well."""
    values = dict(leaves(settings))
    alone = [
        f"{key}: expected {rule.words}, received {values[key]}" for key, rule in RULES.items() if broken(rule, values.get(key))
    ]
    return alone + list(together(settings, values))


def leaves(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield `("optim.lr", 3e-4)` for each setting."""
    for each in fields(settings):
        value = getattr(settings, each.name)
        if is_dataclass(value):
            yield from leaves(value, f"{prefix}{each.name}.")
        else:
            yield prefix + each.name, value


def broken(rule: Rule, value: Any) -> bool:
    """Return whether a value breaks a rule; NaN and infinity break every rule."""
    return value is not None and not (math.isfinite(value) and rule.holds(value))


def together(settings: Settings, values: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with values beside each other, and with names."""
    data, split = settings.data, settings.split
    if not 0 <= data.low_percentile < data.high_percentile <= 100:
        yield (
            "data.low_percentile, data.high_percentile: expected 0 <= low < high <= 100, "
            f"received {data.low_percentile:g} and {data.high_percentile:g}"
        )
    if data.clahe_tiles > data.size // 4 and 1 <= data.clahe_tiles <= 512:
        yield f"data.clahe_tiles: expected {data.size // 4} or fewer at data.size {data.size}, received {data.clahe_tiles}"
    if split.kind == "ratios" and split.train + split.val >= 1:
        left = f"received {split.train:g} + {split.val:g} = {split.train + split.val:g}"
        yield f"split.train, split.val: expected a sum below 1, so that a test part is left, {left}"
    last = {"folds": split.folds, "cvind": 5}.get(split.kind, split.fold)
    if split.fold > last:
        yield f"split.fold: expected 1 to {last} with split.kind {split.kind}, received {split.fold}"
    if split.kind == "file" and not split.file:
        yield "split.file: expected a CSV with `path, patient, label, part` with split.kind file, received none"
    if split.kind != "file" and split.file:
        yield f"split.file: is read only with split.kind file, received split.kind {split.kind}: add `--split.kind file`"
    if values.get("loss.dice") == values.get("loss.bce") == 0:
        yield "loss.dice, loss.bce: expected one above 0, received 0 and 0"
    yield from names(settings, values)


def names(settings: Settings, values: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with names and lists."""
    for key in ("data.source", "data.root", "model.encoder", "model.weights", "runs"):
        if not str(values[key]).strip():
            yield f"{key}: expected a name, received nothing"
    known = MONITORS.get(type(settings).__name__, ())
    if known and settings.trainer.monitor not in known:
        near = suggestion(settings.trainer.monitor, known)
        yield f"trainer.monitor: unknown score '{settings.trainer.monitor}'{near}: choose one of {', '.join(known)}"
    for key in ("freeze.trainable", "optim.trainable"):
        if not re.fullmatch(r"all|head|last_block|last:[1-9]\d*", values[key]):
            near = suggestion(values[key], TRAINABLE)
            yield f"{key}: unknown part '{values[key]}'{near}: choose one of {', '.join(TRAINABLE)}, such as last:10"
    if values["model.normalisation"] != "weights" and (values["model.input_mean"], values["model.input_std"]) != (None, None):
        told = f"model.normalisation {values['model.normalisation']}"
        yield f"model.input_mean, model.input_std: are for model.normalisation weights, received {told}: leave one out"
    hidden = values.get("model.hidden")
    if hidden and min(hidden) < 1:
        yield f"model.hidden: expected whole numbers above 0 such as [512, 128], received {list(hidden)}"
    if values.get("model.head_norm") and settings.data.batch_size == 1:
        yield "data.batch_size: expected 2 or more with model.head_norm, which has no statistics of one slice, received 1"
    channels = values.get("model.channels")
    if channels is not None and (not channels or min(channels) < 1):
        yield f"model.channels: expected whole numbers above 0 such as [256, 128, 64, 32, 16], received {list(channels)}"
