"""A series of 155 slices as one volume, against 155 single calls."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from bench.clock import once_cpu
from bench.folder_child import WithDisc
from bench.lines import Line
from bench.material import Kind, model, phantoms
from bts.data.readers.catalogue import read_scan, read_slice
from bts.inference.inputs import expand
from bts.inference.parallel import MAX_WORKERS, workers_for
from bts.inference.predictor import Predictor
from bts.inference.runtimes.catalogue import open_runtime
from bts.inference.write import write_prediction, write_volume
from bts.inference.writers.base import PICTURES

SLICES = 155
RATIO = 0.6
"""Largest share of the time of single calls."""


def run(work: Path, *, quick: bool) -> tuple[list[Line], list[str]]:
    """Return the lines of a volume, and what to know of them."""
    kind = Kind("joint", "test_resnet", 64) if quick else Kind("joint", "mobilenetv2_100")
    count, rounds = (6, 1) if quick else (SLICES, 3)
    folder, workers = model(work, kind), workers_for(MAX_WORKERS)
    one, many = (
        Predictor([WithDisc(open_runtime("onnx", folder, device="cpu", workers=number))], workers=number)
        for number in (1, workers)
    )
    paths = expand([phantoms(work, patients=2 if quick else 5)])
    volume = _volume(work, [paths[number % len(paths)] for number in range(count)])
    out = work / "written"

    def single() -> None:
        for item in read_scan(volume).slices:
            write_prediction(one.predict(item), out / "single")

    def whole(pictures: str) -> None:
        shutil.rmtree(out / pictures, ignore_errors=True)
        scan = read_scan(volume)
        write_volume(scan, many.predict_many(scan.slices, batch_size=many.best_batch_size), out / pictures, pictures=pictures)

    against = f"{count} slices, single calls"
    times: dict[str, list[tuple[float, float]]] = {against: [], **{name: [] for name in PICTURES}}
    for turn in range(rounds):  # in turn, so that a slower machine affects all alike
        times[against].append(once_cpu(single))
        for pictures in ("key",) if turn else PICTURES:  # the other two are not judged: once is enough
            times[pictures].append(once_cpu(lambda pictures=pictures: whole(pictures)))
    lines = []
    for suffix, place in (("", 0), (", CPU time", 1)):
        for name, pairs in times.items():
            what, to = (name, None) if name == against else (f"one volume, --pictures {name}", against + suffix)
            must = RATIO if name == "key" and not suffix else None
            lines.append(Line(what + suffix, tuple(pair[place] for pair in pairs), unit="s", against=to, must=must))
    return lines, [
        "single calls: each slice predicted by itself, in turn, mask.png, cam.png, overlay.png and result.json written",
        f"one volume: the same slices as NIfTI, in {workers} workers, lesions measured, mask.nii.gz and result.json written",
        "both read the NIfTI file and run warm; weights are random: in place of the mask a disc of a tumour's size is drawn",
        "CPU time: of all threads together; the network takes most of it and the same in both, so that only slices that are "
        "computed at once, one a core, save more",
    ]


def _volume(work: Path, paths: list[Path]) -> Path:
    """Return a NIfTI file with phantoms as its slices, each scaled to 256 x 256 pixels."""
    import nibabel

    from bts.data.preprocess import Preprocessing

    path = work / f"volume_{len(paths)}.nii.gz"
    if not path.is_file():
        square = Preprocessing(size=256)
        slices = {each: square.image(read_slice(each).image) for each in set(paths)}
        array = np.stack([slices[each].T for each in paths], axis=2)
        nibabel.save(nibabel.Nifti1Image(array, np.diag([-1.0, -1.0, 1.0, 1.0])), path)
    return path
