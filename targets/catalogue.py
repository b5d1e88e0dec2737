"""All built-in targets at a glance."""

from __future__ import annotations

from dataclasses import dataclass

from edgecut.ir.errors import UsageError
from edgecut.targets import spec
from edgecut.targets.spec import Device, Network


@dataclass(frozen=True)
class Entry:
    """One target in the list."""

    name: str
    kind: str
    """``edge``, ``cloud``, ``any`` or ``network``."""
    title: str


def entries() -> list[Entry]:
    """All devices and servers, then all networks."""
    devices = [spec.load_device(name) for name in spec.device_names()]
    networks = [spec.load_network(name) for name in spec.network_names()]
    order = {"edge": 0, "any": 1, "cloud": 2}
    ordered = sorted(devices, key=lambda d: (order[d.kind], d.name))
    return [Entry(d.name, d.kind, d.title) for d in ordered] + [
        Entry(n.name, "network", n.title) for n in networks
    ]


def find(name: str) -> list[Device | Network]:
    """The targets of this name: a device, a network, or one of each.

    Raises:
        UsageError: There is none.
    """
    found: list[Device | Network] = []
    if _is_network(name):
        found.append(spec.load_network(name))
    if name in spec.device_names() or not found:
        found.insert(0, _device(name))
    return found


def source(name: str) -> str:
    """The files of these targets as text, comments included.

    Raises:
        UsageError: There is none.
    """
    rooms = {Device: "devices", Network: "networks"}
    return "\n".join(spec.text(rooms[type(t)], name) for t in find(name)).rstrip("\n")


def _is_network(name: str) -> bool:
    return name in (*spec.network_names(), *spec.ALIASES)


def _device(name: str) -> Device:
    try:
        return spec.load_device(name)
    except UsageError as error:
        if "unknown device" not in error.what:
            raise
        import difflib

        names = [e.name for e in entries()]
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "edgecut targets lists all"
        raise UsageError(f"unknown target {name!r}", hint=hint) from error
