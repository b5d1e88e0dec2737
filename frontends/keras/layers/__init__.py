"""Keras' layers and operations in ONNX, a file for each family.

A lowering takes a `base.Layer`, writes nodes, and gives the value that the layer makes, or a list of them.
"""

from edgecut.frontends.keras.layers import (
    activation,
    attention,
    convolution,
    dense,
    merge,
    normalization,
    pool,
    recurrent,
    shape,
)

LAYERS = {
    **activation.LAYERS,
    **attention.LAYERS,
    **convolution.LAYERS,
    **dense.LAYERS,
    **merge.LAYERS,
    **normalization.LAYERS,
    **pool.LAYERS,
    **recurrent.LAYERS,
    **shape.LAYERS,
}
"""By the name of the class."""
OPERATIONS = {**activation.OPERATIONS, **merge.OPERATIONS, **shape.OPERATIONS}
"""Functions of ``keras.ops`` that a functional model calls, by the name of their class."""
