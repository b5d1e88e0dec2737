"""Writes a quantization into the graph: QuantizeLinear and DequantizeLinear around the integer region.

Values keep their names; beside ``x`` there are ``x_quantized``, its integers, and ``x_dequantized``. A graph
output keeps its name too, so the float before it is called ``x_float``.
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as oir
from numpy.typing import NDArray

from edgecut.ir import annotations
from edgecut.ir.annotations import Origin
from edgecut.ir.program import Program
from edgecut.passes.quantize import grid, means, region, untied
from edgecut.passes.quantize.grid import Grid
from edgecut.passes.quantize.region import Region
from edgecut.targets.tflite import interpolation, leaky

AnyArray = NDArray[np.generic]
Spanning = Callable[[float, float], Grid]


def write(program: Program, found: Region, grids: Mapping[oir.Value, Grid], spanning: Spanning) -> None:
    """Quantize the region in place.

    Args:
        program: Float program.
        found: Its region.
        grids: The grid of every value of the region; those of a tied group are equal.
        spanning: The grid of a constant operand, from its least and greatest number.
    """
    _take_slopes(found, grids)
    writer = _Writer(program, found, grids, spanning)
    for node in [n for n in program.nodes if n in found.nodes]:
        writer.quantize_constants(node)
    for value in grids:
        writer.quantize_value(value)
    _drop_unused(program)


class _Writer:
    def __init__(
        self, program: Program, found: Region, grids: Mapping[oir.Value, Grid], spanning: Spanning
    ) -> None:
        self.spanning = spanning
        self.graph = program.graph
        self.region = found
        self.grids = grids
        self.taken = set(program.values()) | {n.name or "" for n in program.nodes}
        self.scalars: dict[Grid, tuple[oir.Value, oir.Value]] = {}
        self.first = next(program.nodes)
        self.unties = all(g.dtype == "int8" for g in grids.values())
        self.is_wide = any(g.dtype == "int16" for g in grids.values())
        self.halved = {v: self._halved_parts(v) for v in grids}
        self.made = {chain[0]: chain[-1].outputs[0] for chain in found.chains}

    def quantize_constants(self, node: oir.Node) -> None:
        """Put a node's weights on their grids, its bias on that of its accumulator."""
        if node.op_type in region.WEIGHTED:
            self._quantize_weights(node)
        elif node.op_type in region.ARITHMETIC and not self._adds_bias(node):
            self._quantize_operand(node)

    def quantize_value(self, value: oir.Value) -> None:
        """Round a value between its producer and those users that work on integers."""
        inside = value.producer() in self.region.nodes
        users = [(n, i) for n, i in value.uses() if inside or n in self.region.nodes]
        scale, zero = self._grid(value, self.grids[value])
        name = value.name or ""
        integers = oir.DataType[self.grids[value].dtype.upper()]
        quantized = oir.val(self._new(f"{name}_quantized"), integers, value.shape)
        real = oir.val(self._new(f"{name}_dequantized"), oir.DataType.FLOAT, value.shape)
        nodes = self._nudge(value)
        source = nodes[0].outputs[0] if nodes else value
        nodes += [
            oir.node("QuantizeLinear", [source, scale, zero], outputs=[quantized], name=f"{name}_quantize"),
            oir.node("DequantizeLinear", [quantized, scale, zero], outputs=[real], name=f"{name}_dequantize"),
        ]
        self._insert(value.producer(), nodes)
        for user, index in users:
            user.replace_input_with(index, real)
        if inside and value.is_graph_output():
            self._take_output(value, real)

    def _nudge(self, value: oir.Value) -> list[oir.Node]:
        """An Add before rounding, where the kernel rounds halves upwards: then they go up everywhere."""
        own, count = self.grids[value], self.halved.get(value)
        if own.dtype != "int8" or count is None:
            return []
        name, part = f"{value.name}_halves_up", own.scale * interpolation.nudge(count)
        step = self._initializer(f"{name}_step", np.asarray(part, np.float32))
        out = oir.val(self._new(name), oir.DataType.FLOAT, value.shape)
        return [oir.node("Add", [value, step], outputs=[out], name=name)]

    def _halved_parts(self, value: oir.Value) -> int | None:
        """In which parts of its own step a value comes, if its kernel rounds halves of it upwards."""
        node = value.producer()
        if node is None or node not in self.region.nodes:
            return None
        if node.op_type == "Resize" and means.interpolates(node) and region.moves(node):
            count = means.parts(node)
            return None if count == 1 else count
        if node.op_type == "LeakyRelu":
            (x,) = region.activations(node)
            ratio = self.grids[x].scale / self.grids[value].scale
            return leaky.PARTS if leaky.exact(ratio, region.slope(node)) else None
        return None

    def _quantize_weights(self, node: oir.Node) -> None:
        (data,) = region.activations(node)
        weight, bias = node.inputs[1], self.region.biases.get(node)
        assert weight is not None
        array, axis = grid.constant_array(weight), region.weight_axis(node)
        bias_array = None if bias is None else grid.constant_array(bias)
        step = self.grids[data].scale
        if axis is None:
            flat = None if bias_array is None else np.abs(bias_array).max(keepdims=True)
            row = array.reshape(1, -1)
            scales = grid.channel_scales(row, 0, flat, step)
            scales = self._untied(node, scales, step, grid.are_on_grid(row, scales, 0))
            rounded = grid.quantize_weight(row, scales, 0).reshape(array.shape)
        else:
            scales = grid.channel_scales(array, axis, bias_array, step)
            scales = self._untied(node, scales, step, grid.are_on_grid(array, scales, axis))
            rounded = grid.quantize_weight(array, scales, axis)
        node.replace_input_with(1, self._constant(node, weight, rounded, scales, axis))
        if bias is None or bias_array is None:
            return
        spread = np.broadcast_to(scales * np.float32(step), bias_array.shape)
        quantized = self._constant(node, bias, grid.quantize_bias(bias_array, spread), spread, 0)
        for user, index in list(bias.uses()):
            if user is node or self._is_bias_add(user, node):
                user.replace_input_with(index, quantized)

    def _quantize_operand(self, node: oir.Node) -> None:
        for index, value in enumerate(node.inputs):
            if value is None or value.const_value is None:
                continue
            array = grid.constant_array(value)
            own = self._constant_grid(node, self.spanning(float(array.min()), float(array.max())))
            node.replace_input_with(index, self._constant(node, value, own.quantize(array), own, None))

    def _untied(
        self, node: oir.Node, scales: grid.Floats, step: float, whole: NDArray[np.bool_] | None = None
    ) -> grid.Floats:
        """Scales of a node's constants with which no result lies between two integers, or hardly any."""
        out = self.grids[self.made[node]].scale
        if self.is_wide and node.op_type in region.WEIGHTED:
            return untied.short_scales(scales, step, out)
        return untied.weight_scales(scales, step, out, whole) if self.unties else scales

    def _constant_grid(self, node: oir.Node, own: Grid) -> Grid:
        """That of a constant operand."""
        step = self.grids[region.activations(node)[0]].scale if node.op_type == "Mul" else 1.0
        (scale,) = self._untied(node, np.array([own.scale], np.float32), step)
        return untied.regridded(own, float(scale))

    def _adds_bias(self, node: oir.Node) -> bool:
        return any(self._is_bias_add(node, owner) for owner in self.region.biases)

    def _is_bias_add(self, node: oir.Node, owner: oir.Node) -> bool:
        bias = self.region.biases[owner]
        return (
            node in self.region.nodes
            and node.op_type == "Add"
            and any(v is owner.outputs[0] for v in node.inputs)
            and any(v is bias for v in node.inputs)
        )

    def _constant(
        self, node: oir.Node, value: oir.Value, rounded: AnyArray, scale: AnyArray | Grid, axis: int | None
    ) -> oir.Value:
        """A DequantizeLinear of integers, before the node that uses them."""
        name = value.name or ""
        zero = 0
        if isinstance(scale, Grid):
            zero, scale = scale.zero_point, np.asarray(scale.scale, np.float32)
        elif axis is None:
            scale = scale.reshape(())
        inputs = [
            self._initializer(f"{name}_quantized", rounded),
            self._initializer(f"{name}_scale", np.ascontiguousarray(scale, np.float32)),
        ]
        if rounded.dtype != np.int32:
            inputs.append(self._initializer(f"{name}_zero_point", np.full(scale.shape, zero, rounded.dtype)))
        real = oir.val(self._new(f"{name}_dequantized"), oir.DataType.FLOAT, rounded.shape)
        attributes = {} if axis is None else {"axis": axis}
        made = oir.node(
            "DequantizeLinear", inputs, attributes, outputs=[real], name=self._new(f"{name}_dequantize")
        )
        _copy_origin(node, made)
        self.graph.insert_before(node, made)
        return real

    def _grid(self, value: oir.Value, own: Grid) -> tuple[oir.Value, oir.Value]:
        """Scale and zero point as initializers; equal grids share them."""
        if own not in self.scalars:
            self.scalars[own] = (
                self._initializer(f"{value.name}_scale", np.asarray(own.scale, np.float32)),
                self._initializer(f"{value.name}_zero_point", np.asarray(own.zero_point, own.dtype)),
            )
        return self.scalars[own]

    def _initializer(self, name: str, array: AnyArray) -> oir.Value:
        name = self._new(name)
        value = oir.val(name, const_value=oir.tensor(array, name=name))
        self.graph.register_initializer(value)
        return value

    def _insert(self, producer: oir.Node | None, nodes: list[oir.Node]) -> None:
        for node in nodes:
            node.name = self._new(node.name or "")
        if producer is None:
            self.graph.insert_before(self.first, nodes)
            return
        for node in nodes:
            _copy_origin(producer, node)
        self.graph.insert_after(producer, nodes)

    def _take_output(self, value: oir.Value, real: oir.Value) -> None:
        name = value.name
        real.metadata_props.update(value.metadata_props)
        for index, output in enumerate(self.graph.outputs):
            if output is value:
                self.graph.outputs[index] = real
        value.name = self._new(f"{name}_float")
        real.name = name

    def _new(self, wanted: str) -> str:
        name, count = wanted, 1
        while name in self.taken:
            name, count = f"{wanted}_{count}", count + 1
        self.taken.add(name)
        return name


def _take_slopes(found: Region, grids: Mapping[oir.Value, Grid]) -> None:
    """Give each LeakyRelu the slope that its kernel can multiply with."""
    for node in found.nodes:
        if node.op_type == "LeakyRelu" and grids[node.outputs[0]].dtype == "int8":
            (x,) = region.activations(node)
            slope = leaky.slope(grids[x].scale / grids[node.outputs[0]].scale, region.slope(node))
            node.attributes["alpha"] = oir.AttrFloat32("alpha", slope)


def _copy_origin(source: oir.Node, node: oir.Node) -> None:
    known = annotations.get(source, Origin)
    annotations.put(node, known or Origin((source.name or "",)))


def _drop_unused(program: Program) -> None:
    outputs = set(program.graph.outputs)
    for name, value in list(program.graph.initializers.items()):
        if not value.uses() and value not in outputs:
            del program.graph.initializers[name]
