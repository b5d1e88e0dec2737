"""A program as a torch module whose parameters are its weights."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as oir

from edgecut.ir.errors import ModelError, UsageError
from edgecut.ir.program import Program
from edgecut.passes.finetune.operators import Unsupported, compute
from edgecut.passes.numerics import Array, Runner, Sample

Tensor = Any

# Float kernels add up in other orders; deep networks carry that on.
_TOLERANCE = 1e-3


def has_torch() -> bool:
    """Whether torch is installed; it is not imported."""
    return importlib.util.find_spec("torch") is not None


def require_torch() -> Any:
    """torch, on one thread and deterministic.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise UsageError("this needs PyTorch", hint="pip install 'edgecut[torch]'") from error
    # On two its gradients of convolutions have corrupted memory (2.13 on x86 with AMX) and ended the process.
    torch.set_num_threads(1)
    return torch


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 by itself, which is faster."""
    cpu = require_torch().cpu
    return any(getattr(cpu, f"_is_{name}_supported", bool)() for name in ("amx_tile", "avx512_bf16"))


class Trainable:
    """A program that torch computes and differentiates.

    The graph is written for one sample. Where its first axis can be made longer, which is tried, a batch goes
    through as a whole; else by vectorizing the graph, so that no shape in it has to be understood.

    Args:
        program: What to train; `store` writes the weights back to it.
        observe: Names of the values that `__call__` returns.

    Raises:
        ModelError: An operator of it cannot be trained through.
        UsageError: torch is not installed.
    """

    def __init__(self, program: Program, observe: Sequence[str]) -> None:
        self._torch = require_torch()
        self._program = program
        self._observe = list(observe)
        self._nodes = list(program.nodes)
        self._constants: dict[str, Tensor] = {}
        self.parameters: dict[str, Tensor] = {}
        for name, value in program.graph.initializers.items():
            if value.const_value is None:
                continue
            tensor = self._torch.from_numpy(np.array(value.const_value.numpy()))
            trained = _is_weight(value) and tensor.is_floating_point()
            (self.parameters if trained else self._constants)[name] = tensor
        for tensor in self.parameters.values():
            tensor.requires_grad_(True)
        if not self.parameters:
            raise ModelError("has no weights to train", where=program.graph.name)
        self.takes_batches = False
        """Whether a batch goes through as a whole; `check` finds out."""

    def __call__(self, batch: Mapping[str, Tensor]) -> list[Tensor]:
        """The observed values, each [batch, ...], for inputs that are each [batch, *shape of the input]."""
        if self.takes_batches:
            return self._together(batch)
        names = list(batch)

        def single(*arrays: Tensor) -> tuple[Tensor, ...]:
            return self.values(dict(zip(names, arrays, strict=True)))

        return list(self._torch.vmap(single)(*(batch[n] for n in names)))

    def check(self, sample: Sample) -> None:
        """Compare with ONNX Runtime on a sample.

        Raises:
            ModelError: torch computes something else.
        """
        batch = {n: self._torch.from_numpy(np.ascontiguousarray(a))[None] for n, a in sample.items()}
        with self._torch.no_grad():
            found = self(batch)
            self.takes_batches = self._goes_together(batch)
        expected = Runner(self._program, self._observe)(sample)
        for name, tensor in zip(self._observe, found, strict=True):
            want = expected[name].astype(np.float64)
            error = np.linalg.norm(tensor[0].numpy() - want) / max(float(np.linalg.norm(want)), 1e-12)
            if error > _TOLERANCE:
                what = f"torch computes it otherwise (relative error {error:.1e}), so it cannot be trained"
                raise ModelError(what, where=name, hint="prune without finetune")

    def _together(self, batch: Mapping[str, Tensor]) -> list[Tensor]:
        """The batch along the first axis of the graph's own values."""
        if any(tensor.shape[1] != 1 for tensor in batch.values()):
            raise Unsupported("its inputs have no axis for a batch")
        return [tensor[:, None] for tensor in self.values({n: t[:, 0] for n, t in batch.items()})]

    def _goes_together(self, batch: Mapping[str, Tensor]) -> bool:
        """Whether three samples at once give what each gives alone."""
        three = {
            n: self._torch.cat([t, t / 2, t.flip(-1)]) if t.is_floating_point() else self._torch.cat([t] * 3)
            for n, t in batch.items()
        }
        alone = self(three)
        try:
            found = self._together(three)
        except (
            RuntimeError,
            IndexError,
            ModelError,
            Unsupported,
        ):  # what torch raises where shapes do not fit
            return False
        return all(
            a.shape == f.shape and float((a - f).norm()) <= _TOLERANCE * max(float(a.norm()), 1e-12)
            for a, f in zip(alone, found, strict=True)
        )

    def state(self) -> dict[str, Array]:
        """Copies of the weights, by name."""
        return {name: tensor.detach().numpy().copy() for name, tensor in self.parameters.items()}

    def load(self, state: Mapping[str, Array]) -> None:
        """Take over weights that `state` gave."""
        with self._torch.no_grad():
            for name, tensor in self.parameters.items():
                tensor.copy_(self._torch.from_numpy(state[name]))

    def store(self) -> None:
        """Write the weights to the program."""
        for name, array in self.state().items():
            self._program.graph.initializers[name].const_value = oir.tensor(array, name=name)

    def values(self, values: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """The observed values, for inputs along the first axis of the graph's own values."""
        values = {**self._constants, **self.parameters, **values}
        for node in self._nodes:
            inputs = [values[v.name or ""] for v in _given(node)]
            for output, tensor in zip(node.outputs, compute(node, inputs), strict=False):
                values[output.name or ""] = tensor
        return tuple(values[name] for name in self._observe)


def _given(node: oir.Node) -> list[oir.Value]:
    """Inputs of a node up to the first that is left out."""
    found: list[oir.Value] = []
    for value in node.inputs:
        if value is None:
            break
        found.append(value)
    return found


def _is_weight(value: oir.Value) -> bool:
    """What training may change: weights and biases, not scalars, nor the statistics of a normalization."""
    users = [(node.op_type, index) for node, index in value.uses()]
    own = all(index > 0 or op in ("Gather", "MatMul", "Add", "Mul", "Concat") for op, index in users)
    stored = any(op == "BatchNormalization" and index > 2 for op, index in users)
    shapes = any(op in ("Resize", "Pad", "Clip", "Pow", "Div") for op, _ in users)
    if not own or stored or shapes or value.const_value is None:
        return False
    # A layer of one channel has a weight or bias of one number.
    return value.const_value.size > 1 or all(op in ("Conv", "ConvTranspose", "Gemm") for op, _ in users)
