"""The two JSON files of a MONAI bundle: metadata after MONAI's specification, and an inference that runs as it is.

MONAI's parser evaluates texts that begin with `$`, `@` or `%`. None of those in these files comes from a model card: numbers
and names of the card are typed, and `refuse_foreign` compares the finished files with those of a card that is empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from typing import Any, Literal

import bts
from bts.data.preprocess import Preprocessing
from bts.errors import RequestError
from bts.glossary import DISCLAIMER, Task
from bts.models.architecture import Architecture
from bts.models.card import ModelCard
from bts.models.card_rules import EVALUATED, shortened

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
VERSION = "0.1.0"
REQUIRED = ("bts", "timm", "segmentation-models-pytorch", "safetensors", "pytorch-ignite", "pillow", "scipy")
TASK_TEXT: dict[Task, str] = {
    "seg": "Brain tumour segmentation of MRI slices",
    "cls": "Brain tumour classification of MRI slices",
    "joint": "Brain tumour segmentation and classification of MRI slices",
}
PARTS = "bts.export.bundle_parts"
Answer = Literal["mask", "classes"]


def answers_of(task: Task) -> list[tuple[Answer, str]]:
    """Return the answers of a task, `mask` or `classes`, each with the prefix of its names in the files.

    One answer has MONAI's own names, so that `network_def` and `network_data_format` are what its tools expect; the second one
    of a joint network has `classifier_`, after the specification's rule for more networks.
    """
    found: dict[Task, list[tuple[Answer, str]]] = {
        "seg": [("mask", "")],
        "cls": [("classes", "")],
        "joint": [("mask", ""), ("classes", "classifier_")],
    }
    return found[task]


def metadata_of(card: ModelCard) -> dict[str, Any]:
    """Return `configs/metadata.json`."""
    formats = {
        f"{prefix}data_format" if prefix else "network_data_format": data_format(card, answer)
        for answer, prefix in answers_of(card.task)
    }
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "changelog": {VERSION: f"exported from the model '{card.name}' ({card.fingerprint})"},
        "monai_version": _version("monai"),
        "pytorch_version": _version("torch").partition("+")[0],
        "numpy_version": _version("numpy"),
        "required_packages_version": {name: found for name in REQUIRED if (found := _version(name))},
        "name": card.name,
        "task": TASK_TEXT[card.task],
        "description": f"{TASK_TEXT[card.task]}; encoder {card.architecture.get('encoder', '')}. {DISCLAIMER}"
        + (" Trained on synthetic phantoms: its predictions are not valid for patients." if card.synthetic else ""),
        "authors": "author of the trained model; exported by bts",
        "copyright": f"licence of the weights: {card.licence}",
        "intended_use": card.intended_use,
        "data_source": card.trained_on or "not stated",
        "data_type": "MRI slices: PNG, JPEG, TIFF, MATLAB 7.3, DICOM, NIfTI of one slice",
        "image_classes": "one grey slice",
        "eval_metrics": card.scores,
        **formats,
    }


def data_format(card: ModelCard, answer: Answer) -> dict[str, Any]:
    """Return inputs and outputs of one network."""
    side = int(card.preprocessing["size"])
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "MR",
        "num_channels": 1,
        "spatial_shape": [side, side],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {"0": "slice, window between two percentiles"},
    }
    mask = {
        "type": "image",
        "format": "segmentation",
        "num_channels": 1,
        "spatial_shape": [side, side],
        "channel_def": {"0": "tumour, logit"},
    }
    classes = {
        "type": "probabilities",
        "format": "classes",
        "num_channels": len(card.classes),
        "spatial_shape": [1, len(card.classes)],
        "channel_def": {str(number): f"{name}, logit" for number, name in enumerate(card.classes)},
    }
    known = {"modality": "n/a", "dtype": "float32", "value_range": [], "is_patch_data": False}
    return {"inputs": {"image": image}, "outputs": {"pred": known | (mask if answer == "mask" else classes)}}


def inference_of(card: ModelCard) -> dict[str, Any]:
    """Return `configs/inference.json`: every slice under `dataset_dir` into masks and `predictions.csv` in `output_dir`."""
    config: dict[str, Any] = {
        "imports": [
            "$import os",
            "$import torch",
            "$from bts.data.monai_reader import SliceReader",
            "$from bts.inference.inputs import expand",
        ],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/data'",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "data": "$[{'image': str(path)} for path in expand([@dataset_dir])]",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image", "reader": "$SliceReader"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": f"{PARTS}.PrepareSliced", "keys": "image", "preprocessing": preprocessing_of(card)},
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "@data", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": f"{PARTS}.MirrorInferer" if card.operating_point["flip"] else "SimpleInferer"},
    }
    answers = answers_of(card.task)
    for answer, prefix in answers:
        config |= {f"{prefix}{name}": value for name, value in network_config(card, answer, prefix).items()}
    return config | {"run": [f"$@{prefix}evaluator.run()" for _, prefix in answers]}


def architecture_of(card: ModelCard) -> dict[str, Any]:
    """Return the architecture as `Architecture` checks and types it."""
    return Architecture.from_dict(card.architecture).to_dict()


def preprocessing_of(card: ModelCard) -> dict[str, Any]:
    """Return the preprocessing as `Preprocessing` checks and types it."""
    return Preprocessing.from_dict(card.preprocessing).to_dict()


def refuse_foreign(card: ModelCard) -> None:
    """Raise `RequestError` where a file of the bundle holds a text that MONAI evaluates and that comes from the card."""
    architecture = Architecture(card.task, num_classes=0 if card.task == "seg" else 2)
    empty = ModelCard(
        card.task, "none", architecture.to_dict(), Preprocessing().to_dict(), operating_point={**card.operating_point}
    )
    empty.operating_point.update(threshold=0.5, min_area=0.0)
    for name, make in (("metadata.json", metadata_of), ("inference.json", inference_of)):
        own = set(evaluated(make(empty)))
        if foreign := next((text for text in evaluated(make(card)) if text not in own), None):
            raise RequestError(
                f"{name} of the bundle would evaluate {shortened(foreign)!r} of the model card: nothing was written"
            )


def evaluated(values: Any) -> Iterator[str]:
    """Yield every text, keys too, that MONAI's parser evaluates or builds an object of."""
    if isinstance(values, dict):
        for key, value in values.items():
            if EVALUATED.search(str(key)):
                yield str(key)
            if key == "_target_":
                yield str(value)
            yield from evaluated(value)
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from evaluated(value)
    elif isinstance(values, str) and EVALUATED.search(values):
        yield values


def network_config(card: ModelCard, answer: Answer, prefix: str) -> dict[str, Any]:
    """Return what is one network's own: its weights, what is made of its answer, and the engine that runs it."""
    loader = {
        "_target_": "CheckpointLoader",
        "load_path": "$@bundle_root + '/models/model.pt'",
        "load_dict": {"model": f"@{prefix}network"},
        "map_location": "@device",
    }
    transforms, handlers = (_mask_steps(card), []) if answer == "mask" else _class_steps(card)
    return {
        "network_def": {"_target_": f"{PARTS}.BundleNetwork", "architecture": architecture_of(card), "answer": answer},
        "network": f"$@{prefix}network_def.to(@device)",
        "postprocessing": {"_target_": "Compose", "transforms": transforms},
        "handlers": [loader, *handlers],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": f"@{prefix}network",
            "inferer": "@inferer",
            "postprocessing": f"@{prefix}postprocessing",
            "val_handlers": f"@{prefix}handlers",
        },
    }


def _mask_steps(card: ModelCard) -> list[dict[str, Any]]:
    restore = {
        "_target_": f"{PARTS}.RestoreMaskd",
        "keys": "pred",
        "image_key": "image",
        "preprocessing": preprocessing_of(card),
        "threshold": float(card.operating_point["threshold"]),
        "min_area": float(card.operating_point["min_area"]),
    }
    save = {
        "_target_": "SaveImaged",
        "keys": "pred",
        "output_dir": "@output_dir",
        "output_ext": ".png",
        "output_postfix": "mask",
        "output_dtype": "$torch.uint8",
        "scale": 255,
        "resample": False,
        "separate_folder": False,
        "data_root_dir": "$@dataset_dir if os.path.isdir(@dataset_dir) else ''",  # subfolders stay apart
    }
    return [restore, save]


def _class_steps(card: ModelCard) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    softmax = {"_target_": f"{PARTS}.Softmaxd", "keys": "pred", "temperature": float(card.temperature)}
    save = {
        "_target_": "ClassificationSaver",
        "output_dir": "@output_dir",
        "filename": "predictions.csv",
        "batch_transform": "$lambda batch: [item['image'].meta for item in batch]",
        "output_transform": "$lambda output: [item['pred'] for item in output]",
    }
    return [softmax], [save]


def _version(package: str) -> str:
    if package == "bts":  # also from a checkout that is not installed
        return bts.__version__
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
