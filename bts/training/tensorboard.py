"""Pictures in TensorBoard: the same validation slices in each epoch, augmented training slices, the confusion matrix."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from bts.models.base import Output
from bts.training.datamodule import SliceData
from bts.training.loggers import RunTensorBoardLogger, chart_layout
from bts.training.module import TaskModule
from bts.training.pictures import TRUTH, choose_slices, class_panel, contact_sheet, mask_panel, matrix_picture, with_contour

ENLARGED = 320
"""Least height of a validation slice in pixels."""
AUGMENTED = 12
"""Training slices on the sheet of augmented ones, each next to itself as read."""


class TensorBoardPictures(pl.Callback):
    """Draw to the TensorBoard logger, on the first process only; the step is the epoch, counted over both stages.

    Args:
        data: validation slices, of which `images` are drawn in each epoch, and training slices for the sheet of augmented ones.
        classes: class names in the order of the labels.
        images: number of slices drawn.
        histograms: whether the weights of every layer are drawn as histograms at each epoch.
        before: epochs of earlier stages.
    """

    def __init__(
        self,
        *,
        data: SliceData,
        classes: Sequence[str],
        images: int,
        before: int,
        histograms: bool = False,
    ) -> None:
        self.val, self.train, self.augmenter = data.val, data.train, data.augmenter
        self.classes, self.before, self.histograms = list(classes), before, histograms
        self.chosen = choose_slices(self.val.labels, self.val.masks.sum((1, 2)), images) if images else []
        self.writer: SummaryWriter | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        board = next((logger for logger in trainer.loggers if isinstance(logger, RunTensorBoardLogger)), None)
        if board is None:
            return
        epoch = self.before + trainer.current_epoch
        if epoch:
            board.hide_from(epoch + 1)
        self.writer = board.experiment
        if epoch == 0:
            self.writer.add_image("augmented/before_and_after", self._augmented(), 0, dataformats="HWC")

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # here rather than at the end of the epoch: during validation the network has the moving average of the weights
        assert isinstance(pl_module, TaskModule)
        if self.writer is None:
            return
        epoch = self.before + trainer.current_epoch + 1
        if self.chosen:
            for tag, picture in self._drawn(_answer(trainer, pl_module, self.val.images[self.chosen])):
                self.writer.add_image(tag, picture, epoch, dataformats="HWC")
        if self.histograms:
            for name, parameter in pl_module.network.named_parameters():
                self.writer.add_histogram(f"weights/{name}", parameter.detach().float().cpu(), epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, TaskModule)
        if self.writer is None:
            return
        epoch = self.before + trainer.current_epoch + 1
        if epoch == 1:
            self.writer.add_custom_scalars(chart_layout(list(pl_module.scores)))
        matrix = pl_module.confusion()
        if matrix is not None:
            self.writer.add_image("confusion", matrix_picture(matrix, self.classes), epoch, dataformats="HWC")
        self.writer.flush()

    def _drawn(self, output: Output) -> Iterator[tuple[str, np.ndarray]]:
        """Yield tag and picture of each chosen slice with the network's output; a task that it lacks is left out."""
        for i, position in enumerate(self.chosen):
            image, label = self.val.images[position], int(self.val.labels[position])
            name = self.classes[label] if label >= 0 else "unknown"
            tag = f"validation/{i + 1}_{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}"
            named = None if output.class_logits is None else self._named(output.class_logits[i])
            if output.mask_logits is not None:
                predicted = (output.mask_logits[i, 0] > 0).numpy()
                text = f"{name}: scan, truth, prediction" + (f" {named[0]} {named[1]:.2f}" if named else "")
                yield tag, mask_panel(image, self.val.masks[position], predicted, text=text, least=ENLARGED)
            elif named is not None:
                yield tag, class_panel(image, truth=name, predicted=named[0], probability=named[1], least=ENLARGED)

    def _named(self, logits: Tensor) -> tuple[str, float]:
        """Return the predicted class and its probability, from logits (K,)."""
        probabilities = logits.softmax(0)
        best = int(probabilities.argmax())
        return self.classes[best], float(probabilities[best])

    def _augmented(self) -> np.ndarray:
        positions = choose_slices(self.train.labels, self.train.masks.sum((1, 2)), AUGMENTED)
        panels = []
        for position in positions:
            image, mask = self.train.images[position], self.train.masks[position]
            pair = [with_contour(image, mask, TRUTH), with_contour(*self._varied(position), colour=TRUTH)]
            panels.append(np.concatenate(pair, axis=1))
        return contact_sheet(panels, columns=3)

    def _varied(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a slice and its mask as in the first epoch that augments them."""
        image, mask = self.train.images[position], self.train.masks[position]
        for epoch in range(20 if self.augmenter else 0):
            assert self.augmenter is not None
            varied, varied_mask = self.augmenter(image, mask, epoch=epoch, index=position)
            if not np.array_equal(varied, image):
                return varied, varied_mask
        return image, mask


def _answer(trainer: pl.Trainer, module: TaskModule, images: np.ndarray) -> Output:
    """Return the network's output on the CPU in 32 bits, as validation computes it; leaves the training mode as it was."""
    x = torch.from_numpy(images)[:, None].float().div(255).to(module.device)  # (B, 1, S, S)
    was_training = module.network.training
    module.network.eval()
    with torch.no_grad(), trainer.precision_plugin.val_step_context():
        output = module.network(x)
    module.network.train(was_training)
    return Output(*(None if tensor is None else tensor.float().cpu() for tensor in output))
