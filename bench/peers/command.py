"""`python -m bench peers`: train nnU-Net, a plain loop, MONAI and bts on one split for the same time, and score them alike.

    python -m bench peers --data data/figshare --minutes 10 30 60 --cores 2      # hours: the last of --minutes for each
    python -m bench peers --data data/figshare --only nnunet bts-joint           # some of them; the others keep their rows
    python -m bench peers --page docs/performance.md                             # the tables, from what is there

Needs a network, for the peers' packages, and 8 GB of disk. A peer that is finished is not run again; one that was interrupted
continues with its last phase (training, predicting). A peer that can't be installed or fails has a row that says why.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.machine import describe_machine
from bench.peers.catalogue import PEERS, REFERENCE, SCRIPTS, Peer
from bench.peers.environments import InstallError, disk_mib, make_environment, versions
from bench.peers.processes import PeerError, cores_at_hand, run_process
from bench.peers.score import compare, dice_of, score
from bench.peers.shared_set import Truth, read_truth, write_set
from bench.peers.table import peers_page, terminal_table
from bts.apps.run import DONE, SOME_FAILED, OneLineParser
from bts.atomic import write_text
from bts.errors import RequestError
from bts.evaluation.intervals import draw_patients
from bts.registry import suggestion

COLD_STARTS = 3
SLACK_S = 7200
"""Time that a phase may take beyond its training."""


def command(argv: Sequence[str]) -> int:
    """Run the peers and return the exit status: 1 where one of them failed."""
    options = _parse(argv)
    if options.page is None:
        _run(options, _agreed(options.out, _settings(options), asked=options.asked))
    results = gather(options.out)
    if options.page is not None:
        write_text(options.page, peers_page(results))
        print(f"written: {options.page}")
        return DONE
    print(terminal_table(results))
    return SOME_FAILED if any("failed" in results["peers"].get(name, {}) for name in options.only) else DONE


def _run(options: argparse.Namespace, settings: dict[str, Any]) -> None:
    """Write the set, where it is not there yet, and run the peers."""
    data = options.out / "set"
    if not (data / "set.json").is_file():
        say("set: reading figshare")
        write_set(options.data, data, quick=settings["quick"])
    write_text(options.out / "settings.json", json.dumps(settings, indent=1) + "\n")
    for name in options.only:
        _run_peer(PEERS[name], options.out, settings, environments=options.environments or options.out / "environments")


def say(text: str) -> None:
    """Print one line of progress with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = OneLineParser(prog="python -m bench peers", description=str(__doc__))
    parser.add_argument(
        "--data", type=Path, default=Path("data/figshare"), metavar="FOLDER", help="figshare's set [data/figshare]"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/peers"), metavar="FOLDER", help="environments and results [runs/peers]"
    )
    parser.add_argument("--only", nargs="+", default=list(PEERS), metavar="NAME", help=f"some of {', '.join(PEERS)} [all]")
    parser.add_argument(
        "--minutes", nargs="+", type=float, metavar="N", help="training times after which each is scored [10 30 60]"
    )
    parser.add_argument("--cores", type=int, metavar="N", help="cores and threads of every peer [all]")
    parser.add_argument(
        "--weights", type=Path, metavar="FOLDER", help="ENCODER_imagenet.safetensors for peers that take them [none]"
    )
    parser.add_argument("--environments", type=Path, metavar="FOLDER", help="the peers' virtual environments [in --out]")
    parser.add_argument("--quick", action="store_true", help="a few patients: a rehearsal that measures nothing")
    parser.add_argument("--page", type=Path, metavar="FILE", help="run nothing, write the page from the results that are there")
    options = parser.parse_args(argv)
    for name in options.only:
        if name not in PEERS:
            raise RequestError(f"--only: no peer '{name}'{suggestion(name, PEERS)}: there are {', '.join(PEERS)}")
    options.asked = {name for name in ("minutes", "cores", "weights") if getattr(options, name) is not None}
    options.asked |= {"quick"} if options.quick else set()
    return options


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    minutes = sorted(set(options.minutes or [10, 30, 60]))
    there = len(cores_at_hand())
    cores = there if options.cores is None else options.cores
    if minutes[0] <= 0:
        raise RequestError(f"--minutes {minutes[0]:g}: expected more than 0")
    if not 1 <= cores <= there:
        raise RequestError(f"--cores {cores}: expected 1 to {there}, the cores that this process may use")
    if options.weights is not None and not any(options.weights.glob("*_imagenet.safetensors")):
        raise RequestError(
            f"--weights {options.weights}: no ENCODER_imagenet.safetensors in it: leave it out to start from random weights"
        )
    weights = None if options.weights is None else str(options.weights.resolve())
    return {"minutes": minutes, "cores": cores, "weights": weights, "quick": options.quick}


def _agreed(out: Path, settings: dict[str, Any], *, asked: set[str]) -> dict[str, Any]:
    """Hold one folder to one budget: return the settings that are there, if any, and refuse others."""
    file = out / "settings.json"
    if not file.is_file():
        return settings
    kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    for name in sorted(asked):
        if settings[name] != kept[name]:
            raise RequestError(
                f"{out}: its rows were made with {name} {kept[name]}, received {settings[name]}: "
                "rows of different budgets are not compared; name another --out"
            )
    return kept


def _run_peer(peer: Peer, out: Path, settings: dict[str, Any], *, environments: Path) -> None:
    """Run the phases of a peer that are not done yet, and write its `result.json`."""
    folder = out / peer.name
    if (folder / "result.json").is_file():
        say(f"{peer.name}: finished before")
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "failed.json").unlink(missing_ok=True)
    try:
        say(f"{peer.name}: environment")
        python = make_environment(peer, environments)
        found = _phases(peer, python, folder, settings)
        found |= {
            "environment_mib": disk_mib(environments / peer.environment),
            "versions": versions(python),
        }
        write_text(folder / "result.json", json.dumps(found, indent=1) + "\n")
        shutil.rmtree(folder / "work" / "png", ignore_errors=True)
        say(f"{peer.name}: finished")
    except (InstallError, PeerError) as error:
        say(f"{peer.name}: {error}")
        write_text(folder / "failed.json", json.dumps({"failed": str(error)}) + "\n")


def _phases(peer: Peer, python: Path, folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    job, log, work = folder / "job.json", folder / "log.txt", folder / "work"
    minutes, cores = settings["minutes"], settings["cores"]
    described = {"set": str((folder.parent / "set").resolve()), "work": str(work.resolve()), "options": peer.options}
    write_text(job, json.dumps(described | settings, indent=1) + "\n")
    limit_s = 60 * minutes[-1] + SLACK_S

    def phase(name: str) -> dict[str, Any]:
        line = [str(python.absolute()), str(SCRIPTS / peer.script), name, str(job.resolve())]
        say(f"{peer.name}: {name}")
        done = run_process(line, cores=cores, log=log, limit_s=limit_s, folder=folder)
        return {"seconds": done.seconds, "peak_mib": done.peak_mib}

    measured = folder / "measured.json"
    if not measured.is_file():  # an interrupted training starts again
        for left in (work, folder / "predictions"):
            shutil.rmtree(left, ignore_errors=True)
        work.mkdir()
        machine = describe_machine()  # before: afterwards the load is our own
        found = {name: phase(name) for name in ("prepare", "train")}
        write_text(measured, json.dumps(found | {"machine": machine}) + "\n")
    found = json.loads(measured.read_text(encoding="utf-8"))
    found["predict"] = phase("predict") if not (folder / "predict.json").is_file() else None
    predicted = json.loads((folder / "predict.json").read_text(encoding="utf-8"))
    starts = 0 if not predicted["warm_ms"] else 1 if settings["quick"] else COLD_STARTS
    return found | {"cold_s": [phase("cold")["seconds"] for _ in range(starts)]}


def gather(out: Path) -> dict[str, Any]:
    """Return the settings and, for every peer that was run, its row: scores of each snapshot, and what was measured.

    Raises:
        RequestError: no results in the folder, or predictions of another set.
    """
    if not (out / "settings.json").is_file():
        raise RequestError(f"{out}: no results in it: run `python -m bench peers --out {out}` first")
    settings = json.loads((out / "settings.json").read_text(encoding="utf-8"))
    about = json.loads((out / "set" / "set.json").read_text(encoding="utf-8"))
    truth = read_truth(out / "set")
    peers = {
        name: _row(out / name, truth, settings["cores"])
        for name in PEERS
        if (out / name / "job.json").is_file() or (out / name / "failed.json").is_file()
    }
    _add_differences(out, peers, truth)
    return {"settings": settings, "set": about, "patients": len(set(truth.patients)), "peers": peers}


def _row(folder: Path, truth: Truth, cores: int) -> dict[str, Any]:
    if not (folder / "result.json").is_file():
        failed = folder / "failed.json"
        return json.loads(failed.read_text(encoding="utf-8")) if failed.is_file() else {"failed": "not finished"}
    result, train, predict = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("result", "train", "predict")
    )
    last = list(train["snapshots"].values())[-1]
    seconds = train.get("rate_seconds") or train["seconds"]
    snapshots = {
        name: found | (score(file, truth) if (file := folder / "predictions" / f"{name}.npz").is_file() else {"dice": None})
        for name, found in train["snapshots"].items()
    }
    return {
        "snapshots": snapshots,
        "minutes": last["minutes"],
        "cores": cores,
        "machine": result["machine"],
        "device": train["device"],
        "weights": train["weights"],
        "batch": train["batch"],
        "slices_per_s": train["slices"] / seconds if train["slices"] else None,
        "warm_ms": statistics.median(predict["warm_ms"]) if predict["warm_ms"] else None,
        "cold_s": statistics.median(result["cold_s"]) if result["cold_s"] else None,
        "runtime": predict["runtime"],
        "versions": result["versions"],
        "prepare_s": result["prepare"]["seconds"] + train["before_s"],
        "peak_mib": result["train"]["peak_mib"],
        "environment_mib": result["environment_mib"],
        "model_mib": predict["model_mib"],
    }


def _add_differences(out: Path, peers: dict[str, dict[str, Any]], truth: Truth) -> None:
    """Add to every snapshot its Dice minus that of the reference after the same time, paired over patients."""
    bootstrap, reference = draw_patients(truth.patients), peers.get(REFERENCE, {})
    cached: dict[Path, np.ndarray] = {}

    def dice(file: Path) -> np.ndarray:
        return cached[file] if file in cached else cached.setdefault(file, dice_of(file, truth))

    for name, row in peers.items():
        for minutes, found in row.get("snapshots", {}).items():
            files = [out / each / "predictions" / f"{minutes}.npz" for each in (REFERENCE, name)]
            if name != REFERENCE and _same_machine(row, reference) and all(file.is_file() for file in files):
                difference = compare(*map(dice, files), bootstrap)
                found["difference"] = None if difference is None else difference.text()


def _same_machine(row: dict[str, Any], other: dict[str, Any]) -> bool:
    return "machine" in other and all(row["machine"][key] == other["machine"][key] for key in ("cpu", "gpu"))
