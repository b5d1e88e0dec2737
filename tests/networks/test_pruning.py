"""Channels, heads and widths of whole networks, found from their graphs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgecut.ir.program import Program, static_shape
from edgecut.passes import pipeline, recipes
from edgecut.passes.base import Context
from edgecut.passes.numerics import compare
from edgecut.passes.prune import choose, rules
from edgecut.passes.prune.dims import ChannelGroup

Leave = Callable[..., Program]
# Recurrent layers have no rule: nothing of these two can leave.
FIXED = ("lstm", "gru")
NAMES = [
    *("mobilenetv2", "mobilenetv3s", "resnet18", "resnet8", "efflite0", "shufflenetv2", "convnext", "yolo"),
    *("unet", "deeplab", "vit_tiny", "bert_tiny", "ecg1d", "dscnn", "keras_mobilenet", "keras_attention"),
    *FIXED,
]


def imported(networks: Path, name: str) -> Program:
    model = next(p for p in (networks / f"{name}.onnx", networks / f"{name}.keras") if p.exists())
    return pipeline.run(recipes.Source(model).front(), Program.empty(), Context())


def samples(networks: Path, name: str, program: Program) -> list[dict[str, np.ndarray]]:
    with np.load(networks / f"{name}.npz") as stored:
        arrays = dict(zip([spec.name for spec in program.inputs], stored.values(), strict=True))
    return [{k: v[i : i + 1] for k, v in arrays.items()} for i in range(2)]


def half(groups: list[ChannelGroup]) -> list[int]:
    return choose.by_ratio(groups, 0.5, 1)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_left_computes_what_the_whole_does_without_the_channels(
    networks: Path, leave: Leave, name: str
) -> None:
    program = imported(networks, name)
    groups = rules.groups(program)
    assert bool(groups) == (name not in FIXED)
    counts = half(groups)
    pruned = leave(program, counts, masked=False)
    assert not groups or pruned.weight_bytes() < program.weight_bytes()
    found = compare(leave(program, counts, masked=True), pruned, samples(networks, name, program))
    # Only the order of float32 additions differs.
    assert found.sqnr_db > 100


@pytest.mark.parametrize("name", ["vit_tiny", "bert_tiny", "keras_attention"])
def test_heads_leave_whole(networks: Path, leave: Leave, name: str) -> None:
    """Queries, keys, values and the product after them, however an exporter takes them apart."""
    program = imported(networks, name)
    heads = {"vit_tiny": 2, "bert_tiny": 2, "keras_attention": 4}[name]
    pruned = leave(program, half(rules.groups(program)), masked=False)
    assert _heads(program) == {heads}
    assert _heads(pruned) == {heads // 2}


def _heads(program: Program) -> set[int]:
    """Second axis of what a softmax takes: [1, heads, queries, keys]."""
    shapes = [static_shape(n.inputs[0]) for n in program.nodes if n.op_type == "Softmax" and n.inputs[0]]
    return {shape[1] for shape in shapes if shape is not None and len(shape) == 4}


def test_a_layer_of_which_one_channel_is_left_is_refitted_with_its_block(
    networks: Path, tmp_path: Path
) -> None:
    """Such a bias is one number, which is a weight all the same (yolo, whose samples are noise)."""
    options = {"ratio": 0.95, "calibration": networks / "yolo.npz", "refit": "blocks"}
    program = imported(networks, "yolo")
    pruned = recipes.make("prune", **options).run(program, Context())
    assert any(static_shape(n.outputs[0])[1] == 1 for n in pruned.nodes if n.op_type == "Conv")  # type: ignore[index]
