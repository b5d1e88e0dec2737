"""Broken requests neither make the server fail nor grow."""

from __future__ import annotations

import http.client
import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgecut.runtime import wire
from edgecut.runtime.device import Device

PATH = "/v2/models/digits_cut0/infer"
# The allocator keeps what it has got once, in arenas of a few MB each; a leak of the bodies would be 70 MB.
ALLOWED_MB = 12


def resident_mb(process: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def broken(chance: random.Random, image: np.ndarray) -> tuple[bytes, dict[str, str]]:
    """A right request with some of its bytes, its length or its header changed."""
    encoded = wire.encode_request(wire.Request({"input": image}, "7", {}, {"logits": True}))
    body, headers = bytearray(encoded.body), dict(encoded.headers)
    for _ in range(chance.randint(1, 8)):
        body[chance.randrange(min(len(body), 400))] = chance.randrange(256)
    kind = chance.randrange(5)
    if kind == 0:
        del body[chance.randrange(len(body)) :]
    elif kind == 1:
        body += chance.randbytes(chance.randrange(70_000))
    elif kind == 2:
        headers[wire.LENGTH_HEADER] = str(chance.choice([0, 1, 10**12, len(body) + 1, len(body)]))
    elif kind == 3:
        deep = "[" * chance.randrange(2000)
        body = bytearray(json.dumps({"inputs": deep, "id": "x" * chance.randrange(50_000)}).encode())
    return bytes(body), headers


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="resident memory is read from /proc")
def test_broken_requests_leave_nothing_behind(cloud_build: Path, digits: Any, truth: np.ndarray) -> None:
    command = [sys.executable, "-m", "edgecut", "serve", str(cloud_build), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        url = process.stderr.readline().split()[-1]
        host = url.removeprefix("http://")
        chance = random.Random(0)
        statuses, sizes = set(), []
        for _ in range(3):
            for _ in range(500):
                connection = http.client.HTTPConnection(host, timeout=30)
                connection.request("POST", PATH, *broken(chance, digits.images[0]))
                statuses.add(connection.getresponse().status)
                connection.close()
            sizes.append(resident_mb(process.pid))
        assert statuses <= {200, 400}
        assert 400 in statuses
        assert sizes[-1] - sizes[0] < ALLOWED_MB, sizes
        answer = Device(cloud_build, server=url).run({"input": digits.images[0]})
        # Float32 noise between ONNX Runtime's fusions of the whole model and of its copy.
        np.testing.assert_allclose(answer.outputs["logits"], truth[0], rtol=1e-5, atol=1e-5)
    finally:
        process.kill()
        process.communicate()
