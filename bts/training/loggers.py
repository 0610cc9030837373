"""Lightning loggers of a run: TensorBoard in the run folder, and MLflow, W&B or a CSV file where asked for."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from bts.data.patient_ids import patient_of
from bts.data.sources.base import Source
from bts.data.split import Split
from bts.errors import RequestError
from bts.glossary import PARTS, Task
from bts.markup import escape
from bts.runs import Run
from bts.training.run_data import flat, read_settings

GROUPS = (
    ("train_loss", "loss"),
    ("val_loss", "loss"),
    ("lr", "rate"),
    ("slices_per_s", "throughput"),
    ("waiting_share", "throughput"),
    ("epoch_s", "throughput"),
)
OPTIONAL = ("mlflow", "wandb")
"""Loggers whose package, of the same name, is not installed with this one: MLflow alone brings over fifty others."""


class RunTensorBoardLogger(TensorBoardLogger):
    """TensorBoard events in the run folder itself, without Lightning's `hparams.yaml`: the run has its settings."""

    def __init__(self, run: Run) -> None:
        super().__init__(run.path, name="", version="", default_hp_metric=False)

    def hide_from(self, epoch: int) -> None:
        """Hide what an interrupted run has written of this epoch and later ones, which are repeated."""
        self._kwargs["purge_step"] = epoch

    def save(self) -> None:
        """Write what is pending."""
        if self._experiment is not None:
            self._experiment.flush()

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Do nothing: `write_hparams` writes the settings at the end, next to the scores."""


def check_loggers(names: Sequence[str]) -> None:
    """Raise `RequestError` for a logger whose package is not installed."""
    for name in names:
        if name in OPTIONAL and find_spec(name) is None:
            raise RequestError(f"trainer.loggers {name}: {name} is not installed: pip install {name}")


def make_loggers(names: Sequence[str], run: Run, task: Task) -> list[Logger]:
    """Return the loggers of one stage. MLflow and W&B get a run of their own for each stage and each time it is resumed."""
    runs = run.path.parent.parent
    project, title = f"bts-{task}", run.path.name
    # MLflow 3 refuses folders; its database of one file needs no server
    tracking = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(runs / 'mlflow.db').resolve()}"
    makers = {
        "tensorboard": lambda: RunTensorBoardLogger(run),
        "csv": lambda: CSVLogger(run.path, name="csv"),
        "mlflow": lambda: MLFlowLogger(project, run_name=title, tracking_uri=tracking),
        "wandb": lambda: WandbLogger(name=title, project=project, save_dir=str(runs)),
    }
    return [makers[name]() for name in dict.fromkeys(names)]


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings by their full names, as numbers and texts."""
    return {key: value if isinstance(value, int | float | str | bool) else str(value) for key, value in flat(settings).items()}


def score_tag(name: str) -> str:
    """Return the tag of an epoch's loss, score or other value."""
    known = dict(GROUPS)
    return f"{known.get(name, 'loss_parts' if '_loss_' in name else 'score')}/{name}"


def chart_layout(names: Sequence[str]) -> dict[str, dict[str, list[Any]]]:
    """Return TensorBoard's custom charts of the values of an epoch: both parts of a loss in one chart, each score in its own.

    >>> chart_layout(["train_loss", "val_loss", "dice"])["training and validation"]
    {'loss': ['Multiline', ['loss/train_loss', 'loss/val_loss']]}
    """
    losses = [name.removeprefix("train_") for name in names if name.startswith("train_")]
    both: dict[str, list[Any]] = {
        name: ["Multiline", [score_tag(each) for each in (f"train_{name}", f"val_{name}") if each in names]] for name in losses
    }
    scores: dict[str, list[Any]] = {
        name: ["Multiline", [score_tag(name)]] for name in names if score_tag(name).startswith("score/")
    }
    return {"training and validation": both, "validation": scores}


def write_description(run: Run, settings: Mapping[str, Any], split: Split, *, source: Source) -> None:
    """Write settings, split and data of a run for TensorBoard's page of texts."""
    counts = Counter((row.part, row.label or "unknown") for row in split.rows)
    patients: dict[tuple[str, str], set[str]] = {}
    for row in split.rows:
        patients.setdefault((row.part, row.label or "unknown"), set()).add(patient_of(row.patient, split.same_patient))
    texts = {
        "settings": _table(("setting", "value"), plain_settings(settings).items()),
        "split": f"fingerprint {split.fingerprint}\n\n"
        + _table(
            ("part", "class", "slices", "patients"),
            [
                (part, label, count, len(patients[part, label]))
                for (part, label), count in sorted(counts.items(), key=lambda each: (PARTS.index(each[0][0]), each[0][1]))
            ],
        ),
        "data": _table(
            ("data", "value"),
            [
                ("source", source.name),
                ("folder", source.root),
                ("classes", ", ".join(source.classes)),
                ("synthetic phantoms", "yes" if source.synthetic else "no"),
                ("slices", len(split.rows)),
            ],
        ),
    }
    with SummaryWriter(str(run.path)) as writer:
        for name, text in texts.items():
            writer.add_text(f"run/{name}", text)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [" | ".join(head), "|".join("---" for _ in head)]
    lines += [" | ".join(escape(str(cell)) for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def write_hparams(run: Run, settings: Mapping[str, Any], *, scores: Sequence[str]) -> None:
    """Write the settings of a run for TensorBoard's HParams page, which shows the last values of these score tags."""
    with SummaryWriter(str(run.path)) as writer:
        assert writer.file_writer is not None
        for summary in hparams(plain_settings(settings), dict.fromkeys(scores, 0.0)):
            writer.file_writer.add_summary(summary)


def write_test_scores(run: Run, scores: Mapping[str, float], *, epoch: int = 0) -> None:
    """Write the test scores of an evaluation under `test/<name>`, unless the run's settings leave TensorBoard out."""
    if run.settings_file.is_file() and "tensorboard" not in read_settings(run).get("trainer", {}).get("loggers", "tensorboard"):
        return
    with SummaryWriter(str(run.path)) as writer:
        for name, value in scores.items():
            writer.add_scalar(f"test/{name}", value, epoch)
