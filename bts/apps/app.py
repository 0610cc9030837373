"""The `bts app` command: the web page."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bts.apps.run import DONE, OneLineParser, add_model_options
from bts.cpu import return_freed_memory
from bts.errors import RequestError

PASSWORD = "BTS_APP_PASSWORD"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def command(argv: Sequence[str]) -> int:
    """Serve the page until Ctrl-C, SIGTERM or SIGHUP, remove uploads and results, and return the exit status."""
    options = make_parser().parse_args(argv)
    password = _password(ask=options.password)
    from bts.apps.web.hosts import Hosts
    from bts.apps.web.limits import Limits
    from bts.apps.web.serve import Address, build_app, end_on_hangup, open_socket, private_root, quiet_server
    from bts.apps.web.service import AnalysisService
    from bts.inference.predictor import Predictor

    limits = Limits(
        upload_mib=options.max_upload,
        disk_mib=options.max_disk,
        seconds=options.max_seconds,
        waiting=options.max_waiting,
        idle_seconds=options.max_idle,
        sweep_seconds=min(Limits.sweep_seconds, options.max_idle / 4),
    )
    if min(limits.upload_mib, limits.disk_mib, limits.seconds, limits.waiting, limits.idle_seconds) <= 0:
        raise RequestError("--max-upload, --max-disk, --max-seconds, --max-waiting and --max-idle: expected numbers above 0")
    Hosts(host_names=tuple(options.host_name))  # report an invalid name before anything is loaded
    listening = open_socket(Address(options.host, options.port))
    end_on_hangup()
    return_freed_memory()
    with listening, private_root() as root:
        hosts = Hosts(options.host, port=listening.getsockname()[1], host_names=tuple(options.host_name))
        predictor = Predictor.load(
            seg=options.seg,
            cls=options.cls,
            joint=options.joint,
            runs=options.runs,
            device=options.device,
            runtime=options.runtime,
        )
        service = AnalysisService(predictor, root=root, limits=limits)
        app = build_app(service, password=password, root_path=options.root_path, hosts=hosts)
        server = quiet_server(app, behind_proxy=bool(options.host_name or options.root_path))
        for note in predictor.notes:
            print(note)
        if options.host not in LOOPBACK and password is None:
            print(f"note: anyone who can reach {options.host} can use the page: set a password with --password or {PASSWORD}")
        print(
            f"open http://{_shown(options.host)}:{listening.getsockname()[1]}{options.root_path} (Ctrl-C to quit)", flush=True
        )
        try:
            server.run(sockets=[listening])
        except KeyboardInterrupt:  # the usual way to end it
            with suppress(OSError):  # the terminal may be closed
                print("stopped, all uploads and results are removed", flush=True)
    return DONE


def make_parser() -> OneLineParser:
    """Return the parser of `bts app`."""
    parser = OneLineParser(
        prog="bts app",
        description="Serve a web page that shows mask, class and class activation map of uploaded scans. "
        "Without --seg, --cls or --joint, the latest finished runs are used, else the bundled model.",
    )
    add_model_options(parser, what="run, model folder or exported file")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="folder of the runs [runs]")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:1 [auto]")
    parser.add_argument(
        "--runtime", default="auto", metavar="NAME", help="torch, onnx, openvino, openvino-f32, or auto for the fastest [auto]"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on; 0.0.0.0 admits other machines [127.0.0.1]"
    )
    parser.add_argument(
        "--host-name",
        action="append",
        default=[],
        metavar="NAME",
        help="additional host name of the page, such as that of a proxy; can be repeated [none]",
    )
    parser.add_argument("--port", type=int, default=7860, metavar="N", help="port; 0 selects a free one [7860]")
    parser.add_argument(
        "--root-path", default="", metavar="PATH", help="path under which a proxy serves the page, such as /bts"
    )
    parser.add_argument(
        "--password",
        action="store_true",
        help=f"prompt for a password that visitors must enter; {PASSWORD} sets one without a prompt",
    )
    parser.add_argument("--max-upload", type=float, default=200, metavar="MIB", help="largest upload in MiB [200]")
    parser.add_argument(
        "--max-disk", type=float, default=4096, metavar="MIB", help="disk space for uploads and results of all visitors [4096]"
    )
    parser.add_argument("--max-seconds", type=float, default=120, metavar="S", help="time limit per scan [120]")
    parser.add_argument(
        "--max-idle",
        type=float,
        default=1800,
        metavar="S",
        help="remove the scans of a visitor after this time without a request [1800]",
    )
    parser.add_argument("--max-waiting", type=int, default=16, metavar="N", help="maximum length of the request queue [16]")
    return parser


def _password(*, ask: bool) -> str | None:
    """Return the password; it is not an argument, which every user of the machine could read."""
    password = os.environ.get(PASSWORD)
    if password is None and ask:
        password = getpass.getpass("password for visitors: ")
    if password == "":
        raise RequestError(f"empty password: set {PASSWORD} to a password, or unset it")
    return password


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
