"""Input partitioning: thresholds against brute force, and a routed build through the real runtimes."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecut.frontends import data
from edgecut.ir import annotations, manifest
from edgecut.ir.annotations import Plan, Router
from edgecut.ir.errors import ConstraintError, UsageError
from edgecut.ir.program import Program
from edgecut.passes import pipeline, recipes
from edgecut.passes.base import Context
from edgecut.passes.partition.partition import Partition
from edgecut.passes.partition.threshold import Seen, calibrate, interval
from edgecut.runtime import compare, serving
from edgecut.runtime.client import CloudError
from edgecut.runtime.device import Device
from edgecut.runtime.router import margin
from edgecut.runtime.session import Session

AGREEMENT = 0.98
EDGECUT = (sys.executable, "-m", "edgecut")


def seen(rng: np.random.Generator, count: int, cloud: float = 1.0) -> Seen:
    """Samples of which the edge gets the more wrong, the smaller the margin is; margins often equal."""
    margins = rng.integers(0, 6, count).astype(float)
    edge = rng.random(count) < 0.8 + margins / 30
    return Seen(margins, edge, rng.random(count) < cloud, np.zeros(count, bool))


def risk(found: Seen, threshold: float) -> float:
    return (int((~found.agrees(threshold)).sum()) + 1) / (len(found.margins) + 1)


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 1 << 32), count=st.integers(1, 60), agreement=st.sampled_from([0.5, 0.8, 0.9, 0.95])
)
def test_threshold_is_the_lowest_from_which_on_all_keep_to_the_agreement(
    seed: int, count: int, agreement: float
) -> None:
    found = seen(np.random.default_rng(seed), count, cloud=0.97)
    allowed = 1 - agreement + 1e-12
    thresholds = [*sorted(set(found.margins.tolist())), float("inf")]
    good = [t for t in thresholds if all(risk(found, u) <= allowed for u in thresholds if u >= t)]
    if not good:
        with pytest.raises(ConstraintError, match=r"cannot show an agreement|agree for"):
            calibrate(found, agreement)
        return
    assert calibrate(found, agreement) == good[0]


def test_fresh_samples_agree_as_often_as_was_asked_for() -> None:
    """The promise is about the mean over draws of the calibration samples."""
    rng = np.random.default_rng(0)
    fresh = seen(rng, 200_000)
    shares = [float(fresh.agrees(calibrate(seen(rng, 100), 0.9)).mean()) for _ in range(300)]
    # 300 draws with a standard deviation of about 0.03 know their mean to 0.002.
    assert np.mean(shares) >= 0.9 - 3 * np.std(shares) / np.sqrt(len(shares))
    assert np.mean([calibrate(seen(rng, 100), 0.9) < 5 for _ in range(50)]) > 0.5


def test_too_few_samples_and_a_cloud_that_disagrees_are_told() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ConstraintError, match=r"50 samples cannot show an agreement of 0.99: at least 99"):
        calibrate(seen(rng, 50), 0.99)
    with pytest.raises(
        ConstraintError, match=r"the cloud's own answers agree for [67].* of 200 samples only"
    ):
        calibrate(seen(rng, 200, cloud=0.7), 0.9)


def test_interval_is_clopper_and_pearsons() -> None:
    # Textbook values: 0 of 10 gives 1 - 0.025^(1/10); 5 of 10 gives 0.1871 to 0.8129.
    assert interval(0, 10) == pytest.approx((0.0, 1 - 0.025**0.1))
    assert interval(5, 10) == pytest.approx((0.1871, 0.8129), abs=1e-4)
    assert interval(10, 10)[1] == 1.0


def test_no_margin_is_ever_enough_where_scores_are_no_numbers() -> None:
    assert margin(np.array([[0.25, 1.0, 0.5]], np.float32)) == 0.5
    assert not margin(np.array([[np.nan, 1.0]])) >= -1e9


@pytest.fixture(scope="module")
def quantized(root: Path) -> Program:
    """The digits network in int8, with predicted costs."""
    calibration = root / "fixtures" / "digits_calibration.npz"
    image = recipes.Image("input", (127.5,), (127.5,))
    source = recipes.Source(root / "fixtures" / "digits.onnx", (), image, calibration)
    profile = recipes.make("profile", edge="raspberrypi4", cloud="x86-vm")
    chain = [*source.front(), profile, recipes.make("quantize", calibration=calibration), profile]
    return pipeline.run(chain, Program.empty(), Context())


@pytest.fixture(scope="module")
def router(root: Path) -> Partition:
    """Asks for a router."""
    known = root / "fixtures" / "digits_calibration.npz"
    return Partition(network="wifi", mode="input", agreement=AGREEMENT, data=known)


@pytest.fixture(scope="module")
def build(quantized: Program, router: Partition, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A routed build."""
    out = tmp_path_factory.mktemp("routed")
    pipeline.run([router, *recipes.emit()], quantized.copy(), Context(out), use_cache=False)
    return out


@pytest.fixture(scope="module")
def url(build: Path) -> Iterator[str]:
    with serving.background([build]) as found:
        yield found


@pytest.fixture(scope="module")
def samples(build: Path, root: Path) -> list[dict[str, np.ndarray]]:
    """Held-out images, and the same so noisy that the network is often unsure."""
    found = data.load(root / "fixtures" / "digits_test.npz", _specs(build), 30)
    rng = np.random.default_rng(0)
    noisy = [
        np.clip(s["input"] + rng.normal(0, 90, s["input"].shape), 0, 255).astype(np.uint8) for s in found
    ]
    return [*found, *({"input": image} for image in noisy)]


def _specs(build: Path) -> Any:
    from edgecut.ir.program import TensorSpec

    return [TensorSpec(t.name, t.dtype, t.shape) for t in manifest.read(build, verify=False).inputs]


def routed(program: Program, item: Partition) -> tuple[Plan, Router]:
    model = pipeline.run([item], program.copy(), Context(), use_cache=False).model
    plan, rule = annotations.get(model, Plan), annotations.get(model, Router)
    assert plan is not None
    assert rule is not None
    return plan, rule


def test_the_edge_answers_what_it_is_sure_of_and_the_imported_model_the_rest(
    build: Path, url: str, samples: list[dict[str, np.ndarray]]
) -> None:
    rule = manifest.read(build).router
    assert rule is not None
    device, session = Device(build, server=url), Session(Device(build, server=url))
    asked = better = 0
    for sample in samples:
        alone = device.run(sample, "edge-only").outputs["logits"]
        whole = device.run(sample, "cloud-only").outputs["logits"]
        answer = session.infer(sample)
        assert answer.cut == rule.cut
        if margin(alone) >= rule.threshold:
            assert answer.sent_bytes == 0
            np.testing.assert_array_equal(answer.outputs["logits"], alone)
            continue
        asked += 1
        assert answer.sent_bytes > 0
        right = int(whole.argmax())
        better += int(answer.outputs["logits"].argmax() == right) - int(alone.argmax() == right)
    assert 0 < asked < len(samples)
    # Noise makes the edge's integers wrong at times; the rest of the float network makes some of it good.
    assert better >= 0


def test_of_a_server_that_is_killed_the_edges_own_answer_is_given(
    build: Path, samples: list[dict[str, np.ndarray]], tmp_path: Path
) -> None:
    """By a device, a session, and the command alike, and each says so."""
    rule = manifest.read(build).router
    assert rule is not None
    serve = [*EDGECUT, "serve", str(build), "--port", "0"]
    server = subprocess.Popen(serve, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    found = re.search(r"http://[\d.]+:\d+", server.stderr.readline())
    assert found is not None
    device, session = Device(build, server=found[0]), Session(Device(build, server=found[0]))
    alone = [device.run(sample, "edge-only").outputs["logits"] for sample in samples]
    unsure = [i for i, scores in enumerate(alone) if margin(scores) < rule.threshold]
    with_server = device.run(samples[unsure[0]])
    assert (with_server.fallback, with_server.sent_bytes > 0) == ("", True)
    os.kill(server.pid, signal.SIGKILL)
    server.communicate()
    for i, sample in enumerate(samples):
        for answer in (device.run(sample), session.infer(sample)):
            np.testing.assert_array_equal(answer.outputs["logits"], alone[i])
            # A session that leaves the server alone need not know whether the edge is sure.
            assert bool(answer.fallback) == (i in unsure) or answer.cut == "edge-only"
    with pytest.raises(CloudError):
        device.run(samples[0], "cloud-only")
    np.save(tmp_path / "x.npy", samples[unsure[0]]["input"])
    command = [*EDGECUT, "run", str(build), "--input", str(tmp_path / "x.npy"), "--server", found[0]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"top: {alone[unsure[0]].argmax()} " in done.stdout
    assert "degraded: this is the edge's own answer" in done.stdout
    shown = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=60)
    assert json.loads(shown.stdout)["fallback"]


def test_large_inputs_go_straight_to_the_cloud(
    quantized: Program, router: Partition, url: str, build: Path, samples: list[dict[str, np.ndarray]]
) -> None:
    session = Session(Device(build, server=url))
    described = session.device.manifest
    assert described.router is not None
    limited = replace(described, router=replace(described.router, max_bytes=100_000))
    session.device.manifest = limited
    assert session.infer(samples[0], size=100_001).cut == "cloud-only"
    assert session.infer(samples[0], size=100_000).cut == "router"
    assert session.infer(samples[0]).cut == "router"
    # All samples have 1,024 bytes: above 1,000, none goes through the edge, and the imported model answers.
    plan, rule = routed(quantized, replace(router, max_input_bytes=1000))
    assert (rule.offloaded, rule.expected, rule.max_bytes) == (1.0, 1.0, 1000)
    straight = next(f for f in plan.cuts if f.cut.name == "cloud-only")
    assert rule.latency_s == pytest.approx(straight.latency_s)


def test_figures_are_the_mean_over_answered_and_asked(quantized: Program, router: Partition) -> None:
    plan, rule = routed(quantized, router)
    routed_cut, alone, _ = plan.cuts
    asked = (
        routed_cut.edge_s
        + routed_cut.cloud_s
        + plan.rtt_s
        + 8e-6 * (routed_cut.up_bytes / plan.up_mbps + routed_cut.down_bytes / plan.down_mbps)
    )
    share = rule.offloaded
    assert rule.latency_s == pytest.approx((1 - share) * alone.edge_s + share * asked)
    assert routed_cut.latency_s == rule.latency_s
    assert rule.low <= rule.expected <= rule.high
    assert (rule.samples, rule.judged_on) == (96, 32)


def test_private_inputs_and_unheld_budgets_keep_the_router_from_being_made(
    quantized: Program, router: Partition
) -> None:
    # Of what the cloud could go on from, all is derived from the input.
    with pytest.raises(ConstraintError):
        routed(quantized, replace(router, private=("input",)))
    plan, _ = routed(quantized, replace(router, private=("input",), declassify=("node_relu_4",)))
    assert "input" not in {name for f in plan.cuts for name in f.cut.crossing}
    with pytest.raises(ConstraintError, match="no router keeps to the latency budget of 100 us"):
        routed(quantized, replace(router, max_latency_ms=0.1))
    told: list[str] = []
    item = replace(router, max_latency_ms=0.1, best_effort=True)
    pipeline.run([item], quantized.copy(), Context(warn=told.append), use_cache=False)
    assert told == ["no router keeps to the latency budget of 100 us"]


def test_options_of_a_router_are_checked(router: Partition) -> None:
    for wrong, message in (
        ({"data": None}, "needs real inputs"),
        ({"agreement": 1.0}, "above 0 and below 1"),
        ({"measure": True}, "other modes"),
        ({"mode": "best", "max_input_bytes": 3}, "goes with mode=input"),
    ):
        with pytest.raises(UsageError, match=message):
            replace(router, **wrong)


def test_the_agreement_holds_on_images_that_nothing_was_calibrated_on(zoo: Path, tmp_path: Path) -> None:
    """ResNet-8 on CIFAR-10, end to end in LiteRT and over HTTP."""
    stated = 0.99  # at 0.98 the int8 edge half is sure of every image
    cifar = zoo / "data" / "cifar10"
    known = cifar / "cifar10_train_calib_200.npz"
    source = recipes.Source(zoo / "models" / "resnet8_cifar10.onnx", (), recipes.Image("input"), known)
    options = recipes.BuildOptions(
        "raspberrypi4",
        "x86-vm",
        {"mode": "input", "agreement": str(stated)},
        quantizing=recipes.Quantizing("int8"),
    )
    pipeline.run(recipes.build(source, options), Program.empty(), Context(tmp_path), use_cache=False)
    held_out = data.load(cifar / "cifar10_test_lossless_250.npz", _specs(tmp_path))
    (report,) = compare.compare(tmp_path, held_out, held_out.labels, cuts=["router"])
    assert report.agreement is not None
    low, high = interval(round(report.agreement * report.samples), report.samples)
    assert high >= stated, "the stated agreement is above what 250 held-out images allow for"
    rule = manifest.read(tmp_path).router
    assert rule is not None
    assert low <= rule.agreement_high
    assert 0 < rule.offloaded < 0.5
