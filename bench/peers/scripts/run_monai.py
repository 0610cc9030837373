"""MONAI as in its tutorial of 2-D segmentation: dictionary transforms, CacheDataset, UNet, DiceCE loss, Adam, 32 bits.

Validated every second epoch; a snapshot holds the best weights, or those of that moment before the first validation.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from loop import Clock, Job, Slices, file_mib, main, save_prediction, warm_times, write_pngs
from monai.data import CacheDataset, DataLoader, decollate_batch
from monai.losses import DiceCELoss
from monai.metrics import DiceMetric
from monai.networks.nets import UNet
from monai.transforms import (
    Activations,
    AsDiscrete,
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    RandFlipd,
    RandRotate90d,
    ScaleIntensity,
    ScaleIntensityd,
)
from PIL import Image

BATCH, RATE, EVERY = 16, 1e-3, 2
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def network() -> UNet:
    """Return the tutorial's network."""
    sizes = {"channels": (16, 32, 64, 128, 256), "strides": (2, 2, 2, 2), "num_res_units": 2}
    return UNet(spatial_dims=2, in_channels=1, out_channels=1, **sizes).to(DEVICE)


def prepare(job: Job) -> None:
    """Write the set as PNG files."""
    for part in ("train", "val"):
        slices = Slices(job, part)
        write_pngs(job.work / "png" / "images", slices.names, slices.images)
        write_pngs(job.work / "png" / "masks", slices.names, slices.masks.astype(np.uint8))


def loader(job: Job, part: str) -> DataLoader:
    """Return a part in batches, cached in memory."""
    keys = ["image", "mask"]
    folder = job.work / "png"
    files = [
        {"image": folder / "images" / f"{name}.png", "mask": folder / "masks" / f"{name}.png"}
        for name in Slices(job, part).names
    ]
    steps = [LoadImaged(keys), EnsureChannelFirstd(keys), ScaleIntensityd(["image"])]
    if part == "train":
        steps += [RandFlipd(keys, prob=0.5, spatial_axis=0), RandRotate90d(keys, prob=0.5, spatial_axes=(0, 1))]
    data = CacheDataset(files, Compose(steps), cache_rate=1.0, num_workers=job.cores, progress=False)
    return DataLoader(data, batch_size=BATCH, shuffle=part == "train", num_workers=0)


def train(job: Job) -> None:
    """Train until the time is over."""
    torch.manual_seed(0)
    model, loss_function = network(), DiceCELoss(sigmoid=True)
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    loaders = {part: loader(job, part) for part in ("train", "val")}
    clock, epoch, best = Clock(job.minutes), 0, None
    score, post = DiceMetric(include_background=True), Compose([Activations(sigmoid=True), AsDiscrete(threshold=0.5)])

    def take(name: str) -> str:
        torch.save(model.state_dict() if best is None else best[1], job.snapshots / f"{name}.pt")
        return "before the first validation" if best is None else f"best of {epoch} epochs"

    job.snapshots.mkdir(parents=True)
    clock.start()
    while not clock.over:
        model.train()
        for batch in loaders["train"]:
            optimizer.zero_grad()
            loss = loss_function(model(batch["image"].to(DEVICE)), batch["mask"].to(DEVICE))
            loss.backward()
            optimizer.step()
            if clock.step(len(batch["image"]), take):
                break
        epoch += not clock.over
        if clock.over or epoch % EVERY:
            continue
        model.eval()
        with torch.no_grad():
            for batch in loaders["val"]:
                found = [post(each) for each in decollate_batch(model(batch["image"].to(DEVICE)))]
                score(y_pred=found, y=decollate_batch(batch["mask"].to(DEVICE)))
        value = score.aggregate().item()
        score.reset()
        if best is None or value > best[0]:
            best = (value, copy.deepcopy(model.state_dict()))
    clock.save(job, device=DEVICE, weights="random weights", batch=BATCH)


class Predictor:
    """The network with the weights of a snapshot."""

    def __init__(self, job: Job, name: str) -> None:
        self.model = network().eval()
        self.model.load_state_dict(torch.load(job.snapshots / f"{name}.pt", map_location=DEVICE, weights_only=True))
        self.scale = ScaleIntensity()

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the mask (S, S) of a picture (S, S) uint8; MONAI's reader has the columns first, and so had the training."""
        x = torch.as_tensor(self.scale(image.T[None]))[None].to(DEVICE)
        with torch.no_grad():
            return (torch.as_tensor(self.model(x)).sigmoid()[0, 0] > 0.5).cpu().numpy().T


def predict(job: Job) -> None:
    """Predict the test part one slice after another."""
    test = Slices(job, "test")
    for name in job.saved("train")["snapshots"]:
        predictor = Predictor(job, name)
        save_prediction(job, name, masks=np.stack([predictor(image) for image in test.images]))
    times = warm_times(lambda number: predictor(test.images[number]), len(test))
    write_pngs(job.work / "one", test.names[:1], test.images[:1])
    job.save("predict", warm_ms=times, model_mib=file_mib(job.snapshots / f"{name}.pt"), runtime="torch")


def cold(job: Job) -> None:
    """Predict one file."""
    (path,) = (job.work / "one").glob("*.png")
    mask = Predictor(job, f"{job.minutes[-1]:g}")(np.array(Image.open(path)))
    Image.fromarray(mask.astype(np.uint8) * 255).save(job.work / "one_mask.png")


if __name__ == "__main__":
    main({"prepare": prepare, "train": train, "predict": predict, "cold": cold})
