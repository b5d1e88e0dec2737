"""How much an error in the results of one layer shows in the outputs of the model."""

from collections.abc import Iterable
from itertools import islice

import numpy as np
import onnx_ir as oir

from edgecut.ir.program import Program
from edgecut.passes.divergence import Answers
from edgecut.passes.numerics import Runner, Sample
from edgecut.passes.prune.reconstruction import Moments, power

# Samples that are enough to tell layers apart, and those that have to be seen: with 16 it was chance.
SAMPLES, _LEAST = 256, 32
# Relative standard error of a layer's figure from which on no more samples are looked at.
_SURE = 0.2
# Relative size of the disturbance: small enough for the answer to be about proportional.
_SIZE = 0.1


def sensitivities(program: Program, samples: Iterable[Sample], moments: Moments) -> dict[str, float]:
    """Divergence of the outputs, per relative error power in a layer's results.

    Each layer with weights is disturbed in turn, by seeded noise on its weights, until its figure is sure.

    Args:
        program: The program.
        samples: Inputs.
        moments: Of what its layers read.

    Returns:
        By the name of the node.
    """
    answers = Answers.of(program, islice(samples, SAMPLES))
    return {node.name or "": _disturb(program, node, moments, answers) for node in moments}


def _disturb(program: Program, node: oir.Node, moments: Moments, answers: Answers) -> float:
    weight = node.inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    array = np.asarray(weight.const_value.numpy(), np.float32)
    noise = _SIZE * array.std() * np.random.default_rng(0).standard_normal(array.shape).astype(np.float32)
    copy = program.copy()
    own = oir.val(f"{node.name}_disturbed", const_value=oir.tensor(array + noise))
    copy.graph.register_initializer(own)
    next(n for n in copy.nodes if n.name == node.name).replace_input_with(1, own)
    runner = Runner(copy, answers.names)
    shown: list[float] = []
    for index, sample in enumerate(answers.samples):
        shown.append(answers.of_sample(index, runner(sample)))
        if len(shown) >= _LEAST and np.std(shown) <= _SURE * np.mean(shown) * len(shown) ** 0.5:
            break
    moment = moments[node]
    error = power(node, noise, moment) / max(power(node, array, moment), 1e-30)
    return float(np.mean(shown) / max(error, 1e-30))
