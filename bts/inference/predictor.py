"""Predictor: loaded models that turn slices into masks, classes and class activation maps.

The command line, the web page, evaluation and the check of an export all go through it.
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
from bts.inference import postprocess
from bts.inference.averaging import Ensemble, members_of, run_averaged
from bts.inference.cam_methods import CAM_METHODS, CAM_SCALES, check_choice, usual_method
from bts.inference.combine import ModelOutput, Origin, make_prediction
from bts.inference.model_selection import ModelPaths, by_task, select_models
from bts.inference.ood import FeatureReference, OodReference
from bts.inference.oom import AdaptiveBatcher
from bts.inference.parallel import batches, map_ordered
from bts.inference.prediction import ModelMark, Prediction
from bts.inference.runtimes.base import RawOutput, Runtime
from bts.inference.runtimes.catalogue import AUTO, choose_runtime, open_runtime
from bts.inference.runtimes.exported import is_exported, read_any_card
from bts.registry import suggestion

BATCH = 8
"""Slices per batch on a GPU."""


class Predictor:
    """A segmenter, a classifier, both, or a joint model, loaded and ready to predict.

    Attributes:
        runtimes: the loaded models.
        notes: lines for the user: which models and why, the device, how the class map is computed.
        classes: class names in the order of the outputs; empty without a classifier.
        workers: number of threads that may predict at once.
    """

    def __init__(
        self,
        runtimes: Sequence[Runtime],
        *,
        flip: bool | None = None,
        notes: Sequence[str] = (),
        workers: int = 1,
        cam_scale: str = "slice",
        cam_method: str | None = None,
        fuse: bool = True,
    ) -> None:
        """Take loaded models.

        Args:
            runtimes: the models.
            flip: whether to average with the mirror image; None follows each model's operating point.
            notes: lines for the user, before those of the runtimes.
            workers: threads that may predict at once.
            cam_scale: `slice` divides each class map by its own maximum, `model` by the model's scale.
            cam_method: method with which classifiers were opened; None is the usual one.
            fuse: whether the heads of a joint model are fused; False is for fitting the fusion.

        Raises:
            RequestError: an unknown scale or method.
        """
        check_choice(cam_scale, known=CAM_SCALES, option="--cam-scale")
        check_choice(cam_method, known=CAM_METHODS, option="--cam-method")
        self.cam_scale, self.cam_method, self.fuse = cam_scale, cam_method, fuse
        self.workers = workers
        self.runtimes = tuple(runtimes)
        self.flip = flip
        self.notes = (*notes, *dict.fromkeys(note for runtime in self.runtimes for note in runtime.notes))
        self.classes = next((tuple(runtime.card.classes) for runtime in self.runtimes if runtime.card.task != "seg"), ())
        self.origin = _origin(self.runtimes)
        self._batcher = AdaptiveBatcher()
        self._preprocessing = [Preprocessing.from_dict(runtime.card.preprocessing) for runtime in self.runtimes]
        self._references = [
            (OodReference.from_dict(runtime.card.ood), FeatureReference.from_dict(runtime.card.ood.get("features") or {}))
            for runtime in self.runtimes
        ]

    @staticmethod
    def load(
        *,
        seg: ModelPaths = None,
        cls: ModelPaths = None,
        joint: ModelPaths = None,
        runs: str | Path = "runs",
        device: str = "auto",
        runtime: str = "torch",
        flip: bool | None = None,
        workers: int = 1,
        cam_scale: str = "slice",
        cam_method: str | None = None,
    ) -> Predictor:
        """Load models once, for any number of slices.

        Args:
            seg: model folder, run folder or exported file of a segmenter, or several for an ensemble.
            cls: the same of a classifier.
            joint: the same of a joint model. Without any of the three, the latest finished runs are used (runs on phantoms only
                if there are no others), else the bundled model.
            runs: folder of the runs.
            device: `auto`, `cpu`, `cuda` or `cuda:1`.
            runtime: `torch`, `onnx`, `openvino`, `openvino-f32`, or `auto` for the fastest that is available.
            flip: whether to average with the mirror image; None follows each model's operating point.
            workers: threads that may predict at once (see `bts.inference.parallel`); they share the cores.
            cam_scale: `slice` divides each class map by its own maximum, `model` by the model's scale.
            cam_method: `gradcam` or `hirescam`; None selects each model's default.

        Raises:
            RequestError: no model, a model of another task or version, or a device, runtime or class map that is not available.
        """
        check_choice(cam_method, known=CAM_METHODS, option="--cam-method")
        selected, notes = select_models(seg=seg, cls=cls, joint=joint, runs=runs)
        opened, why = [], dict[str, None]()
        for model in selected:
            found, reason = _open(model.folder, runtime, device=device, workers=workers, cam_method=cam_method)
            opened.append(found)
            why |= {reason: None} if reason else {}
        groups = [list(models) for _, models in groupby(opened, key=lambda model: model.card.task)]
        runtimes = [models[0] if len(models) == 1 else Ensemble(models) for models in groups]
        return Predictor(runtimes, flip=flip, notes=(*notes, *why), workers=workers, cam_scale=cam_scale, cam_method=cam_method)

    @property
    def best_batch_size(self) -> int:
        """Best batch size: 1 on a CPU, where larger batches gain nothing, so that a prediction never depends on its batch."""
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
        """Yield the prediction of each slice, in order; at most a few batches per worker are held in memory.

        Args:
            slices: slices of any sizes.
            batch_size: slices that are run together.
            cam_class: name of the class that the map explains; None takes each slice's predicted one.

        Raises:
            RequestError: unknown class, or a batch size below 1.
        """
        if batch_size < 1:
            raise RequestError(f"batch size {batch_size}: expected 1 or more")
        wanted = self._class_index(cam_class)
        found = map_ordered(partial(self._predict, cam_class=wanted), batches(slices, batch_size), workers=self.workers)
        return chain.from_iterable(found)

    def predict_batch(self, batch: Sequence[Slice], *, cam_class: str | None = None) -> list[Prediction]:
        """Return the predictions of slices that are run together, in order; up to `workers` threads may call it at once.

        Raises:
            RequestError: unknown class.
        """
        return self._predict(batch, cam_class=self._class_index(cam_class))

    def _predict(self, batch: Sequence[Slice], *, cam_class: int | None) -> list[Prediction]:
        raws = self._batcher.run(batch, lambda part: self._run(part, cam_class))
        return [self._one(item, [_row(raw, row) for raw in raws], cam_class) for row, item in enumerate(batch)]

    def _one(self, item: Slice, raws: Sequence[RawOutput], cam_class: int | None) -> Prediction:
        models = zip(self.runtimes, self._preprocessing, raws, strict=True)
        outputs = [
            ModelOutput(runtime.card, preprocessing, raw, cam_method=self._method_of(runtime))
            for runtime, preprocessing, raw in models
        ]
        prediction = make_prediction(
            item, outputs, origin=self.origin, cam_class=cam_class, cam_scale=self.cam_scale, fuse=self.fuse
        )
        if cam_class is None and prediction.cam_class not in (None, prediction.label):
            # fusion with the mask changed the class of a joint model: the map must explain the predicted class
            predicted = self.classes.index(str(prediction.label))
            return self._one(item, [_row(raw, 0) for raw in self._run([item], predicted)], predicted)
        return prediction

    @property
    def map_method(self) -> str | None:
        """Method of the class maps, None without a classifier."""
        return next((self._method_of(runtime) for runtime in self.runtimes if runtime.card.task != "seg"), None)

    def _method_of(self, runtime: Runtime) -> str:
        """Return the method of a model's class maps; the card of a joint model tells its own."""
        return usual_method(runtime.card) if runtime.card.task == "joint" else self.cam_method or usual_method(runtime.card)

    def _class_index(self, name: str | None) -> int | None:
        if name is None:
            return None
        if name not in self.classes:
            known = ", ".join(self.classes) or "none, as no classifier is loaded"
            raise RequestError(f"no class '{name}'{suggestion(name, self.classes)}: the model's classes are {known}")
        return self.classes.index(name)

    def _run(self, batch: Sequence[Slice], cam_class: int | None) -> list[RawOutput]:
        """Run every model; slices are preprocessed once where models share their preprocessing."""
        seen: dict[Preprocessing, tuple[np.ndarray, np.ndarray]] = {}
        raws = []
        for runtime, preprocessing, (pixels, features) in zip(
            self.runtimes, self._preprocessing, self._references, strict=True
        ):
            if preprocessing not in seen:
                found = [preprocessing.image_and_box(item.image, content=item.content) for item in batch]
                seen[preprocessing] = np.stack([image for image, _ in found]), np.array([box for _, box in found])
            images, boxes = seen[preprocessing]
            flip = bool(runtime.card.operating_point["flip"]) if self.flip is None else self.flip
            raw = run_averaged(runtime, images, flip=flip, cam_class=cam_class)
            raws.append(
                raw._replace(
                    box=boxes,
                    ood_distance=None if pixels is None else pixels.distance(images),
                    feature_distance=None if features is None or raw.features is None else features.distance(raw.features),
                )
            )
        return raws


def _open(place: Path, name: str, *, device: str, workers: int, cam_method: str | None) -> tuple[Runtime, str | None]:
    """Open a model, and return why that runtime was picked; class maps of another than the usual method need PyTorch."""
    card = read_any_card(place)
    if card.task == "seg" or cam_method in (None, usual_method(card)) or (is_exported(place) and card.task == "cls"):
        picked = choose_runtime(name, place, device=device)
        return open_runtime(picked.name, place, device=device, workers=workers), picked.why
    if name not in (AUTO, "torch") or is_exported(place):
        raise RequestError(
            f"{place}: an exported file holds class maps of {usual_method(card)} only, not of {cam_method}: "
            "name the model folder and use `--runtime torch`"
        )
    from bts.inference.runtimes.pytorch import TorchRuntime

    why = f"runtime torch: class maps of {cam_method} need it" if name == AUTO else None
    return TorchRuntime.open(place, device=device, workers=workers, cam_method=cam_method), why


def load_model(
    *models: str | Path,
    runs: str | Path = "runs",
    device: str = "auto",
    runtime: str = "auto",
    flip: bool | None = None,
    workers: int = 1,
    cam_scale: str = "slice",
    cam_method: str | None = None,
) -> Predictor:
    """Load models once, for any number of slices.

    Args:
        models: model folders, run folders, exported files or names of bundled models (`"joint-mobilenetv2"`): a segmenter, a
            classifier, both, or a joint model; several of one task form an ensemble. Without any, the latest finished runs in
            `runs`, else the bundled model.
        runs: folder of the runs.
        device: `auto`, `cpu`, `cuda` or `cuda:1`.
        runtime: `torch`, `onnx`, `openvino`, `openvino-f32`, or `auto` for the fastest that computes in full precision here.
        flip: whether to average with the mirror image; None follows each model's card.
        workers: threads that may predict at once (`bts.inference.parallel`).
        cam_scale: `slice` divides each class map by its own maximum, `model` by the model's scale.
        cam_method: `gradcam` or `hirescam`; None selects each model's default.

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
        workers=workers,
        cam_scale=cam_scale,
        cam_method=cam_method,
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


def _row(raw: RawOutput, row: int) -> RawOutput:
    return RawOutput(*(None if values is None else values[row] for values in raw))


def _origin(runtimes: Sequence[Runtime]) -> Origin:
    """Return what all predictions of these models share."""
    versions = {"bts": bts.__version__, "python": platform.python_version(), "numpy": np.__version__}
    for runtime in runtimes:
        versions |= runtime.versions
    cards = [member.card for runtime in runtimes for member in members_of(runtime)]
    return Origin(
        models=tuple(ModelMark(card.name, card.fingerprint, card.trained_on) for card in cards),
        runtime=", ".join(dict.fromkeys(f"{runtime.name} on {runtime.device}" for runtime in runtimes)),
        versions=versions,
        warnings=(postprocess.PHANTOM_MODEL,) if any(card.synthetic for card in cards) else (),
    )
