"""Requests from a device in a network namespace, told to it line by line.

    slow_device.py BUILD URL [--policy NAME] [--cut NAME] [--deadline S]

Both sides of a test share one processor, so each edge half is made to last as long as the manifest says, by
sleeping. Everything else is the real thing. For each line on standard input, which is a number, so many
requests are made; each is answered by one line of JSON: the cut, its seconds, why the edge answered alone,
and the share of the request that was sent; or the kind of error where it has no answer either.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgecut.ir.manifest import CutRecord
from edgecut.runtime import policy, timing
from edgecut.runtime.client import CloudError
from edgecut.runtime.device import Device
from edgecut.runtime.session import Session


class SlowDevice(Device):
    """Takes the manifest's time for each edge half."""

    def _run_edge(self, record: CutRecord, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        start = time.perf_counter()
        made = super()._run_edge(record, inputs)
        time.sleep(max(record.edge_s - (time.perf_counter() - start), 0.0))
        return made


class Only(policy.Policy):
    """Always one cut."""

    def __init__(self, name: str) -> None:
        self._name = name

    def choose(self, cuts: tuple[CutRecord, ...], estimates: object) -> CutRecord:  # type: ignore[override]
        return next(cut for cut in cuts if cut.name == self._name)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("build", type=Path)
    parser.add_argument("url")
    parser.add_argument("--policy", default="feedback")
    parser.add_argument("--cut")
    parser.add_argument("--deadline", type=float, help="seconds; the device's own if not given")
    arguments = parser.parse_args()
    device = SlowDevice(arguments.build, server=arguments.url)
    chosen = Only(arguments.cut) if arguments.cut else policy.load(arguments.policy)
    session = Session(
        device, policy=chosen, deadline_s=arguments.deadline, hiccup_s=10.0 if arguments.cut else 0.25
    )
    inputs = timing.random_inputs(device.manifest)
    for cut in device.manifest.cuts:
        if cut.signature:
            device._run_edge(cut, inputs)  # kernels are chosen in the first run
    for line in sys.stdin:
        for _ in range(int(line)):
            start = time.perf_counter()
            try:
                answer = session.infer(inputs)
                row = {"cut": answer.cut, "fallback": answer.fallback, "sent_part": answer.sent_part}
            except CloudError as error:
                row = {"cut": "", "fallback": "", "sent_part": 0.0, "error": error.kind}
            row.update(seconds=time.perf_counter() - start, at=start)
            print(json.dumps(row), flush=True)
    session.close()


if __name__ == "__main__":
    main()
