"""Command `bts dicomweb`: fetch a study from a PACS, infer, and send the results back."""

from __future__ import annotations

import shutil
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

from bts.apps.run import DONE, OneLineParser, add_model_options, printable
from bts.data.dicomweb import DicomWeb, RemoteSeries, check_uid, results_to_store, sent_openly
from bts.errors import RequestError
from bts.progress import phase

FETCHED = ".fetched"
"""Folder in the results that holds the fetched series until all is done."""
MODALITY = "MR"


def command(argv: Sequence[str]) -> int:
    """Fetch, infer, store, and return the exit status."""
    options = make_parser().parse_args(argv)
    if options.resume and options.out is None:
        raise RequestError("--resume needs the folder to resume in: name it with --out")
    out = options.out or Path("results") / time.strftime("%Y-%m-%d_%H-%M-%S")
    fetched = out / FETCHED
    if not options.resume and fetched.exists():
        raise RequestError(f"{fetched}: an unfinished fetch: continue it with --resume, or name another --out")
    if sent_openly(options.url):
        print("note: over http:// images and passwords of patients are sent unencrypted")
    pacs = DicomWeb(options.url)
    for each in wanted(pacs.series(options.study), options.series):
        fetch(pacs, options.study, each, fetched / each.uid)
    from bts.apps import infer

    status = infer.command([*map(str, sorted(fetched.iterdir())), "--out", str(out), *infer_options(options)])
    if options.store and status == DONE:
        found = results_to_store(out, options.study)
        if not found:
            print("nothing to store: no DICOM object was written")
        else:
            pacs.store(options.study, found)
            print(f"{len(found)} objects are stored in study {options.study}")
    if status == DONE:
        shutil.rmtree(fetched)
    return status


def wanted(found: Sequence[RemoteSeries], named: Sequence[str] | None) -> list[RemoteSeries]:
    """Return the series that are named, or all of MR; what is left out is printed.

    Raises:
        RequestError: a named series is not in the study, or none is of MR.
    """
    if named:
        by_uid = {each.uid: each for each in found}
        missing = [uid for uid in named if uid not in by_uid]
        if missing:
            raise RequestError(f"no series {missing[0]} in this study; it has {', '.join(by_uid)}")
        return [by_uid[uid] for uid in dict.fromkeys(named)]
    skipped = [each.modality or "unknown" for each in found if each.modality != MODALITY]
    if skipped:
        print(f"{len(skipped)} series of other modalities are skipped ({printable(', '.join(sorted(set(skipped))))})")
    if len(skipped) == len(found):
        raise RequestError(f"no series of {MODALITY} in this study: name one with --series")
    return [each for each in found if each.modality == MODALITY]


def fetch(pacs: DicomWeb, study: str, series: RemoteSeries, folder: Path) -> None:
    """Fetch a series with a progress bar."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with phase(printable(series.description) or series.uid, 0, unit="instances") as fetched:
        for done, total in pacs.fetch(study, series.uid, folder):
            fetched.reach(done, total=total)
    print(f"series {series.uid} {printable(series.description)}: {done} instances")


def infer_options(options: Namespace) -> Iterator[str]:
    """Yield the options that are passed on to `bts infer`."""
    for task in ("seg", "cls", "joint"):
        for model in getattr(options, task) or ():
            yield from (f"--{task}", str(model))
    yield from ("--runs", str(options.runs), "--device", options.device, "--runtime", options.runtime)
    if options.resume:
        yield "--resume"
    if options.report_patient:
        yield "--report-patient"
    if options.debug:
        yield "--debug"


def make_parser() -> OneLineParser:
    """Return the parser of `bts dicomweb`."""
    parser = OneLineParser(
        prog="bts dicomweb",
        description="Fetch the MR series of a study from a PACS, predict, and with --store send the DICOM objects back. "
        "Credentials: BTS_DICOMWEB_USER and BTS_DICOMWEB_PASSWORD, BTS_DICOMWEB_TOKEN, or ~/.netrc.",
    )
    parser.add_argument("url", metavar="URL", help="DICOMweb address, such as http://127.0.0.1:8042/dicom-web")
    parser.add_argument(
        "--study", required=True, type=lambda uid: check_uid(uid, what="study"), metavar="UID", help="UID of the study"
    )
    parser.add_argument("--series", action="append", metavar="UID", help="UID of a series; can be repeated [all MR series]")
    parser.add_argument("--store", action="store_true", help="send seg.dcm and report.dcm back into the study")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder of the results [results/<time>]")
    parser.add_argument(
        "--resume", action="store_true", help="resume in --out, skipping fetched instances and finished results"
    )
    parser.add_argument(
        "--report-patient", action="store_true", help="name the patient in report.html [no field of the patient]"
    )
    add_model_options(parser, what="run, model folder or exported file")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="folder of the runs [runs]")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:1 [auto]")
    parser.add_argument("--runtime", default="auto", metavar="NAME", help="torch, onnx, openvino, openvino-f32, or auto [auto]")
    return parser
