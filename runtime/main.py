"""Command line of the device's zip application: what it can do without the compiler."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from edgecut.ir import typed
from edgecut.ir.errors import EdgecutError


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run one command; exit codes are those of ``edgecut``."""
    options = _parser().parse_args(arguments)
    try:
        print(options.command(options))
    except EdgecutError as error:
        print(f"edgecut: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("edgecut: error: interrupted", file=sys.stderr)
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgecut-runtime", description="The device half of an edgecut build."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    run = commands.add_parser("run", help="one request through the build")
    run.set_defaults(command=_run)
    run.add_argument(
        "--input", "-i", action="append", required=True, metavar="[NAME=]FILE", help=".npy or .npz"
    )
    run.add_argument(
        "--server", default="http://127.0.0.1:8000", metavar="URL", help="server of the cloud half"
    )
    run.add_argument("--cut", metavar="NAME", help="cut to run; by default the manifest's first")
    run.add_argument("--output", "-o", type=Path, metavar="FILE", help="write the outputs: .npz or .npy")
    run.add_argument(
        "--timeout", type=float, default=30.0, metavar="S", help="seconds to wait for the server"
    )
    run.add_argument("--token-file", type=Path, metavar="FILE", help="bearer token that the server asks for")
    run.add_argument("--tls-ca", metavar="FILE", help="certificates to check an https server's against")
    run.add_argument("--json", action="store_true", help="print outputs and times as JSON")
    profile = commands.add_parser("profile", help="time the edge half of every cut, as JSON")
    profile.set_defaults(command=_profile)
    profile.add_argument("--runs", type=int, default=30, metavar="N", help="timed runs of each cut")
    for command in (run, profile):
        command.add_argument("manifest", type=Path, help="manifest.json, or the folder it stands in")
        command.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads")
    return parser


def _run(options: argparse.Namespace) -> str:
    from edgecut.runtime import describe, inputs, tokens
    from edgecut.runtime.device import Device

    token = tokens.read(options.token_file)[0] if options.token_file else None
    device = Device(
        options.manifest,
        server=options.server,
        threads=options.threads,
        timeout_s=options.timeout,
        token=token,
        ca=options.tls_ca,
    )
    answer = device.run(inputs.read(device.manifest, options.input), options.cut)
    if options.output is not None:
        inputs.write(answer.outputs, options.output)
    return describe.as_json(answer) if options.json else describe.as_text(answer)


def _profile(options: argparse.Namespace) -> str:
    from edgecut.runtime import timing

    found = timing.profile(options.manifest, runs=options.runs, threads=options.threads)
    return typed.dumps({"cuts": found}, indent=2)
