"""Command `bts infer` and `infer.py`: scans in, a folder of results out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from bts.apps.run import DONE, SOME_FAILED, OneLineParser, add_model_options, printable, run_app
from bts.errors import RequestError

if TYPE_CHECKING:
    from argparse import Namespace

    from bts.apps.infer_job import Job
    from bts.inference.lanes import Share

LISTED = 20
"""Number of inputs up to which each gets its own line; with more, only a progress bar and the summary are shown."""


def main(argv: Sequence[str] | None = None) -> int:
    """Infer and return the exit status."""
    return run_app(command, argv)


def command(argv: Sequence[str]) -> int:
    """Predict the inputs, write the results, and return the exit status."""
    options = make_parser().parse_args(argv)
    from bts.inference.archives import Archives
    from bts.inference.inputs import find_inputs
    from bts.inference.lanes import read_share, under_torchrun
    from bts.inference.studies import gather_series

    share = read_share()
    if options.out is None and (share.world > 1 or options.resume):
        why = "several processes write to one folder" if share.world > 1 else "--resume needs the folder to resume in"
        raise RequestError(f"{why}: name it with --out")
    out = options.out or Path("results") / time.strftime("%Y-%m-%d_%H-%M-%S")
    found = find_inputs(options.inputs, besides=out)
    with Archives() as archives:
        inputs = archives.expand(found.files)
        together = found.together | archives.files.keys()
        studies = gather_series(inputs, together=together, files=archives.files, only=options.series, progress=header_bar)
        if share.rank == 0:
            for line in [*([skipped_line(found.skipped)] if found.skipped else []), *archives.notes, *studies.notes]:
                print(printable(line))
        failed = archives.failed | studies.failed
        job, paths = make_job(options, studies.inputs, out, share, volumes=studies.series)
        job.files = {**archives.files, **studies.series}
        if share.rank == 0:
            job.failed |= failed
        left = [path for path in paths if not job.is_finished(path)] if options.resume else paths
        if len(left) < len(paths):
            print(f"{len(paths) - len(left)} of {len(paths)} scans are finished already")
        with tqdm(total=len(left), unit="scan", disable=True if job.tell else None) as bar:
            for done in job.work(left):
                bar.update(done)
    status = summary(job, len(paths) + (len(failed) if share.rank == 0 else 0), out)
    # torchrun would end the other processes, which still have inputs to do; the errors were printed
    return DONE if status == SOME_FAILED and under_torchrun() else status


def skipped_line(skipped: Sequence[Path]) -> str:
    """Return the line on the files of the searched folders that are no scans."""
    return f"{len(skipped)} files that are no scans are skipped (first: {skipped[0]})"


def header_bar(count: int) -> Callable[[], object]:
    """Show a progress bar over the headers of DICOM files, and return what is called after each."""
    bar = tqdm(total=count, desc="headers", unit="file", leave=False, delay=1, disable=None if count else True)

    def step() -> None:
        bar.update()
        if bar.n == count:
            bar.close()

    return step


def make_job(
    options: Namespace, inputs: Sequence[Path], out: Path, share: Share, *, volumes: Collection[Path]
) -> tuple[Job, list[Path]]:
    """Load the models and return the job and this process's share of the inputs."""
    from bts.apps.infer_job import Job, is_nifti
    from bts.inference.lanes import MOST, lanes_for
    from bts.inference.predictor import Predictor
    from bts.inference.resume import ResultFolders

    names = ResultFolders(out)
    folders = {path: names.folder(path) for path in inputs}  # of all: names agree between processes and on resuming
    paths = share.of(inputs)
    predictor = Predictor.load(
        seg=options.seg,
        cls=options.cls,
        joint=options.joint,
        runs=options.runs,
        device=options.device,
        runtime=options.runtime,
        lanes=lanes_for(
            MOST if any(is_nifti(path) or path in volumes for path in paths) else len(paths)
        ),  # a volume has many slices
        cam_scale=options.cam_scale,
        cam_method=options.cam_method,
    )
    for note in predictor.notes:
        print(note)
    if share.world > 1:
        print(f"process {share.rank + 1} of {share.world}: {len(paths)} of {len(inputs)} scans")
    out.mkdir(parents=True, exist_ok=True)
    tell = _tell if len(paths) <= LISTED else None
    return Job(predictor, folders, axis=options.axis, cam_class=options.cam, tell=tell, debug=options.debug), paths


def make_parser() -> OneLineParser:
    """Return the parser of `infer.py` and `bts infer`."""
    from bts.inference.cam_methods import CAM_METHODS, CAM_SCALES

    parser = OneLineParser(
        prog="python infer.py",
        description="Predict mask, class and class activation map of scans. Without --seg, --cls or --joint, the latest "
        "finished runs are used, else the bundled model.",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="SCAN",
        help="files, folders, DICOMDIR or patterns: .png .jpg .tif .bmp .gif .webp .mat .dcm .nii.gz .zip",
    )
    parser.add_argument("--series", metavar="UID", help="DICOM series to answer, of those in the folders [all]")
    add_model_options(parser, what="run, model folder or exported file")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="folder of the runs [runs]")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder of the results [results/<time>]")
    parser.add_argument("--resume", action="store_true", help="resume in --out, skipping finished scans")
    parser.add_argument("--cam", metavar="CLASS", help="class that the map explains [the predicted one]")
    parser.add_argument(
        "--cam-scale",
        choices=CAM_SCALES,
        default="slice",
        help="1 is the map's own maximum, or the model's scale [slice]",
    )
    parser.add_argument("--cam-method", choices=CAM_METHODS, help="method of the class map [the model's usual one]")
    parser.add_argument(
        "--axis", type=int, choices=(0, 1, 2), help="slices of a volume: 0 sagittal, 1 coronal, 2 axial [as the file says]"
    )
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:1 [auto]")
    parser.add_argument(
        "--runtime", default="auto", metavar="NAME", help="torch, onnx, openvino, openvino-f32, or auto for the fastest [auto]"
    )
    return parser


def _tell(line: str) -> None:
    print("\n".join(map(printable, line.split("\n"))))


def summary(job: Job, total: int, out: Path) -> int:
    """Print how many scans are done and what failed, and return the exit status."""
    print(f"{total - len(job.failed)} of {total} scans done, results in {out}")
    for reason in job.failed.values():
        print(f"error: {printable(reason)}", file=sys.stderr)
    return SOME_FAILED if job.failed else DONE
