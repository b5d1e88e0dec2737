"""How much an error in the results of one layer shows in the outputs of the model."""

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
import onnx_ir as oir

from edgecut.ir.program import Program
from edgecut.passes.numerics import Difference, Runner, Sample
from edgecut.passes.prune.importance import reads

# Samples that are enough to tell layers apart: with 16 they were told apart by chance.
SAMPLES = 256
# Relative size of the disturbance: small enough for the answer to be about proportional.
_SIZE = 0.1


def sensitivities(program: Program, samples: Iterable[Sample]) -> dict[str, float]:
    """Relative error power at the worst output, per relative error power in a layer's results.

    Each layer with weights is disturbed in turn, by seeded noise on its weights.

    Returns:
        By the name of the node.
    """
    some = list(islice(samples, SAMPLES))
    names = [n.name or "" for n in program.nodes if reads(n)]
    return {name: _disturb(program, name, some) for name in names}


def _disturb(program: Program, name: str, samples: Sequence[Sample]) -> float:
    copy = program.copy()
    node = next(n for n in copy.nodes if n.name == name)
    weight = node.inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    array = np.asarray(weight.const_value.numpy(), np.float32)
    noise = np.random.default_rng(0).standard_normal(array.shape).astype(np.float32)
    own = oir.val(f"{name}_disturbed", const_value=oir.tensor(array + _SIZE * array.std() * noise))
    copy.graph.register_initializer(own)
    node.replace_input_with(1, own)
    result = node.outputs[0].name or ""
    outputs = [spec.name for spec in program.outputs]
    before, after = Runner(program, [result]), Runner(copy, [result])
    whole, layer = Difference(), Difference()
    for sample in samples:
        expected, found = before(sample), after(sample)
        whole.add({n: expected[n] for n in outputs}, found)
        layer.add({result: expected[result]}, found)
    return float(10 ** ((layer.sqnr_db - whole.sqnr_db) / 10))
