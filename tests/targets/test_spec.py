"""Targets are data: every built-in one holds together, and a user's mistake is one clear line."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path

import pytest

from edgecut.ir.errors import UsageError
from edgecut.targets import catalogue, spec

DEVICES = {
    "raspberrypi4", "raspberrypi5", "jetson-orin-nano", "pixel", "coral-dev-board", "esp32-s3", "x86-host",
    "local", "aws-lambda", "x86-vm", "nvidia-t4", "nvidia-a10", "nvidia-h200",
}  # fmt: skip
BOARD = """
kind = "edge"
runtime = "litert"
cores = 4
memory_mb = 512
[compute]
peak_gmacs = { float32 = 3.0 }
bandwidth_gbs = 2.0
op_us = 10
"""


def test_the_promised_targets_are_there() -> None:
    assert set(spec.device_names()) >= DEVICES
    assert set(spec.network_names()) >= {"3g", "4g", "5g", "wifi", "ethernet", "lora"}


@pytest.mark.parametrize("name", spec.device_names())
def test_built_in_devices_load(name: str) -> None:
    device = spec.load_device(name)
    assert device.name == name
    assert device.title
    assert device.kind != "cloud" or device.price is not None or device.name == "local"


@pytest.mark.parametrize("room", ["devices", "networks"])
def test_every_figure_is_near_a_comment(room: str) -> None:
    """A section, or the line itself or one just above it, says where the figure comes from."""
    for file in resources.files(f"edgecut.targets.{room}").iterdir():
        if not file.name.endswith(".toml") or file.name == "local.toml":
            continue
        lines = file.read_text(encoding="utf-8").splitlines()
        for i, line in enumerate(lines):
            value = line.split("#")[0].partition("=")[2].strip()
            figure = value[:1].isdigit() and value not in ("0", "0.0", "1")
            block = "\n".join(lines[max(0, i - 6) : i + 1])
            assert not figure or "#" in block, f"{file.name}:{i + 1}: {line}"


def test_lte_is_4g() -> None:
    assert spec.load_network("lte") == spec.load_network("4g")


def test_a_users_file_works_like_a_name(tmp_path: Path) -> None:
    path = tmp_path / "my-board.toml"
    path.write_text(BOARD)
    device = spec.load_device(str(path))
    assert (device.name, device.cores, device.reach) == ("my-board", 4, "")
    assert device.compute is not None
    assert device.compute.peak_gmacs == {"float32": 3.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("cores = 4", 'cores = "four"'), "cores"),
        (("memory_mb = 512", "memory = 512"), "memory"),
        (('kind = "edge"', 'kind = "fog"'), "kind"),
        (("cores = 4", "cores = 0"), "cores has to be above 0"),
        (("bandwidth_gbs = 2.0", "bandwidth_gbs = 0.0"), "not above 0"),
        (("cores = 4", 'cores = 4\nreach = "telnet://x"'), "telnet"),
        (
            (
                "bandwidth_gbs = 2.0",
                "bandwidth_gbs = 2.0\nefficiency = { float32 = { conv = { tap_ns = -1.0 } } }",
            ),
            "cost below 0",
        ),
        (("cores = 4", "cores = "), "line 4"),
    ],
)
def test_a_wrong_file_is_one_clear_error(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "board.toml"
    path.write_text(BOARD.replace(*change))
    with pytest.raises(UsageError) as caught:
        spec.load_device(str(path))
    assert message in str(caught.value)
    assert "board.toml" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_unknown_names_suggest_the_closest() -> None:
    with pytest.raises(UsageError, match="did you mean 'raspberrypi4'"):
        spec.load_device("rasberrypi4")
    with pytest.raises(UsageError, match="did you mean 'wifi'"):
        spec.load_network("wify")
    with pytest.raises(UsageError, match="did you mean 'ethernet'"):
        catalogue.find("ethernt")


def test_sizes_of_a_cloud_function() -> None:
    large, small = spec.load_device("aws-lambda:3538"), spec.load_device("aws-lambda:512")
    assert large.price is not None
    assert small.price is not None
    assert large.memory_mb == 3538
    # Lambda's price is proportional to memory; the file's figures are rounded to six digits.
    assert large.price.usd_per_s / small.price.usd_per_s == pytest.approx(3538 / 512, rel=1e-4)
    assert large.price.usd_per_request == small.price.usd_per_request > 0
    with pytest.raises(UsageError, match="512"):
        spec.load_device("aws-lambda:777")


def test_radio_power_rises_with_the_rate() -> None:
    radio = spec.load_network("4g").radio
    assert radio is not None
    assert radio.tx_w(10) == pytest.approx((1288.04 + 4383.9) / 1000)


def test_the_catalogue_prints_files_with_their_sources() -> None:
    text = catalogue.source("raspberrypi4")
    assert tomllib.loads(text)["cores"] == 4
    assert "# " in text
    assert len(catalogue.find("local")) == 2  # the device and the network of that name
    assert {e.kind for e in catalogue.entries()} == {"edge", "any", "cloud", "network"}


def test_sparse_tensor_cores_are_declared_where_they_are(tmp_path: Path) -> None:
    have = {name for name in spec.device_names() if spec.load_device(name).sparsity == "2:4"}
    assert have == {"nvidia-a10", "nvidia-h200"}
    path = tmp_path / "board.toml"
    path.write_text(BOARD.replace("cores = 4", 'cores = 4\nsparsity = "1:2"'))
    with pytest.raises(UsageError, match="sparsity"):
        spec.load_device(str(path))
