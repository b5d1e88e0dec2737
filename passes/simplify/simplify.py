"""The pass that leaves the fewest nodes that compute the same."""

from dataclasses import dataclass

from onnx_ir.passes.common import LiftConstantsToInitializersPass, RemoveUnusedNodesPass

from edgecut.frontends import normalize
from edgecut.ir.errors import ModelError
from edgecut.ir.program import Program, static_shape
from edgecut.passes.base import Context, Pass
from edgecut.passes.simplify import batchnorm, gemm, identity, onnxsimplifier


@dataclass(frozen=True)
class Simplify(Pass):
    """Fold constants and BatchNormalization, fuse what onnxsim can, and remove what nothing reads."""

    name = "simplify"
    version = 2
    cacheable = True

    def run(self, program: Program, context: Context) -> Program:
        """Rewrite the graph; names of inputs, outputs and remaining tensors stay, and so do annotations."""
        before = sum(1 for _ in program.nodes)
        result = self._onnxsim(program, context)
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(result.model)
        gemm.fuse(result)
        folded = batchnorm.fold(result)
        identity.remove(result)
        RemoveUnusedNodesPass()(result.model)
        normalize.infer_shapes(result.model, result.graph.name or "the model")
        after = sum(1 for _ in result.nodes)
        context.metrics.update(nodes_before=before, nodes_after=after, batchnorm_folded=folded)
        return result

    def check_after(self, program: Program) -> None:
        """Raise where a shape is still open: the value of a tensor decides it, and no pass can go on."""
        for name, value in program.values().items():
            if value.dtype is None or static_shape(value) is None:
                node = value.producer()
                what = f"the shape of {name!r} is not known before the model runs"
                hint = "export the model with static shapes"
                raise ModelError(what, where=node.name if node else None, hint=hint)

    def _onnxsim(self, program: Program, context: Context) -> Program:
        try:
            return onnxsimplifier.run(program)
        except onnxsimplifier.SimplifierError as error:
            context.warn(f"onnxsim is left out: {error}")
            return program
