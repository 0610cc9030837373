"""The `bts infer` command and `infer.py`: predict scans and write a folder of results."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bts.apps.run import DONE, SOME_FAILED, OneLineParser, add_model_options, printable, run_app, say
from bts.cpu import is_torchrun
from bts.errors import RequestError
from bts.progress import phase

if TYPE_CHECKING:
    from argparse import Namespace

    from bts.apps.infer_job import Job
    from bts.inference.parallel import Shard

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
    from bts.inference.parallel import read_shard
    from bts.inference.studies import gather_series

    shard = read_shard()
    if options.out is None and shard.world_size > 1:
        raise RequestError("several processes need a common output folder: set it with --out")
    if options.out is None and options.resume:
        raise RequestError("--resume needs the output folder to resume in: set it with --out")
    out = options.out or Path("results") / time.strftime("%Y-%m-%d_%H-%M-%S")
    found = find_inputs(options.inputs, besides=out)
    with Archives() as archives:
        inputs = archives.expand(found.files)
        together = found.together | archives.files.keys()
        studies = gather_series(inputs, together=together, files=archives.files, only=options.series)
        if shard.rank == 0:
            for line in [*([skipped_line(found.skipped)] if found.skipped else []), *archives.notes, *studies.notes]:
                say(line)
        failed = archives.failed | studies.failed
        job, paths = make_job(options, studies.inputs, out, shard, volumes=studies.series)
        job.files = {**archives.files, **studies.series}
        if shard.rank == 0:
            job.failed |= failed
        left = [path for path in paths if not job.is_finished(path)] if options.resume else paths
        if len(left) < len(paths):
            say(f"{len(paths) - len(left)} of {len(paths)} scans are already finished")
        with phase("inferring", len(left), unit="scans") as inferred:
            for done in job.work(left):
                inferred.advance(done)
    status = summary(job, len(paths) + (len(failed) if shard.rank == 0 else 0), out)
    # torchrun would end the other processes, which still have inputs to do; the errors were printed
    return DONE if status == SOME_FAILED and is_torchrun() else status


def skipped_line(skipped: Sequence[Path]) -> str:
    """Return the line on files in the searched folders that are not scans."""
    return f"{len(skipped)} files that are not scans are skipped (first: {skipped[0]})"


def make_job(
    options: Namespace, inputs: Sequence[Path], out: Path, shard: Shard, *, volumes: Collection[Path]
) -> tuple[Job, list[Path]]:
    """Load the models and return the job and this process's shard of the inputs."""
    from bts.apps.infer_job import Job, is_nifti
    from bts.inference.parallel import MAX_WORKERS, workers_for
    from bts.inference.predictor import Predictor
    from bts.inference.resume import ResultFolders

    names = ResultFolders(out)
    folders = {path: names.folder(path) for path in inputs}  # of all: names agree between processes and on resuming
    paths = shard.of(inputs)
    predictor = Predictor.load(
        seg=options.seg,
        cls=options.cls,
        joint=options.joint,
        runs=options.runs,
        device=options.device,
        runtime=options.runtime,
        workers=workers_for(
            MAX_WORKERS if any(is_nifti(path) or path in volumes for path in paths) else len(paths)
        ),  # a volume has many slices
        cam_scale=options.cam_scale,
        cam_method=options.cam_method,
    )
    for note in predictor.notes:
        say(note)
    if shard.world_size > 1:
        say(f"process {shard.rank + 1} of {shard.world_size}: {len(paths)} of {len(inputs)} scans")
    out.mkdir(parents=True, exist_ok=True)
    on_line = _print_line if len(paths) <= LISTED else None
    job = Job(predictor, folders, axis=options.axis, cam_class=options.cam, drawn=options.pictures, on_line=on_line)
    job.debug, job.report_patient = options.debug, options.report_patient
    return job, paths


def make_parser() -> OneLineParser:
    """Return the parser of `infer.py` and `bts infer`."""
    from bts.inference.cam_methods import CAM_METHODS, CAM_SCALES
    from bts.inference.writers.base import PICTURES

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
    parser.add_argument("--series", metavar="UID", help="UID of the DICOM series to predict [all series in the folders]")
    add_model_options(parser, what="run, model folder or exported file")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="folder of the runs [runs]")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="output folder [results/<time>]")
    parser.add_argument("--resume", action="store_true", help="resume in --out, skipping finished scans")
    parser.add_argument("--cam", metavar="CLASS", help="class of the class activation map [the predicted one]")
    parser.add_argument(
        "--cam-scale",
        choices=CAM_SCALES,
        default="slice",
        help="scale of the class map: its own maximum, or a fixed scale of the model [slice]",
    )
    parser.add_argument("--cam-method", choices=CAM_METHODS, help="method of the class activation map [default of the model]")
    parser.add_argument(
        "--axis", type=int, choices=(0, 1, 2), help="slicing axis of a volume: 0 sagittal, 1 coronal, 2 axial [from the file]"
    )
    parser.add_argument(
        "--pictures",
        choices=PICTURES,
        default="key",
        help="slices of a volume that are drawn: of each lesion the one with its largest area, all, or none [key]",
    )
    parser.add_argument(
        "--report-patient",
        action="store_true",
        help="name the patient of a DICOM series in report.html [no field of the patient]",
    )
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:1 [auto]")
    parser.add_argument(
        "--runtime", default="auto", metavar="NAME", help="torch, onnx, openvino, openvino-f32, or auto for the fastest [auto]"
    )
    return parser


def _print_line(line: str) -> None:
    say(line)


def summary(job: Job, total: int, out: Path) -> int:
    """Print the number of finished scans and all errors, and return the exit status."""
    say(f"{total - len(job.failed)} of {total} scans done, results in {out}")
    for reason in job.failed.values():
        say(f"error: {printable(reason)}", file=sys.stderr)
    return SOME_FAILED if job.failed else DONE
