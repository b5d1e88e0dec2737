"""A whole build, end to end: what it leaves behind computes what the imported model computes."""

from __future__ import annotations

import filecmp
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from edgecut.cli.app import app
from edgecut.ir import manifest

Edgecut = Callable[..., subprocess.CompletedProcess[str]]
FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
MODEL = FIXTURES / "digits.onnx"
CALIBRATION = FIXTURES / "digits_calibration.npz"
TEST_DATA = FIXTURES / "digits_test.npz"
IMAGE = ("--image", "input", "--mean", "127.5", "--std", "127.5")
TARGETS = ("--edge", "raspberrypi4", "--cloud", "x86-vm", "--network", "wifi")


def succeed(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def invoke(*arguments: object) -> str:
    """Run a command in this process, and give what it prints on stdout."""
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def checked(edgecut: Edgecut, folder: Path, data: Path, *more: object) -> list[dict[str, float]]:
    reports: list[dict[str, float]] = json.loads(
        succeed(edgecut("check", folder, "--data", data, "--json", *more))
    )
    return reports


@pytest.fixture(scope="module")
def profiled(edgecut: Edgecut, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixture as an IR file with its costs."""
    path = tmp_path_factory.mktemp("profiled") / "digits.onnx"
    chain = (
        'preprocess{image=input,mean=[127.5],std=[127.5]},simplify,profile{edge=raspberrypi4,cloud="x86-vm"}'
    )
    succeed(edgecut("opt", MODEL, "-p", chain, "-o", path))
    return path


def all_cuts(edgecut: Edgecut, profiled: Path) -> list[str]:
    listed = json.loads(succeed(edgecut("partition", profiled, "--list-cuts", "--json")))
    return [figures["cut"]["name"] for figures in listed]


def test_every_cut_of_the_fixture_computes_what_the_model_computes(
    edgecut: Edgecut, profiled: Path, tmp_path: Path
) -> None:
    """In this process, since a process per command would take most of the time."""
    names = all_cuts(edgecut, profiled)
    assert {"edge-only", "cloud-only"} < set(names)
    assert len(names) > 10
    for name in names:
        out = tmp_path / "build"
        invoke("build", profiled, *TARGETS, "--quantize", "none", "--cut", name, "-o", out)
        assert manifest.read(out).cuts[0].name == name
        report = invoke("check", out, "--data", TEST_DATA, "--cut", name, "--limit", 8, "--json")
        (found,) = json.loads(report)
        # Float kernels of two runtimes on one network: 1e-4 of the largest output is a hundred roundings.
        assert found["max_rel_error"] <= 1e-4, name
        assert found["agreement"] == 1.0, name


def test_int8_is_as_accurate_as_float(edgecut: Edgecut, tmp_path: Path) -> None:
    out = tmp_path / "build"
    succeed(edgecut("build", MODEL, *TARGETS, *IMAGE, "--calibration", CALIBRATION, "-o", out))
    assert manifest.read(out).quantization == "int8"
    for cut in checked(edgecut, out, TEST_DATA):
        assert cut["accuracy"] >= cut["reference_accuracy"] - 0.01, cut


def test_two_builds_from_one_program_are_byte_identical(
    edgecut: Edgecut, profiled: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        arguments = [profiled, *TARGETS, "--calibration", CALIBRATION, "--no-cache", "-o", tmp_path / name]
        succeed(edgecut("build", *arguments))
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len(files) > 5
    same, different, odd = filecmp.cmpfiles(tmp_path / "a", tmp_path / "b", files, shallow=False)
    assert (different, odd) == ([], [])
    assert len(same) == len(files)


def test_on_this_very_machine_the_cuts_are_timed_and_a_rebuild_is_byte_identical(
    edgecut: Edgecut, tmp_path: Path
) -> None:
    here = ("--edge", "local", "--cloud", "local", "--network", "ethernet", "--runs", 5)
    for name in ("a", "b"):
        invoke("build", MODEL, *here, "-o", tmp_path / name)
    made = manifest.read(tmp_path / "a")
    assert {cut.measured for cut in made.cuts} == {("edge", "cloud")}
    assert made.cuts[0].latency_s == min(cut.latency_s for cut in made.cuts)
    assert (
        "Times of edge and cloud are those of the emitted halves" in (tmp_path / "a/report.html").read_text()
    )
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert filecmp.cmpfiles(tmp_path / "a", tmp_path / "b", files, shallow=False)[1:] == ([], [])
    invoke("build", MODEL, *here, "--no-measure", "-o", tmp_path / "c")
    assert {cut.measured for cut in manifest.read(tmp_path / "c").cuts} == {()}
    assert "Times are sums of those of the operators" in (tmp_path / "c/report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "measures"),
    [
        (("--edge", "local", "--cloud", "x86-vm"), True),
        (("--edge", "local", "--no-measure"), False),
        (("--edge", "raspberrypi4", "--cloud", "local"), False),
        (("--edge", "local", "--mode", "input"), False),
        (("--edge", "raspberrypi4", "--cloud", "local", "--measure"), True),
    ],
)
def test_cuts_are_timed_by_default_where_the_edge_is_this_machine(
    arguments: tuple[str, ...], measures: bool
) -> None:
    shown = invoke("build", MODEL, *IMAGE, "--calibration", CALIBRATION, *arguments, "--print-pipeline")
    assert ("measure=true" in shown) is measures


def test_the_manifest_fits_its_schema_and_lists_every_file(
    edgecut: Edgecut, profiled: Path, tmp_path: Path
) -> None:
    succeed(edgecut("build", profiled, *TARGETS, "-o", tmp_path / "build"))
    data = json.loads((tmp_path / "build" / "manifest.json").read_text())
    jsonschema.validate(data, manifest.schema())
    listed = {record["path"] for record in data["files"]} | {"manifest.json"}
    found = {
        p.relative_to(tmp_path / "build").as_posix() for p in (tmp_path / "build").rglob("*") if p.is_file()
    }
    assert listed == found
    assert {b["name"] for b in data["baselines"]} >= {
        "edge-only",
        "cloud-only float32",
        "cloud-only uint8",
    }


def test_what_partition_can_do_build_can_do(edgecut: Edgecut, profiled: Path, tmp_path: Path) -> None:
    out = tmp_path / "build"
    slow = ("--network", "3g", "--objective", "weighted", "--weights", "latency=1,energy=0.1")
    secret = ("--private", "input=face", "--declassify", "node_relu_4", "--max-crossings", 1)
    invoke("build", profiled, *TARGETS[:4], *slow, *secret, "--mode", "features", "-o", out)
    made = manifest.read(out)
    assert (made.network.name, made.objective) == ("3g", "weighted")
    sent = [sent for cut in made.cuts for sent in cut.sends]
    assert sent, "the features leave the device"
    assert {sent.labels for sent in sent} == {("face",)}
    assert "input" not in {s.name for s in sent}
    page = (out / "report.html").read_text()
    assert "<h2>What leaves the device</h2>" in page
    assert f"{sent[0].name}</td>" in page.split("What leaves the device")[1].split("</table>")[0]


def test_a_build_that_cannot_keep_to_its_budget_leaves_nothing(
    edgecut: Edgecut, profiled: Path, tmp_path: Path
) -> None:
    done = edgecut("build", profiled, *TARGETS, "--max-latency-ms", "0.001", "-o", tmp_path / "build")
    assert done.returncode == 1
    assert "no cut keeps to the latency budget of 1 us" in done.stderr
    done = edgecut("build", MODEL, *TARGETS, "--require-win", "much", "-o", tmp_path / "build")
    assert done.returncode == 2
    assert not (tmp_path / "build").exists()


def test_save_temps_keeps_a_runnable_file_per_pass(edgecut: Edgecut, tmp_path: Path) -> None:
    import onnxruntime

    out = tmp_path / "build"
    succeed(edgecut("build", MODEL, *TARGETS, *IMAGE, "--save-temps", "--verify-each", "-o", out))
    kept = sorted((out / "ir").glob("*.onnx"))
    assert [p.name.split("-", 1)[1] for p in kept][:4] == [
        "import.onnx",
        "preprocess.onnx",
        "simplify.onnx",
        "profile.onnx",
    ]
    for path in kept:
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_depfile_names_model_and_data(edgecut: Edgecut, tmp_path: Path) -> None:
    out, rule = tmp_path / "build", tmp_path / "d"
    succeed(
        edgecut("build", MODEL, *TARGETS, *IMAGE, "--calibration", CALIBRATION, "--depfile", rule, "-o", out)
    )
    text = rule.read_text()
    assert text.startswith(f"{out}/manifest.json: ")
    assert str(MODEL) in text
    assert str(CALIBRATION) in text


CIFAR, IMAGENET = "data/cifar10/cifar10", "data/imagenet"
REAL = {
    # Pixels 0..255 as they are; calibration and test data are disjoint.
    "resnet8_cifar10": (f"{CIFAR}_train_calib_200.npz", f"{CIFAR}_test_lossless_250.npz", IMAGE[:2]),
    # Every image is used for both: 100 is all there are, and calibration sees no labels.
    "mobilenetv2_imagenet": (IMAGENET, IMAGENET, IMAGE),
}


@pytest.mark.parametrize("scheme", ["none", "int8"])
@pytest.mark.parametrize("model", REAL)
def test_real_networks(edgecut: Edgecut, zoo: Path, tmp_path: Path, scheme: str, model: str) -> None:
    out = tmp_path / "build"
    calibration, data, image = REAL[model]
    arguments = [zoo / "models" / f"{model}.onnx", *TARGETS, *image, "--calibration", zoo / calibration]
    succeed(edgecut("build", *arguments, "--quantize", scheme, "-o", out))
    for cut in checked(edgecut, out, zoo / data):
        if scheme == "none":
            assert cut["max_rel_error"] <= 1e-4, cut
        else:
            assert cut["accuracy"] >= cut["reference_accuracy"] - 0.01, cut
