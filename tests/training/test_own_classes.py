"""Decoders, losses and encoders of a user's own package, selected by import path."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forked import start
from small_settings import Make

from bts.atomic import replacing
from bts.errors import RequestError
from bts.models.folder import load_network
from bts.training.fit import fit

MODULE = """
from torch import nn
from torch.nn import functional as F
from bts.models.decoders import MaskDecoder
from bts.models.losses import ClassLoss, MaskLoss

class Plain(MaskDecoder):
    def __init__(self, *, encoder_channels, channels, attention):
        super().__init__(encoder_channels=encoder_channels, channels=channels, attention=attention)
        self.out_channels = 7
        self.squeeze = nn.Conv2d(encoder_channels[3], 7, 1)

    def forward(self, maps):
        return F.interpolate(self.squeeze(maps[3]), scale_factor=8)

class Brier(MaskLoss):
    def forward(self, logits, truth, has_mask=None):
        errors = (logits.float().sigmoid() - truth).square().flatten(1).mean(1)
        weights = torch.ones_like(errors) if has_mask is None else has_mask.float()
        loss = (errors * weights).sum() / weights.sum().clamp(min=1)
        return loss, {"brier": loss}

class Margin(ClassLoss):
    def forward(self, logits, labels):
        known = labels >= 0
        return F.multi_margin_loss(logits[known], labels[known]), {}

class Other: ...
"""
ENCODER = """
from torch import nn
from bts.models.encoder_bodies import EncoderBody

class Strided(EncoderBody):
    def __init__(self, *, in_channels):
        super().__init__(in_channels=in_channels)
        self.out_channels = (in_channels, 4, 5, 6, 7, 8)
        pairs = zip(self.out_channels[:-1], self.out_channels[1:])
        self.steps = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)

    def forward(self, x):
        maps = [x]
        for step in self.steps:
            maps.append(step(maps[-1]).relu())
        return maps
"""
DECODER_PATH, ENCODER_PATH = "own_parts.Plain", "own_encoders.Strided"


def load_when_written(told: Path, trusted: tuple[str, ...]) -> None:
    """Load the model folder that a file will name, trusting one list of classes after another; print answers and imports."""
    while not told.exists():
        time.sleep(0.02)
    for classes in trusted:
        os.environ["BTS_TRUSTED_CLASSES"] = classes
        try:
            load_network(told.read_text(encoding="utf-8"))
            answer = "loaded"
        except RequestError as error:
            answer = str(error)
        sys.stdout.write(f"{answer}\n{' '.join(sorted({'own_parts', 'own_encoders'} & set(sys.modules)))}\n")
    sys.stdout.flush()


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Callable[[Path], list[str]]]:
    """Let a process that did not train load a model folder; return what it prints."""
    trusted, told, log = ("", ENCODER_PATH, f"other.Name,{DECODER_PATH}"), tmp_path / "told", tmp_path / "log.txt"
    process = start(load_when_written, told, trusted, log=log, temporary=tmp_path / "temporary", copy=True)

    def load(folder: Path) -> list[str]:
        with replacing(told) as part:
            part.write_text(str(folder), encoding="utf-8")
        process.join(300)
        return log.read_text(encoding="utf-8").splitlines()

    yield load
    process.kill()
    process.join()


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("own_parts", MODULE), ("own_encoders", ENCODER)):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


def test_a_training_uses_the_classes_that_the_settings_name_and_its_model_imports_none_untrusted(
    joint: Make, stranger: Callable[[Path], list[str]]
) -> None:
    settings = joint()
    settings.optim.epochs, settings.trainer.images = 1, 0
    settings.model.decoder, settings.model.encoder = DECODER_PATH, ENCODER_PATH  # type: ignore[attr-defined]
    settings.loss.mask_loss, settings.loss.class_loss = "own_parts.Brier", "own_parts.Margin"  # type: ignore[attr-defined]
    run = fit(settings)
    network, card = load_network(run.model)
    assert type(network.decoder).__name__ == "Plain"
    assert type(network.encoder.body).__name__ == "Strided"
    assert network.mask_head.weight.shape[1] == 7  # type: ignore[union-attr]
    assert (card.architecture["decoder"], card.architecture["encoder"]) == (DECODER_PATH, ENCODER_PATH)
    header = run.curves.read_text().splitlines()[0].split(",")
    assert "train_loss_brier" in header
    assert "train_loss_dice" not in header

    lines = stranger(run.model)
    said, imported = lines[::2], lines[1::2]
    for refusal, field, path in zip(said, ("encoder", "decoder"), (ENCODER_PATH, DECODER_PATH), strict=False):
        assert f"{field} '{path}' is a class outside of bts" in refusal
        assert f"set BTS_TRUSTED_CLASSES={path} if you trust it" in refusal
    assert said[2] == "loaded"
    assert imported == ["", "own_encoders", "own_encoders own_parts"]


@pytest.mark.parametrize(
    ("group", "field", "path", "message"),
    [
        ("model", "decoder", "unett", r"unknown decoder 'unett' \(did you mean 'unet'\?\)"),
        ("model", "decoder", "own_parts.Other", r"expected a class that inherits from bts\.models\.decoders\.MaskDecoder"),
        ("model", "decoder", "own_parts.Plan", r"module 'own_parts' has no 'Plan' \(did you mean 'Plain'\?\)"),
        (
            "model",
            "encoder",
            "own_parts.Other",
            r"that inherits from bts\.models\.encoder_bodies\.EncoderBody",
        ),
        ("loss", "mask_loss", "dice_bc", r"unknown loss of masks 'dice_bc' \(did you mean 'dice_bce'\?\)"),
        ("loss", "mask_loss", "no_such.Loss", "loss of masks 'no_such.Loss': no module named 'no_such'"),
        ("loss", "mask_loss", "a b", "loss.mask_loss: expected a name, or the import path of a class, received 'a b'"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused_before_any_data_are_read(
    group: str, field: str, path: str, message: str, seg: Make
) -> None:
    settings = seg()
    settings.data.root = "nowhere"
    setattr(getattr(settings, group), field, path)
    with pytest.raises(RequestError, match=message) as error:
        fit(settings)
    assert "\n" not in str(error.value)


def test_a_class_is_trusted_by_its_whole_path_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from bts.models.decoders import decoders

    monkeypatch.setenv("BTS_TRUSTED_CLASSES", "own_parts,own_parts.Plainer, own_parts.Plain2")
    with pytest.raises(RequestError, match="is a class outside of bts"):
        decoders.load("own_parts.Plain2")
