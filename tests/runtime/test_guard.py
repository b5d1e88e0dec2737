"""Who gets in, how much is let in, and what is counted."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgecut.ir.errors import UsageError
from edgecut.runtime import http11, serving, tokens, wire
from edgecut.runtime.client import CloudError
from edgecut.runtime.device import Device

TOKEN = "correct-horse-battery"
MODEL = "/v2/models/digits_cut0"


def get(url: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def guarded(cloud_build: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    file = tmp_path_factory.mktemp("t") / "tokens"
    file.write_text(f"# devices\n\n{TOKEN}\nanother-long-enough-one\n")
    with serving.background([cloud_build], serving.Settings(token_file=file)) as url:
        yield url


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("", 401),
        (TOKEN, 401),
        (f"Basic {TOKEN}", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Bearer {TOKEN}x", 401),
        ("Bearer # devices", 401),
        ("Bearer ", 401),
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        ("Bearer another-long-enough-one", 200),
    ],
)
def test_only_a_known_token_gets_in(guarded: str, header: str | None, status: int) -> None:
    headers = {} if header is None else {"Authorization": header}
    for path in (MODEL, "/metrics", "/v2"):
        assert get(guarded, path, headers)[0] == status
    assert get(guarded, "/v2/health/ready", headers)[0] == 200


def test_device_sends_its_token(cloud_build: Path, guarded: str, digits: Any) -> None:
    with pytest.raises(CloudError, match="bearer token") as found:
        Device(cloud_build, server=guarded).run({"input": digits.images[0]})
    assert found.value.status == 401
    answer = Device(cloud_build, server=guarded, token=TOKEN).run({"input": digits.images[0]})
    assert answer.outputs["logits"].shape == (1, 10)


@pytest.mark.parametrize(("text", "message"), [("", "no token"), ("# a\n", "no token"), ("short\n", "fewer")])
def test_token_files_that_protect_nothing_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t").write_text(text)
    with pytest.raises(UsageError, match=message):
        tokens.read(tmp_path / "t")
    with pytest.raises(UsageError, match="cannot be read"):
        tokens.read(tmp_path / "absent")


def test_tls_is_checked_on_both_sides(cloud_build: Path, digits: Any, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the test's certificate, is not installed")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=x"
    alternative = ["-addext", "subjectAltName=IP:127.0.0.1"]
    out = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command.split(), *alternative, *out], check=True, capture_output=True)
    with serving.background([cloud_build], serving.Settings(certificate=certificate, key=key)) as url:
        assert url.startswith("https://")
        answer = Device(cloud_build, server=url, ca=str(certificate)).run({"input": digits.images[0]})
        assert answer.outputs["logits"].shape == (1, 10)
        with pytest.raises(CloudError, match="certificate verify failed"):
            Device(cloud_build, server=url).run({"input": digits.images[0]})
    with (
        pytest.raises(UsageError, match="cannot be used"),
        serving.background([cloud_build], serving.Settings(certificate=key, key=key)),
    ):
        pass


def test_more_requests_than_may_wait_are_told_to_come_back(cloud_build: Path, digits: Any) -> None:
    """With no room to wait, of many at once some are refused, and the refused learn when to return."""
    kinds: list[tuple[str, float]] = []

    def ask(url: str) -> None:
        device = Device(cloud_build, server=url)
        for _ in range(20):
            try:
                device.run({"input": digits.images[0]})
                kinds.append(("answered", 0.0))
            except CloudError as error:
                kinds.append((f"{error.status}", error.retry_after_s))

    with serving.background([cloud_build], serving.Settings(max_waiting=0)) as url:
        threads = [threading.Thread(target=ask, args=(url,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        text = get(url, "/metrics")[1].decode()
    assert len(kinds) == 160
    assert {kind for kind, _ in kinds} == {"answered", "503"}
    assert all(after == 1.0 for kind, after in kinds if kind == "503")
    answered = sum(kind == "answered" for kind, _ in kinds)
    assert f'edgecut_requests_total{{model="digits_cut0",status="200"}} {answered}' in text
    assert f'edgecut_requests_total{{model="digits_cut0",status="503"}} {160 - answered}' in text
    assert f'edgecut_compute_seconds_count{{model="digits_cut0"}} {answered}' in text


def test_head_that_trickles_is_cut_off(cloud_build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes keep coming, so nothing but a deadline for the whole head ends this connection."""
    monkeypatch.setattr(http11, "HEAD_S", 0.3)
    with serving.background([cloud_build]) as url:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname, parts.port or 0), timeout=0.05) as connection:
            connection.sendall(b"GET /v2 HTTP/1.1\r\nX: ")
            while True:
                try:
                    connection.sendall(b"x")
                    if connection.recv(1) == b"":
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
        assert get(url, "/v2/health/live")[0] == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)
ENTRY = st.fixed_dictionaries(
    {
        "name": st.just("input") | JSON,
        "shape": st.just([1, 1, 32, 32]) | JSON,
        "datatype": st.just("FP32") | JSON,
    },
    optional={"data": JSON, "parameters": st.just({"binary_data_size": 4096}) | JSON},
)
BODY = st.fixed_dictionaries(
    {"inputs": st.lists(ENTRY, max_size=2) | JSON}, optional={"outputs": JSON, "id": JSON}
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    body=BODY.map(lambda b: json.dumps(b).encode()) | st.binary(max_size=100),
    blob=st.sampled_from([b"", b"\0" * 4096, b"\xff" * 4096]),
    length=st.sampled_from(["right", "none", "-1", "99999", "x"]),
    method=st.sampled_from(["POST", "PUT", "GET"]),
    path=st.sampled_from([f"{MODEL}/infer", f"{MODEL}/versions/1/infer", f"{MODEL}/../x", "/v2/%00"]),
)
def test_no_request_makes_the_server_fail(
    cloud_url: str, body: bytes, blob: bytes, length: str, method: str, path: str
) -> None:
    headers = (
        {} if length == "none" else {wire.LENGTH_HEADER: str(len(body)) if length == "right" else length}
    )
    parts = urlsplit(cloud_url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    connection.request(method, path, body + blob, headers)
    assert connection.getresponse().status in (200, 400, 404, 405)
    connection.close()


def test_server_still_answers_after_all_that(
    cloud_url: str, cloud_build: Path, digits: Any, truth: np.ndarray
) -> None:
    answer = Device(cloud_build, server=cloud_url).run({"input": digits.images[0]})
    # Float32 noise between ONNX Runtime's fusions of the whole model and of its copy.
    np.testing.assert_allclose(answer.outputs["logits"], truth[0], rtol=1e-5, atol=1e-5)
