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
from bts.apps.web.intake import read_upload
from bts.apps.web.limits import Deadline, Limits
from bts.apps.web.result import Result, kept
from bts.apps.web.sessions import GoneError, Session, Sessions
from bts.data.readers.scan import Scan
from bts.data.slice import Slice
from bts.errors import InputError, RequestError
from bts.inference.prediction import Prediction
from bts.inference.predictor import Predictor
from bts.inference.resume import safe_name
from bts.inference.write import RESULT, write_prediction, write_volume

Tell = Callable[[float, str], None]
"""Called with how much is done, 0 to 1, and what is under way."""
BATCH = 8
"""Most slices that go through the networks together."""
BATCH_PIXELS = 2**23
"""Most pixels of slices that go through the networks together or wait for it; one larger slice goes alone."""


def silent(share: float, what: str) -> None:
    """Tell nobody."""


class Desk:
    """Loaded models, the limits, and who is here.

    Attributes:
        predictor: answers everything.
        explainer: the same loaded classifier alone, for the map of another class; None where there is no classifier.
        limits: what is accepted.
        sessions: who is here.
    """

    def __init__(self, predictor: Predictor, *, root: Path, limits: Limits | None = None) -> None:
        self.predictor, self.limits = predictor, limits or Limits()
        self.sessions = Sessions(root, self.limits)
        classifiers = [runtime for runtime in predictor.runtimes if runtime.card.task != "seg"]
        self.explainer = Predictor(classifiers, flip=predictor.flip) if classifiers else None
        self._model = threading.Lock()  # one request at a time asks the networks: two would only slow each other

    def receive(self, path: str | Path, *, session: Session, axis: int | None = None) -> Scan:
        """Return what an upload holds, and note that it was read.

        Raises:
            InputError: as `read_upload`.
        """
        session.uploads[Path(path)] = time.time()
        return read_upload(path, limits=self.limits, axis=axis)

    def analyse(self, scan: Scan, *, session: Session, tell: Tell = silent) -> Result:
        """Return the answers for a scan, written to the session's folder as `infer.py` writes them.

        Raises:
            InputError: the time is over.
            RequestError: all visitors together fill the disk that they may.
            GoneError: the visitor has left.
        """
        self.sessions.check_room()
        folder = session.new_folder(safe_name(scan.path))
        try:
            answers = self.write(scan, folder, session=session, deadline=Deadline(self.limits.seconds), tell=tell)
        except BaseException as error:
            session.forget()  # half a result serves nobody
            if session.closed:  # its folder went while it was written to
                session.close()
                raise GoneError from error
            raise
        summary = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        with session.lock:
            if session.closed:
                shutil.rmtree(session.folder, ignore_errors=True)
                raise GoneError
            session.result, session.written = Result(scan, folder, answers, summary), folder
        self.sessions.make_room(besides=session)
        return session.result

    def write(
        self, scan: Scan, folder: Path, *, session: Session, deadline: Deadline, tell: Tell = silent
    ) -> dict[int, Prediction]:
        """Write the result of a scan and return its answers by index."""
        answers: dict[int, Prediction] = {}

        def each() -> Iterator[Prediction]:
            asked = self.predictor.predict_many(scan.slices, batch_size=together(scan.slices))
            while True:
                session.check()
                deadline.check()
                with self._model:
                    answer = next(asked, None)
                if answer is None:
                    return
                if len(scan.slices) > 1:
                    tell(len(answers) / len(scan.slices), f"slice {len(answers) + 1} of {len(scan.slices)}")
                answers[answer.slice.index or 0] = kept(answer)
                yield answer

        if scan.volume is None:
            write_prediction(next(each()), folder)
        else:
            write_volume(scan, each(), folder)
        return answers

    def predictions(self, slices: Sequence[Slice]) -> list[Prediction]:
        """Return the answers for a few slices that go through the networks together."""
        with self._model:
            return list(self.predictor.predict_many(slices, batch_size=together(slices)))

    def explain(self, session: Session, *, index: int, cam_class: str) -> Prediction | None:
        """Return the answer for a slice with the map of a class; None for a blank slice. A known map is not computed again.

        Raises:
            RequestError: no scan is held, no such class, or no classifier.
        """
        result = held(session)
        result.cam_class = cam_class
        answer = result.answers.get(index)
        if answer is None:
            return None
        if cam_class == answer.cam_class:
            return self._shown(result, answer)
        if (index, cam_class) not in result.maps:
            if self.explainer is None:
                raise RequestError("no classifier is loaded, so there is no map to choose: start with --cls or --joint")
            with self._model:
                found = kept(self.explainer.predict(answer.slice, cam_class=cam_class))
            result.maps[index, cam_class] = replace(
                answer,
                cam=found.cam,
                cam_class=found.cam_class,
                cam_peak=found.cam_peak,
                cam_strength=found.cam_strength,
            )
        return self._shown(result, result.maps[index, cam_class])

    def _shown(self, result: Result, answer: Prediction) -> Prediction:
        """Let the downloads of a picture show what the page shows."""
        if not result.is_volume and result.read()["cam_class"] != answer.cam_class:
            write_prediction(answer, result.folder)
        (result.folder / "print.html").unlink(missing_ok=True)
        return answer


def together(slices: Sequence[Slice]) -> int:
    """Return how many of these slices go through the networks together: `BATCH`, fewer where `BATCH_PIXELS` asks for it."""
    largest = max((item.image.size for item in slices), default=1)
    return min(max(BATCH_PIXELS // largest, 1), BATCH)


def held(session: Session) -> Result:
    """Return the session's result; raises `RequestError` where it was let go."""
    if session.result is None:
        raise RequestError("this scan is no longer held: choose the file again")
    return session.result


def format_error(error: BaseException, *, path: str | Path | None = None) -> str:
    """Return the one line for a visitor: what `infer.py` says, without folders of this machine."""
    if isinstance(error, OSError) or (isinstance(error, RequestError) and isinstance(error.__cause__, OSError)):
        return "the server could not read or write a file: try again later"
    line, _ = describe(error)
    if not isinstance(error, (InputError, RequestError, MemoryError)):
        return f"unexpected {type(error).__name__}: please report it"  # its text may name a file or hold a value of the scan
    return line if path is None else line.replace(str(path), Path(path).name)
