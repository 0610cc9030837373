"""Score the decision for whole volumes against each slice by itself, on series with masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path, PurePosixPath

import numpy as np

from bts.apps.audit import open_sets
from bts.apps.run import DONE, OneLineParser
from bts.atomic import replacing
from bts.data.sources.base import Record, Source
from bts.data.sources.mask_files import read_mask
from bts.errors import InputError, RequestError
from bts.evaluation.intervals import Interval, draw_patients, mean_interval, ratio, statistic_interval
from bts.evaluation.provenance import machine
from bts.inference.predictor import Predictor, load_model
from bts.inference.volume import VolumeRule, find_lesions
from bts.models.folder import update_card
from bts.progress import counted
from bts.report.rendering import table
from tools.documents import write_block

EPILOG = """
examples:
  python -m tools volumes joint-mobilenetv2 --data lgg:data/kaggle_3m --outputs /tmp/outputs
  python -m tools volumes runs/joint/TIME --data data/kaggle_3m --before 0.55 --out docs/experiments.md
"""
MIN_FREE = 5
"""Fewest slices in a row without a tumour that count as a tumour-free part."""
LET_THROUGH = 0.2
"""Largest share of the tumour-free parts of the development series in which a tumour may be reported."""


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a model gives for each slice of a series.

    Attributes:
        mask_prob: (n, H, W) float16, probability of tumour, of a joint model its mask head's.
        class_prob: (n, K) float64.
        alone: (n, H, W) bool, mask of each slice by itself.
    """

    mask_prob: np.ndarray
    class_prob: np.ndarray
    alone: np.ndarray


@dataclass(frozen=True)
class SeriesScores:
    """Scores of one series, of its masks before or after the decision for the volume.

    Attributes:
        patient: ID.
        lesions, found: connected components of the true mask, and those that the mask touches.
        tumour: whether the series shows a tumour, and `reported` whether one is reported.
        dice: of the whole volume; None without a tumour.
        free_slices: slices of the longest run without a tumour; 0 where it is shorter than `MIN_FREE`.
        free_alarm: whether a tumour is reported in that run, taken as a volume of its own.
        false_slices: slices with a mask among the `healthy_slices` of the whole series.
    """

    patient: str
    lesions: int
    found: int
    tumour: bool
    reported: bool
    dice: float | None
    free_slices: int
    free_alarm: bool
    false_slices: int
    healthy_slices: int


def command(argv: Sequence[str]) -> int:
    """Predict every series of a set, print the scores, and return the exit status."""
    parser = OneLineParser(
        prog="python -m tools volumes",
        description="Score volumes decided slice by slice and as a whole; each folder of the set is a series in order.",
        epilog=EPILOG,
    )
    parser.add_argument("model", metavar="MODEL", help="run, model folder, exported file or name of a bundled model")
    parser.add_argument("--data", required=True, metavar="SOURCE:FOLDER", help="a set with masks and patients")
    parser.add_argument(
        "--outputs", type=Path, metavar="FOLDER", help="keep the network's outputs there, and use those that are"
    )
    parser.add_argument(
        "--develop",
        type=int,
        default=39,
        metavar="N",
        help="first N series, on which the threshold is chosen; scored apart [39]",
    )
    parser.add_argument("--before", type=float, metavar="T", help="score another threshold beside the one in use")
    parser.add_argument(
        "--store", type=Path, metavar="MODEL_FOLDER", help="write the threshold that is chosen into the card of that model"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap over patients [0]")
    parser.add_argument("--out", type=Path, metavar="FILE", help="document with a block for the table")
    parser.add_argument("--block", default="volumes", metavar="NAME", help="name of that block [volumes]")
    options = parser.parse_args(argv)
    (one,) = open_sets([options.data])
    predictor = load_model(options.model, runtime="auto", device="cpu")
    own = predictor.runtimes[0].card.volume_threshold
    rule = VolumeRule() if own is None else VolumeRule(tumour_threshold=own)
    thresholds = [*([] if options.before is None else [options.before]), rule.tumour_threshold]
    decisions: dict[str, Callable[[Outputs], np.ndarray]] = {"each slice by itself": lambda part: part.alone}
    for threshold in thresholds:
        decisions[f"volume, from {threshold:g}"] = partial(decided, rule=replace(rule, tumour_threshold=threshold))
    scores: dict[str, list[SeriesScores]] = {name: [] for name in decisions}
    free_scores: list[float] = []
    series = list(by_series(one.source.records()))
    for records in counted(series, "predicting series", unit="series"):
        truth = np.stack([_mask_of(one.source, record) for record in records])
        outputs = series_outputs(one.source, records, predictor, keep=options.outputs)
        for name, decision in decisions.items():
            scores[name].append(score_series(records[0], truth, outputs, decision))
        if len(scores[name]) <= options.develop and scores[name][-1].free_slices:
            free_scores.append(find_lesions(free_part(truth, outputs).mask_prob.copy(), rule=rule).tumour_score)
    parts = {"Development": slice(0, options.develop), "Held out": slice(options.develop, None)}
    texts = [
        f"{title}, {len(series[part])} series:\n\n"
        + as_markdown({name: found[part] for name, found in scores.items()}, seed=options.seed)
        for title, part in parts.items()
        if series[part]
    ]
    if free_scores:
        chosen = choose_threshold(free_scores)
        texts.append(
            f"Smallest threshold that at most {LET_THROUGH:.0%} of the {len(free_scores)} tumour-free parts of "
            f"the development series reach: {chosen:g}."
        )
        if options.store is not None:
            update_card(options.store, volume_threshold=chosen)
    marks = ", ".join(f"{mark.name} (fingerprint `{mark.fingerprint}`)" for mark in predictor.origin.models)
    text = "\n\n".join([*texts, f"Model {marks}; seed {options.seed}; {machine()}."])
    print(text)
    if options.out is not None:
        write_block(options.out, text, options.block)
    return DONE


def choose_threshold(free_scores: Sequence[float]) -> float:
    """Return the smallest threshold, in steps of 0.01, that at most `LET_THROUGH` of tumour-free parts reach; 1 if none is.

    >>> choose_threshold([0.9, 0.7, 0.3, 0.2, 0.1])
    0.71
    """
    steps = [round(0.01 * step, 2) for step in range(1, 100)]
    return next((step for step in steps if np.mean(np.array(free_scores) >= step) <= LET_THROUGH), 1.0)


def free_part(truth: np.ndarray, outputs: Outputs) -> Outputs:
    """Return the outputs for the longest run of slices without a tumour in the truth (n, H, W)."""
    start, stop = longest_run(~np.asarray(truth.any((1, 2))))
    return Outputs(outputs.mask_prob[start:stop], outputs.class_prob[start:stop], outputs.alone[start:stop])


def by_series(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Yield the records of each folder, in their order."""
    for _, found in groupby(records, key=lambda record: PurePosixPath(record.path).parent):
        yield list(found)


def series_outputs(source: Source, records: Sequence[Record], predictor: Predictor, *, keep: Path | None = None) -> Outputs:
    """Return a model's outputs for a series; blank slices have none. They are read from `keep` where they are there."""
    mark = "-".join(model.fingerprint for model in predictor.origin.models)
    path = None if keep is None else keep / f"{source.name}_{PurePosixPath(records[0].path).parent.name}_{mark}.npz"
    if path is not None and path.is_file():
        with np.load(path) as found:
            return Outputs(**{name: found[name] for name in ("mask_prob", "class_prob", "alone")})
    probs, classes, masks = [], [], []
    for record in records:
        shape = _mask_of(source, record).shape
        try:
            prediction = predictor.predict(source.read(record))
        except InputError as error:
            if "constant" not in str(error):
                raise
            probs.append(np.zeros(shape, np.float16))
            classes.append(np.zeros(len(predictor.classes)))
            masks.append(np.zeros(shape, bool))
            continue
        heads = prediction.unfused
        mask_prob = prediction.mask_prob if heads is None else heads.mask_prob
        class_prob = prediction.class_prob if heads is None else heads.class_prob
        if mask_prob is None or prediction.mask is None:
            raise RequestError("the model gives no masks: name a segmenter or a joint model")
        probs.append(mask_prob.astype(np.float16))
        classes.append(np.zeros(0) if class_prob is None else class_prob)
        masks.append(prediction.mask)
    outputs = Outputs(np.stack(probs), np.stack(classes), np.stack(masks))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open("wb") as file:
            np.savez_compressed(file, mask_prob=outputs.mask_prob, class_prob=outputs.class_prob, alone=outputs.alone)
    return outputs


def _mask_of(source: Source, record: Record) -> np.ndarray:
    if record.mask is None or record.patient is None:
        raise RequestError(f"{source.root}: '{record.path}' has no mask or no patient: name a set whose slices have both")
    return read_mask(source.root / record.mask, labels=source.mask_labels)


def decided(outputs: Outputs, rule: VolumeRule) -> np.ndarray:
    """Return the mask (n, H, W) bool of the volume as a whole."""
    return find_lesions(outputs.mask_prob.copy(), rule=rule).lesion_labels > 0


def score_series(record: Record, truth: np.ndarray, outputs: Outputs, mask_of: Callable[[Outputs], np.ndarray]) -> SeriesScores:
    """Return the scores of a series (n, H, W) whose mask comes from the outputs for all of its slices, or for a part."""
    from scipy import ndimage

    mask, shown = mask_of(outputs), np.asarray(truth.any((1, 2)))
    lesions, count = ndimage.label(truth, structure=np.ones((3, 3, 3)))
    part = free_part(truth, outputs)
    free = len(part.alone) if len(part.alone) >= MIN_FREE else 0
    total = int(mask.sum()) + int(truth.sum())
    return SeriesScores(
        patient=str(record.patient),
        lesions=int(count),
        found=len(np.setdiff1d(np.unique(lesions[mask]), [0])),
        tumour=bool(shown.any()),
        reported=bool(mask.any()),
        dice=2 * int((mask & truth).sum()) / total if shown.any() else None,
        free_slices=free,
        free_alarm=free > 0 and bool(mask_of(part).any()),
        false_slices=int((mask.any((1, 2)) & ~shown).sum()),
        healthy_slices=int((~shown).sum()),
    )


def longest_run(flags: np.ndarray) -> tuple[int, int]:
    """Return start and end of the longest run of true flags (N,), the first of several; an empty one where none is true.

    >>> longest_run(np.array([1, 0, 1, 1, 0], bool))
    (2, 4)
    """
    best, start = (0, 0), 0
    for place, flag in enumerate([*flags.tolist(), False]):
        if flag:
            continue
        if place - start > best[1] - best[0]:
            best = start, place
        start = place + 1
    return best


def as_markdown(scores: Mapping[str, Sequence[SeriesScores]], *, seed: int) -> str:
    """Return the table: a row for each score, a column for each decision, with intervals over patients."""
    first = next(iter(scores.values()))
    bootstrap = draw_patients([each.patient for each in first], seed=seed)
    tumour = np.array([each.tumour for each in first])
    free = np.array([each.free_slices > 0 for each in first])

    def share(flags: list[bool], keep: np.ndarray) -> Interval | None:
        return mean_interval(np.array(flags), bootstrap, keep=keep)

    def pooled(parts: list[tuple[int, int]]) -> Interval | None:
        return statistic_interval(np.array(parts), ratio, bootstrap)

    def mean(values: list[float]) -> Interval | None:
        return mean_interval(np.array(values), bootstrap, keep=tumour)

    def row(what: str, score: Callable[[Sequence[SeriesScores]], Interval | None], count: str) -> tuple[object, ...]:
        return what, *map(score, scores.values()), count

    lesions, healthy = (f"{sum(getattr(each, name) for each in first)}" for name in ("lesions", "healthy_slices"))
    series, parts, slices = f"{tumour.sum()} series", f"{free.sum()} parts", f"{healthy} slices"
    rows = [
        row("series with a tumour in which one is reported", lambda each: share([e.reported for e in each], tumour), series),
        row("... and a lesion is touched", lambda each: share([e.found > 0 for e in each], tumour), series),
        row("lesions touched", lambda each: pooled([(e.found, e.lesions) for e in each]), f"{lesions} lesions"),
        row("Dice of the volume, mean", lambda each: mean([e.dice or 0.0 for e in each]), series),
        row("tumour-free parts in which one is reported", lambda each: share([e.free_alarm for e in each], free), parts),
        row("tumour-free slices with a mask", lambda each: pooled([(e.false_slices, e.healthy_slices) for e in each]), slices),
    ]
    return table(("score", *scores, "n"), rows)
