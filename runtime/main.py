"""Command line of the device's zip application: what it can do without the compiler."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

from edgecut.ir import typed
from edgecut.ir.errors import EdgecutError, ModelError


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run one command; exit codes are those of ``edgecut``."""
    options = _parser().parse_args(arguments)
    try:
        text = options.command(options)
    except EdgecutError as error:
        print(f"edgecut: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("edgecut: error: interrupted", file=sys.stderr)
        sys.exit(130)
    if text:
        print(text)


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
    run.add_argument("--cut", metavar="NAME", help="cut to run; by default the manifest's first")
    run.add_argument("--output", "-o", type=Path, metavar="FILE", help="write the outputs: .npz or .npy")
    run.add_argument("--json", action="store_true", help="print outputs and times as JSON")
    watch = commands.add_parser("watch", help="answer requests as they come, one line of JSON each")
    watch.set_defaults(command=_watch)
    _watch_options(watch)
    selftest = commands.add_parser("selftest", help="run every cut once on random inputs, and say what works")
    selftest.set_defaults(command=_selftest)
    profile = commands.add_parser("profile", help="time the edge half of every cut, as JSON")
    profile.set_defaults(command=_profile)
    profile.add_argument("--runs", type=int, default=30, metavar="N", help="timed runs of each cut")
    for command in (run, watch, selftest):
        _server_options(command)
    for command in (run, watch, selftest, profile):
        command.add_argument("manifest", type=Path, help="manifest.json, or the folder it stands in")
        command.add_argument(
            "--require-signature",
            type=Path,
            metavar="FILE",
            help="public keys; one must have signed the manifest",
        )
        command.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads")
    status = commands.add_parser("status", help="print what watch --status keeps")
    status.set_defaults(command=_status)
    status.add_argument("file", type=Path, help="the file")
    return parser


def _server_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--server", default="http://127.0.0.1:8000", metavar="URL", help="holds the cloud half"
    )
    command.add_argument("--timeout", type=float, default=30.0, metavar="S", help="seconds for a request")
    command.add_argument(
        "--token-file", type=Path, metavar="FILE", help="bearer token that the server asks for"
    )
    command.add_argument("--uncoded", action="store_true", help="send plain tensors, to a server not ours")
    command.add_argument("--tls-ca", metavar="FILE", help="certificates to check an https server's against")


def _watch_options(command: argparse.ArgumentParser) -> None:
    source = command.add_mutually_exclusive_group()
    source.add_argument("--folder", type=Path, metavar="DIR", help="take files that appear here")
    source.add_argument("--socket", type=Path, metavar="FILE", help="take lines from a Unix socket")
    command.add_argument("--once", action="store_true", help="end when the folder is empty")
    command.add_argument("--policy", default="feedback", metavar="NAME", help="feedback, table or fixed")
    command.add_argument(
        "--probe-bytes",
        type=int,
        default=12_000,
        metavar="N",
        help="sent beside requests that send nothing, to see how the network is; 0: nothing",
    )
    command.add_argument(
        "--max-pause",
        type=float,
        default=60.0,
        metavar="S",
        help="longest time a failing server is left alone",
    )
    command.add_argument("--queue", type=Path, metavar="DIR", help="keep here what cannot be answered yet")
    command.add_argument("--answers", type=Path, metavar="FILE", help="append answers here, each once")
    command.add_argument("--status", type=Path, metavar="FILE", help="keep counts and estimates here")
    command.add_argument("--cache-mb", type=float, default=0.0, metavar="N", help="remember answers")
    command.add_argument("--cache-age", type=float, default=60.0, metavar="S", help="for so many seconds")
    command.add_argument(
        "--near", type=float, default=0.0, metavar="D", help="inputs this close are the same"
    )


def _device(options: argparse.Namespace) -> Any:
    from edgecut.runtime import tokens
    from edgecut.runtime.device import Device

    return Device(
        options.manifest,
        server=options.server,
        threads=options.threads,
        timeout_s=options.timeout,
        token=tokens.read(options.token_file)[0] if options.token_file else None,
        ca=options.tls_ca,
        coded=not options.uncoded,
        require_signature=options.require_signature,
    )


def _run(options: argparse.Namespace) -> str:
    from edgecut.runtime import describe, inputs

    device = _device(options)
    answer = device.run(inputs.read(device.manifest, options.input), options.cut)
    if options.output is not None:
        inputs.write(answer.outputs, options.output)
    return describe.as_json(answer) if options.json else describe.as_text(answer)


def _watch(options: argparse.Namespace) -> str:
    from edgecut.runtime import policy
    from edgecut.runtime.breaker import Breaker
    from edgecut.runtime.cache import AnswerCache
    from edgecut.runtime.outbox import Outbox
    from edgecut.runtime.session import Session
    from edgecut.runtime.watch import AnswerFile, Watcher

    device = _device(options)
    size, age_s = int(options.cache_mb * (1 << 20)), options.cache_age
    device.features = AnswerCache(max_bytes=size, max_age_s=age_s) if size else None
    session = Session(
        device,
        policy=policy.load(options.policy),
        breaker=Breaker(max_pause_s=options.max_pause),
        probe_bytes=options.probe_bytes,
        cache=AnswerCache(max_bytes=size, max_age_s=age_s, near=options.near) if size else None,
        outbox=Outbox(options.queue) if options.queue else None,
    )
    write: Callable[[str], None] = AnswerFile(options.answers).write if options.answers else _print
    watcher = Watcher(session, write, options.status)
    watcher.stop_on_signals()
    watcher.run(_source(options, device))
    return ""


def _source(options: argparse.Namespace, device: Any) -> Iterator[Any]:
    from edgecut.runtime import watch

    if options.folder:
        return watch.folder(options.folder, device.manifest, once=options.once)
    if options.socket:
        return watch.local_socket(options.socket, device.manifest)
    return watch.lines(device.manifest)


def _print(line: str) -> None:
    print(line, flush=True)


def _profile(options: argparse.Namespace) -> str:
    from edgecut.runtime import timing

    found = timing.profile(
        options.manifest, runs=options.runs, threads=options.threads, keys=options.require_signature
    )
    return typed.dumps({"cuts": found}, indent=2)


def _selftest(options: argparse.Namespace) -> str:
    from edgecut.runtime import selftest

    device = _device(options)
    results = selftest.run(device)
    lines = [f"{r.cut}: {'ok' if r.error is None else r.error}" for r in results]
    if any(r.error for r in results):
        raise ModelError("; ".join(lines), where="selftest")
    return "\n".join(lines)


def _status(options: argparse.Namespace) -> str:
    try:
        return str(options.file.read_text(encoding="utf-8")).rstrip()
    except OSError as error:
        raise ModelError("cannot be read", where=str(options.file), hint="watch --status makes it") from error
