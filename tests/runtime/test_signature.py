"""Only what was signed by the right key is run, and nothing unlisted is sent."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecut.ir.errors import ModelError, UsageError
from edgecut.runtime import bundle, ed25519, serving, signature, signing, wire
from edgecut.runtime.client import Client
from edgecut.runtime.device import Device

# RFC 8032, section 7.1, tests 1 to 3: public key, message, signature.
VECTORS = (
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
        "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
)


@pytest.mark.parametrize(("key", "message", "made"), VECTORS)
def test_published_vectors(key: str, message: str, made: str) -> None:
    assert ed25519.verify(bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(made))
    assert not ed25519.verify(bytes.fromhex(key), bytes.fromhex(message) + b"x", bytes.fromhex(made))


def by_library(key: bytes, message: bytes, made: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(made, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=64), st.integers(0, 1023), st.booleans())
def test_agrees_with_a_library_on_right_and_damaged_signatures(
    seed: bytes, message: bytes, bit: int, whole: bool
) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    key, made = bytearray(private.public_key().public_bytes_raw()), bytearray(private.sign(message))
    if not whole:
        target = made if bit < 512 else key
        target[bit % (8 * len(target)) // 8] ^= 1 << bit % 8
    found = ed25519.verify(bytes(key), message, bytes(made))
    assert found == by_library(bytes(key), message, bytes(made))
    assert found == whole


def test_scalar_beyond_the_order_is_refused() -> None:
    """Else each signature had a second form."""
    key, message, made = (bytes.fromhex(part) for part in VECTORS[1])
    other = int.from_bytes(made[32:], "little") + 2**252 + 27742317777372353535851937790883648493
    assert not ed25519.verify(key, message, made[:32] + other.to_bytes(32, "little"))


@pytest.fixture
def signed(cloud_build: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A signed copy of a build, and the file of its public key."""
    build = tmp_path / "build"
    shutil.copytree(cloud_build, build)
    public = signing.new_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    signing.sign(build, tmp_path / "key")
    return build, public


def test_signed_build_is_run_and_served(signed: tuple[Path, Path], digits: Any, truth: np.ndarray) -> None:
    build, public = signed
    with serving.background([build], serving.Settings(require_signature=public)) as url:
        answer = Device(build, server=url, require_signature=public).run({"input": digits.images[0]})
    # Float32 noise between ONNX Runtime's fusions of the whole model and of its copy.
    np.testing.assert_allclose(answer.outputs["logits"], truth[0], rtol=1e-5, atol=1e-5)


def test_what_was_not_signed_is_refused(signed: tuple[Path, Path], tmp_path: Path) -> None:
    build, public = signed
    other = signing.new_key(tmp_path / "other")
    with pytest.raises(ModelError, match="key that is not allowed"):
        Device(build, require_signature=other)
    path = build / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"digits"', b'"digitz"', 1))
    with pytest.raises(ModelError, match="differs from what was signed"):
        Device(build, require_signature=public)
    with (
        pytest.raises(ModelError, match="differs"),
        serving.background([build], serving.Settings(require_signature=public)),
    ):
        pass
    sig = build / "manifest.json.sig"
    sig.write_text("ed25519 x y")
    with pytest.raises(ModelError, match="is no signature"):
        Device(build, require_signature=public)
    sig.unlink()
    with pytest.raises(ModelError, match="is not signed"):
        Device(build, require_signature=public)
    Device(build)  # asked for no signature, it needs none


def test_device_application_checks_too(signed: tuple[Path, Path], tmp_path: Path) -> None:
    build, public = signed
    (tmp_path / bundle.NAME).write_bytes(bundle.application())
    command = [sys.executable, str(tmp_path / bundle.NAME), "profile", str(build), "--require-signature"]
    good = subprocess.run([*command, str(public)], capture_output=True, text=True, timeout=60)
    assert (good.returncode, good.stderr) == (0, "")
    (build / "manifest.json").write_text((build / "manifest.json").read_text() + " ")
    bad = subprocess.run([*command, str(public)], capture_output=True, text=True, timeout=60)
    assert bad.returncode == 1
    assert "differs from what was signed" in bad.stderr


def test_a_build_that_is_not_what_its_manifest_says_is_not_signed(signed: tuple[Path, Path]) -> None:
    build, public = signed
    next(build.glob("cloud/*/1/model.onnx")).write_bytes(b"x")
    with pytest.raises(ModelError, match="differs from its hash"):
        signing.sign(build, public.with_suffix(""))


@pytest.mark.parametrize(
    "text", ["", "# none\n", "ed25519 AAAA\n", "rsa " + base64.b64encode(bytes(32)).decode()]
)
def test_files_that_are_no_keys_are_usage_errors(tmp_path: Path, text: str) -> None:
    (tmp_path / "k").write_text(text)
    with pytest.raises(UsageError, match="public keys"):
        signature.read_keys(tmp_path / "k")
    with pytest.raises(UsageError, match="private key"):
        signing._private(tmp_path / "k")
    with pytest.raises(UsageError, match="there already"):
        signing.new_key(tmp_path / "k")


def test_nothing_that_is_not_listed_leaves_the_device(cloud_build: Path, cloud_url: str, digits: Any) -> None:
    device = Device(cloud_build, server=cloud_url)
    image = digits.images[0]
    with pytest.raises(ModelError, match=r"secret -> digits_cut0: is not among what the manifest sends"):
        device._client.infer("digits_cut0", wire.Request({"input": image, "secret": image}))
    with pytest.raises(ModelError, match="other"):
        device._client.infer("other", wire.Request({"input": image}))
    assert not device._client.connected
    assert Client(cloud_url).infer("digits_cut0", wire.Request({"input": image})).response.tensors
