"""Settings of a training: name, type, limits, default and help of each, on one field.

Defaults stand here and nowhere else; a YAML file in `configs/` holds what differs, and the command line has the last word.
Limits are checked by `bts.fields.problems`, rules between fields stand in the `conflicts` of their dataclass. Settings stop at
the builders: networks, losses and transforms take plain numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from bts.fields import Conflict, Length, Pattern, Range
from bts.glossary import Task

Name = Annotated[str, Length(1)]
Positive = Annotated[float, Range(0, low_open=True)]
NotNegative = Annotated[float, Range(0)]
Fraction = Annotated[float, Range(0, 1)]
BelowOne = Annotated[float, Range(0, 1, high_open=True)]
Inside = Annotated[float, Range(0, 1, low_open=True, high_open=True)]
Count = Annotated[int, Range(1)]
CountOrZero = Annotated[int, Range(0)]
Seed = Annotated[int, Range(0, 2**32 - 1)]

LARGEST_SIDE = 1024
"""Largest side of the network input in pixels."""
Size = Annotated[int, Range(32, LARGEST_SIDE, multiple_of=32)]
Percentile = Annotated[float, Range(0, 100)]
Tiles = Annotated[int, Range(1, LARGEST_SIDE // 4)]
SharpenAmount = Annotated[float, Range(0, 10)]
SharpenSigma = Annotated[float, Range(0, 32, low_open=True)]
EncoderName = Annotated[str, Pattern(r"[A-Za-z0-9_.\-]{1,100}", "a name of letters, digits, _ . and -")]
Attention = Literal["additive", "none"]
ClassName = Annotated[str, Pattern(r"[A-Za-z_][A-Za-z0-9_.\-]{0,199}", "a name, or the import path of a class")]
Channels = Annotated[tuple[Annotated[int, Range(1, 1024)], ...], Length(3, 5)]
Hidden = Annotated[tuple[Annotated[int, Range(1, 8192)], ...], Length(0, 8)]
InChannels = Literal[1, 3]
MaskLabels = Annotated[tuple[Annotated[int, Range(1, 65535)], ...], Length(0, 64)]
MaskDilation = Annotated[int, Range(0, 256, multiple_of=4)]
Normalisation = Literal["weights", "unit", "imagenet"]
Trainable = Annotated[
    str,
    Pattern(
        r"all|head|last_block|last:[1-9]\d*",
        "all, head, last_block or last:N, such as last:10",
        known=("all", "head", "last_block", "last:N"),
    ),
]
Monitor = Literal["auto", "loss", "dice", "iou", "balanced_accuracy", "accuracy", "f1", "joint"]


@dataclass
class DataSettings:
    """Data source, preprocessing and loading."""

    source: Name = "figshare"
    """Name of the data source (`bts sources` lists them), or the import path of your own class, such as
    `my_package.MySource`."""
    root: Name = "data/figshare"
    """Folder that holds the data."""
    unreadable: Literal["refuse", "skip"] = "refuse"
    """What to do about slices that cannot be read: `refuse` to train, or `skip` them in every part and log their names."""
    mask_labels: MaskLabels = ()
    """Values of a mask that are tumour, such as `[1, 4]`; an empty list for all but 0."""
    size: Size = 224
    """Side length of the square network input, in pixels."""
    low_percentile: Percentile = 0.5
    """Percentile of a slice's intensities that is mapped to 0."""
    high_percentile: Percentile = 99.5
    """Percentile of a slice's intensities that is mapped to 1."""
    crop_brain: bool = True
    """Whether to crop each slice to the bounding box of the head, so that margins change nothing."""
    clahe_clip_limit: Fraction = 0.0
    """Clip limit of CLAHE as a fraction of a tile's pixels; 0.01 is close to OpenCV's 2.0, and 0 disables CLAHE."""
    clahe_tiles: Tiles = 8
    """Number of CLAHE tiles along each side, at most a quarter of `size`."""
    sharpen_amount: SharpenAmount = 0.0
    """Fraction of the difference between the slice and its Gaussian blur that is added to the slice; 0 disables sharpening."""
    sharpen_sigma_px: SharpenSigma = 1.5
    """Standard deviation of that blur, in pixels of the network input."""
    cache: str = "data/cache"
    """Folder for the cache of preprocessed slices; an empty string disables the cache."""
    cache_gib: Positive = 4.0
    """Maximum size of the cache in GiB; the least recently used slices are removed first."""
    batch_size: Count = 16
    """Number of slices per step and device."""
    workers: CountOrZero | None = None
    """Number of data loader processes; null selects 0 on a CPU and up to 8 with a GPU."""

    def conflicts(self) -> Iterator[Conflict]:
        """Yield values that do not go together."""
        yield from preprocessing_conflicts(self)


def preprocessing_conflicts(values: Any) -> Iterator[Conflict]:
    """Yield preprocessing values that do not go together; used for the settings and for the preprocessing of a model."""
    low, high = values.low_percentile, values.high_percentile
    if low >= high:
        yield ("low_percentile", "high_percentile"), f"expected low < high, received {low:g} and {high:g}"
    if values.clahe_tiles > values.size // 4:
        most = f"expected {values.size // 4} or fewer at size {values.size}"
        yield ("clahe_tiles",), f"{most}, received {values.clahe_tiles}"


@dataclass(frozen=True)
class PreprocessingParams:
    """The settings of `DataSettings` that define the preprocessing of a model."""

    size: Size = DataSettings.size
    low_percentile: Percentile = DataSettings.low_percentile
    high_percentile: Percentile = DataSettings.high_percentile
    crop_brain: bool = DataSettings.crop_brain
    clahe_clip_limit: Fraction = DataSettings.clahe_clip_limit
    clahe_tiles: Tiles = DataSettings.clahe_tiles
    sharpen_amount: SharpenAmount = DataSettings.sharpen_amount
    sharpen_sigma_px: SharpenSigma = DataSettings.sharpen_sigma_px

    def conflicts(self) -> Iterator[Conflict]:
        """Yield values that do not go together."""
        return preprocessing_conflicts(self)


@dataclass
class SplitSettings:
    """Split into training, validation and test parts, always by whole patients."""

    kind: Literal["ratios", "folds", "cvind", "published", "file"] = "ratios"
    """How to split: by `ratios`, into k balanced `folds`, by the figshare author's own folds (`cvind`), into the publisher's
    own parts (`published`), or as in a `file`."""
    train: Inside = 0.7
    """Fraction of the slices used for training, with `ratios`."""
    val: Inside = 0.15
    """Fraction used for validation: of all slices with `ratios`, of the slices outside the test part with `folds`, `cvind` and
    `published`."""
    folds: Annotated[int, Range(2)] = 5
    """Number of folds, with `folds`."""
    fold: Count = 5
    """Number of the test fold, from 1, with `folds` and `cvind`."""
    same_patient: Literal["suffixes", "exact"] = "suffixes"
    """Whether patient IDs that differ by a suffix only (MR040240, MR040240B) are one patient (`suffixes`) or two (`exact`)."""
    file: Name | None = None
    """CSV file with the columns `path, patient, label, part`, with `file`."""
    leaks: Literal["refuse", "allow"] = "refuse"
    """Whether to refuse a split in which held-out slices have copies in the training part, or to `allow` it."""
    confounding: Literal["refuse", "allow"] = "refuse"
    """Whether to refuse training slices of which a class comes from a single publisher and others from elsewhere, or to `allow`
    it; it is then recorded in the log, the model card and next to the scores."""
    seed: CountOrZero = 0
    """Seed of the random draw of patients."""

    def conflicts(self) -> Iterator[Conflict]:
        """Yield values that do not go together."""
        if self.kind == "ratios" and self.train + self.val > 1 - 1e-9:
            received = f"received {self.train:g} + {self.val:g} = {self.train + self.val:g}"
            yield ("train", "val"), f"expected a sum below 1, so that a test part is left, {received}"
        last = {"folds": self.folds, "cvind": 5}.get(self.kind, self.fold)
        if self.fold > last:
            yield ("fold",), f"expected 1 to {last} with split.kind {self.kind}, received {self.fold}"
        if self.kind == "file" and not self.file:
            yield (
                ("file",),
                "expected a CSV file with the columns `path, patient, label, part` with split.kind file, received null",
            )
        if self.kind != "file" and self.file:
            yield ("file",), f"used with split.kind file only, received split.kind {self.kind}: add `--split.kind file`"


@dataclass
class AugmentSettings:
    """Augmentation of training slices; validation and test slices are never augmented."""

    share: Fraction = 0.5
    """Fraction of the training slices that are augmented."""
    rotate: Annotated[float, Range(0, 180)] = 15.0
    """Largest rotation in degrees, in either direction."""
    flip: bool = True
    """Whether to mirror left to right with probability 0.5."""
    crop: Annotated[float, Range(0, 0.9)] = 0.1
    """Largest fraction of a side removed by a random crop, which is resized to the input size."""
    flip_vertical: bool = False
    """Whether to mirror top to bottom with probability 0.5."""
    scale: Annotated[float, Range(0, 0.9)] = 0.0
    """Largest relative zoom in or out."""
    zoom_out: Annotated[float, Range(0, 0.9)] = 0.0
    """Largest relative zoom out, where it exceeds `scale`."""
    shift: Annotated[float, Range(0, 0.9)] = 0.0
    """Largest shift as a fraction of the side."""
    shear: Annotated[float, Range(0, 45)] = 0.0
    """Largest shear in degrees, along either side."""
    fill: Literal["black", "nearest"] = "black"
    """Fill of the pixels that rotation, zoom, shift and shear leave empty: `black`, or the `nearest` pixel."""
    brightness: Fraction = 0.0
    """Largest relative change of brightness and of contrast."""
    preset: Literal["none", "domain"] = "none"
    """`domain` also varies the appearance of scanners, publishers and file formats, within ranges of its own."""
    remove_tumour: Fraction = 0.0
    """Fraction of the slices with a tumour whose tumour is replaced by tissue of the slice; the class becomes `no_tumour`."""
    paste_tumour: Fraction = 0.0
    """Fraction of the healthy slices that get the tumour of another training slice, with its class and mask."""


@dataclass
class OptimSettings:
    """Optimiser, learning-rate schedule and length."""

    epochs: Count = 30
    """Number of epochs of the main stage."""
    lr: Positive = 3e-4
    """Peak learning rate."""
    lr_random: Positive | None = None
    """Peak learning rate used in place of `lr` if training starts from random weights."""
    trainable: Trainable = "all"
    """Part of the network that is trained: `all`, `head`, `last_block` or `last:N` (the last N layers). Always `all` if
    training starts from random weights."""
    optimizer: Literal["adamw", "adam"] = "adamw"
    """Optimiser."""
    weight_decay: NotNegative = 1e-4
    """Weight decay: decoupled with `adamw`, added to the gradient with `adam`. Norms and biases are not decayed."""
    schedule: Literal["cosine", "step", "plateau", "constant"] = "cosine"
    """Learning-rate schedule after the warm-up."""
    step_epochs: Count = 7
    """Number of epochs between two reductions of the learning rate, with `step`."""
    step_factor: Inside = 0.1
    """Factor by which the learning rate is multiplied at each reduction, with `step`."""
    warmup_epochs: NotNegative = 1.0
    """Number of epochs of linear warm-up, which starts at a tenth of the learning rate."""
    plateau_factor: Inside = 0.3
    """Factor by which the learning rate is multiplied when the monitored score stops improving, with `plateau`."""
    plateau_patience: CountOrZero = 5
    """Number of epochs without improvement before that, with `plateau`."""
    gradient_clip_val: NotNegative = 1.0
    """Largest norm of the gradient; 0 disables clipping."""
    ema_decay: BelowOne = 0.0
    """Decay per step of an exponential moving average of the weights, which is validated and saved in place of the weights;
    0.99 averages over about 100 steps, and 0 disables averaging."""


@dataclass
class FreezeSettings:
    """Stage 1, in which part of the network is frozen; skipped if training starts from random weights."""

    trainable: Trainable = "last_block"
    """Part of the network that is trained in stage 1: `head`, `last_block`, `last:N` or `all`. Frozen batch norms stay in eval
    mode."""
    epochs: CountOrZero = 0
    """Number of epochs of stage 1; 0 skips it."""
    lr: Positive = 1e-3
    """Peak learning rate of stage 1."""


@dataclass
class TrainerSettings:
    """Hardware, early stopping and logging."""

    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    """Kind of device to train on."""
    devices: Annotated[int, Range(1, also=((-1, "all"),))] = 1
    """Number of devices per node."""
    num_nodes: Count = 1
    """Number of machines."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    """Floating-point precision; `auto` selects bf16 if the processor supports it in hardware, otherwise 32 bits."""
    threads: Count | None = None
    """Number of CPU threads; null selects as many as other processes leave cores, at the start and again when the training
    rate drops below half, or `OMP_NUM_THREADS` if it is set."""
    monitor: Monitor = "auto"
    """Validation score that selects the best epoch; `auto` selects `dice`, `balanced_accuracy` or, for the joint network,
    `joint` (the mean of the two)."""
    patience: CountOrZero = 10
    """Number of epochs without improvement before training stops early; 0 disables early stopping."""
    min_delta: NotNegative = 0.0
    """Smallest change of the score that counts as an improvement for early stopping; the best epoch is saved regardless."""
    loggers: tuple[Literal["tensorboard", "csv", "mlflow", "wandb"], ...] = ("tensorboard",)
    """Where losses and scores of each epoch are logged, besides `curves.csv`: `tensorboard` (with pictures), `csv`, `mlflow`,
    `wandb`. The last two need the package of that name, and contact the server that you have set up for them."""
    images: CountOrZero = 6
    """Number of validation slices drawn in TensorBoard at each epoch."""
    histograms: bool = False
    """Whether to log a histogram of each layer's weights to TensorBoard at each epoch."""
    limit_batches: Count | None = None
    """Maximum number of batches per epoch, for quick trials; it is recorded next to the scores."""


@dataclass
class EncoderSettings:
    """Encoder and its input."""

    encoder: EncoderName = "resnet50"
    """Name of an encoder of segmentation-models-pytorch or timm, `cnn_scratch`, or the import path of your own class, such as
    `my_package.MyEncoder`."""
    weights: Name = "imagenet"
    """Initial weights: `imagenet` (of the encoder, from the extra `weights` or timm's hub), `none` (random), a file of encoder
    weights, or a model to fine-tune: the name of a bundled model, `hf://owner/name`, a run or model folder, or its weights
    file."""
    in_channels: InChannels = 1
    """Number of input channels of the encoder: 1, or 3 equal ones."""
    normalisation: Normalisation = "weights"
    """Normalisation of the input in [0, 1]: as the `weights` expect, none (`unit`), or by ImageNet's mean and standard
    deviation (`imagenet`)."""
    input_mean: Fraction | None = None
    """Mean subtracted from the input in [0, 1], with `weights`; null takes the value that the weights were trained with."""
    input_std: Positive | None = None
    """Standard deviation by which the input is then divided, with `weights`; null as above."""

    def conflicts(self) -> Iterator[Conflict]:
        """Yield values that do not go together."""
        if self.normalisation != "weights" and (self.input_mean, self.input_std) != (None, None):
            received = f"received normalisation {self.normalisation}: leave one out"
            yield ("input_mean", "input_std"), f"used only with normalisation weights, {received}"


@dataclass
class SegModelSettings(EncoderSettings):
    """Attention U-Net."""

    decoder: ClassName = "unet"
    """Name of the decoder, or the import path of your own class, such as `my_package.MyDecoder`."""
    attention: Attention = "additive"
    """Attention gates on the skip connections: `additive` (Oktay 2018), or `none` for a plain U-Net."""
    channels: Channels = (256, 128, 64, 32, 16)
    """Number of channels of the decoder blocks, from deep to shallow: five; four for masks computed at half the resolution, or
    three for a quarter of it, which are interpolated and train a small network 1.6 and 2 times as fast."""


@dataclass
class ClsModelSettings(EncoderSettings):
    """Classifier of grey-scale slices."""

    dropout: BelowOne = 0.2
    """Dropout probability before the last linear layer and after each hidden layer."""
    hidden: Hidden = ()
    """Widths of dense layers between the pooled features and the output layer."""
    head_norm: bool = False
    """Whether to use batch norm before the first hidden layer and before the output layer."""


@dataclass
class JointModelSettings(SegModelSettings):
    """Attention U-Net with a class head."""

    dropout: BelowOne = 0.2
    """Dropout probability before the linear class head."""
    mask_dilation_px: MaskDilation = 0
    """Number of pixels by which the mask is dilated before features are averaged over it for the class; more of the class
    activation map lies inside the tumour with a smaller value."""
    slice_dropout: BelowOne = 0.5
    """Fraction of training slices that are classified from the average over the mask alone; more of the class activation map
    lies inside the tumour with a larger value."""


@dataclass
class SegLossSettings:
    """Segmentation loss."""

    mask_loss: ClassName = "dice_bce"
    """Name of the loss of masks, or the import path of your own class, such as `my_package.MyMaskLoss`."""
    dice_weight: NotNegative = 1.0
    """Weight of the soft Dice loss."""
    bce_weight: NotNegative = 1.0
    """Weight of the binary cross-entropy of the mask."""

    def conflicts(self) -> Iterator[Conflict]:
        """Yield values that do not go together."""
        if self.dice_weight == self.bce_weight == 0:
            yield ("dice_weight", "bce_weight"), "expected one above 0, received 0 and 0"


@dataclass
class ClsLossSettings:
    """Classification loss."""

    class_loss: ClassName = "cross_entropy"
    """Name of the loss of classes, or the import path of your own class, such as `my_package.MyClassLoss`."""
    class_weights: Literal["none", "balanced"] = "none"
    """Class weights of the cross-entropy; `balanced` weights a class by the inverse of its frequency in training."""


@dataclass
class JointLossSettings(SegLossSettings, ClsLossSettings):
    """Segmentation loss and classification loss, added up."""

    cross_entropy_weight: Positive = 1.0
    """Weight of the cross-entropy of the class."""


@dataclass
class Settings:
    """Settings that all tasks share."""

    monitors: ClassVar[tuple[Monitor, ...]] = ()
    """Validation scores, besides `loss`, that can select the best epoch; `auto` selects the first."""

    data: DataSettings = field(default_factory=DataSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    freeze: FreezeSettings = field(default_factory=FreezeSettings)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    seed: Seed = 0
    """Seed of the initial weights, the order of the slices and the augmentation."""
    runs: Name = "runs"
    """Folder of all runs; a run is written to `<runs>/<task>/<time>`."""

    def conflicts(self) -> Iterator[Conflict]:
        """Yield values of different groups that do not go together."""
        known = ("auto", "loss", *self.monitors)
        if self.monitors and self.trainer.monitor not in known:
            yield ("trainer.monitor",), f"expected one of {', '.join(known)} for this task, received '{self.trainer.monitor}'"


@dataclass
class SegSettings(Settings):
    """Segmentation: an attention U-Net trained with Dice and cross-entropy."""

    monitors = ("dice", "iou")

    model: SegModelSettings = field(default_factory=SegModelSettings)
    loss: SegLossSettings = field(default_factory=SegLossSettings)


@dataclass
class ClsSettings(Settings):
    """Classification: a grey-scale network trained with cross-entropy."""

    monitors = ("balanced_accuracy", "accuracy", "f1")

    model: ClsModelSettings = field(default_factory=ClsModelSettings)
    loss: ClsLossSettings = field(default_factory=ClsLossSettings)

    def conflicts(self) -> Iterator[Conflict]:
        """Yield values of different groups that do not go together."""
        yield from super().conflicts()
        if self.model.head_norm and self.data.batch_size == 1:
            yield ("data.batch_size", "model.head_norm"), "expected batches of 2 or more with batch norm, received 1"


@dataclass
class JointSettings(Settings):
    """Segmentation and classification by one network, trained with both losses at once."""

    monitors = ("joint", "dice", "iou", "balanced_accuracy", "accuracy", "f1")

    model: JointModelSettings = field(default_factory=JointModelSettings)
    loss: JointLossSettings = field(default_factory=JointLossSettings)


NAME_KEYS = ("data.source", "model.encoder", "model.decoder", "loss.mask_loss", "loss.class_loss")
"""Settings that name a registered item, or the import path of a user's class."""
SETTINGS: dict[Task, type[Settings]] = {"seg": SegSettings, "cls": ClsSettings, "joint": JointSettings}
