"""Devices and networks as data: one TOML file each, built in or the user's own.

A device file gives the figures that costs are predicted from, and how to reach the device so that
they can be measured instead. Each figure names its source in a comment beside it.
"""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

from edgecut.ir import typed
from edgecut.ir.errors import UsageError
from edgecut.targets.figures import Compute, Efficiency, Error, Power, Price, Radio, Size

__all__ = [
    "FILE", "Compute", "Device", "Efficiency", "Error", "Network", "Power", "Price", "Radio", "Size",
    "device_names", "load_device", "load_network", "network_names",
]  # fmt: skip

T = TypeVar("T")


@dataclass(frozen=True)
class Device:
    """An edge device, or a server."""

    name: str
    title: str
    kind: Literal["edge", "cloud", "any"]
    """On which side it may stand."""
    runtime: Literal["litert", "tflite-micro", "onnxruntime", "tensorrt", "any"]
    cores: float
    """CPU cores; 1 for an accelerator. A small cloud function may have a part of one."""
    memory_mb: int
    """RAM (of the accelerator, where there is one) that a model may use."""
    flash_mb: float | None = None
    """Storage that a model has to fit in; None: no limit worth naming."""
    reach: str = ""
    """``local``, ``ssh://user@host[:port]``, ``adb://SERIAL``, ``file:profile.json`` (measured by hand);
    empty: not at hand, so costs are predicted."""
    scheme: Literal[
        "none", "int8", "int8-symmetric", "int16x8", "int8-weights", "int8-dynamic", "int4-weights", "float16"
    ] = "int8"
    """Quantization that suits it (docs/compressing.md)."""
    sparsity: Literal["none", "2:4"] = "none"
    """Structured sparsity of weights that its kernels gain from (the pass ``sparsify``)."""
    operators: tuple[str, ...] = ()
    """ONNX operators that its runtime has; empty: all that edgecut can emit."""
    compute: Compute | None = None
    power: Power | None = None
    price: Price | None = None
    cold_start_s: float = 0.0
    """Added to the first call after a pause (serverless)."""
    sizes: tuple[Size, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether costs are measured on this very machine."""
        return self.reach == "local"


@dataclass(frozen=True)
class Network:
    """The link between device and server."""

    name: str
    title: str
    up_mbps: float
    down_mbps: float
    rtt_ms: float
    jitter_ms: float = 0.0
    """Standard deviation of the round trip."""
    loss: float = 0.0
    """Part of the packets that are lost, 0 to 1."""
    price_per_gb: float = 0.0
    """US dollars per GB, both ways."""
    radio: Radio | None = None

    @property
    def rtt_s(self) -> float:
        """Round trip, s."""
        return self.rtt_ms / 1000


def load_device(name: str) -> Device:
    """A device by its name, or from the user's file (a path that ends in ``.toml``).

    ``name:MB`` chooses one of the sizes in which a cloud offers it. ``ssh://...`` and ``adb://...`` are
    devices that are measured over that connection; a path that ends in ``.json`` is what ``profile.sh``
    printed on a device that nobody can connect to.

    Raises:
        UsageError: No such device or file, or the file does not fit; the message names the key.
    """
    if name.startswith(("ssh://", "adb://")):
        return _reached(name, name)
    if name.endswith(".json"):
        return _reached(Path(name).stem, f"{FILE}{name}")
    base, _, size = name.partition(":")
    if base.endswith(".toml") or not size:
        return _check_device(_load(Device, "devices", name), name)
    return _sized(_check_device(_load(Device, "devices", base), base), size)


def load_network(name: str) -> Network:
    """A network by its name, or from the user's file (a path that ends in ``.toml``).

    Raises:
        UsageError: No such network or file, or the file does not fit; the message names the key.
    """
    network = _load(Network, "networks", ALIASES.get(name, name))
    for key in ("up_mbps", "down_mbps"):
        _require(getattr(network, key) > 0, name, f"{key} has to be above 0")
    for key in ("rtt_ms", "jitter_ms", "price_per_gb"):
        _require(getattr(network, key) >= 0, name, f"{key} is below 0")
    _require(0 <= network.loss < 1, name, "loss has to be from 0 to below 1")
    return network


def device_names() -> list[str]:
    """Names of the built-in devices, sorted."""
    return _names("devices")


def network_names() -> list[str]:
    """Names of the built-in networks, sorted."""
    return _names("networks")


def text(room: str, name: str) -> str:
    """The text of a target's file, comments included.

    Args:
        room: ``devices`` or ``networks``.
        name: A built-in name (with or without a size), or a path that ends in ``.toml``.

    Raises:
        UsageError: There is none.
    """
    base = name if name.endswith(".toml") else name.partition(":")[0]
    return _text(room, ALIASES.get(base, base))


FILE = "file:"
ALIASES = {"lte": "4g"}
"""Other names of networks."""


def _names(room: str) -> list[str]:
    folder = resources.files(f"edgecut.targets.{room}")
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def _load(cls: type[T], room: str, name: str) -> T:
    try:
        data: dict[str, Any] = tomllib.loads(_text(room, name))
        data.setdefault("name", Path(name).stem)
        data.setdefault("title", data["name"])
        decoded: T = typed.decode(cls, data, room.removesuffix("s"))
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise UsageError(str(error), where=name, hint="docs/adding-a-target.md explains the keys") from error
    return decoded


def _text(room: str, name: str) -> str:
    if name.endswith(".toml"):
        return _user_text(Path(name))
    names = _names(room)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names)}; or a .toml file"
        raise UsageError(f"unknown {room.removesuffix('s')} {name!r}", hint=hint)
    return resources.files(f"edgecut.targets.{room}").joinpath(f"{name}.toml").read_text(encoding="utf-8")


def _user_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is no UTF-8 text"
        raise UsageError(reason.lower(), where=str(path)) from error


def _reached(name: str, reach: str) -> Device:
    """A device that is only known by how to reach it: measured, never predicted."""
    return Device(
        name=name, title=reach, kind="edge", runtime="litert", cores=1, memory_mb=1 << 20, reach=reach
    )


def _sized(device: Device, size: str) -> Device:
    for offered in device.sizes:
        if str(offered.memory_mb) == size:
            price = replace(device.price or Price(), usd_per_s=offered.usd_per_s)
            name = f"{device.name}:{size}"
            return replace(device, name=name, memory_mb=offered.memory_mb, cores=offered.cores, price=price)
    have = ", ".join(str(s.memory_mb) for s in device.sizes) or "one size only"
    raise UsageError(f"no size {size!r}", where=device.name, hint=f"it has: {have}")


def _check_device(device: Device, name: str) -> Device:
    compute = device.compute
    _require(device.cores > 0, name, "cores has to be above 0")
    _require(device.memory_mb > 0, name, "memory_mb has to be above 0")
    reachable = device.reach in ("", "local") or device.reach.startswith(("ssh://", "adb://", FILE))
    _require(
        reachable, name, f"reach is {device.reach!r}; it is local, ssh://user@host, adb://SERIAL or empty"
    )
    _require(bool(device.reach) or compute is not None, name, "a device that is not reached needs [compute]")
    if compute is None:
        return device
    _require("float32" in compute.peak_gmacs, name, "compute.peak_gmacs needs float32")
    _require(min(*compute.peak_gmacs.values(), compute.bandwidth_gbs) > 0, name, "a peak is not above 0")
    _require(0 <= compute.parallel <= 1, name, "compute.parallel has to be from 0 to 1")
    for precision, table in compute.efficiency.items():
        for kind, part in table.items():
            where = f"compute.efficiency.{precision}.{kind}"
            _require(part.compute > 0 and part.memory > 0, name, f"{where} has to be above 0")
            _require(min(part.costs) >= 0, name, f"{where} has a cost below 0")
    return device


def _require(ok: bool, where: str, what: str) -> None:
    if not ok:
        raise UsageError(what, where=where, hint="docs/adding-a-target.md explains the keys")
