"""``manifest``: the last pass of a build."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgecut import __version__
from edgecut.ir import annotations, coded, files, manifest, store
from edgecut.ir.annotations import (
    AnyBatch,
    Artifact,
    Artifacts,
    CloudChecks,
    Coder,
    CutFigures,
    Plan,
    Privacy,
    Profile,
    Quantization,
    Reference,
    Router,
    Source,
    Time,
    Wire,
)
from edgecut.ir.coded import Coded
from edgecut.ir.manifest import CodingRecord, CutRecord, FileRecord, Manifest, Sent, Tensor
from edgecut.ir.program import Program, TensorSpec, history
from edgecut.passes.base import Context, Pass
from edgecut.passes.manifest import record, report
from edgecut.runtime.tables import Tables

REFERENCE_FILE = "reference.onnx"
REPORT_FILE = "report.html"


@dataclass(frozen=True)
class WriteManifest(Pass):
    """Write manifest.json, report.html, the device runtime, and the reference for `edgecut check`."""

    name: ClassVar[str] = "manifest"

    def check_before(self, program: Program) -> None:
        """Artifacts, plan, profile, source and reference must be there."""
        hint = "the passes partition, emit-tflite and emit-onnx come before manifest"
        for cls in (Source, Reference, Profile, Plan):
            annotations.require(program.model, cls, hint)

    def run(self, program: Program, context: Context) -> Program:
        """Write the files that complete the build directory ``context.output``."""
        reference = annotations.require(program.model, Reference, "import the model")
        whole = store.reference(reference.key)
        whole.save(context.output / REFERENCE_FILE)
        extra = [context.output / REFERENCE_FILE, *_device_runtime(context.output)]
        known = annotations.get(program.model, Artifacts) or Artifacts()
        found = (*known.files, *(_artifact(path, context.output) for path in extra))
        page = context.output / REPORT_FILE
        _record(program, found)
        files.write(page, report.html(describe(program), program).encode())
        _record(program, (*found, _artifact(page, context.output)))
        manifest.write(describe(program), context.output / manifest.FILE_NAME)
        return program


def describe(program: Program) -> Manifest:
    """The manifest of a program whose artifacts have been emitted.

    Raises:
        ModelError: A pass that must come before was not run.
    """
    model = program.model
    source = annotations.require(model, Source, "import the model")
    profile = annotations.require(model, Profile, "run the profile pass")
    plan = annotations.require(model, Plan, "run the partition pass")
    written = annotations.require(model, Artifacts, "run emit-tflite and emit-onnx")
    quantization = annotations.get(model, Quantization)
    checks = annotations.get(model, CloudChecks)
    paths = [a.path for a in written.files]
    edge_model = next((p for p in paths if p.endswith(".tflite")), None)
    return Manifest(
        schema_version=manifest.SCHEMA_VERSION,
        edgecut_version=__version__,
        model=Path(source.file).stem,
        source=manifest.SourceRecord(source.file, source.sha256, source.frontend),
        inputs=tuple(_tensor(spec) for spec in program.inputs),
        outputs=tuple(_tensor(spec) for spec in program.outputs),
        edge_model=edge_model,
        edge=manifest.TargetRecord(profile.edge, _costs(profile.edge_total)),
        cloud=manifest.TargetRecord(profile.cloud, _costs(profile.cloud_total)),
        network=manifest.NetworkRecord(plan.network, plan.up_mbps, plan.down_mbps, plan.rtt_s),
        objective=plan.objective,
        cuts=tuple(_cut(program, k, figures, paths) for k, figures in enumerate(plan.cuts)),
        baselines=tuple(
            manifest.BaselineRecord(b.name, b.latency_s, b.up_bytes, b.reason) for b in plan.baselines
        ),
        steps=tuple(manifest.StepRecord(s.text, s.metrics) for s in history(program).steps),
        files=tuple(FileRecord(a.path, a.sha256, a.bytes) for a in written.files),
        quantization=quantization.scheme if quantization else "none",
        prices=plan.prices,
        router=record.router(rule) if (rule := annotations.get(model, Router)) else None,
        tensorrt=checks.tensorrt if checks else (),
        dynamic_batch=annotations.get(model, AnyBatch) is not None,
    )


def _cut(program: Program, k: int, figures: CutFigures, paths: list[str]) -> CutRecord:
    cut = figures.cut
    inputs = {spec.name for spec in program.inputs}
    on_edge = bool(cut.edge_outputs) or not set(cut.crossing) <= inputs
    folders = [Path(p).parts[1] for p in paths if p.startswith("cloud/") and p.endswith("/1/model.onnx")]
    return CutRecord(
        name=cut.name,
        signature=f"cut{k}" if on_edge else None,
        cloud_model=next((f for f in folders if f.endswith(f"_cut{k}")), None),
        sends=tuple(_sent(program, item) for item in coded.of_cut(program, cut)),
        edge_outputs=() if cut.cloud else cut.edge_outputs,
        edge_s=figures.edge_s,
        cloud_s=figures.cloud_s,
        up_bytes=figures.up_bytes,
        down_bytes=figures.down_bytes,
        latency_s=figures.latency_s,
        min_mbps=figures.min_mbps,
        max_mbps=figures.max_mbps,
        measured=figures.measured,
        together=figures.together,
    )


def _sent(program: Program, item: Coded) -> Sent:
    value = program.value(item.value)
    wire, privacy = annotations.get(value, Wire), annotations.get(value, Privacy)
    labels, coding = privacy.labels if privacy else (), _coding(item)
    if item.is_transformed:
        return Sent(item.name, item.dtype, item.shape, labels=labels, coding=coding)
    if wire:
        return Sent(item.name, item.dtype, wire.shape, wire.perm, labels, coding)
    tensor = _tensor(next(s for s in program.inputs if s.name == item.value))
    return Sent(item.name, item.dtype, tensor.shape, labels=labels, coding=coding)


def _coding(item: Coded) -> CodingRecord | None:
    if str(item.spec) == item.dtype and not item.is_transformed and item.spec.kind != "float16":
        return None
    coder = item.coder or Coder(0, 0)
    rounding = round(256 * item.transform.rounding) if item.transform else None
    digest = Tables.parse(coder.tables).sha256 if coder.tables else ""
    return CodingRecord(
        str(item.spec), item.spec.coder, rounding, coder.low, coder.high, coder.tables, digest
    )


def _tensor(spec: TensorSpec) -> Tensor:
    return Tensor(spec.name, spec.dtype, tuple(int(d) for d in spec.shape if isinstance(d, int)))


def _costs(total: Time | None) -> str:
    return total.source if total else "partial"


def _record(program: Program, found: tuple[Artifact, ...]) -> None:
    annotations.put(program.model, Artifacts(tuple(sorted(found, key=lambda a: a.path))))


def _artifact(path: Path, root: Path) -> Artifact:
    return Artifact(path.relative_to(root).as_posix(), files.sha256(path), path.stat().st_size)


def _device_runtime(output: Path) -> list[Path]:
    """The runtime that goes to the device beside the edge model."""
    if not (output / "edge").is_dir():
        return []
    from edgecut.runtime import bundle

    return bundle.write(output / "edge")


__all__ = ["WriteManifest", "describe"]
