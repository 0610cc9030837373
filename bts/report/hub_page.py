"""The page of a model on the Hugging Face hub: `README.md` with the hub's metadata, and the model card."""

from __future__ import annotations

from pathlib import Path

from bts.errors import RequestError
from bts.models.folder import ModelCard
from bts.report.card import card_text
from bts.runs import Run

CARD_PAGE = "MODEL_CARD.md"
PIPELINES = {"seg": "image-segmentation", "cls": "image-classification", "joint": "image-segmentation"}
METRICS = {
    "segmentation.slice.dice": "dice",
    "segmentation.slice.iou": "mean_iou",
    "classification.slice.overall.accuracy": "accuracy",
    "classification.slice.overall.macro_f1": "f1",
}
"""Score of a card -> its name on the hub. The values stand in the card, with intervals and numbers of patients."""
LICENCES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc0-1.0")
"""Licences under their names on the hub; any other is told in full."""


def hub_page(card: ModelCard, text: str, *, repo: str) -> str:
    """Return `README.md` for the model of `card`, whose model card is `text`, in the repository `repo`.

    Metadata: https://huggingface.co/docs/hub/model-cards#model-card-metadata
    """
    from huggingface_hub import ModelCardData

    licence = card.licence.lower()
    known = licence in LICENCES
    data = ModelCardData(
        license=licence if known else "other",
        license_name=None if known else card.licence,
        library_name="bts",
        pipeline_tag=PIPELINES[card.task],
        tags=["medical-imaging", "mri", "brain-tumor", *(["synthetic-data"] if card.synthetic else [])],
        metrics=[name for key, name in METRICS.items() if isinstance(card.scores.get(key), dict)] or None,
    )
    use = f"    bts infer scan.png --{card.task} hf://{repo}\n    bts train {card.task} --model.weights hf://{repo}"
    return f"---\n{data.to_yaml()}\n---\n\n{text.strip()}\n\n## Use\n\n{use}\n"


def card_page(folder: Path) -> str:
    """Return the text of a model's card: the `MODEL_CARD.md` beside its weights, else that of its run.

    Raises:
        RequestError: there is neither, or as `card_text`.
    """
    beside, run = folder / CARD_PAGE, Run(folder.parent)
    if beside.is_file():
        try:
            return beside.read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            raise RequestError(
                f"{beside}: can't be read as UTF-8 text: write it anew (`bts card RUN --out {beside}`)"
            ) from error
    if run.model != folder:
        raise RequestError(
            f"{folder}: no {CARD_PAGE} in it: push a run, or write the card first (`bts card RUN --out {beside}`)"
        )
    return card_text(run.path)
