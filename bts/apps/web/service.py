"""Analysis of uploads for the page, the batch and the API, independent of Gradio."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bts.apps.run import describe
from bts.apps.web.limits import Deadline, Limits
from bts.apps.web.result import Result, compact
from bts.apps.web.sessions import Session, SessionClosedError, SessionStore
from bts.apps.web.upload_reader import read_upload
from bts.data.readers.scan import Scan
from bts.data.slice import Slice
from bts.errors import InputError, RequestError
from bts.inference.prediction import Prediction
from bts.inference.predictor import Predictor
from bts.inference.resume import safe_name
from bts.inference.volume import VolumeEvidence, VolumeFindings, apply_findings
from bts.inference.write import RESULT, write_prediction, write_volume

ProgressCallback = Callable[[float, str], None]
"""Called with the completed fraction, 0 to 1, and a description of the current step."""
BATCH_SIZE = 8
"""Maximum number of slices per forward pass."""
BATCH_PIXELS = 2**23
"""Maximum number of pixels per forward pass; a larger slice is passed alone."""


def ignore_progress(fraction: float, description: str) -> None:
    """Discard a progress report."""


class AnalysisService:
    """Loaded models, limits and sessions.

    Attributes:
        predictor: predicts every slice.
        explainer: the same loaded classifier alone, for the class activation map of another class; None without a classifier.
        limits: limits of the page.
        sessions: open sessions.
    """

    def __init__(self, predictor: Predictor, *, root: Path, limits: Limits | None = None) -> None:
        self.predictor, self.limits = predictor, limits or Limits()
        self.sessions = SessionStore(root, self.limits)
        classifiers = [runtime for runtime in predictor.runtimes if runtime.card.task != "seg"]
        self.explainer = Predictor(classifiers, flip=predictor.flip) if classifiers else None
        self._model = threading.Lock()  # one request at a time runs the networks: two would only slow each other down

    def receive(
        self,
        upload: str | Path | Sequence[str | Path],
        *,
        session: Session,
        axis: int | None = None,
        series: int | None = None,
    ) -> Scan:
        """Read an upload, a file or the files of one series, and record the time; arguments and errors as `read_upload`."""
        paths = [upload] if isinstance(upload, (str, Path)) else upload
        session.uploads |= dict.fromkeys(map(Path, paths), time.time())
        return read_upload(paths, limits=self.limits, axis=axis, series=series)

    def analyse(self, scan: Scan, *, session: Session, on_progress: ProgressCallback = ignore_progress) -> Result:
        """Predict a scan and write its result to the session's folder, as `infer.py` does.

        Raises:
            InputError: the time limit is exceeded.
            RequestError: the disk limit is exceeded.
            SessionClosedError: the session was closed meanwhile.
        """
        self.sessions.check_room()
        folder = session.new_folder(safe_name(scan.path))
        deadline = Deadline(self.limits.seconds)
        try:
            predictions, findings = self.write(scan, folder, session=session, deadline=deadline, on_progress=on_progress)
        except BaseException as error:
            session.clear()  # leave no partial result
            if session.closed:  # its folder was removed while it was written to
                session.close()
                raise SessionClosedError from error
            raise
        summary = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        with session.lock:
            if session.closed:
                shutil.rmtree(session.folder, ignore_errors=True)
                raise SessionClosedError
            session.result, session.result_folder = Result(scan, folder, predictions, summary, findings), folder
        self.sessions.evict(keep=session)
        return session.result

    def write(
        self,
        scan: Scan,
        folder: Path,
        *,
        session: Session,
        deadline: Deadline,
        on_progress: ProgressCallback = ignore_progress,
    ) -> tuple[dict[int, Prediction], VolumeFindings | None]:
        """Write the result of a scan; return its predictions by slice index, and what a volume shows as a whole.

        The predictions of a volume are those that its findings leave, so that no slice contradicts them.
        """
        predictions: dict[int, Prediction] = {}
        evidence = None if scan.volume is None else VolumeEvidence(scan)

        def predict() -> Iterator[Prediction]:
            pending = self.predictor.predict_many(scan.slices, batch_size=batch_size_for(scan.slices))
            while True:
                session.check()
                deadline.check()
                with self._model:
                    prediction = next(pending, None)
                if prediction is None:
                    return
                done, total = len(predictions), len(scan.slices)
                if total > 1:
                    on_progress(done / total, f"slice {done + 1} of {total}")
                predictions[prediction.slice.index or 0] = compact(prediction)
                if evidence is not None:
                    evidence.add(prediction)
                yield prediction

        if evidence is None:
            write_prediction(next(predict()), folder)
            return predictions, None
        write_volume(scan, predict(), folder, findings=evidence.findings)
        findings = evidence.findings()
        if findings is not None:
            predictions = {index: apply_findings(each, findings) for index, each in predictions.items()}
        return predictions, findings

    def predict(self, slices: Sequence[Slice]) -> list[Prediction]:
        """Return the predictions of a few slices, computed as one batch."""
        with self._model:
            return list(self.predictor.predict_many(slices, batch_size=batch_size_for(slices)))

    def explain(self, session: Session, *, index: int, cam_class: str) -> Prediction | None:
        """Return the prediction of a slice with the class activation map of a class; None for a blank slice. Maps are cached.

        Raises:
            RequestError: there is no scan, no such class, or no classifier.
        """
        result = current_result(session)
        result.cam_class = cam_class
        prediction = result.predictions.get(index)
        if prediction is None:
            return None
        if cam_class == prediction.cam_class:
            return self._update_files(result, prediction)
        if (index, cam_class) not in result.maps:
            if self.explainer is None:
                raise RequestError("no classifier is loaded, so there is no map to choose: start with --cls or --joint")
            with self._model:
                other = compact(self.explainer.predict(prediction.slice, cam_class=cam_class))
            result.maps[index, cam_class] = replace(
                prediction,
                cam=other.cam,
                cam_class=other.cam_class,
                cam_method=other.cam_method,
                cam_scale=other.cam_scale,
                cam_peak=other.cam_peak,
                cam_strength=other.cam_strength,
            )
        return self._update_files(result, result.maps[index, cam_class])

    def _update_files(self, result: Result, prediction: Prediction) -> Prediction:
        """Let the downloads of a picture show the same map as the page."""
        if not result.is_volume and result.read()["cam_class"] != prediction.cam_class:
            write_prediction(prediction, result.folder)
        (result.folder / "print.html").unlink(missing_ok=True)
        return prediction


def batch_size_for(slices: Sequence[Slice]) -> int:
    """Return the batch size for slices: `BATCH_SIZE`, less where `BATCH_PIXELS` requires it."""
    largest = max((item.image.size for item in slices), default=1)
    return min(max(BATCH_PIXELS // largest, 1), BATCH_SIZE)


def current_result(session: Session) -> Result:
    """Return the session's result; raises `RequestError` where it has been removed."""
    if session.result is None:
        raise RequestError("this scan is no longer available: choose the file again")
    return session.result


def format_error(error: BaseException, *, path: str | Path | None = None) -> str:
    """Return the one line for a visitor: that of `infer.py`, without folders of this machine."""
    if isinstance(error, OSError) or (isinstance(error, RequestError) and isinstance(error.__cause__, OSError)):
        return "the server could not read or write a file: try again later"
    line, _ = describe(error)
    if not isinstance(error, (InputError, RequestError, MemoryError)):
        return f"unexpected {type(error).__name__}: please report it"  # its text may contain a file name or a value of the scan
    return line if path is None else line.replace(str(path), Path(path).name)
