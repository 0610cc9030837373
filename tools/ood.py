"""Fit the out-of-distribution references of a run and count what they flag, on real slices and on other images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from bts.apps.audit import open_sets
from bts.apps.run import DONE, OneLineParser
from bts.audit.exclusions import REASONS, exclusion_reason
from bts.audit.views import thumbnail
from bts.data.preprocess import Preprocessing
from bts.data.slice import Slice
from bts.data.sources.base import Record, Source
from bts.errors import RequestError
from bts.evaluation.ood import FittedReference, Measured, fit_to_run, format_reference
from bts.evaluation.provenance import machine
from bts.glossary import NO_TUMOUR
from bts.inference.ood import describe
from bts.inference.prediction import Prediction
from bts.inference.predictor import Predictor
from bts.inference.runtimes.catalogue import open_runtime
from bts.models.folder import update_card
from bts.report.rendering import Raw, table
from bts.runs import Run
from bts.training.run_data import RunData, read_run
from tools.documents import write_block
from tools.ood_images import altered_slices, made_images

EPILOG = """
examples:
  python -m tools ood runs/joint/TIME
  python -m tools ood runs/joint/TIME --external brisc:data/brisc --excluded kaggle=folders:data/kaggle
  python -m tools ood runs/joint/TIME --other flair=folders:data/flair --out docs/explanations/out_of_distribution.md
"""
BLOCK = "ood"
SURE = 0.9
"""Probability of "no tumour" above which an answer is confident."""
HEADER = ("", "images", "by input", "by features", "flagged", "AUC", "sure: before", "sure: after")


@dataclass(frozen=True)
class Row:
    """Counts of one kind of image.

    Attributes:
        kind: of image.
        images: their number.
        pixels, features: number beyond the limit of the input's distance, and of the features'; None without features.
        flagged: number beyond either.
        auc: area under the curve of the larger ratio of distance and limit, against the test slices; None for these.
        sure_before, sure_after: number reported as "no tumour" with a probability above `SURE`, where only the input's distance
            caps probabilities, and where both do; None without such a class.
    """

    kind: str
    images: int
    pixels: int
    features: int | None
    flagged: int
    auc: float | None
    sure_before: int | None
    sure_after: int | None

    def cells(self) -> tuple[object, ...]:
        """Return the row of a table."""
        counts = (self.pixels, self.features, self.flagged)
        sure = (self.sure_before, self.sure_after)
        shares = [None if count is None else f"{count / self.images:.1%}" for count in (*counts, *sure)]
        auc = None if self.auc is None else f"{self.auc:.3f}"
        return (Raw(self.kind), self.images, *shares[:3], auc, *shares[3:])


def command(argv: Sequence[str]) -> int:
    """Write the references into a run's model, print what they flag, and return the exit status."""
    parser = OneLineParser(
        prog="python -m tools ood",
        description="Fit the out-of-distribution references of a run, write them into its model folder, and count what they "
        "flag: false alarms on real slices; other sequences, photographs, noise and other images that are no slices.",
        epilog=EPILOG,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--root", metavar="FOLDER", help="where the run's data lies [as the run says]")
    for name, text in (
        ("--external", "a set of another publisher, T1-weighted: false alarms; may be repeated, [WORD=]SOURCE:FOLDER"),
        ("--other", "a set of another kind, to be detected; may be repeated"),
        ("--excluded", "a set of whose healthy slices those listed as CT, T2 or diffusion are to be detected; may be repeated"),
    ):
        parser.add_argument(name, action="append", default=[], metavar="SET", help=text)
    parser.add_argument("--slices", type=int, default=100, metavar="N", help="largest number of each kind [100]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of what is drawn [0]")
    parser.add_argument("--runtime", default="torch", metavar="NAME", help="torch, onnx or openvino-f32 [torch]")
    parser.add_argument("--out", type=Path, metavar="FILE", help="document with the block 'ood' for the table")
    options = parser.parse_args(argv)
    if options.slices < 1:
        raise RequestError(f"--slices {options.slices}: expected 1 or more")
    external, other, excluded = (
        {each.name: each.source for each in open_sets(sets)} for sets in (options.external, options.other, options.excluded)
    )
    data = read_run(Run(options.run), root=options.root)
    fitted, predictor = fit(data, runtime=options.runtime)
    kinds = _Kinds(data, fitted, predictor, slices=options.slices, note=lambda kind: print(f"  {kind}", flush=True))
    found = kinds.measure(external, other, excluded, seed=options.seed)
    reference = format_reference(fitted.card)
    print(f"{reference}\n\n{as_markdown(found)}")
    if options.out is not None:
        about = f"Written by `python -m tools ood`, seed {options.seed}, {machine()}: {reference}."
        write_block(options.out, f"{about}\n\n{as_markdown(found)}", BLOCK)
    return DONE


def fit(data: RunData, *, runtime: str) -> tuple[FittedReference, Predictor]:
    """Fit the references of a run, write them into its model folder, and return them with a predictor that has none."""
    opened = open_runtime(runtime, data.run.model, device="auto")
    fitted = fit_to_run(data, Preprocessing.from_dict(opened.card.preprocessing), opened)
    update_card(data.run.model, ood=fitted.card)
    opened.card = replace(opened.card, ood={})
    return fitted, Predictor([opened])


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` of `count` positions, evenly spaced.

    >>> spread(9, 3)
    [0, 4, 8]
    """
    return [int(place) for place in np.linspace(0, count - 1, min(most, count)).round()]


class _Kinds:
    """Counts by kind of image, at most `slices` of each."""

    def __init__(
        self, data: RunData, fitted: FittedReference, predictor: Predictor, *, slices: int, note: Callable[[str], None]
    ) -> None:
        self.fitted, self.predictor, self.slices, self.note = fitted, predictor, slices, note
        self.prepare = Preprocessing.from_dict(predictor.runtimes[0].card.preprocessing).image
        self.test = self._images(data.source, data.records("test"))
        self.test_ratios: np.ndarray | None = None

    def measure(
        self, external: Mapping[str, Source], other: Mapping[str, Source], excluded: Mapping[str, Source], *, seed: int
    ) -> list[tuple[str, list[Row]]]:
        """Return the rows of the table under their headings."""
        false = [self._row("test slices of held-out patients", self.test)]
        false += [self._row(f"slices of {name}", self._images(source, source.records())) for name, source in external.items()]
        scans = [self._row(f"slices of {name}", self._images(source, source.records())) for name, source in other.items()]
        for name, source in excluded.items():
            scans += [self._row(f"{name}: {kind}", images) for kind, images in self._excluded(source).items()]
        altered = altered_slices([self.prepare(image) for image in self.test])
        strange = [self._row(kind, images) for kind, images in (made_images(seed=seed) | altered).items()]
        return [
            ("T1-weighted slices: false alarms", false),
            ("other scans: detected", scans),
            ("other images: detected", strange),
        ]

    def _images(self, source: Source, records: Sequence[Record]) -> list[np.ndarray]:
        return [source.read(records[place]).image for place in spread(len(records), self.slices)]

    def _excluded(self, source: Source) -> dict[str, list[np.ndarray]]:
        found: dict[str, list[np.ndarray]] = {}
        for record in source.records():
            if record.label == NO_TUMOUR:
                image = source.read(record).image
                reason = exclusion_reason(thumbnail(image))
                if reason is not None and reason != "mass":
                    found.setdefault(REASONS[reason], []).append(image)
        return dict(sorted(found.items()))

    def _row(self, kind: str, all_images: Sequence[np.ndarray]) -> Row:
        self.note(kind)
        images = [all_images[place] for place in spread(len(all_images), self.slices)]
        predictions = list(self.predictor.predict_many(Slice(image, source="array", path=kind) for image in images))
        features = [each.features for each in predictions if each.features is not None]
        described = describe(np.stack([self.prepare(image) for image in images]))
        ratios = self.fitted.ratios(Measured(described, np.stack(features) if features else None))
        beyond, largest, auc = ratios > 1, np.nanmax(ratios, axis=1), None
        if self.test_ratios is None:
            self.test_ratios = largest
        else:
            truth = np.repeat([0, 1], [len(self.test_ratios), len(largest)])
            auc = float(roc_auc_score(truth, np.concatenate([self.test_ratios, largest])))
        classes = NO_TUMOUR in self.predictor.classes
        sure = np.array([_is_sure(each) for each in predictions]) if classes else None
        flagged = beyond.any(axis=1)
        return Row(
            kind,
            len(images),
            int(beyond[:, 0].sum()),
            int(beyond[:, 1].sum()) if features else None,
            int(flagged.sum()),
            auc,
            None if sure is None else int((sure & ~beyond[:, 0]).sum()),
            None if sure is None else int((sure & ~flagged).sum()),
        )


def _is_sure(prediction: Prediction) -> bool:
    return prediction.label == NO_TUMOUR and prediction.class_prob is not None and float(prediction.class_prob.max()) > SURE


def as_markdown(found: Sequence[tuple[str, list[Row]]]) -> str:
    """Return the table.

    >>> print(as_markdown([("real slices", [Row("test", 200, 3, 2, 4, None, 90, 88)])]))
    | | images | by input | by features | flagged | AUC | sure: before | sure: after |
    |---|---|---|---|---|---|---|---|
    | **real slices** |  |  |  |  |  |  |  |
    | test | 200 | 1.5% | 1.0% | 2.0% |  | 45.0% | 44.0% |
    """
    rows: list[Sequence[object]] = []
    for heading, kinds in found:
        rows += [(Raw(f"**{heading}**"), *[None] * (len(HEADER) - 1))] if kinds else []
        rows += [row.cells() for row in kinds]
    return table(HEADER, rows).replace("|  | images", "| | images", 1)
