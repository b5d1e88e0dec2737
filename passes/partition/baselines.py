"""What not splitting would do: the comparison that a plan has to stand."""

from collections.abc import Iterator, Mapping

import numpy as np

from edgecut.ir import annotations
from edgecut.ir.annotations import Baseline, ImageInput
from edgecut.ir.program import Program, nbytes
from edgecut.passes.partition.objective import Rates
from edgecut.passes.partition.problem import Problem, Totals

FLOAT32 = 4


def baselines(
    program: Program, problem: Problem, latency: Rates, known: Mapping[bytes, Totals]
) -> tuple[Baseline, ...]:
    """Edge-only, and cloud-only with each encoding of the inputs.

    An image may be sent as float32, uint8 or JPEG, whose coding is taken to cost no time; other inputs
    are sent as they are. Sides are judged by the same costs of groups as the cuts are.

    Args:
        program: For its inputs, and for what they take as JPEG.
        problem: The costs.
        latency: Prices of the latency at the plan's network.
        known: What placements add up to where that has been measured, by their bytes.
    """
    return (_edge_only(problem, latency, known), *_cloud_only(program, problem, latency, known))


def _edge_only(problem: Problem, latency: Rates, known: Mapping[bytes, Totals]) -> Baseline:
    if problem.must_cloud.any():
        return Baseline("edge-only", None, reason=_reason(problem, problem.must_cloud, "edge"))
    nothing = np.zeros(len(problem.groups), bool)
    return Baseline("edge-only", latency.price(known.get(nothing.tobytes()) or problem.totals(nothing)))


def _cloud_only(
    program: Program, problem: Problem, latency: Rates, known: Mapping[bytes, Totals]
) -> Iterator[Baseline]:
    if problem.must_edge.any():
        yield Baseline("cloud-only", None, reason=_reason(problem, problem.must_edge, "cloud"))
        return
    everything = np.ones(len(problem.groups), bool)
    if (sealed := problem.crossing(everything) & problem.sealed).any():
        name = problem.tensors[int(np.argmax(sealed))]
        yield Baseline("cloud-only", None, reason=f"{name} must not leave the device")
        return
    totals = known.get(everything.tobytes()) or problem.totals(everything)
    work = latency.price(totals) - latency.up_byte * totals.up_bytes
    for name, size in uploads(program).items():
        yield Baseline(f"cloud-only {name}".rstrip(), work + latency.up_byte * size, size)


def uploads(program: Program) -> dict[str, int]:
    """Bytes of all inputs together, by the name of the encoding of the images among them."""
    inputs = [v for v in program.graph.inputs if v.name not in program.graph.initializers]
    images = {v: image for v in inputs if (image := annotations.get(v, ImageInput))}
    other = sum(nbytes(v) for v in inputs if v not in images)
    if not images:
        types = {v.dtype.name.lower() for v in inputs if v.dtype is not None}
        return {"float32" if types <= {"float", "float32"} else "": other}
    pixels = {v: nbytes(v) for v in images}
    found = {
        "float32": other + sum(_float32(image, pixels[v]) for v, image in images.items()),
        "uint8": other + sum(_uint8(image, pixels[v]) for v, image in images.items()),
    }
    measured = [image.upload for image in images.values()]
    jpegs = [upload.jpeg for upload in measured if upload is not None and upload.jpeg is not None]
    if len(jpegs) == len(images):
        quality = measured[0].jpeg_quality if measured[0] else None
        found[f"jpeg q{quality}" if quality else "jpeg"] = other + sum(jpegs)
    return found


def _float32(image: ImageInput, pixels: int) -> int:
    return image.upload.float32 if image.upload else FLOAT32 * pixels


def _uint8(image: ImageInput, pixels: int) -> int:
    return image.upload.uint8 if image.upload and image.upload.uint8 is not None else pixels


def _reason(problem: Problem, pinned: np.typing.NDArray[np.bool_], side: str) -> str:
    first = problem.reasons[problem.groups[int(np.argmax(pinned))]]
    more = int(pinned.sum()) - 1
    return f"the {side} cannot run {first}" + (f", and {more} more" if more else "")
