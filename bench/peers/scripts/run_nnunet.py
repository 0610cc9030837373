"""nnU-Net v2: its own planning, preprocessing, augmentation and prediction; training is stopped by time.

The snapshot is the network of that moment, which is what nnU-Net predicts with (`checkpoint_final`). No learning-rate schedule
is fitted to the time: it falls over nnU-Net's 1,000 epochs.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from loop import Clock, Job, Slices, file_mib, main, save_prediction, warm_times, write_pngs

DATASET = "Dataset001_Peers"


def paths(job: Job) -> dict[str, Path]:
    """Return nnU-Net's three folders, and set the variables in which it expects them; before it is imported."""
    found = {f"nnUNet_{name}": job.work / f"nnUNet_{name}" for name in ("raw", "preprocessed", "results")}
    os.environ |= {name: str(path) for name, path in found.items()}
    return found


def device() -> str:
    """Return the device to train on."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def prepare(job: Job) -> None:
    """Write Dataset001 as PNG files, and let nnU-Net plan and preprocess it."""
    folders = paths(job)
    raw, cases = folders["nnUNet_raw"] / DATASET, {}
    for part in ("train", "val"):
        slices = Slices(job, part)
        write_pngs(raw / "imagesTr", slices.names, slices.images, suffix="_0000")
        write_pngs(raw / "labelsTr", slices.names, slices.masks.astype("uint8"))
        cases[part] = slices.names
    description = {
        "channel_names": {"0": "T1ce"},
        "labels": {"background": 0, "tumour": 1},
        "numTraining": sum(map(len, cases.values())),
        "file_ending": ".png",
    }
    (raw / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess

    extract_fingerprints([1], num_processes=job.cores)
    plans = plan_experiments([1])
    preprocess([1], plans, configurations=["2d"], num_processes=[job.cores])
    preprocessed = folders["nnUNet_preprocessed"] / DATASET
    (preprocessed / "splits_final.json").write_text(json.dumps([cases]), encoding="utf-8")


class Stopped(Exception):
    """The time is over."""


def train(job: Job) -> None:
    """Train fold 0 until the time is over."""
    folders = paths(job)
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer as Trainer

    clock = Clock(job.minutes)

    class nnUNetTrainer(Trainer):  # noqa: N801  the name is stored in the checkpoint, which must load without us
        def train_step(self, batch: dict) -> dict:
            if not clock.started:
                clock.start()
            found = super().train_step(batch)
            if clock.step(len(batch["data"]), self.snapshot):
                raise Stopped
            return found

        def snapshot(self, name: str) -> str:
            self.save_checkpoint(str(job.snapshots / f"{name}.pth"))
            return f"epoch {self.current_epoch + 1}"

    preprocessed = folders["nnUNet_preprocessed"] / DATASET
    plans = json.loads((preprocessed / "nnUNetPlans.json").read_text(encoding="utf-8"))
    planned = plans["configurations"]["2d"]["batch_size"]
    plans["configurations"]["2d"]["batch_size"] = job.options["batch"] or planned
    trainer = nnUNetTrainer(
        plans=plans | {"continue_training": False},
        configuration="2d",
        fold=0,
        dataset_json=json.loads((preprocessed / "dataset.json").read_text(encoding="utf-8")),
        device=torch.device(device()),
    )
    job.snapshots.mkdir(parents=True)
    try:
        trainer.run_training()
        clock.end(trainer.snapshot)
    except Stopped:
        pass
    clock.save(job, device=device(), weights="random weights", batch=job.options["batch"] or planned)
    model = Path(trainer.output_folder)
    shutil.copy(job.snapshots / f"{job.minutes[-1]:g}.pth", model / "checkpoint_final.pth")
    sys.stdout.flush()
    os._exit(0)  # its augmenting processes wait forever for a trainer that was stopped


def model_folder(job: Job) -> Path:
    """Return the folder that nnU-Net trains into."""
    return paths(job)["nnUNet_results"] / DATASET / "nnUNetTrainer__nnUNetPlans__2d"


def predict(job: Job) -> None:
    """Predict the test part, with nnU-Net's mirroring."""
    model = model_folder(job)
    import numpy as np
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    test, on = Slices(job, "test"), torch.device(device())
    predictor = nnUNetPredictor(device=on, perform_everything_on_device=on.type == "cuda", allow_tqdm=False)

    def one(number: int) -> np.ndarray:
        image = test.images[number][None, None].astype(np.float32)
        return predictor.predict_single_npy_array(image, {"spacing": [999, 1, 1]})[0]

    for name in job.saved("train")["snapshots"]:
        shutil.copy(job.snapshots / f"{name}.pth", model / "fold_0" / "checkpoint_peers.pth")
        predictor.initialize_from_trained_model_folder(str(model), (0,), "checkpoint_peers.pth")
        save_prediction(job, name, masks=np.stack([one(number) for number in range(len(test))]))
    times = warm_times(one, len(test))
    write_pngs(job.work / "one", test.names[:1], test.images[:1], suffix="_0000")
    job.save("predict", warm_ms=times, model_mib=file_mib(model / "fold_0" / "checkpoint_peers.pth"), runtime="torch, mirrored")


def cold(job: Job) -> None:
    """Predict one file with nnU-Net's own command."""
    paths(job)
    program = Path(sys.executable).with_name("nnUNetv2_predict")
    options = ["-i", str(job.work / "one"), "-o", str(job.work / "one_out"), "-d", "1", "-c", "2d", "-f", "0"]
    os.execv(program, [str(program), *options, "-chk", "checkpoint_peers.pth", "-device", job.saved("train")["device"]])


if __name__ == "__main__":
    main({"prepare": prepare, "train": train, "predict": predict, "cold": cold})
