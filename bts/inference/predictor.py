"""What does a trained model say of a scan? The one way from a slice to mask, class and Grad-CAM, whoever asks.

The command line, the page in the browser, evaluation and the check of an export all go through `Predictor`.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, groupby
from pathlib import Path

import numpy as np

import bts
from bts.data.preprocess import Preprocessing
from bts.data.slice import Slice
from bts.errors import InputError, RequestError
from bts.inference import decision
from bts.inference.answer import ModelOutput, Origin, make_prediction
from bts.inference.averaging import run_averaged
from bts.inference.lanes import batches, map_ordered
from bts.inference.model_selection import Named, by_task, select_models
from bts.inference.oom import AdaptiveBatcher
from bts.inference.outside import Reference
from bts.inference.prediction import ModelMark, Prediction
from bts.inference.runtimes.base import RawOutput, Runtime
from bts.inference.runtimes.catalogue import open_runtime
from bts.inference.runtimes.ensemble import Ensemble, members_of
from bts.inference.runtimes.fastest import pick_runtime
from bts.registry import suggestion

BATCH = 8
"""Slices that go through the networks together on a GPU."""


class Predictor:
    """One or two loaded models that answer together.

    Attributes:
        runtimes: the loaded models: a segmenter, a classifier, both, or a joint one.
        notes: what to tell the user: which models and why, the device, the path of the Grad-CAM.
        classes: class names in the order of the outputs; empty without a classifier.
        lanes: batches that are on their way at once, for which the models were loaded.
    """

    def __init__(
        self, runtimes: Sequence[Runtime], *, flip: bool | None = None, notes: Sequence[str] = (), lanes: int = 1
    ) -> None:
        """Take loaded models; `flip` None averages with the mirror image where the card's operating point says so."""
        self.lanes = lanes
        self.runtimes = tuple(runtimes)
        self.flip = flip
        self.notes = (*notes, *dict.fromkeys(note for runtime in self.runtimes for note in runtime.notes))
        self.classes = next((tuple(runtime.card.classes) for runtime in self.runtimes if runtime.card.task != "seg"), ())
        self.origin = _origin(self.runtimes)
        self._batcher = AdaptiveBatcher()
        self._preprocessing = [Preprocessing.from_dict(runtime.card.preprocessing) for runtime in self.runtimes]
        self._references = [Reference.from_dict(runtime.card.outside) for runtime in self.runtimes]

    @staticmethod
    def load(
        *,
        seg: Named = None,
        cls: Named = None,
        joint: Named = None,
        runs: str | Path = "runs",
        device: str = "auto",
        runtime: str = "torch",
        flip: bool | None = None,
        lanes: int = 1,
    ) -> Predictor:
        """Load models once, for any number of slices.

        Args:
            seg: model folder, run folder or exported file of a segmenter.
            cls: of a classifier.
            joint: of a joint model. What is named answers, alone; of several models of a task the mean does
                (`bts.inference.runtimes.ensemble`). Where nothing is named, the latest finished runs answer, those on phantoms
                only where there are no others.
            runs: where the runs lie.
            device: `auto`, `cpu`, `cuda` or `cuda:1`.
            runtime: what computes: `torch`, `onnx`, `openvino`, `openvino-f32`, or `auto` for the fastest that can answer here.
            flip: whether to average with the mirror image; None does as each model's operating point says.
            lanes: threads that may ask at once (see `bts.inference.lanes`); they share the cores.

        Raises:
            RequestError: no model, a model of another task or version, a device or a runtime that is not there.
        """
        chosen, notes = select_models(seg=seg, cls=cls, joint=joint, runs=runs)
        picked = [pick_runtime(runtime, model.folder, device=device) for model in chosen]
        opened = [
            open_runtime(each.name, model.folder, device=device, lanes=lanes)
            for each, model in zip(picked, chosen, strict=True)
        ]
        why = dict.fromkeys(each.why for each in picked if each.why)
        answering = [_together(list(alike)) for _, alike in groupby(opened, key=lambda runtime: runtime.card.task)]
        return Predictor(answering, flip=flip, notes=(*notes, *why), lanes=lanes)

    @property
    def together(self) -> int:
        """Slices that best go through the networks at once.

        One on a CPU, where more gain nothing; so an answer does not depend on its neighbours, to the last bit.
        """
        return 1 if all(runtime.device.startswith("cpu") for runtime in self.runtimes) else BATCH

    def predict(self, scan: Slice | np.ndarray | str | Path, *, cam_class: str | None = None) -> Prediction:
        """Return mask, class and class map of one slice.

        Args:
            scan: path of a picture, array (rows, columns) of any integer or floating-point range, or `Slice`. For a volume,
                read its slices with `bts.read_scan` and call `predict_many`.
            cam_class: name of the class that the map explains; None takes the predicted one.

        Raises:
            InputError: the file can't be read or holds several slices, or the array is not one slice.
            RequestError: unknown class, or `scan` is of another type.
        """
        return next(self.predict_many([_as_slice(scan)], cam_class=cam_class))

    def predict_many(
        self, slices: Iterable[Slice], *, batch_size: int = 8, cam_class: str | None = None
    ) -> Iterator[Prediction]:
        """Yield what the models say of each slice, in order; never more than a few batches a lane are held.

        Args:
            slices: of any sizes.
            batch_size: slices that go through the networks together.
            cam_class: class that the Grad-CAM explains, by name; None takes each slice's predicted one.

        Raises:
            RequestError: no such class, or a batch size under 1.
        """
        if batch_size < 1:
            raise RequestError(f"batch size {batch_size}: expected 1 or more")
        wanted = self._class_index(cam_class)
        answers = map_ordered(partial(self._answer, cam_class=wanted), batches(slices, batch_size), lanes=self.lanes)
        return chain.from_iterable(answers)

    def predict_batch(self, batch: Sequence[Slice], *, cam_class: str | None = None) -> list[Prediction]:
        """Return what the models say of slices that go through the networks together, in order.

        Any number of threads may ask, up to `lanes` of them at once.

        Raises:
            RequestError: no such class.
        """
        return self._answer(batch, cam_class=self._class_index(cam_class))

    def _answer(self, batch: Sequence[Slice], *, cam_class: int | None) -> list[Prediction]:
        answers = self._batcher.run(batch, lambda part: self._run(part, cam_class))
        return [self._one(item, [_row(raw, row) for raw in answers], cam_class) for row, item in enumerate(batch)]

    def _one(self, item: Slice, answers: Sequence[RawOutput], cam_class: int | None) -> Prediction:
        models = zip(self.runtimes, self._preprocessing, answers, strict=True)
        outputs = [ModelOutput(runtime.card, preprocessing, raw) for runtime, preprocessing, raw in models]
        prediction = make_prediction(item, outputs, origin=self.origin, cam_class=cam_class)
        if cam_class is None and prediction.cam_class not in (None, prediction.label):
            # a joint model's mask outvoted its class: the map has to explain the class that is answered
            answered = self.classes.index(str(prediction.label))
            return self._one(item, [_row(raw, 0) for raw in self._run([item], answered)], answered)
        return prediction

    def _class_index(self, name: str | None) -> int | None:
        if name is None:
            return None
        if name not in self.classes:
            known = ", ".join(self.classes) or "none, as no classifier is loaded"
            raise RequestError(f"no class '{name}'{suggestion(name, self.classes)}: the model's classes are {known}")
        return self.classes.index(name)

    def _run(self, batch: Sequence[Slice], cam_class: int | None) -> list[RawOutput]:
        """Ask every model; pictures are prepared once where models share their preprocessing."""
        images: dict[Preprocessing, np.ndarray] = {}
        answers = []
        for runtime, preprocessing, known in zip(self.runtimes, self._preprocessing, self._references, strict=True):
            if preprocessing not in images:
                images[preprocessing] = np.stack([preprocessing.image(item.image) for item in batch])
            flip = bool(runtime.card.operating_point["flip"]) if self.flip is None else self.flip
            raw = run_averaged(runtime, images[preprocessing], flip=flip, cam_class=cam_class)
            distance = None if known is None else known.distance(images[preprocessing])
            answers.append(raw._replace(ood_distance=distance))
        return answers


def load_model(
    *models: str | Path,
    runs: str | Path = "runs",
    device: str = "auto",
    runtime: str = "auto",
    flip: bool | None = None,
    lanes: int = 1,
) -> Predictor:
    """Load models once, for any number of slices.

    Args:
        models: model folders, run folders, exported files or names of bundled models (`"joint-mobilenetv2"`): a segmenter, a
            classifier, both, or a joint model; of several of one task the mean is taken. None named: the latest finished runs
            in `runs`, else the bundled model.
        runs: folder of the runs.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        runtime: `torch`, `onnx`, `openvino`, `openvino-f32`, or `auto` for the fastest that computes in full precision here.
        flip: whether to average with the mirror image; None follows each model's card.
        lanes: threads that may predict at once (`bts.inference.lanes`).

    Raises:
        RequestError: no model, a damaged one or one of another version, or a device or runtime that is not available.
    """
    named = by_task(models)
    return Predictor.load(
        seg=named.get("seg"),
        cls=named.get("cls"),
        joint=named.get("joint"),
        runs=runs,
        device=device,
        runtime=runtime,
        flip=flip,
        lanes=lanes,
    )


def _as_slice(scan: Slice | np.ndarray | str | Path) -> Slice:
    if isinstance(scan, Slice):
        return scan
    if isinstance(scan, np.ndarray):
        if scan.ndim != 2:
            raise InputError(f"array of shape {scan.shape}: expected one grey slice (rows, columns), such as array[0]")
        if scan.dtype.kind not in "uif":
            raise InputError(f"array of dtype {scan.dtype}: expected integers or floating-point numbers, convert it first")
        return Slice(image=scan, source="array", path="array")
    if isinstance(scan, (str, Path)):
        from bts.data.readers.catalogue import read_slice  # the readers' libraries only where a file is read

        return read_slice(scan)
    raise RequestError(f"{type(scan).__name__}: expected a path, a NumPy array (rows, columns) or a Slice")


def _together(alike: list[Runtime]) -> Runtime:
    return alike[0] if len(alike) == 1 else Ensemble(alike)


def _row(raw: RawOutput, row: int) -> RawOutput:
    return RawOutput(*(None if values is None else values[row] for values in raw))


def _origin(runtimes: Sequence[Runtime]) -> Origin:
    """Return what stands in every answer of these models."""
    versions = {"bts": bts.__version__, "python": platform.python_version(), "numpy": np.__version__}
    for runtime in runtimes:
        versions |= runtime.versions
    cards = [member.card for runtime in runtimes for member in members_of(runtime)]
    return Origin(
        models=tuple(ModelMark(card.name, card.fingerprint, card.trained_on) for card in cards),
        runtime=", ".join(dict.fromkeys(f"{runtime.name} on {runtime.device}" for runtime in runtimes)),
        versions=versions,
        warnings=(decision.PHANTOM_MODEL,) if any(card.synthetic for card in cards) else (),
    )
