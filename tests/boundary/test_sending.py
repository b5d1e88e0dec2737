"""A coded tensor is sent as far as there is time, and the answer is the best from what came."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from edgecut.frontends.data import Sample
from edgecut.ir import manifest
from edgecut.ir.program import Program
from edgecut.passes.base import Context
from edgecut.passes.boundary.boundary import Boundary
from edgecut.runtime import serving, wire
from edgecut.runtime.boundary import Codec
from edgecut.runtime.client import Client, CloudError
from edgecut.runtime.device import Device
from edgecut.runtime.policy import Fixed
from edgecut.runtime.sending import Body, Link
from edgecut.runtime.session import Session

FINE = "klt-dct{step=0.001}"
"""Takes some 6 KB in several chunks, of which the first alone gives the right digit."""
LOSSLESS = "float32{coder=zlib}"
SLOW = 4000
"""Bytes/s."""


Emit = Callable[[Program, Path, str, tuple[str, ...]], Program]


@dataclass(frozen=True)
class Coded:
    folder: Path
    url: str
    sent: manifest.Sent
    model: str


@pytest.fixture(scope="module")
def coded(
    root: Path, profiled: Program, emit: Emit, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Coded]:
    item = Boundary(
        calibration=root / "fixtures" / "digits_calibration.npz",
        encodings=(FINE, LOSSLESS),
        values=("relu_2",),
        samples=40,
    )
    folder = tmp_path_factory.mktemp("sending")
    emit(item.run(profiled.copy(), Context()), folder, "relu_2", (FINE, LOSSLESS))
    record = manifest.read(folder).cut(FINE)
    with serving.background([folder]) as url:
        yield Coded(folder, url, record.sends[0], record.cloud_model or "")


class Narrow:
    """A way to a server that takes so many bytes/s; what it has not taken yet waits with the sender."""

    def __init__(self, url: str, bytes_per_s: float) -> None:
        parts = urlsplit(url)
        self._to, self._rate = (parts.hostname or "", parts.port or 0), bytes_per_s
        self._listener = socket.socket()
        # As little as possible is taken in before its time (Linux makes some 2 KB of it).
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._to)
                threading.Thread(target=self._copy, args=(near, far, self._rate), daemon=True).start()
                threading.Thread(target=self._copy, args=(far, near, 1e9), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, rate: float) -> None:
        piece = int(min(max(rate / 50, 1), 65536))
        with contextlib.suppress(OSError):
            while data := source.recv(piece):
                time.sleep(len(data) / rate)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def narrow(coded: Coded) -> Iterator[str]:
    proxy = Narrow(coded.url, SLOW)
    yield proxy.url
    proxy.close()


def test_on_a_slow_way_a_part_is_answered_in_time(coded: Coded, narrow: str, images: list[Sample]) -> None:
    """All of it takes 1.5 s. What the way holds back by itself, 2 KB, is what `after_s` stands for."""
    link = Link(SLOW, 0.001, 0.5)
    for image in images[:3]:
        with contextlib.closing(Device(coded.folder, server=narrow)) as device:
            whole = device.run(image, FINE)
            part = device.attempt(image, FINE, timeout_s=1.0, link=link)
        assert whole.sent_part == 1
        assert 0.2 < part.sent_part < 0.9
        assert part.sent_bytes < whole.sent_bytes
        assert part.phases.total_s < 1.0
        assert np.argmax(part.outputs["logits"]) == np.argmax(whole.outputs["logits"])
        assert not np.array_equal(part.outputs["logits"], whole.outputs["logits"])


def test_without_stopping_the_same_request_is_late(coded: Coded, narrow: str, images: list[Sample]) -> None:
    with contextlib.closing(Device(coded.folder, server=narrow)) as device:
        with pytest.raises(CloudError) as caught:
            device.attempt(images[0], FINE, timeout_s=1.0)
        assert caught.value.kind == "timeout"


def test_what_the_network_takes_is_sent_whatever_was_believed(coded: Coded, images: list[Sample]) -> None:
    """A way that is believed to be slow and is not: loopback."""
    with contextlib.closing(Device(coded.folder, server=coded.url)) as device:
        plain = device.run(images[0], FINE)
        answer = device.attempt(images[0], FINE, timeout_s=10.0, link=Link(1000, 0.0, 0.0))
    assert answer.sent_part == 1
    assert answer.outputs["logits"].tobytes() == plain.outputs["logits"].tobytes()


def test_a_session_counts_what_was_sent_in_part(coded: Coded, narrow: str, images: list[Sample]) -> None:
    with contextlib.closing(Device(coded.folder, server=narrow)) as device:
        device.run(images[0], FINE)  # a new connection first takes in more than it has room for
        record = device.manifest.cut(FINE)
        network = replace(device.manifest.network, up_mbps=SLOW / 125_000, rtt_s=0.001)
        # A slow model, as it seems, leaves the time that the way holds back by itself.
        cuts = (replace(record, cloud_s=0.4),)
        device.manifest = replace(device.manifest, cuts=cuts, network=network)
        session = Session(device, policy=Fixed(), deadline_s=1.0)
        answer = session.infer(images[0])
        assert answer.sent_part < 1
        assert answer.phases.total_s < 1.0
        assert session.status()["requests"]["sent in part"] == 1


def test_the_answer_is_marked_by_the_server(coded: Coded, images: list[Sample]) -> None:
    stream, ends = a_stream(coded)
    status, body = post(coded, stream[: ends[0]], len(stream), ends[0])
    assert status == 200
    assert body["parameters"][wire.PREFIX] == ends[0]
    status, body = post(coded, stream, len(stream), ends[0])
    assert status == 200
    assert wire.PREFIX not in body["parameters"]


@pytest.mark.parametrize(
    ("least", "message"),
    [
        (-1, "from 1 to"), (0, "from 1 to"), (1 << 40, "from 1 to"), ("8", "from 1 to"), (True, "from 1 to"),
        (8.5, "from 1 to"), (None, "scalars|numbers"), ([8], "numbers"), ({}, "numbers"),
    ],
)  # fmt: skip
def test_a_senseless_prefix_is_refused(coded: Coded, least: Any, message: str) -> None:
    stream, ends = a_stream(coded)
    status, body = post(coded, stream[: ends[0]], len(stream), least)
    assert status == 400
    assert any(word in body["error"] for word in message.split("|"))


def test_less_than_was_promised_is_refused_and_so_is_more(coded: Coded) -> None:
    stream, ends = a_stream(coded)
    for data in (b"", stream[: ends[0] - 1], stream + b"x"):
        status, body = post(coded, data, len(stream), ends[0])
        assert (status, "bytes" in body["error"]) == (400, True)


def test_only_a_stream_may_end_early(coded: Coded) -> None:
    """Not another type or shape, not one before others, and not the bytes of a tensor that is none."""
    stream, ends = a_stream(coded)
    size = int(np.prod(coded.sent.shape)) * np.dtype(coded.sent.dtype).itemsize
    whole = {
        "datatype": {"int8": "INT8", "int16": "INT16"}[coded.sent.dtype],
        "shape": list(coded.sent.shape),
    }
    for entry, data in (
        (whole, bytes(size // 2)),
        ({"shape": [1, len(stream)]}, stream),
        ({"parameters": {wire.PREFIX: 8}, "data": [0] * len(stream)}, b""),
    ):
        assert post(coded, data, size if entry is whole else len(stream), 8, **entry)[0] == 400
    status, body = post(coded, b"no stream at all" * 9, 1000, 8)
    assert (status, "no coded stream" in body["error"]) == (400, True)
    status, body = post(coded, stream[: ends[0]] + bytes(4), len(stream), ends[0], after=4)
    assert (status, "not the last" in body["error"]) == (400, True)
    status, _ = post(coded, stream[:-1], len(stream), 4)
    assert status == 200, "a stream cut off anywhere is answered"


def test_a_prefix_of_the_simple_coders_is_their_least_estimate(coded: Coded, images: list[Sample]) -> None:
    """One chunk, which is there or not: zeros, not a fault."""
    record = manifest.read(coded.folder).cut(LOSSLESS)
    (sent,) = record.sends
    stream, ends = Codec(sent).encode(np.ones(sent.shape, sent.dtype))
    assert len(ends) == 1
    other = Coded(coded.folder, coded.url, sent, record.cloud_model or "")
    assert post(other, stream.tobytes()[:20], len(stream), 8)[0] == 200


def test_a_body_is_urgent_only_where_time_may_be_short() -> None:
    now = time.monotonic()
    body = Body(b"a" * 100, [b"b" * 900], Link(1000.0, 0.0, 1.0), now + 3)
    assert body.is_urgent  # 2 s left for 1 KB at 1 KB/s: not if it was four times slower
    assert not Body(b"a" * 100, [b"b" * 900], Link(10_000.0, 0.0, 1.0), now + 3).is_urgent


def test_without_the_kernels_word_the_believed_bandwidth_decides() -> None:
    """As on systems that do not tell what was acknowledged."""
    body = Body(b"a" * 50, [b"b" * 50] * 20, Link(1000.0, 0.0, 0.1), time.monotonic() + 0.6)
    sent = b"".join(body.parts(lambda: None))
    assert body.sent == len(sent)
    assert 200 <= len(sent) <= 450  # 0.5 s at 0.8 KB/s, in pieces of 50


def a_stream(coded: Coded) -> tuple[bytes, tuple[int, ...]]:
    values = np.random.default_rng(0).integers(-40, 40, coded.sent.shape).astype(coded.sent.dtype)
    stream, ends = Codec(coded.sent).encode(values)
    return stream.tobytes(), ends


def post(
    coded: Coded, content: bytes, size: int, least: Any, *, after: int = 0, **more: Any
) -> tuple[int, dict[str, Any]]:
    """Ask the server by hand: any data for a tensor of a declared size, with a promise of its bytes."""
    parameters = {"binary_data_size": size, wire.PREFIX: least}
    entry = {"name": coded.sent.name, "shape": [size], "datatype": "UINT8", "parameters": parameters, **more}
    inputs = [entry]
    if after:
        inputs.append(
            {"name": "z", "shape": [after], "datatype": "UINT8", "parameters": {"binary_data_size": after}}
        )
    head = json.dumps({"inputs": inputs}).encode()
    with contextlib.closing(Client(coded.url)) as client:
        answer = client._send(
            "POST",
            f"/v2/models/{coded.model}/infer",
            head + content,
            {wire.LENGTH_HEADER: str(len(head))},
            time.monotonic() + 20,
        )
        return answer.status, json.loads(client._read(answer))


def test_behind_the_kernels_rate_limit_a_part_is_answered_in_time(
    coded: Coded, root: Path, netlab: ModuleType
) -> None:
    """Two network namespaces, 32 kbit/s (which is 4 KB/s) between them, and a round trip of 40 ms."""
    with netlab.lab() as lab, lab.service(coded.folder, delay_s=0.02) as url:
        command = (sys.executable, root / "benchmarks" / "slow_device.py", coded.folder, url, "--cut", FINE)
        device = lab.open(
            lab.device, *command, "--deadline", 1.5, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            lab.limit(4)
            rows = asked(device, 4)
            assert [row["sent_part"] for row in rows] == [1.0] * 4
            lab.limit(SLOW / 125_000)
            rows = asked(device, 6)
        finally:
            device.kill()
            device.communicate()
    assert any(row["sent_part"] < 1 and row["seconds"] < 1.5 for row in rows)


def asked(device: Any, count: int) -> list[dict[str, Any]]:
    device.stdin.write(f"{count}\n")
    device.stdin.flush()
    return [json.loads(device.stdout.readline()) for _ in range(count)]
