"""What can be set, what does it mean, and what is it when nobody says anything?

Defaults stand here and nowhere else; a YAML file in `configs/` holds what differs, the command line has the last word.
Settings stop at the builders: networks, losses and transforms take plain numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from bts.glossary import Task


@dataclass
class DataSettings:
    """Which slices, where they lie, and how they become tensors."""

    source: str = "figshare"
    """Data source by name (`bts sources` lists them)."""
    root: str = "data/figshare"
    """Folder of the data."""
    unreadable: Literal["refuse", "skip"] = "refuse"
    """What becomes of a slice that can't be read: nothing is trained, or it is named and left out of every part."""
    size: int = 224
    """Side of the square that the network sees, in pixels; a multiple of 32."""
    low_percentile: float = 0.5
    """Intensities at or under this percentile of a slice become 0."""
    high_percentile: float = 99.5
    """Intensities at or over this percentile of a slice become 1."""
    crop_brain: bool = False
    """Whether only the box around the head is shown to the network."""
    clahe_clip_limit: float = 0.0
    """Limit of CLAHE as a share of a tile's pixels: 0.01 is near OpenCV's 2.0; 0 leaves the contrast as it is."""
    clahe_tiles: int = 8
    """Tiles a side of CLAHE."""
    sharpen_amount: float = 0.0
    """Share of the difference from a Gaussian blur that is added: 0.5 for the sum of 1.5 and -0.5; 0 adds nothing."""
    sharpen_sigma_px: float = 1.5
    """Deviation of that blur in pixels of the square."""
    cache: str = "data/cache"
    """Folder for decoded slices; an empty string turns the cache off."""
    cache_gib: float = 4.0
    """Size in GiB above which the slices unused for longest are dropped from the cache."""
    batch_size: int = 16
    """Slices a step and device."""
    workers: int | None = None
    """Loader processes; none chooses 0 on CPU and up to 8 beside a GPU."""


@dataclass
class SplitSettings:
    """Who is trained on, who validates, who tests: always whole patients."""

    kind: Literal["ratios", "folds", "cvind", "published", "file"] = "ratios"
    """`ratios`, k balanced `folds`, the author's own folds (`cvind`), the publisher's own parts (`published`), or a `file`."""
    train: float = 0.7
    """Share of the slices for training, with `ratios`."""
    val: float = 0.15
    """Share for validation: of all slices with `ratios`, of what the test fold or part leaves with folds and `published`."""
    folds: int = 5
    """Number of folds, with `folds`."""
    fold: int = 5
    """The test fold, 1 to `folds`, with `folds` and `cvind`."""
    group: Literal["family", "exact"] = "family"
    """`family` takes MR040240 and MR040240B for one person, `exact` for two."""
    file: str | None = None
    """CSV with `path, patient, label, part`, with `file`."""
    leaks: Literal["refuse", "allow"] = "refuse"
    """Before the training, look for held-out slices that were seen (copies in any guise, once a split), or `allow` them."""
    seed: int = 0
    """Seed of the draw of patients."""


@dataclass
class AugmentSettings:
    """Augmentation of training slices; validation and test slices are never augmented."""

    share: float = 0.5
    """Share of the slices that are varied at all."""
    rotate: float = 15.0
    """Largest rotation in degrees, either way."""
    flip: bool = True
    """Mirror left to right, every second time."""
    crop: float = 0.1
    """Largest share of a side that a random crop takes away before it is resized back."""
    flip_vertical: bool = False
    """Mirror top to bottom, every second time."""
    scale: float = 0.0
    """Largest relative zoom in or out."""
    zoom_out: float = 0.0
    """Largest relative zoom out, where it is to be larger than `scale`."""
    shift: float = 0.0
    """Largest shift as a share of the side."""
    shear: float = 0.0
    """Largest shear in degrees, along either side."""
    fill: Literal["black", "nearest"] = "black"
    """What rotation, zoom, shift and shear leave empty is black, or continues the nearest pixel."""
    brightness: float = 0.0
    """Largest relative change of brightness and contrast."""
    preset: Literal["none", "domain"] = "none"
    """`domain` adds the appearance of other scanners, publishers and file formats, with ranges of its own."""
    remove_tumour: float = 0.0
    """Share of the slices with a tumour that lose it: it is replaced by tissue of the slice, and the class is `no_tumour`."""
    paste_tumour: float = 0.0
    """Share of the healthy slices that get the tumour of another training slice, with its class and mask."""


@dataclass
class OptimSettings:
    """Optimiser, schedule and length."""

    epochs: int = 30
    """Epochs with all layers trainable."""
    lr: float = 3e-4
    """Learning rate at its highest."""
    lr_random: float | None = None
    """Learning rate in place of `lr` where the weights are random, and a rate for fine-tuning would teach nothing."""
    trainable: str = "all"
    """What learns in this stage: `all`, `head`, `last_block` or `last:N`, the last N layers; all of it with random weights."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """Optimiser: AdamW, Adam, or SGD with Nesterov's momentum."""
    momentum: float = 0.9
    """Momentum of `sgd`."""
    weight_decay: float = 1e-4
    """Weight decay: decoupled with `adamw`, part of the gradient with the others."""
    schedule: Literal["cosine", "step", "plateau", "constant"] = "cosine"
    """Course of the learning rate after the warm-up."""
    step_epochs: int = 7
    """Epochs between two falls of the rate, with `step`."""
    step_factor: float = 0.1
    """Factor on the rate at each fall, with `step`."""
    warmup_epochs: float = 1.0
    """Epochs of linear warm-up from a tenth of the rate."""
    plateau_factor: float = 0.3
    """Factor on the rate when the monitored score stalls, with `plateau`."""
    plateau_patience: int = 5
    """Epochs without a better score before that, with `plateau`."""
    plateau_min_delta: float = 0.0
    """By how much a score must be better to count, with `plateau`."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 turns clipping off."""
    ema_decay: float = 0.0
    """Decay a step of a moving average of the weights, which is what validates and is kept: 0.99 averages over some hundred
    steps; 0 keeps the weights themselves."""


@dataclass
class FreezeSettings:
    """Stage 1: part of the network is frozen. Skipped, and said, where the weights are random."""

    trainable: str = "last_block"
    """What learns in stage 1: `head`, `last_block`, `last:N` or `all`; a frozen batch norm stays in eval mode."""
    epochs: int = 0
    """Length of stage 1; 0 skips it."""
    lr: float = 1e-3
    """Learning rate of stage 1."""


@dataclass
class TrainerSettings:
    """The loop: device, precision, stopping, logging."""

    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    """Kind of device."""
    devices: int = 1
    """Devices a node; -1 takes all."""
    nodes: int = 1
    """Machines."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    """`auto` takes bf16 where the processor computes in it, else 32 bits."""
    channels_last: bool | None = None
    """Memory layout; none chooses it where it is known to help."""
    compile: bool = False
    """Whether the network is compiled by `torch.compile`, which takes minutes at the start and a C++ compiler."""
    monitor: str = "auto"
    """Validation score that picks the best epoch: `dice`, `balanced_accuracy`, `accuracy`, `joint` (mean of the first two, of a
    joint network) or `loss`; `auto` by task."""
    patience: int = 10
    """Epochs without a better score before training stops early; 0 never stops."""
    min_delta: float = 0.0
    """By how much a score must be better for training to go on; the best epoch is kept however small its lead."""
    images: int = 6
    """Validation slices drawn in TensorBoard at each epoch."""
    histograms: bool = False
    """Whether TensorBoard also gets a histogram of every layer's weights at each epoch."""
    limit_batches: int | None = None
    """At most so many batches an epoch, for a quick look; a run cut short says so in its scores."""


@dataclass
class SegModelSettings:
    """The attention U-Net."""

    encoder: str = "resnet50"
    """Any encoder of segmentation-models-pytorch or timm, by name."""
    weights: str = "imagenet"
    """`imagenet` (timm's hub), `none` (random), or a file."""
    attention: Literal["additive", "scse", "none"] = "additive"
    """Attention on the skip connections."""
    channels: tuple[int, ...] = (256, 128, 64, 32, 16)
    """Decoder channels, from deep to shallow."""
    conv1: Literal["mean", "sum"] = "sum"
    """How the first kernels' RGB becomes grey."""
    in_channels: Literal[1, 3] = 1
    """What the encoder sees: the grey picture, or the same picture three times."""
    normalisation: Literal["weights", "unit", "symmetric", "imagenet", "zscore"] = "weights"
    """Of the picture in [0, 1]: what the `weights` need, none (`unit`), to [-1, 1] (`symmetric`), ImageNet's, or z-scores."""
    input_mean: float | None = None
    """Subtracted from the input in [0, 1]; none takes what the weights were trained with (state it if their file doesn't)."""
    input_std: float | None = None
    """Divides after that; none as above."""


@dataclass
class ClsModelSettings:
    """The grey-scale classifier."""

    encoder: str = "resnet50"
    """Any encoder of segmentation-models-pytorch or timm, by name."""
    weights: str = "imagenet"
    """`imagenet` (timm's hub), `none` (random), or a file."""
    dropout: float = 0.2
    """Dropout before the linear head, or behind each hidden layer."""
    hidden: tuple[int, ...] = ()
    """Widths of dense layers between the pooled maps and the classes."""
    head_norm: bool = False
    """Batch norms before the first hidden layer and before the classes."""
    conv1: Literal["mean", "sum"] = "sum"
    """How the first kernels' RGB becomes grey."""
    in_channels: Literal[1, 3] = 1
    """What the encoder sees: the grey picture, or the same picture three times."""
    normalisation: Literal["weights", "unit", "symmetric", "imagenet", "zscore"] = "weights"
    """Of the picture in [0, 1]: what the `weights` need, none (`unit`), to [-1, 1] (`symmetric`), ImageNet's, or z-scores."""
    input_mean: float | None = None
    """Subtracted from the input in [0, 1]; none takes what the weights were trained with (state it if their file doesn't)."""
    input_std: float | None = None
    """Divides after that; none as above."""


@dataclass
class SegLossSettings:
    """Weights of the parts of the segmentation loss."""

    dice: float = 1.0
    """Weight of the soft Dice loss."""
    bce: float = 1.0
    """Weight of the binary cross-entropy."""
    focal_gamma: float = 0.0
    """Exponent of the focal loss: takes the cross-entropy's weight off pixels that are easy; 0 is plain cross-entropy."""


@dataclass
class ClsLossSettings:
    """The classification loss."""

    class_weights: Literal["none", "balanced"] = "none"
    """`balanced` weighs a class by the inverse of its share in training."""
    label_smoothing: float = 0.0
    """Share of the target spread over all classes."""


@dataclass
class JointModelSettings:
    """The attention U-Net with a class head."""

    encoder: str = "resnet50"
    """Any encoder of segmentation-models-pytorch or timm, by name."""
    weights: str = "imagenet"
    """`imagenet` (timm's hub), `none` (random), or a file."""
    attention: Literal["additive", "scse", "none"] = "additive"
    """Attention on the skip connections."""
    channels: tuple[int, ...] = (256, 128, 64, 32, 16)
    """Decoder channels, from deep to shallow."""
    dropout: float = 0.2
    """Dropout before the linear class head."""
    rim_px: int = 0
    """Pixels by which the mask grows before the class is averaged over it, a multiple of 4: a narrower rim, a sharper map."""
    slice_dropout: float = 0.5
    """Share of training slices whose class is told from the average over the mask alone: more of the map in the tumour."""
    conv1: Literal["mean", "sum"] = "sum"
    """How the first kernels' RGB becomes grey."""
    in_channels: Literal[1, 3] = 1
    """What the encoder sees: the grey picture, or the same picture three times."""
    normalisation: Literal["weights", "unit", "symmetric", "imagenet", "zscore"] = "weights"
    """Of the picture in [0, 1]: what the `weights` need, none (`unit`), to [-1, 1] (`symmetric`), ImageNet's, or z-scores."""
    input_mean: float | None = None
    """Subtracted from the input in [0, 1]; none takes what the weights were trained with (state it if their file doesn't)."""
    input_std: float | None = None
    """Divides after that; none as above."""


@dataclass
class JointLossSettings:
    """The loss on masks and the loss on classes, and how they add up."""

    dice: float = 1.0
    """Weight of the soft Dice loss."""
    bce: float = 1.0
    """Weight of the binary cross-entropy of the mask."""
    focal_gamma: float = 0.0
    """Exponent of the focal loss: takes the cross-entropy's weight off pixels that are easy; 0 is plain cross-entropy."""
    cross_entropy: float = 1.0
    """Weight of the cross-entropy of the class."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced` weighs a class by the inverse of its share in training."""
    label_smoothing: float = 0.0
    """Share of the target spread over all classes."""
    weighting: Literal["fixed", "learned"] = "fixed"
    """`learned` also weighs mask against class by their uncertainties, which are trained (Kendall 2018)."""


@dataclass
class Settings:
    """What all tasks share."""

    data: DataSettings = field(default_factory=DataSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    freeze: FreezeSettings = field(default_factory=FreezeSettings)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    seed: int = 0
    """Seed of weights, order and augmentation."""
    runs: str = "runs"
    """Folder of the runs; this one lands in `<runs>/<task>/<time>`."""


@dataclass
class SegSettings(Settings):
    """Segmentation: an attention U-Net trained with Dice and cross-entropy."""

    model: SegModelSettings = field(default_factory=SegModelSettings)
    loss: SegLossSettings = field(default_factory=SegLossSettings)


@dataclass
class ClsSettings(Settings):
    """Classification: a grey-scale network trained with cross-entropy."""

    model: ClsModelSettings = field(default_factory=ClsModelSettings)
    loss: ClsLossSettings = field(default_factory=ClsLossSettings)


@dataclass
class JointSettings(Settings):
    """Mask and class from one network, trained with both losses at once."""

    model: JointModelSettings = field(default_factory=JointModelSettings)
    loss: JointLossSettings = field(default_factory=JointLossSettings)


SETTINGS: dict[Task, type[Settings]] = {"seg": SegSettings, "cls": ClsSettings, "joint": JointSettings}
