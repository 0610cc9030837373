"""Write the result of a picture or a volume into a folder of its own, `result.json` last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bts.atomic import remove_leftovers
from bts.data.readers.scan import Scan
from bts.errors import InputError, RequestError
from bts.inference.prediction import Prediction
from bts.inference.volume import VolumeEvidence, VolumeFindings
from bts.inference.writers.catalogue import RESULT, ResultWriter, result_writers

Writers = Sequence[str | type[ResultWriter]] | None
"""Names of result writers, import paths of others, or classes; None for all that are registered."""


def write_prediction(prediction: Prediction, folder: str | Path, *, writers: Writers = None, pictures: str = "key") -> Path:
    """Write `mask.png`, `cam.png`, `overlay.png` and `result.json` of a slice; what no model predicts is left out.

    Args:
        prediction: prediction of one slice.
        folder: created where it is missing; files of an earlier result are replaced.
        writers: names of result writers (`bts.inference.writers`), import paths of others, or classes; None takes all.
        pictures: `none` leaves out `overlay.png`.

    Returns:
        the folder.

    Raises:
        RequestError: the folder can't be written to, the disk is full, or a writer is unknown.
    """
    scan = Scan(path=prediction.slice.path, slices=[prediction.slice])
    _write(scan, [prediction], Path(folder), writers, pictures=pictures)
    return Path(folder)


def write_volume(
    scan: Scan,
    predictions: Iterable[Prediction],
    folder: str | Path,
    *,
    findings: Callable[[], VolumeFindings | None] | None = None,
    writers: Writers = None,
    pictures: str = "key",
    report_patient: bool = False,
) -> Path:
    """Write `mask.nii.gz`, `slices/<index>.png` and one `result.json` with all slices of a volume.

    Args:
        scan: the volume as it was read.
        predictions: predictions of its slices, in order; taken one by one and not kept.
        folder: created where it is missing; files of an earlier result are replaced.
        findings: called once after the last prediction, for what is found in the volume as a whole; None finds the lesions in
            the predictions (`bts.inference.volume`).
        writers: names of result writers (`bts.inference.writers`), import paths of others, or classes; None takes all.
        pictures: slices that are drawn: `key`, of each lesion the one with its largest area, `all` or `none`.
        report_patient: whether `report.html` names the patient of a DICOM series.

    Returns:
        the folder.

    Raises:
        RequestError: the folder can't be written to, the disk is full, or a writer is unknown.
        InputError: the scan is no volume, or a slice has no prediction.
    """
    if scan.volume is None:
        raise InputError(f"{scan.path}: a picture where a volume is expected: write it with write_prediction")
    evidence = VolumeEvidence(scan) if findings is None else None
    _write(
        scan,
        predictions,
        Path(folder),
        writers,
        findings=findings,
        evidence=evidence,
        pictures=pictures,
        report_patient=report_patient,
    )
    return Path(folder)


def _write(
    scan: Scan,
    predictions: Iterable[Prediction],
    folder: Path,
    writers: Writers,
    *,
    findings: Callable[[], VolumeFindings | None] | None = None,
    evidence: VolumeEvidence | None = None,
    pictures: str = "key",
    report_patient: bool = False,
) -> None:
    named = list(result_writers) if writers is None else writers
    kinds = [result_writers.find(each) if isinstance(each, str) else each for each in named]
    kinds.sort(key=lambda kind: RESULT in kind.files)  # stable; result.json comes last
    left = {item.index for item in scan.slices}
    with _errors_named(folder):
        empty_folder(folder, kinds)
        active = [kind(scan, folder) for kind in kinds]
        for writer in active:
            writer.pictures, writer.report_patient = pictures, report_patient
        for prediction in predictions:
            left.discard(prediction.slice.index)
            if evidence is not None:
                evidence.add(prediction)
            for writer in active:
                writer.add(prediction)
        if left or not scan.slices:
            raise InputError(f"{scan.path}: {len(left)} of {len(scan.slices)} slices have no prediction: give one for each")
        find = findings if evidence is None else evidence.findings
        whole = None if find is None else find()
        for writer in active:
            writer.findings = whole
            writer.finish()


def empty_folder(folder: Path, kinds: Sequence[type[ResultWriter]]) -> None:
    """Make the folder and remove the files of an earlier result, first `result.json`, which marks it as complete."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    (folder / RESULT).unlink(missing_ok=True)
    for kind in {*kinds, *(result_writers[name] for name in result_writers)}:
        for path in [path for pattern in kind.files for path in folder.glob(pattern)]:
            path.unlink(missing_ok=True)


@contextmanager
def _errors_named(folder: Path) -> Iterator[None]:
    """Turn an `OSError` into one line with the folder, the reason and the remedy."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise RequestError(f"{folder}: results can't be written there ({reason}): free space or name another --out") from error
