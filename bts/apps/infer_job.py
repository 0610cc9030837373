"""Job of `bts infer`: predict many scans in parallel and write their results, each input with its own outcome."""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from bts.apps.run import describe
from bts.errors import BtsError, InputError, RequestError
from bts.glossary import count_of
from bts.progress import counted

if TYPE_CHECKING:
    from argparse import Namespace

    from bts.data.readers.scan import Scan
    from bts.data.readers.series import SeriesFiles
    from bts.inference.prediction import Prediction
    from bts.inference.predictor import Predictor
    from bts.inference.volume import Lesion, VolumeFindings

NIFTI = (".nii", ".nii.gz")
NAMED_LESIONS = 3
"""Most lesions that the line of a volume lists."""
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Disk errors that would affect every other file too."""


@dataclass(frozen=True)
class Outcome:
    """Outcome of one input: a line with its warnings, why it failed, or that its result was there."""

    path: Path
    line: str = ""
    warnings: tuple[str, ...] = ()
    failed: str | None = None
    skipped: bool = False

    def at(self, path: Path) -> Outcome:
        """Return the same failure with the path in front, once."""
        named = self.failed is None or str(path) in self.failed
        return self if named else replace(self, failed=f"{path}: {self.failed}")


@dataclass
class Job:
    """Loaded models, and result folders of the inputs.

    Attributes:
        predictor: loaded models; its workers are used.
        folders: result folder of each input.
        axis: slicing axis of volumes.
        cam_class: class of the class activation maps.
        drawn: what is drawn, one of `PICTURES`.
        report_patient: whether `report.html` names the patient of a DICOM series.
        files: file on disk of an input with another name, such as a member of an archive, or the files of a series.
        debug: whether to print the traceback of an unexpected error.
    """

    predictor: Predictor
    folders: Mapping[Path, Path] = field(default_factory=dict)
    axis: int | None = None
    cam_class: str | None = None
    drawn: str = "key"
    report_patient: bool = False
    files: Mapping[Path, Path | SeriesFiles] = field(default_factory=dict)
    debug: bool = False

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
            pictures=self.drawn,
        )

    def outcomes(self, paths: Sequence[Path]) -> Iterator[list[Outcome]]:
        """Write the result of each input; yield the outcomes of some after another.

        Workers process the pictures, from reading to the written files, and the slices of a volume. The memory in use does not
        grow with the number of inputs.
        """
        from bts.inference.parallel import batches, map_ordered

        for is_volume, group in groupby(paths, key=self.is_volume):
            if is_volume:
                for path in group:
                    yield self.scans([path])
                continue
            yield from map_ordered(self.scans, batches(group, self.predictor.best_batch_size), workers=self.predictor.workers)

    def scans(self, paths: Sequence[Path]) -> list[Outcome]:
        """Read, predict and write the inputs of one batch; return their outcomes in order."""
        outcomes: dict[Path, Outcome] = {}
        pictures: list[tuple[Path, Scan]] = []
        for path in paths:
            try:
                scan = self.read(path)
                if scan.volume is None:
                    pictures.append((path, scan))
                else:
                    outcomes[path] = self.volume(path, scan)
            except Exception as error:
                outcomes[path] = self.failure(path, error)
        outcomes |= self.pictures(pictures)
        return [outcomes[path] for path in paths]

    def is_volume(self, path: Path) -> bool:
        """Return whether an input is a volume: a NIfTI file by its name, or a DICOM series."""
        return is_nifti(path) or not isinstance(self.files.get(path, path), Path)

    def read(self, path: Path) -> Scan:
        """Read one input, under its own name also where it is a series, a member of an archive, or in an object store."""
        from bts.data.object_store import fetched, is_address

        if is_address(path):
            with fetched(path) as file:
                return self._read_as(path, file, {path: file})
        return self._read_as(path, self.files.get(path, path), self.files)

    def _read_as(self, path: Path, file: Path | SeriesFiles, files: Mapping[Path, Path | SeriesFiles]) -> Scan:
        from bts.data.readers.catalogue import read_scan

        if file == path:
            return read_scan(path, axis=self.axis)
        try:
            if isinstance(file, Path):
                scan = read_scan(file, axis=self.axis)
            else:
                from bts.data.readers.series import read_series

                scan = read_series(file, axis=self.axis)
        except InputError as error:
            text = str(error)
            for called, there in files.items():
                text = text.replace(f"{there}:", f"{called}:")
            raise InputError(text) from error
        return replace(scan, path=str(path), slices=[replace(each, path=str(path)) for each in scan.slices])

    def folder(self, path: Path) -> Path:
        """Return the folder of a result that is about to be written; the output folder is made, or ends the job."""
        try:
            self.folders[path].parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RequestError(describe(error)[0]) from None
        return self.folders[path]

    def failure(self, path: Path, error: Exception) -> Outcome:
        """Return the failure of one input; an error that would end all others too is raised again."""
        if ends_job(error):
            raise error
        if self.debug:
            traceback.print_exception(error)
        return Outcome(path, failed=describe(error.at(path) if isinstance(error, BtsError) else error)[0]).at(path)

    def pictures(self, pictures: Sequence[tuple[Path, Scan]]) -> dict[Path, Outcome]:
        """Predict pictures and write their results; where a batch fails, each picture by itself."""
        from bts.inference.write import write_prediction

        if not pictures:
            return {}
        try:
            predictions = self.predictor.predict_batch([scan.slices[0] for _, scan in pictures], cam_class=self.cam_class)
        except Exception as error:
            if len(pictures) == 1:
                return {pictures[0][0]: self.failure(pictures[0][0], error)}
            if ends_job(error):
                raise
            return {path: outcome for each in pictures for path, outcome in self.pictures([each]).items()}
        found = {}
        for (path, _), prediction in zip(pictures, predictions, strict=True):
            try:
                folder = write_prediction(prediction, self.folder(path), pictures=self.drawn)
            except Exception as error:
                found[path] = self.failure(path, error)
            else:
                found[path] = Outcome(path, f"{path}: {format_prediction(prediction)} -> {folder}", prediction.warnings)
        return found

    def volume(self, path: Path, scan: Scan) -> Outcome:
        """Predict a volume and write its result."""
        from bts.inference.volume import VolumeEvidence
        from bts.inference.write import write_volume

        evidence = VolumeEvidence(scan)
        warnings: list[tuple[int, tuple[str, ...]]] = []

        def watched() -> Iterator[Prediction]:
            slices, size = scan.slices, self.predictor.best_batch_size
            predictions = self.predictor.predict_many(slices, batch_size=size, cam_class=self.cam_class)
            for prediction in counted(predictions, f"predicting {path.name}", total=len(slices)):
                evidence.add(prediction)
                warnings.append((int(prediction.slice.index or 0), prediction.warnings))
                yield prediction

        folder = write_volume(
            scan,
            watched(),
            self.folder(path),
            findings=evidence.findings,
            pictures=self.drawn,
            report_patient=self.report_patient,
        )
        found, blank = evidence.findings(), f", {len(scan.blank)} blank" if scan.blank else ""
        said = "" if found is None else f"{format_findings(found)}; "
        line = f"{path}: {said}{count_of(len(scan.slices), 'slice')}{blank} -> {folder}"
        return Outcome(path, line, (*(() if found is None else found.warnings), *gather_warnings(warnings)))


def make_job(options: Namespace, *, slices: int) -> Job:
    """Load the models and return the job of `bts infer`, without inputs.

    Args:
        options: options of the command, with its output folder.
        slices: number of slices to predict, where it is known to be small: so many workers are enough.
    """
    from bts.inference.parallel import workers_for
    from bts.inference.predictor import Predictor

    predictor = Predictor.load(
        seg=options.seg,
        cls=options.cls,
        joint=options.joint,
        runs=options.runs,
        device=options.device,
        runtime=options.runtime,
        workers=workers_for(slices),
        cam_scale=options.cam_scale,
        cam_method=options.cam_method,
    )
    return Job(
        predictor,
        axis=options.axis,
        cam_class=options.cam,
        drawn=options.pictures,
        report_patient=options.report_patient,
        debug=options.debug,
    )


def ends_job(error: Exception) -> bool:
    """Return whether an error concerns all inputs: an invalid request, or a full disk."""
    cause = error.__cause__
    if isinstance(error, RequestError) and isinstance(cause, OSError):
        return cause.errno in FULL_DISK
    return isinstance(error, RequestError)


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
    from bts.inference.panel import percent

    parts = []
    if prediction.label is not None and prediction.class_prob is not None:
        parts.append(f"{prediction.label} {percent(float(prediction.class_prob.max()), digits=0)}")
    if prediction.mask_area_px is not None:
        area = f" ({prediction.mask_area_mm2:.0f} mm2)" if prediction.mask_area_mm2 is not None else ""
        parts.append(f"mask of {prediction.mask_area_px} pixels{area}" if prediction.mask_area_px else "empty mask")
    return ", ".join(parts)


def format_findings(findings: VolumeFindings) -> str:
    """Return the findings of a volume in a few words: tumour, class, and the largest lesions."""
    from bts.inference.panel import percent

    score = f"score {findings.tumour_score:.2f}, reported from {findings.threshold:.2f}"
    if not findings.tumour:
        return f"no tumour ({score})"
    parts = [f"tumour ({score})"]
    if findings.label is not None:
        parts.append(f"{findings.label} {percent(findings.class_prob[findings.label], digits=0)}")
    count = len(findings.lesions)
    lesions = "; ".join(map(format_lesion, findings.lesions[:NAMED_LESIONS]))
    more = f"; and {count - NAMED_LESIONS} smaller" if count > NAMED_LESIONS else ""
    return ", ".join([*parts, f"{count_of(count, 'lesion')}: {lesions}{more}"])


def format_lesion(lesion: Lesion) -> str:
    """Return size and place of a lesion in a few words."""
    first, last = lesion.slices
    slices = f"slice {first}" if first == last else f"slices {first} to {last}"
    if lesion.volume_ml is None:
        return f"{lesion.voxels} voxels in {slices}"
    parts = [f"{lesion.volume_ml:.1f} ml", f"{lesion.longest_mm:.0f} x {lesion.perpendicular_mm:.0f} mm"]
    return ", ".join([*parts, *([lesion.side] if lesion.side else []), slices])
