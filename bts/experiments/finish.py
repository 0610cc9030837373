"""What is done once after a training? The operating point is chosen on validation, and the test part scored with it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from bts.atomic import write_text
from bts.csv_files import write_frame
from bts.errors import RequestError
from bts.evaluation.cases import evaluate_cases
from bts.evaluation.headline import headline, text_table
from bts.evaluation.operating_point import OperatingChoice, choose_operating_point
from bts.evaluation.outside import add_reference, told
from bts.evaluation.provenance import provenance
from bts.evaluation.scores import plain, summarise
from bts.inference.predictor import Predictor
from bts.inference.runtimes.catalogue import open_runtime
from bts.models.folder import ModelCard, read_card, update_card
from bts.report.run_figures import draw_curves, draw_split
from bts.runs import Run
from bts.training.run_data import RunData, read_run, refuse_training_patients, training_patients

log = logging.getLogger("bts.evaluation")


def finish_run(run: Run, *, device: str = "auto") -> dict[str, Any]:
    """Choose the operating point on validation, score the test part once, and mark the run as finished.

    Writes `scores/test_slices.csv`, `scores/scores.json`, `curves.png`, `split.png` and `finished.json` into the run, and
    operating point, temperature, Grad-CAM scale, referral threshold and scores into its `model.json`. Where stage 1 left a
    model, it goes through the same beside the final one, into `scores/stage1_*`.

    Returns:
        `table` (text for a terminal), `scores` (what `scores.json` holds), `cases` (one row a test slice).

    Raises:
        RequestError: no run, no split file, an empty part, data that is not there, or test patients that were trained on.
        InputError: a slice of validation or test can't be read.
    """
    data = read_run(run)
    card = read_card(run.model)
    refuse_training_patients(training_patients(card, run.model), data.records("test"), data.split.group)
    _make_folder(run.scores)
    cases, scores = _score_model(data, run.model, device=device, prefix="test")
    table = scores.pop("table")
    if (run.model_stage1 / "model.json").is_file():
        _, stage1 = _score_model(data, run.model_stage1, device=device, prefix="stage1")
        table += "\n\nstage 1 alone\n" + stage1.pop("table")
        del stage1["device"]
        scores["stage1"] = stage1
    used = scores.pop("device")
    scores |= {"notes": _notes(data, card), "trained_on": card.trained_on, "made": provenance(used)}
    _write_json(run.scores / "scores.json", scores)
    draw_split(data.split, run.path / "split.png")
    draw_curves(run.curves, run.path / "curves.png")
    _tell_board(run)
    run.finish(task=card.task, synthetic=card.synthetic)
    return {"table": "\n".join([table, *scores["notes"]]), "scores": scores, "cases": cases}


def _score_model(data: RunData, folder: Path, *, device: str, prefix: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Choose on validation, write the card, score the test part, write its table; return cases and JSON-ready scores."""
    keep_place(folder)
    choice = _choose(data, folder, device=device)
    write_choice(folder, choice)
    card = _learn_what_is_usual(data, folder)
    predictor = Predictor([open_runtime("torch", folder, device=device)])
    records = data.records("test")
    with _bar(len(records), "scoring test") as tell:
        cases = evaluate_cases(predictor, data.source, records, progress=tell)
    summary = summarise(cases)
    write_frame(cases, data.run.scores / f"{prefix}_slices.csv", float_format="%.6g")
    update_card(folder, scores=card_scores(summary))
    scores = plain(summary) | {
        "part": "test",
        "operating_point": plain(choice),
        "split_fingerprint": data.split.fingerprint,
        "split": plain({name: data.settings["split"].get(name) for name in ("kind", "fold", "group", "seed")}),
        "model": {"task": card.task, "name": card.name, "fingerprint": card.fingerprint, "architecture": card.architecture},
        "limit_batches": data.settings.get("trainer", {}).get("limit_batches"),
    }
    return cases, scores | {"table": text_table(summary), "device": str(getattr(predictor.runtimes[0], "device", device))}


def _choose(data: RunData, folder: Path, *, device: str) -> OperatingChoice:
    records = data.records("val")
    with _bar(2 * len(records), "choosing on validation") as tell:
        choice = choose_operating_point(open_runtime("torch", folder, device=device), data.source, records, progress=tell)
    log.info("operating point chosen on %d validation slices: %s", choice.n_slices, choice.text())
    return choice


def keep_place(folder: Path) -> None:
    """Let a joint model that was saved before keep the place of its map, now that the map's scale is chosen anew."""
    card = read_card(folder)
    if card.task == "joint" and card.cell_offset_px is None:
        update_card(folder, cell_offset_px=card.cam_offset_px, cam_offset_px=0.0)


def _learn_what_is_usual(data: RunData, folder: Path) -> ModelCard:
    with _bar(len(data.split.rows), "looking for what is usual") as tell:
        card = add_reference(data, folder, progress=tell)
    log.info("%s", told(card.ood))
    return card


def write_choice(folder: Path, choice: OperatingChoice) -> ModelCard:
    """Write what was chosen on validation into `model.json`, where every later prediction finds it."""
    before = read_card(folder)
    point = dict(before.operating_point) | {"flip": choice.flip}
    if choice.threshold is not None and choice.min_area is not None:
        point |= {"threshold": choice.threshold, "min_area": choice.min_area}
    # A threshold of 0 refers nothing and says that this was chosen; None would leave an earlier choice in place.
    refer = None if choice.referral is None else choice.referral.refer_below or 0.0
    doubt = None if choice.threshold is None else 0.0 if choice.doubt is None else choice.doubt.below  # 0 doubts none
    return update_card(
        folder,
        operating_point=point,
        temperature=choice.temperature,
        cam_scale=choice.cam_scale,
        refer_below=refer,
        uncertain_mask_below=doubt,
    )


def card_scores(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the headline for a model card: each score with interval, patients, slices and seed."""
    return {"part": "test", **{row.key: plain(row.score) for row in headline(summary)}}


def _tell_board(run: Run) -> None:
    """Write the headline beside the curves in TensorBoard, where runs are compared."""
    from bts.training.board import write_test_scores  # Lightning comes in here, and only where a run is finished

    values = {key.split(".", 1)[1]: one["value"] for key, one in read_card(run.model).scores.items() if isinstance(one, dict)}
    write_test_scores(run, values)


def _notes(data: RunData, card: ModelCard) -> list[str]:
    notes = []
    limit = data.settings.get("trainer", {}).get("limit_batches")
    if limit is not None:
        notes.append(f"trained on at most {limit} batches an epoch (--trainer.limit_batches): a quick look, not a result")
    if card.synthetic:
        notes.append("trained and scored on synthetic phantoms: the numbers say nothing about patients")
    return notes


@contextmanager
def _bar(total: int, text: str) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal, and yield what moves it."""
    with tqdm(total=total, desc=text, unit="slice", leave=False, disable=None) as bar:

        def tell(number: int) -> None:
            bar.update(number - bar.n)

        yield tell


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"{path}: can't be made ({error.strerror}): free space or make the run's folder writable") from error


def _write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
