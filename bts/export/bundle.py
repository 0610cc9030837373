"""MONAI bundle of a trained model: a folder after MONAI's specification, checked by MONAI's own tool."""

from __future__ import annotations

import json
import logging
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import bts
from bts.atomic import replacing_folder
from bts.data.preprocess import Preprocessing
from bts.errors import RequestError
from bts.export.base import Trained, Written, writing
from bts.export.bundle_configs import TASK_TEXT, answers_of, inference_of, metadata_of, refuse_foreign
from bts.export.bundle_parts import BundleNetwork, answer_in
from bts.export.check import PHANTOM_SIDE, phantom_images
from bts.glossary import DISCLAIMER
from bts.markup import escape
from bts.models.card import ModelCard, check_card, published, to_json

META, INFERENCE, WEIGHTS = "configs/metadata.json", "configs/inference.json", "models/model.pt"


def write_bundle(model: Trained, out: Path | None) -> Written:
    """Write the bundle, beside the model folder unless another folder is given; an existing bundle is replaced.

    Raises:
        RequestError: the place can't be written to or holds something else, or MONAI does not accept the bundle.
    """
    path = out or model.folder.parent / f"{model.folder.name}_bundle"
    check_card(model.card, model.folder / "model.json")
    refuse_foreign(model.card)
    if path.exists() and not (path / META).is_file() and (not path.is_dir() or any(path.iterdir())):
        raise RequestError(f"{path}: holds something other than a bundle: name another --out")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_folder(path) as new:
            fill(new, model)
            verify(new, model)
    run = f"cd {path} && python -m monai.bundle run --config_file {INFERENCE} --dataset_dir SCANS --output_dir RESULTS"
    return Written(path, (f"{path}: accepted by verify_net_in_out, equal to the output of the model", f"run it: {run}"))


def fill(folder: Path, model: Trained) -> None:
    """Write every file of a bundle."""
    card = model.card
    for name in ("configs", "models", "docs", "data"):
        (folder / name).mkdir(parents=True)
    _write_json(folder / META, metadata_of(card))
    _write_json(folder / INFERENCE, inference_of(card))
    part = BundleNetwork(card.architecture, answers_of(card.task)[0][0])
    part.network.load_state_dict(model.network.state_dict())
    torch.save(part.state_dict(), folder / WEIGHTS)
    (folder / "models" / "model.json").write_text(to_json(published(card)), encoding="utf-8")
    (folder / "docs" / "README.md").write_text(readme(card), encoding="utf-8")
    (folder / "LICENSE").write_text(licence_text(card.licence), encoding="utf-8")
    picture = Preprocessing(size=PHANTOM_SIDE, crop_brain=False).image(phantom_images()[0])
    Image.fromarray(picture).save(folder / "data" / "phantom.png")


def verify(folder: Path, model: Trained) -> None:
    """Ask MONAI whether network and metadata agree, and the weights whether they still give the model's answers.

    Raises:
        RequestError: they do not.
    """
    from monai.bundle import verify_net_in_out

    logger = logging.getLogger("monai.bundle.scripts")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a configuration may run code: this one was written a moment ago
            verify_net_in_out("network_def", meta_file=str(folder / META), config_file=str(folder / INFERENCE), device="cpu")
    except (ValueError, KeyError, RuntimeError) as error:
        raise RequestError(f"MONAI does not accept the bundle ({' '.join(str(error).split())}): nothing was written") from error
    finally:
        logger.setLevel(level)
    weights = torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True)
    side = int(model.card.preprocessing["size"])
    x = torch.linspace(0, 1, side * side).reshape(1, 1, side, side)
    for answer, _ in answers_of(model.card.task):
        part = BundleNetwork(model.card.architecture, answer).eval()
        part.load_state_dict(weights)
        with torch.no_grad():
            truth = answer_in(model.network(x), answer)
            if truth is None or not torch.allclose(part(x), truth, rtol=1e-4, atol=1e-5):
                raise RequestError(f"the bundle's {answer} differ from the model's: nothing was written; please report it")


def readme(card: ModelCard) -> str:
    """Return `docs/README.md`."""
    finds = {"mask": "the tumour's mask, `RESULTS/<scan>_mask.png`", "classes": f"a class of {escape(', '.join(card.classes))}"}
    answers = [answer for answer, _ in answers_of(card.task)]
    fields = {
        "Trained on": escape(card.trained_on or "not stated"),
        "Licence of the weights": escape(card.licence),
        "Intended use": escape(card.intended_use),
        "Fingerprint of the weights": card.fingerprint,
    }
    columns = "`RESULTS/predictions.csv` has a row a scan: its name, then a probability for each class in the order above."
    return f"""# {escape(card.name)}

{TASK_TEXT[card.task]}. It gives {" and ".join(finds[answer] for answer in answers)}.
{columns if "classes" in answers else ""}

**{DISCLAIMER}**{" Trained on synthetic phantoms: its predictions are not valid for patients." if card.synthetic else ""}

## Run it

It needs MONAI, `fire`, `pytorch-ignite`, and bts {bts.__version__}, which has the network. In a clone of bts (the package of
that name on PyPI is another project): `pip install -e ".[bundle]"`. Then, from this folder:

    python -m monai.bundle run --config_file configs/inference.json --dataset_dir SCANS --output_dir RESULTS

SCANS is a file or a folder of slices: .png .jpg .tif .mat .dcm, NIfTI with one slice. Without it `data/` is taken, which holds
one synthetic phantom. Grad-CAM is not part of the bundle: the ONNX file of `bts export` has it.
Network and metadata are checked by

    python -m monai.bundle verify_net_in_out network_def --meta_file configs/metadata.json \\
        --config_file configs/inference.json

## What is known of it

{chr(10).join(f"- {name}: {text}" for name, text in fields.items())}
- Scores: {escape(json.dumps(card.scores, ensure_ascii=False)) if card.scores else "none in the model card"}

`models/model.json` is the whole model card.
"""


def licence_text(name: str) -> str:
    """Return the text of the licence, where it is this project's own, else its name."""
    if name == "Apache-2.0":
        for found in _own_licences():
            return found
    return f"SPDX-License-Identifier: {name}\n"


def _own_licences() -> list[str]:
    beside = Path(bts.__file__).parents[1] / "LICENSE"
    try:
        installed = [Path(str(each.locate())) for each in metadata.files("bts") or [] if each.name == "LICENSE"]
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        installed = []
    return [path.read_text(encoding="utf-8") for path in (beside, *installed) if path.is_file()]


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=4, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
