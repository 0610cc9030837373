"""What happens from scans on a command line to a folder of results?"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from bts.apps.run import DONE, SOME_FAILED, OneLineParser, run_app
from bts.errors import InputError

if TYPE_CHECKING:
    from bts.data.readers.scan import Scan
    from bts.inference import Prediction, Predictor
    from bts.inference.write import ResultFolders

BATCH = 8
TOLD_ONE_BY_ONE = 20
"""With more inputs than this only the progress bar and the summary are shown."""


def main(argv: Sequence[str] | None = None) -> int:
    """Infer and return the exit status."""
    return run_app(command, argv)


def command(argv: Sequence[str]) -> int:
    """Infer what the arguments name, write the results, and return the exit status."""
    options = make_parser().parse_args(argv)
    from bts.inference import Predictor
    from bts.inference.inputs import expand
    from bts.inference.write import ResultFolders

    paths = expand(options.inputs)
    predictor = Predictor.load(
        seg=options.seg,
        cls=options.cls,
        joint=options.joint,
        runs=options.runs,
        device=options.device,
        runtime=options.runtime,
    )
    for note in predictor.notes:
        print(note)
    out = options.out or Path("results") / time.strftime("%Y-%m-%d_%H-%M-%S")
    out.mkdir(parents=True, exist_ok=True)
    job = Job(predictor, ResultFolders(out), axis=options.axis, cam_class=options.cam, tell=len(paths) <= TOLD_ONE_BY_ONE)
    with tqdm(total=len(paths), unit="scan", disable=True if job.tell else None) as bar:
        for done in job.work(paths):
            bar.update(done)
    return summary(job, len(paths), out)


def make_parser() -> OneLineParser:
    """Return the parser of `infer.py` and `bts infer`."""
    parser = OneLineParser(
        prog="python infer.py",
        description="Mask, class and Grad-CAM of scans. Without --seg, --cls or --joint the latest finished runs answer.",
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="SCAN", help="files, folders or patterns: .png .jpg .tif .mat .dcm .nii.gz"
    )
    parser.add_argument("--seg", type=Path, metavar="MODEL", help="run, model folder or exported file of a segmenter")
    parser.add_argument("--cls", type=Path, metavar="MODEL", help="run, model folder or exported file of a classifier")
    parser.add_argument("--joint", type=Path, metavar="MODEL", help="run, model folder or exported file of a joint model")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="where the runs lie [runs]")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the results go [results/<time>]")
    parser.add_argument("--cam", metavar="CLASS", help="class that the Grad-CAM explains [the predicted one]")
    parser.add_argument(
        "--axis", type=int, choices=(0, 1, 2), help="slices of a volume: 0 sagittal, 1 coronal, 2 axial [as the file says]"
    )
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:1 [auto]")
    parser.add_argument(
        "--runtime", default="auto", metavar="NAME", help="torch, onnx, openvino, openvino-f32 or auto, the fastest [auto]"
    )
    return parser


@dataclass
class Job:
    """Inputs on their way through the models.

    Attributes:
        predictor: loaded models.
        folders: gives each input its folder of results.
        axis: along which volumes are cut.
        cam_class: class that the maps explain.
        tell: whether each input gets a line.
        failed: what went wrong, by path.
    """

    predictor: Predictor
    folders: ResultFolders
    axis: int | None = None
    cam_class: str | None = None
    tell: bool = True
    failed: dict[Path, str] = field(default_factory=dict)

    def work(self, paths: Sequence[Path]) -> Iterator[int]:
        """Write the result of each input; yield how many inputs were finished since the last yield.

        Pictures go through the networks in batches, a volume by itself; never more than a batch or a volume is held.
        """
        waiting: list[tuple[Path, Scan]] = []
        for path in paths:
            scan = self.read(path)
            if scan is None:
                yield 1
            elif scan.volume is not None:
                self.volume(path, scan)
                yield 1
            else:
                waiting.append((path, scan))
            if len(waiting) == BATCH:
                yield self.pictures(waiting)
                waiting = []
        if waiting:
            yield self.pictures(waiting)

    def read(self, path: Path) -> Scan | None:
        """Return what a file holds, or note why it can't be read."""
        from bts.data.readers.catalogue import read_scan

        try:
            return read_scan(path, axis=self.axis)
        except InputError as error:
            self.failed[path] = str(error.at(path))
            return None

    def pictures(self, waiting: Sequence[tuple[Path, Scan]]) -> int:
        """Write the results of pictures; return how many there were."""
        from bts.inference import write_prediction

        slices = [scan.slices[0] for _, scan in waiting]
        answers = self.predictor.predict_many(slices, batch_size=BATCH, cam_class=self.cam_class)
        for (path, _), prediction in zip(waiting, answers, strict=True):
            folder = write_prediction(prediction, self.folders.folder(path))
            self.say(f"{path}: {told(prediction)} -> {folder}", prediction.warnings)
        return len(waiting)

    def volume(self, path: Path, scan: Scan) -> None:
        """Write the result of a volume."""
        from bts.inference import write_volume

        drawn: list[int] = []
        warnings: dict[str, None] = {}

        def counted() -> Iterator[Prediction]:
            for answer in self.predictor.predict_many(scan.slices, batch_size=BATCH, cam_class=self.cam_class):
                drawn.append(answer.mask_area_px or 0)
                warnings.update(dict.fromkeys(answer.warnings))
                yield answer

        try:
            folder = write_volume(scan, counted(), self.folders.folder(path))
        except InputError as error:
            self.failed[path] = str(error.at(path))
            return
        blank = f", {len(scan.blank)} blank" if scan.blank else ""
        self.say(f"{path}: {len(drawn)} slices{blank}, {sum(map(bool, drawn))} with a mask -> {folder}", list(warnings))

    def say(self, line: str, warnings: Sequence[str]) -> None:
        """Print the line of one input, where there are few."""
        if self.tell:
            print("\n".join([line, *(f"  note: {text}" for text in warnings)]))


def told(prediction: Prediction) -> str:
    """Return what was found, in a few words."""
    parts = []
    if prediction.label is not None and prediction.probabilities is not None:
        parts.append(f"{prediction.label} {prediction.probabilities.max():.0%}")
    if prediction.mask_area_px is not None:
        area = f" ({prediction.mask_area_mm2:.0f} mm2)" if prediction.mask_area_mm2 is not None else ""
        parts.append(f"mask of {prediction.mask_area_px} pixels{area}" if prediction.mask_area_px else "empty mask")
    return ", ".join(parts)


def summary(job: Job, total: int, out: Path) -> int:
    """Say what is done and what failed, and return the exit status."""
    print(f"{total - len(job.failed)} of {total} scans done, results in {out}")
    for reason in job.failed.values():
        print(f"error: {reason}", file=sys.stderr)
    return SOME_FAILED if job.failed else DONE
