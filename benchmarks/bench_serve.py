"""The server against a plain ONNX Runtime loop, and what the runtime adds to a request on the device."""

from __future__ import annotations

import concurrent.futures
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from digits_builds import ROOT

from edgecut.ir import manifest, sessions
from edgecut.runtime import timing, wire
from edgecut.runtime.client import Client
from edgecut.runtime.device import Device
from edgecut.runtime.litert import EdgeModel
from edgecut.runtime.policy import Feedback
from edgecut.runtime.session import Session

ZOO = ROOT.parent / "shared" / "zoo" / "models"
REQUESTS = 240
SLOW_S = 0.005
"""Models that take longer get a quarter of the requests."""
ROUNDS = 3


def build(model: Path, folder: Path) -> Path:
    output = folder / model.stem
    command = [sys.executable, "-m", "edgecut", "build", model, "-o", output, "--edge", "raspberrypi4"]
    targets = ["--cloud", "x86-vm", "--network", "wifi", "--cut", "cloud-only"]
    subprocess.run([*map(str, command), *targets], check=True, stdout=subprocess.DEVNULL)
    return output


def quantiles(seconds: list[float]) -> tuple[float, float]:
    cut = statistics.quantiles(seconds, n=100)
    return cut[49] * 1e3, cut[98] * 1e3


def timed(work: Callable[[], object], count: int) -> list[float]:
    found = []
    for _ in range(count):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return found


def clients(
    url: str, model: str, feed: dict[str, np.ndarray], count: int, requests: int
) -> tuple[float, list[float]]:
    """Requests per second of several clients with a connection each, and each request's seconds."""
    each = requests // count

    def work(_: int) -> list[float]:
        client = Client(url)
        request = wire.Request(feed, binary=True)
        client.infer(model, request)
        found = timed(lambda: client.infer(model, request), each)
        client.close()
        return found

    start = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        seconds = [s for found in pool.map(work, range(count)) for s in found]
    return each * count / (time.perf_counter() - start), seconds


def served(path: Path) -> list[str]:
    """Rows of one model: the loop, and the server with some clients; best of some interleaved rounds."""
    import onnxruntime as ort

    described = manifest.read(path)
    cut = described.cut("cloud-only")
    model = cut.cloud_model or ""
    feed = timing.random_inputs(described)
    file = path / "cloud" / model / "1" / "model.onnx"
    session = ort.InferenceSession(str(file), sessions.options(1), providers=["CPUExecutionProvider"])
    command = [sys.executable, "-m", "edgecut", "serve", str(path), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    url = process.stderr.readline().split()[-1]
    loops: list[list[float]] = []
    found: dict[int, list[tuple[float, list[float]]]] = {1: [], 4: [], 16: []}
    slow = statistics.median(timed(lambda: session.run(None, feed), 9)) > SLOW_S
    requests = REQUESTS // 4 if slow else REQUESTS
    for _ in range(ROUNDS):
        loops.append(timed(lambda: session.run(None, feed), requests))
        for count, rounds in found.items():
            rounds.append(clients(url, model, feed, count, requests))
    process.terminate()
    process.communicate()
    best = min(loops, key=sum)
    plain = len(best) / sum(best)
    rows = [row(f"{path.name}, ONNX Runtime alone", plain, best, 1.0)]
    for count, rounds in found.items():
        rate, seconds = max(rounds, key=lambda r: r[0])
        rows.append(row(f"{path.name}, served, {count} clients", rate, seconds, rate / plain))
    return rows


def row(name: str, rate: float, seconds: list[float], ratio: float) -> str:
    median, high = quantiles(seconds)
    return f"| {name} | {rate:.0f} | {ratio:.2f} | {median:.2f} | {high:.2f} |"


def overhead(path: Path) -> str:
    """What a session adds to an edge-only request: the session's seconds less those of LiteRT alone."""
    device = Device(path, server="http://127.0.0.1:9")
    local = device.manifest.cut("edge-only")
    feed = timing.random_inputs(device.manifest)
    session = Session(device, policy=Feedback(), probe_bytes=0)
    model = EdgeModel(path / (device.manifest.edge_model or ""))
    names = model.input_names(local.signature or "")
    alone = {name: feed[name] for name in names}
    model.run(local.signature or "", alone)
    for _ in range(5):  # the first ones find the server absent
        session.infer(feed)
    pairs = []
    for _ in range(1000):
        plain = timed(lambda: model.run(local.signature or "", alone), 1)[0]
        pairs.append(timed(lambda: session.infer(feed), 1)[0] - plain)
    return f"{statistics.median(pairs) * 1e6:.0f} us (median of 1,000 interleaved pairs)"


def main() -> None:
    models = [ROOT / "fixtures" / "digits.onnx"]
    models += [p for p in (ZOO / "resnet8_cifar10.onnx", ZOO / "mobilenetv2_imagenet.onnx") if p.exists()]
    print("## Serving, and the runtime's own time\n")
    print("`edgecut serve` with one worker and one thread, clients on the same machine and processor, float")
    print(
        f"inputs as binary tensors, {REQUESTS} requests (slow models: a quarter), best of {ROUNDS} rounds.\n"
    )
    print("| | requests/s | ratio | p50, ms | p99, ms |")
    print("|---|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        builds = [build(model, Path(folder)) for model in models]
        for path in builds:
            print("\n".join(served(path)), flush=True)
        added = overhead(builds[0])
    print(f"\nOn the device, a session (estimates, choice, breaker) adds to an edge-only request: {added}.")


if __name__ == "__main__":
    main()
