"""The tutorial on own data, run on phantoms that look like another publisher's, and fine-tuning against random weights."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

import bts
from bts.apps import cli, infer
from bts.apps.train import make_parser, resolve_settings
from bts.data.phantom import plan_patients
from bts.data.phantom_scan import draw_slices
from bts.models import bundled_model
from bts.runs import Run
from bts.training.fit import fit
from bts.training.progress import Curves

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorials" / "own_pictures.md"
SIDE, MARGIN, SEED = 160, 12, 6
SMALL = (
    "--data.size 96 --data.batch_size 4 --optim.epochs 3 --optim.warmup_epochs 0 --trainer.images 0 --trainer.loggers [] "
    "--trainer.precision 32-true --trainer.accelerator cpu --split.train 0.5 --split.val 0.25 --augment.share 0"
)


def as_another_publisher(image: np.ndarray) -> np.ndarray:
    """Return a slice as a small, blurred 8-bit picture with another contrast and a dark grey background."""
    image = gaussian_filter(image.astype(np.float32), 0.7) / np.percentile(image, 99.5)
    return np.pad(15 + 220 * image.clip(0, 1) ** 0.6, MARGIN, constant_values=15).astype(np.uint8)


def write_set(root: Path) -> int:
    """Write a table, pictures and masks of nine patients with a tumour and three without; return the number of slices."""
    (root / "pictures").mkdir(parents=True)
    (root / "masks").mkdir()
    rows = []
    for patient in plan_patients(9, (2, 2), healthy=3, seed=SEED):
        drawn = draw_slices(label=patient.label, n_slices=2, side=SIDE, seed=(SEED, patient.number))
        for number, (image, mask) in enumerate(drawn):
            name = f"{patient.patient}_{number}.png"
            Image.fromarray(as_another_publisher(image)).save(root / "pictures" / name)
            Image.fromarray(np.pad(mask, MARGIN).astype(np.uint8) * 255).save(root / "masks" / name)
            with_mask = f"masks/{name}" if mask.any() else ""
            rows.append({"path": f"pictures/{name}", "label": patient.label, "mask": with_mask, "patient_id": patient.patient})
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return len(rows)


def train(words: list[str]) -> tuple[Run, float]:
    """Train as a command line says, but for the size; return the run and the best Dice on unseen patients."""
    options, rest = make_parser("joint").parse_known_args([*words, *shlex.split(SMALL)])
    run = fit(resolve_settings("joint", options, rest))
    found = Curves(run.curves).best("dice")
    assert found is not None
    return run, found[2]


def test_the_tutorial_leads_to_a_model_that_outlines_more_than_one_from_random_weights_after_equally_many_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bundled_model, "BUNDLED", Path(bts.__file__).parent / "bundled")
    monkeypatch.chdir(tmp_path)
    count = write_set(Path("my_data"))
    blocks = re.findall(r"^    ((?:bts|python) .*)", TUTORIAL.read_text(encoding="utf-8"), re.M)
    sources, audit, training, evaluation, inference, export = (shlex.split(line) for line in blocks)
    assert cli.main(sources[1:]) == 0
    assert f"{count} slices    12 patients" in capsys.readouterr().out
    assert cli.main(audit[1:]) == 0

    run, tuned = train(training[2:])
    assert "encoder, class head, decoder, mask head of the model joint-mobilenetv2" in run.log.read_text(encoding="utf-8")
    assert infer.main([word.replace("runs/joint/TIME", str(run.path)) for word in inference[2:]]) == 0
    assert len(list(Path("results/mine").glob("*/mask.png"))) == count
    assert (evaluation[:2], export[:2]) == (["bts", "evaluate"], ["bts", "export"])  # with tests of their own: both take long

    same = ["--model.encoder", "mobilenetv2_100", "--model.channels", "[128,64,48,32]"]
    _, scratch = train([*(word.replace("joint-mobilenetv2", "none") for word in training[2:]), *same])
    assert tuned > scratch + 0.2, (tuned, scratch)
