"""Job of `bts infer`: predict many scans in parallel and write their results, each input with its own outcome."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from bts.errors import InputError

if TYPE_CHECKING:
    from bts.data.readers.scan import Scan
    from bts.inference.prediction import Prediction
    from bts.inference.predictor import Predictor

NIFTI = (".nii", ".nii.gz")


@dataclass(frozen=True)
class Outcome:
    """Outcome of one input: a line with its warnings, or why it failed."""

    path: Path
    line: str = ""
    warnings: tuple[str, ...] = ()
    failed: str | None = None


@dataclass
class Job:
    """Inputs, the loaded models, and where the results go.

    Attributes:
        predictor: loaded models; its lanes are used.
        folders: folder of the result of each input.
        axis: along which volumes are cut.
        cam_class: class that the maps explain.
        tell: receives the line of each input; None where there are too many.
        failed: error by path.
    """

    predictor: Predictor
    folders: dict[Path, Path]
    axis: int | None = None
    cam_class: str | None = None
    tell: Callable[[str], None] | None = None
    failed: dict[Path, str] = field(default_factory=dict)

    def is_finished(self, path: Path) -> bool:
        """Return whether the complete result of an input from these models exists."""
        from bts.inference.resume import is_finished

        origin = self.predictor.origin.fields()
        return is_finished(
            self.folders[path],
            source=path,
            origin=origin,
            cam_class=self.cam_class,
            cam_scale=self.predictor.cam_scale,
            cam_method=self.predictor.map_method,
            axis=self.axis,
        )

    def work(self, paths: Sequence[Path]) -> Iterator[int]:
        """Write the result of each input; yield the number of inputs finished since the last yield.

        Pictures are processed in lanes, from reading to the written files; volumes one by one, their slices in lanes. So the
        memory in use does not grow with the number of inputs.
        """
        from bts.inference.lanes import batches, map_ordered

        for is_volume, group in groupby(paths, key=is_nifti):
            if is_volume:
                for path in group:
                    self.note(self.scans([path])[0])
                    yield 1
                continue
            for outcomes in map_ordered(self.scans, batches(group, self.predictor.together), lanes=self.predictor.lanes):
                for outcome in outcomes:
                    self.note(outcome)
                yield len(outcomes)

    def scans(self, paths: Sequence[Path]) -> list[Outcome]:
        """Read, predict and write the inputs of one batch; return their outcomes in order."""
        from bts.data.readers.catalogue import read_scan

        outcomes: dict[Path, Outcome] = {}
        pictures: list[tuple[Path, Scan]] = []
        for path in paths:
            try:
                scan = read_scan(path, axis=self.axis)
                if scan.volume is None:
                    pictures.append((path, scan))
                else:
                    outcomes[path] = self.volume(path, scan)
            except InputError as error:
                outcomes[path] = Outcome(path, failed=str(error.at(path)))
        outcomes |= self.pictures(pictures)
        return [outcomes[path] for path in paths]

    def pictures(self, pictures: Sequence[tuple[Path, Scan]]) -> dict[Path, Outcome]:
        """Predict pictures and write their results."""
        from bts.inference.write import write_prediction

        if not pictures:
            return {}
        predictions = self.predictor.predict_batch([scan.slices[0] for _, scan in pictures], cam_class=self.cam_class)
        found = {}
        for (path, _), prediction in zip(pictures, predictions, strict=True):
            folder = write_prediction(prediction, self.folders[path])
            found[path] = Outcome(path, f"{path}: {format_prediction(prediction)} -> {folder}", prediction.warnings)
        return found

    def volume(self, path: Path, scan: Scan) -> Outcome:
        """Predict a volume and write its result."""
        from bts.inference.write import write_volume

        areas: list[int] = []
        warnings: list[tuple[int, tuple[str, ...]]] = []

        def counted() -> Iterator[Prediction]:
            slices, size = scan.slices, self.predictor.together
            for prediction in self.predictor.predict_many(slices, batch_size=size, cam_class=self.cam_class):
                areas.append(prediction.mask_area_px or 0)
                warnings.append((int(prediction.slice.index or 0), prediction.warnings))
                yield prediction

        folder = write_volume(scan, counted(), self.folders[path])
        blank = f", {len(scan.blank)} blank" if scan.blank else ""
        line = f"{path}: {len(areas)} slices{blank}, {sum(map(bool, areas))} with a mask -> {folder}"
        return Outcome(path, line, gather_warnings(warnings))

    def note(self, outcome: Outcome) -> None:
        """Record why an input failed, or pass its line on."""
        if outcome.failed is not None:
            self.failed[outcome.path] = outcome.failed
        elif self.tell is not None:
            self.tell("\n".join([outcome.line, *(f"  note: {text}" for text in outcome.warnings)]))


def gather_warnings(warnings: Sequence[tuple[int, tuple[str, ...]]]) -> tuple[str, ...]:
    """Return the warnings of a volume's slices, merged into one line where they differ in their numbers only.

    Args:
        warnings: index and warnings of each slice.

    >>> gather_warnings([(3, ("a phantom", "unsure: 0.7")), (4, ("a phantom", "unsure: 0.6")), (5, ("a phantom", "torn"))])
    ('a phantom', '2 slices, the first is 3: unsure: 0.7', 'slice 5: torn')
    """
    alike: dict[str, list[tuple[int, str]]] = {}
    for index, texts in warnings:
        for text in texts:
            alike.setdefault(re.sub(r"[0-9.]+", "#", text), []).append((index, text))
    lines = []
    for found in alike.values():
        (index, text), everywhere = found[0], len(found) == len(warnings) and len({text for _, text in found}) == 1
        where = f"slice {index}: " if len(found) == 1 else f"{len(found)} slices, the first is {index}: "
        lines.append(text if everywhere else where + text)
    return tuple(lines)


def is_nifti(path: Path) -> bool:
    """Return whether a file is NIfTI by its name."""
    return path.name.lower().endswith(NIFTI)


def format_prediction(prediction: Prediction) -> str:
    """Return the prediction in a few words."""
    parts = []
    if prediction.label is not None and prediction.class_prob is not None:
        parts.append(f"{prediction.label} {prediction.class_prob.max():.0%}")
    if prediction.mask_area_px is not None:
        area = f" ({prediction.mask_area_mm2:.0f} mm2)" if prediction.mask_area_mm2 is not None else ""
        parts.append(f"mask of {prediction.mask_area_px} pixels{area}" if prediction.mask_area_px else "empty mask")
    return ", ".join(parts)
