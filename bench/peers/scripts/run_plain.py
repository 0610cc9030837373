"""A plain loop, as in notebooks: smp's U-Net with scse, timm's classifier, MONAI's DiceCE loss and GradCAM, Adam, 32 bits.

Both networks take a step on every batch, so that both have the same time. Validated after each epoch; a snapshot holds the best
epoch of each network, or its weights of that moment before the first epoch has ended.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import timm
import torch
from loop import Clock, Job, Slices, file_mib, main, save_prediction, warm_times, write_pngs
from monai.losses import DiceCELoss
from monai.visualize import GradCAM
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

BATCH, WORKERS, RATE = 16, 2, 1e-4
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Pictures(Dataset):
    """PNG files, read at every use; training pictures are mirrored at random."""

    def __init__(self, job: Job, part: str, *, augment: bool) -> None:
        self.folder, self.augment = job.work / "png", augment
        slices = Slices(job, part)
        self.names, self.labels = slices.names, slices.labels

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        image, mask = (np.array(Image.open(self.folder / what / f"{self.names[number]}.png")) for what in ("images", "masks"))
        if self.augment and np.random.rand() < 0.5:
            image, mask = image[:, ::-1].copy(), mask[:, ::-1].copy()
        return to_input(image), torch.from_numpy(mask > 0).float()[None], int(self.labels[number])


def to_input(image: np.ndarray) -> torch.Tensor:
    """Return (3, S, S) in [0, 1] of a grey picture (S, S) uint8."""
    return torch.from_numpy(image).float().div(255).expand(3, -1, -1)


class Networks(nn.Module):
    """U-Net and classifier, with the normalisation that the weights expect."""

    def __init__(self, job: Job, classes: int) -> None:
        super().__init__()
        mean, std = (0.5, 0.5) if job.encoder_weights() else (0.449, 0.226)
        self.mean, self.std = mean, std
        self.unet = smp.Unet(
            job.options["smp_encoder"], encoder_weights=None, decoder_attention_type="scse", in_channels=3, classes=1
        )
        self.classifier = timm.create_model(job.options["encoder"], pretrained=False, num_classes=classes)

    def load_encoder(self, job: Job) -> str:
        """Load ImageNet weights into both encoders where there are some, and return which weights they have."""
        path = job.encoder_weights()
        if path is None:
            return "random weights"
        from safetensors.torch import load_file

        state = {name: value.float() for name, value in load_file(path).items()}
        own = self.classifier.state_dict()
        body = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
        self.classifier.load_state_dict(body, strict=False)
        encoder = self.unet.encoder.state_dict()
        found = {f"model.{name}": value for name, value in state.items() if f"model.{name}" in encoder}
        if len(found) < 0.5 * len(encoder):
            raise SystemExit(f"error: {path}: only {len(found)} of {len(encoder)} arrays fit the encoder")
        self.unet.encoder.load_state_dict(found, strict=False)
        return "ImageNet weights"

    def normalised(self, x: torch.Tensor) -> torch.Tensor:
        """Return images (B, 3, S, S) in [0, 1] as the encoders expect them."""
        return (x - self.mean) / self.std


def prepare(job: Job) -> None:
    """Write the set as PNG files."""
    for part in ("train", "val"):
        slices = Slices(job, part)
        write_pngs(job.work / "png" / "images", slices.names, slices.images)
        write_pngs(job.work / "png" / "masks", slices.names, slices.masks.astype(np.uint8) * 255)


def train(job: Job) -> None:
    """Train both networks until the time is over."""
    torch.manual_seed(0)
    networks = Networks(job, len(Slices(job, "test").classes)).to(DEVICE)
    weights = networks.load_encoder(job)
    parts = {part: Pictures(job, part, augment=part == "train") for part in ("train", "val")}
    loaders = {
        part: DataLoader(data, BATCH, shuffle=part == "train", drop_last=part == "train", num_workers=WORKERS)
        for part, data in parts.items()
    }
    mask_loss, class_loss = DiceCELoss(sigmoid=True), nn.CrossEntropyLoss()
    optimizers = [torch.optim.Adam(part.parameters(), lr=RATE) for part in (networks.unet, networks.classifier)]
    best: dict[str, tuple[float, int, dict[str, Any]]] = {}
    clock, epoch = Clock(job.minutes), 0

    def take(name: str) -> str:
        states = {part: best[part][2] if best else getattr(networks, part).state_dict() for part in ("unet", "classifier")}
        torch.save(states, job.snapshots / f"{name}.pt")
        return f"best of {epoch} epochs" if best else "within the first epoch"

    job.snapshots.mkdir(parents=True)
    clock.start()
    while not clock.over:
        networks.train()
        for image, mask, label in loaders["train"]:
            image, mask, label = networks.normalised(image.to(DEVICE)), mask.to(DEVICE), label.to(DEVICE)
            losses = (mask_loss(networks.unet(image), mask), class_loss(networks.classifier(image), label))
            for optimizer, loss in zip(optimizers, losses, strict=True):
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if clock.step(len(image), take):
                break
        if clock.over:
            break
        epoch += 1
        for part, score in validate(networks, loaders["val"]).items():
            if part not in best or score > best[part][0]:
                best[part] = (score, epoch, copy.deepcopy(getattr(networks, part).state_dict()))
    clock.save(job, device=DEVICE, weights=weights, batch=BATCH)


@torch.no_grad()
def validate(networks: Networks, loader: DataLoader) -> dict[str, float]:
    """Return the mean Dice and the accuracy on validation."""
    networks.eval()
    dice, right = [], []
    for image, mask, label in loader:
        x = networks.normalised(image.to(DEVICE))
        found = (networks.unet(x).sigmoid() > 0.5).cpu().float()
        overlap = (found * mask).sum((1, 2, 3))
        dice += (2 * overlap / (found.sum((1, 2, 3)) + mask.sum((1, 2, 3))).clamp(min=1)).tolist()
        right += (networks.classifier(x).argmax(1).cpu() == label).tolist()
    return {"unet": float(np.mean(dice)), "classifier": float(np.mean(right))}


class Predictor:
    """Both networks with the weights of a snapshot, and Grad-CAM of the classifier."""

    def __init__(self, job: Job, name: str, classes: int) -> None:
        self.networks = Networks(job, classes).to(DEVICE).eval()
        states = torch.load(job.snapshots / f"{name}.pt", map_location=DEVICE, weights_only=True)
        for part, state in states.items():
            getattr(self.networks, part).load_state_dict(state)
        self.explain = GradCAM(nn_module=self.networks.classifier, target_layers=job.options["layer"])

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return mask (S, S), probabilities (K,) and Grad-CAM (S, S) in [0, 1] of a picture (S, S) uint8."""
        x = self.networks.normalised(to_input(image)[None].to(DEVICE))
        with torch.no_grad():
            mask = self.networks.unet(x).sigmoid()[0, 0] > 0.5
            probabilities = self.networks.classifier(x).softmax(1)[0]
        heat = 1 - np.asarray(torch.as_tensor(self.explain(x)).detach().cpu())[0, 0]  # MONAI maps the largest value to 0
        return mask.cpu().numpy(), probabilities.cpu().numpy(), heat


def predict(job: Job) -> None:
    """Predict the test part one slice after another."""
    test = Slices(job, "test")
    for name in job.saved("train")["snapshots"]:
        predictor = Predictor(job, name, len(test.classes))
        masks, probabilities, maps = map(np.stack, zip(*map(predictor, test.images), strict=True))
        save_prediction(job, name, masks=masks, probabilities=probabilities, maps=maps)
    times = warm_times(lambda number: predictor(test.images[number]), len(test))
    write_pngs(job.work / "one", test.names[:1], test.images[:1])
    job.save("predict", warm_ms=times, model_mib=file_mib(job.snapshots / f"{name}.pt"), runtime="torch")


def cold(job: Job) -> None:
    """Predict one file."""
    path = next((job.work / "one").glob("*.png"))
    predictor = Predictor(job, f"{job.minutes[-1]:g}", len(Slices(job, "test").classes))
    mask, _, heat = predictor(np.array(Image.open(path)))
    for name, picture in {"mask": mask.astype(np.uint8) * 255, "map": (255 * heat).astype(np.uint8)}.items():
        Image.fromarray(picture).save(job.work / f"one_{name}.png")


if __name__ == "__main__":
    main({"prepare": prepare, "train": train, "predict": predict, "cold": cold})
