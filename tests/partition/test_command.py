"""``edgecut partition`` as a user meets it, on the bundled network with predicted costs."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from edgecut.cli.app import app
from edgecut.ir import annotations
from edgecut.ir.annotations import Placement, Plan
from edgecut.ir.errors import ConstraintError, UsageError
from edgecut.ir.program import Program
from edgecut.passes import pipeline, recipes
from edgecut.passes.base import Context

# Sending takes no time and the server is fast, so that the cut moves when the link is slowed down.
FAST = ("--network", "ethernet", "--rtt-ms", "0", "--up-mbps", "2000")


@pytest.fixture(scope="module")
def profiled(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits network, profiled."""
    path = tmp_path_factory.mktemp("profiled") / "digits.onnx"
    front = recipes.Source(root / "fixtures" / "digits.onnx").front()
    profile = recipes.make("profile", edge="raspberrypi4", cloud="x86-vm")
    pipeline.run([*front, profile], Program.empty(), Context(), use_cache=False).save(path)
    return path


def partition(model: Path, *options: str) -> Result:
    """Run the command in this process; errors are raised."""
    return CliRunner().invoke(app, ["partition", str(model), *options], catch_exceptions=False)


def test_the_plan_is_written_and_shown(profiled: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    shown = partition(profiled, "-o", str(out), *FAST).stdout
    program = Program.load(out)
    plan = annotations.get(program.model, Plan)
    assert plan is not None
    for figures in plan.cuts:
        assert figures.cut.name in shown
    assert all(annotations.get(node, Placement) for node in program.nodes)
    first, *_ = [line for line in shown.splitlines() if line.startswith("=>")]
    assert plan.chosen.cut.name in first
    assert "without splitting" in shown


def test_json_is_the_plan_and_nothing_else(profiled: Path) -> None:
    data = json.loads(partition(profiled, "--json", *FAST).stdout)
    assert data["network"] == "ethernet"
    assert data["up_mbps"] == 2000
    assert data["rtt_s"] == 0
    assert {"cut", "edge_s", "cloud_s", "up_bytes", "down_bytes", "latency_s"} <= set(data["cuts"][0])


def test_every_listed_cut_can_be_forced(profiled: Path) -> None:
    listed = json.loads(partition(profiled, "--list-cuts", "--json").stdout)
    names = [figures["cut"]["name"] for figures in listed]
    assert names[0] == "cloud-only"
    assert names[-1] == "edge-only"
    assert len(names) == len(set(names)) > 10
    for name in names:
        forced = json.loads(partition(profiled, "--cut", name, "--json").stdout)
        assert forced["cuts"][0]["cut"] == next(f["cut"] for f in listed if f["cut"]["name"] == name)


def test_sweep_and_front_are_drawn(profiled: Path, tmp_path: Path) -> None:
    picture = tmp_path / "sweep.svg"
    shown = partition(profiled, "--sweep", "--plot", str(picture), *FAST).stdout
    assert "best cut by round trip" in shown
    assert ET.parse(picture).getroot().tag.endswith("svg")
    image = tmp_path / "sweep.png"
    partition(profiled, "--sweep", "--plot", str(image), *FAST)
    assert image.read_bytes().startswith(b"\x89PNG")
    front = partition(
        profiled, "--pareto", "latency,energy", "--network", "wifi", "--plot", str(picture)
    ).stdout
    assert "energy" in front.splitlines()[0]
    assert ET.parse(picture).getroot().tag.endswith("svg")


def test_explain_is_printed(profiled: Path) -> None:
    shown = partition(profiled, "--explain", *FAST).stdout
    assert "next best" in shown
    assert "what would move it, nearest first" in shown


def test_a_budget_that_cannot_be_kept_leaves_no_file(profiled: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    with pytest.raises(ConstraintError, match="no cut keeps to the latency budget of 1 us"):
        partition(profiled, "-o", str(out), "--max-latency-ms", "0.001")
    with pytest.raises(ConstraintError, match="no split is better than edge-only"):
        partition(profiled, "-o", str(out), "--network", "lora", "--require-win", "5%")
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--sweep", "--explain"), "give one of"),
        (("--plot", "x.svg"), "--plot goes with"),
        (("--sweep", "--plot", "x.gif"), "neither .svg nor .png"),
        (("--objective", "beauty"), "one of: latency, energy"),
        (("--network", "pigeon"), "unknown network 'pigeon'"),
        (("--cut", "nothing"), "no tensor named 'nothing'"),
        (("--pareto", "latency"), "two or three of"),
        (("--private", "mouth"), "no input named 'mouth'"),
        (("--up-mbps", "0"), "above 0"),
    ],
)
def test_wrong_options_are_usage_errors(profiled: Path, options: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        partition(profiled, *options)
    assert message in str(caught.value)
