"""The `bts infer` command and `infer.py`: predict scans and write a folder of results."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bts.apps.engine import add_engine_options, open_engine
from bts.apps.infer_cluster import infer_on_cluster, refuse_archives
from bts.apps.run import DONE, SOME_FAILED, OneLineParser, add_model_options, printable, run_app, say
from bts.errors import RequestError
from bts.progress import phase

if TYPE_CHECKING:
    from argparse import Namespace

    from bts.apps.infer_job import Outcome
    from bts.data.readers.series import SeriesFiles

LISTED = 20
"""Number of inputs up to which each gets its own line; with more, only a progress bar and the summary are shown."""


def main(argv: Sequence[str] | None = None) -> int:
    """Infer and return the exit status."""
    return run_app(command, argv)


def command(argv: Sequence[str]) -> int:
    """Predict the inputs, write the results, and return the exit status."""
    options = make_parser().parse_args(argv)
    collect_garbage_rarely()
    from bts.data.readers.catalogue import skipped_line
    from bts.inference.archives import Archives
    from bts.inference.inputs import find_inputs
    from bts.inference.resume import ResultFolders
    from bts.inference.studies import gather_series

    refuse_several_processes()
    if options.out is None and options.resume:
        raise RequestError("--resume needs the output folder to resume in: set it with --out")
    out = options.out = options.out or Path("results") / time.strftime("%Y-%m-%d_%H-%M-%S")
    cluster = open_engine(options)
    found = find_inputs(options.inputs, besides=out)
    if cluster is not None:
        refuse_archives(found.files)
    with Archives() as archives:
        inputs = archives.expand(found.files)
        together = found.together | archives.files.keys()
        studies = gather_series(inputs, together=together, files=archives.files, only=options.series)
        for line in [*([skipped_line(found.skipped)] if found.skipped else []), *archives.notes, *studies.notes]:
            say(line)
        failed = archives.failed | studies.failed
        names = ResultFolders(out)
        folders = {path: names.folder(path) for path in studies.inputs}
        files: dict[Path, Path | SeriesFiles] = {**archives.files, **studies.series}
        infer = infer_here if cluster is None else partial(infer_on_cluster, cluster=cluster)
        later = {}
        for outcome in infer(options, folders=folders, files=files):
            if outcome.failed is not None:
                later[outcome.path] = outcome.failed
            elif len(folders) <= LISTED:
                say("\n".join([outcome.line, *(f"  note: {text}" for text in outcome.warnings)]))
    failed |= {path: later[path] for path in folders if path in later}  # in order, also of a cluster
    return summary(failed, len(folders) + len(archives.failed | studies.failed), out)


def refuse_several_processes() -> None:
    """Raise `RequestError` where torchrun or srun started this command several times: each would infer all inputs."""
    for variable in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS"):
        if os.environ.get(variable, "1") not in ("", "1"):
            raise RequestError(
                f"{variable}={os.environ[variable]}: expected one process, which divides the scans itself: start it without "
                "torchrun or srun, on several devices or machines with --engine ray"
            )


def infer_here(
    options: Namespace, *, folders: Mapping[Path, Path], files: Mapping[Path, Path | SeriesFiles]
) -> Iterator[Outcome]:
    """Write the result of each input in this process, and yield the outcomes in order; with --resume, of the unfinished ones.

    Raises:
        RequestError: as loading the models does, or a folder that can't be written to.
    """
    from bts.apps.infer_job import is_nifti, make_job
    from bts.inference.parallel import MAX_WORKERS

    volumes = any(is_nifti(path) or not isinstance(files.get(path, path), Path) for path in folders)
    with phase("loading the models"):
        job = make_job(options, slices=MAX_WORKERS if volumes else len(folders))
    for note in job.predictor.notes:
        say(note)
    job.folders, job.files = folders, files
    left = [path for path in folders if not (options.resume and job.is_finished(path))]
    if len(left) < len(folders):
        say(f"{len(folders) - len(left)} of {len(folders)} scans are already finished")
    with phase("inferring", len(left), unit="scans") as inferred:
        for outcomes in job.outcomes(left):
            yield from outcomes
            inferred.advance(len(outcomes))


def collect_garbage_rarely() -> None:
    """Let the garbage collector run less often than by default, which takes a sixth of the time for a single scan with torch.

    Only where little is left to the collector: the server's memory grew by half over 200 uploads.
    """
    gc.set_threshold(20_000, 20, 20)


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
        help="files, folders, DICOMDIR or patterns: .png .jpg .tif .bmp .gif .webp .mat .dcm .nii.gz .zip; a list of paths: "
        ".txt .csv; an address: s3://BUCKET/FOLDER",
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
        help="slices of a volume that are drawn: of each lesion the one with its largest area, all, or none; "
        "none also leaves out the overlay.png of a picture [key]",
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
    add_engine_options(parser, each="copy of the models")
    return parser


def summary(failed: Mapping[Path, str], total: int, out: Path) -> int:
    """Print the number of finished scans and all errors, and return the exit status."""
    done = total - len(failed)
    say(f"{done} of {total} scans done" + (f", results in {out}" if done else ""))
    for reason in failed.values():
        say(f"error: {printable(reason)}", file=sys.stderr)
    return SOME_FAILED if failed else DONE
