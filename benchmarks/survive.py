"""Requests while everything fails: none may be lost, answered twice, or answered wrongly.

    python benchmarks/survive.py [--requests 10000] [--seed 0] [--loopback]

A device (`edgecut-runtime.pyz watch`) answers files of a folder through a server that is killed, replaced by
one of another build or with other tokens, and hidden behind a proxy that refuses, resets, cuts, hangs,
drops, trickles, corrupts and answers errors; as root, a blackhole route also swallows packets. The device is
killed too. All the while others send the server unfinished, endless, oversized and broken requests.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import netlab
import numpy as np

from edgecut.runtime import bundle

TOKEN, OTHER_TOKEN = "the-right-token-of-this-run", "some-other-token-altogether"
MODES = (
    "refuse", "reset", "cut 0", "cut 40", "cut 300", "hang", "drop", "trickle 0.05", "garbage", "status 500",
    "status 503", "status 429", "corrupt",
)  # fmt: skip
FAULTS = (*MODES, "kill server", "kill device", "stop device", "other token", "other build", "blackhole")
LOCAL = "127.0.0.1"


def kind(fault: str) -> str:
    """A fault without its figures."""
    return fault.split()[0] if fault in MODES else fault


@dataclass
class Run:
    """One run: its processes, and what it was made of."""

    build: Path
    other_build: Path
    folder: Path
    lab: netlab.Lab | None
    faults: Counter[str] = field(default_factory=Counter)
    port: int = 8000

    def __post_init__(self) -> None:
        (self.folder / "in").mkdir()
        (self.folder / "token").write_text(TOKEN + "\n")
        (self.folder / "other").write_text(OTHER_TOKEN + "\n")
        self.application = self.folder / bundle.NAME
        self.application.write_bytes(bundle.application())
        self.host = netlab.SERVER_ADDRESS if self.lab else LOCAL
        if self.lab is None:
            with socket.create_server((LOCAL, 0)) as one, socket.create_server((LOCAL, 0)) as two:
                self.port, self.front = one.getsockname()[1], two.getsockname()[1]
        else:
            self.front = 8001
        self.server = self.serve()
        self.proxy = self._start("server", sys.executable, netlab.PROXY, "--listen",
                                 f"{self.host}:{self.front}", "--to", f"{LOCAL}:{self.port}")  # fmt: skip
        self.device = self.watch()

    def _start(self, where: str, *command: object) -> subprocess.Popen[str]:
        """Start something that says when it listens."""
        process = self._open(
            where, *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        line = process.stderr.readline()
        if "listening" not in line:
            raise RuntimeError(line + process.stderr.read())
        return process

    def _open(self, where: str, *command: object, **options: Any) -> subprocess.Popen[str]:
        if self.lab is None:
            return subprocess.Popen([*map(str, command)], text=True, **options)
        return self.lab.open(self.lab.server if where == "server" else self.lab.device, *command, **options)

    def serve(self, token: str = "token", build: Path | None = None) -> subprocess.Popen[str]:
        command = (sys.executable, "-m", "edgecut", "serve", build or self.build, "--port", self.port)
        return self._start("server", *command, "--token-file", self.folder / token, "--max-body", 1 << 20)

    def watch(self) -> subprocess.Popen[str]:
        files = ("--folder", self.folder / "in", "--queue", self.folder / "q", "--answers", self.answers)
        url = f"http://{self.host}:{self.front}"
        limits = ("--timeout", 1.5, "--max-pause", 0.3, "--token-file", self.folder / "token")
        command = (sys.executable, self.application, "watch", self.build, *files, "--server", url, *limits)
        return self._open("device", *command, stderr=subprocess.PIPE)

    @property
    def answers(self) -> Path:
        return self.folder / "answers"

    def proxied(self, mode: str) -> None:
        assert self.proxy.stdin is not None
        assert self.proxy.stdout is not None
        self.proxy.stdin.write(mode + "\n")
        self.proxy.stdin.flush()
        self.proxy.stdout.readline()

    def replace_server(self, **other: Any) -> None:
        self.server.kill()
        self.server.communicate()
        self.server = self.serve(**other)

    def replace_device(self, number: signal.Signals) -> None:
        self.device.send_signal(number)
        _, err = self.device.communicate(timeout=30)
        if err or self.device.returncode not in (0, -number):
            raise RuntimeError(f"the device ended with {self.device.returncode}: {err}")
        self.device = self.watch()

    def fault(self, name: str, seconds: float) -> None:
        """One fault, for some seconds; afterwards all is well again."""
        self.faults[kind(name)] += 1
        if name in MODES:
            self.proxied(name)
            time.sleep(seconds)
            self.proxied("pass")
        elif name == "kill server":
            self.server.kill()
            time.sleep(seconds)
            self.replace_server()
        elif name == "other token":
            self.replace_server(token="other")
            time.sleep(seconds)
            self.replace_server()
        elif name == "other build":
            self.replace_server(build=self.other_build)
            time.sleep(seconds)
            self.replace_server()
        elif name == "blackhole" and self.lab is not None:
            # Requests arrive, and no packet comes back: not even a refusal.
            route = ["ip", "-n", self.lab.server, "route"]
            subprocess.run([*route, "add", "blackhole", "10.77.0.1/32"], check=True)
            time.sleep(seconds)
            subprocess.run([*route, "del", "blackhole", "10.77.0.1/32"], check=True)
        elif name == "kill device":
            self.replace_device(signal.SIGKILL)
        elif name == "stop device":
            self.replace_device(signal.SIGTERM)

    def close(self) -> None:
        for process in (self.device, self.proxy, self.server):
            process.kill()
            process.communicate()


@contextlib.contextmanager
def attackers(run: Run) -> Iterator[Counter[str]]:
    """A process that does the server harm until the block ends; the counts are there afterwards."""
    sent: Counter[str] = Counter()
    command = (sys.executable, Path(__file__).resolve(), "--attack", run.port)
    process = run._open("server", *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield sent
    finally:
        out, _ = process.communicate(timeout=30)
        sent.update(json.loads(out))


def attack(port: int) -> Counter[str]:
    """Bad clients, one after the other, until standard input ends."""
    done, sent = threading.Event(), Counter[str]()
    kinds: dict[str, Callable[[socket.socket], object]] = {
        "truncated body": lambda s: s.sendall(_head(5000) + b"x" * 100),
        "oversized body": lambda s: s.sendall(_head(1 << 40) + b"x" * 65536),
        "slow loris": lambda s: [(s.sendall(b"X"), done.wait(0.02)) for _ in range(10)],
        "no HTTP": lambda s: s.sendall(b"\x00\xff" * 500 + b"\r\n\r\n"),
        "no token": lambda s: s.sendall(_head(2, token="") + b"{}"),
        "broken JSON": lambda s: s.sendall(_head(9) + b'{"inputs"'),
    }
    threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
    while not done.wait(0.03):
        for name, harm in kinds.items():
            # The server may be down, and may close at any time: that is what is wanted.
            with contextlib.suppress(OSError), socket.create_connection((LOCAL, port), 0.2) as s:
                harm(s)
                sent[name] += 1
    return sent


def _head(length: int, token: str = TOKEN) -> bytes:
    lines = ["POST /v2/models/digits_cut0/infer HTTP/1.1", "Host: x", f"Content-Length: {length}"]
    lines += [f"Authorization: Bearer {token}"] if token else []
    return "\r\n".join([*lines, "", ""]).encode()


def survive(
    build: Path,
    other_build: Path,
    images: np.ndarray,
    truth: np.ndarray,
    *,
    requests: int,
    seed: int,
    lab: netlab.Lab | None,
    pause_s: float = 0.3,
    fault_s: float = 0.7,
    limit_s: float = 900.0,
) -> dict[str, Any]:
    """Make requests while faults come and go, and account for every one.

    Args:
        build: Its only cut needs the server.
        other_build: A build of another model of the same name.
        images: Inputs that requests are made of, float32 [n, ...].
        truth: What the imported model answers.
        requests: How many.
        seed: Of the order of faults.
        lab: Namespaces to do it in; loopback if None.
        pause_s: Seconds between two faults, at most.
        fault_s: Seconds of a fault, at most.
        limit_s: Seconds after which what is not answered counts as lost.

    Returns:
        Counts: faults, attacks, answers, lost, doubled, wrong.
    """
    chance = random.Random(seed)
    kinds = [name for name in FAULTS if lab is not None or name != "blackhole"]
    with tempfile.TemporaryDirectory() as text:
        run = Run(build, other_build, Path(text), lab)
        start = time.monotonic()
        try:
            made = 0
            with attackers(run) as attacks:
                while made < requests and time.monotonic() - start < limit_s:
                    batch = min(max(requests // 100, 20), requests - made)
                    for i in range(made, made + batch):
                        part = run.folder / "in" / f".{i}.npy"
                        np.save(part, images[i % len(images)])
                        part.rename(part.with_name(f"r{i:06d}.npy"))
                    made += batch
                    # Every kind comes once before any comes again.
                    fresh = [name for name in kinds if not run.faults[kind(name)]]
                    run.fault(chance.choice(fresh or kinds), chance.uniform(fault_s / 5, fault_s))
                    time.sleep(chance.uniform(0, pause_s))
            deadline = start + limit_s
            while _waiting(run, requests) and time.monotonic() < deadline:
                time.sleep(0.05)
            run.replace_device(signal.SIGTERM)
            counts = account(run, requests, truth)
        finally:
            run.close()
    seconds = time.monotonic() - start
    return {"seconds": seconds, "faults": dict(run.faults), "attacks": dict(attacks), **counts}


def _waiting(run: Run, requests: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return run.answers.read_bytes().count(b"\n") < requests
    return True


def account(run: Run, requests: int, truth: np.ndarray) -> dict[str, Any]:
    lines = [json.loads(line) for line in run.answers.read_text().splitlines()]
    ids = Counter(line["id"] for line in lines)
    wanted = {f"r{i:06d}" for i in range(requests)}
    wrong, worst = [], 0.0
    for line in lines:
        expected = truth[int(line["id"][1:]) % len(truth)]
        found = line.get("outputs", {}).get("logits", {}).get("data")
        error = float(np.abs(np.array(found) - expected).max()) if found is not None else float("inf")
        worst = max(worst, error)
        # Float32 noise between ONNX Runtime's fusions of the whole model and of its copy.
        if error > 1e-4:
            wrong.append(line["id"])
    return {
        "requests": requests,
        "answers": len(lines),
        "lost": len(wanted - set(ids)),
        "doubled": sum(count - 1 for count in ids.values()),
        "wrong": len(wrong),
        "largest_error": worst,
        "rejected": len(list((run.folder / "q").glob("*.rejected"))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--loopback", action="store_true", help="without namespaces, even as root")
    parser.add_argument("--attack", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.attack:
        print(json.dumps(attack(arguments.attack)))
        return
    import onnxruntime as ort
    from digits_builds import altered, cloud_only

    root = Path(__file__).resolve().parent.parent
    with np.load(root / "fixtures" / "digits_test.npz") as found:
        images = found["input"]
    model = ort.InferenceSession(root / "fixtures" / "digits.onnx", providers=["CPUExecutionProvider"])
    floats = (images.transpose(0, 3, 1, 2)[:, None].astype(np.float32) - 127.5) / 127.5
    truth = np.stack([model.run(["logits"], {"input": image})[0] for image in floats])
    with tempfile.TemporaryDirectory() as text, contextlib.ExitStack() as stack:
        build = cloud_only(Path(text))
        other = altered(build, Path(text) / "other")
        use_lab = not arguments.loopback and not netlab.missing()
        lab = stack.enter_context(netlab.lab()) if use_lab else None
        if lab:
            lab.limit(200)
        found = survive(
            build, other, floats, truth, requests=arguments.requests, seed=arguments.seed, lab=lab
        )
    json.dump(found, sys.stdout, indent=2)
    print()
    sys.exit(1 if found["lost"] or found["doubled"] or found["wrong"] else 0)


if __name__ == "__main__":
    main()
