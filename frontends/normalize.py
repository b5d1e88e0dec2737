"""Any ONNX model into the form that the passes expect: one opset, no functions, all shapes known."""

import contextlib
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import onnx
import onnx_ir as oir

from edgecut.frontends import contrib, older, shapes
from edgecut.frontends.quiet import reason
from edgecut.ir.errors import ModelError
from edgecut.ir.program import Program, static_shape

OPSET = 21
"""Models of an older opset are converted to this one."""
OLDEST = 7
"""The first whose broadcasting is today's."""
_CENTRED = 11
"""From this one on a Resize says where its pixels lie."""
_KEPT = 17
"""Where ONNX cannot convert, a model of this opset or newer is taken as it is."""
_IR_VERSION = 10
# What ONNX's own tools need to see of the weights are shapes and axes; the rest would only be copied.
_SMALL = 1024


def normalize(proto: onnx.ModelProto, wanted: shapes.Shapes, where: str) -> Program:
    """Inline functions, convert the opset, fix the shapes, infer all others, and check the result.

    Args:
        proto: The model, with its weights inside or in files that are there.
        wanted: Shapes of graph inputs, by name.
        where: The user's file, for errors.

    Raises:
        ModelError: The model is not valid ONNX, has an unknown operator, or a shape stays open.
        UsageError: ``wanted`` names an input that is not there.
    """
    if not proto.graph.output:
        raise ModelError("is no ONNX model: it has no graph outputs", where=where)
    opset = _opset(proto, where)
    proto = contrib.expand(proto)
    if proto.functions:
        proto = _inline(proto, where)
    proto = older.rewrite(proto, opset)
    _check_nodes(proto.graph, {o.domain: o.version for o in proto.opset_import}, set(), where)
    model = _read(proto, where)
    _check_inputs(model.graph, where)
    if opset < OPSET:
        model = _convert(model, opset, where)
    changed = shapes.fix(model.graph, wanted, where)
    infer_shapes(model, where, {} if changed else _static_shapes(model))
    program = Program(model)
    program.name_nodes()
    return program


def infer_shapes(model: oir.Model, where: str, known: Mapping[str, oir.Shape] | None = None) -> None:
    """Check a model, and set all shapes that follow from those of its inputs.

    Args:
        model: Changed in place; its own shapes between inputs and outputs are forgotten.
        where: The file or graph, for errors.
        known: Shapes of tensors to use where nothing follows.

    Raises:
        ModelError: The model is not valid: an operator, an attribute or a shape does not fit.
    """
    for node in model.graph.all_nodes():
        for value in node.outputs:
            value.shape = None
    try:
        with detached(model, _is_large) as proto:
            inferred = onnx.shape_inference.infer_shapes(
                proto, check_type=True, strict_mode=True, data_prop=True
            )
        found = {v.name: v for v in (*inferred.graph.value_info, *inferred.graph.output)}
        for value in (v for node in model.graph for v in node.outputs):
            _set_type(value, found.get(value.name or ""), known or {})
        for output in inferred.graph.output:
            if output.name in (known or {}) and not output.type.tensor_type.HasField("shape"):
                sizes = [int(str(d)) for d in (known or {})[output.name]]
                dims = [onnx.TensorShapeProto.Dimension(dim_value=n) for n in sizes]
                output.type.tensor_type.shape.dim.extend(dims)
            if not output.type.tensor_type.HasField("shape"):
                raise ModelError(f"the shape of output {output.name!r} cannot be inferred", where=where)
        onnx.checker.check_model(inferred)
    except ModelError:
        raise
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"is no valid ONNX model: {reason(error)}", where=where) from error
    except Exception as error:  # protobuf and onnx_ir
        raise ModelError(f"its shapes cannot be inferred: {reason(error)}", where=where) from error


def _set_type(value: oir.Value, found: onnx.ValueInfoProto | None, known: Mapping[str, oir.Shape]) -> None:
    if found is not None and found.type.HasField("tensor_type"):
        value.type = oir.serde.deserialize_type_proto_for_type(found.type)
        value.shape = oir.serde.deserialize_type_proto_for_shape(found.type)
    if static_shape(value) is None:
        value.shape = known.get(value.name or "", value.shape)


def _opset(proto: onnx.ModelProto, where: str) -> int:
    found: int | None = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), None)
    newest: int = onnx.defs.onnx_opset_version()
    if found is None or found < OLDEST:
        raise ModelError(
            f"is of opset {found or 'unknown'}", where=where, hint=f"export it with opset {OLDEST} or newer"
        )
    if found > newest:
        hint = f"upgrade the onnx package, or export with opset {OPSET}"
        raise ModelError(f"is of opset {found}; this onnx knows up to {newest}", where=where, hint=hint)
    return found


def _inline(proto: onnx.ModelProto, where: str) -> onnx.ModelProto:
    from onnx import inliner

    try:
        return inliner.inline_local_functions(proto, convert_version=True)
    except Exception as error:  # the inliner raises what protobuf, C++ and the converter raise
        raise ModelError(f"its functions cannot be inlined: {reason(error)}", where=where) from error


def _check_nodes(graph: onnx.GraphProto, opsets: Mapping[str, int], outer: set[str], where: str) -> None:
    """Operators exist, names are text, every tensor that is read is there; in bodies of If and Loop too."""
    if graph.sparse_initializer:
        raise ModelError("has sparse weights", where=where, hint="export it with dense ones")
    known = outer | {""} | {v.name for v in (*graph.input, *graph.initializer)}
    known |= {name for node in graph.node for name in node.output}
    for node in graph.node:
        if not all(isinstance(text, str) for text in (node.op_type, node.domain, node.name, *node.output)):
            raise ModelError("is no valid ONNX model: it holds names that are no text", where=where)
        place = node.name or (node.output[0] if node.output else node.op_type)
        domain = "" if node.domain == "ai.onnx" else node.domain
        version = opsets.get(domain, opsets.get(node.domain, 0))
        if not onnx.defs.has(node.op_type, max_inclusive_version=version, domain=domain):
            name = f"{domain}.{node.op_type}" if domain else node.op_type
            hint = "export the model with operators of standard ONNX"
            if domain == "com.microsoft.nchwc":
                hint = "it was optimized for one processor: save it with ORT_ENABLE_EXTENDED, or as it was"
            raise ModelError(f"unknown operator {name} in node {place!r}", where=where, hint=hint)
        absent = next((name for name in node.input if name not in known), None)
        if absent is not None:
            raise ModelError(f"node {place!r} reads {absent!r}, which nothing computes", where=where)
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                _check_nodes(body, opsets, known, where)


def _read(proto: onnx.ModelProto, where: str) -> oir.Model:
    """Into the IR, sorted, with initializers that are no inputs and nodes that have names."""
    try:
        model = oir.from_proto(proto)
        model.graph.sort()
    except Exception as error:  # onnx_ir raises kinds of its own, and ValueError for a cycle
        raise ModelError(f"is no valid ONNX model: {reason(error)}", where=where) from error
    graph = model.graph
    inputs = [v for v in graph.inputs if v.name not in graph.initializers]
    graph.inputs.clear()
    graph.inputs.extend(inputs)
    Program(model).name_nodes()  # converters keep names, but give none
    return model


def _check_inputs(graph: oir.Graph, where: str) -> None:
    for value in (*graph.inputs, *graph.outputs):
        if value.type is not None and not isinstance(value.type, oir.TensorType):
            raise ModelError(f"{value.name!r} is a {value.type}, not a tensor", where=where)
    for value in graph.inputs:
        if value.dtype is None:
            raise ModelError(f"the input {value.name!r} has no type", where=where)


def _convert(model: oir.Model, opset: int, where: str) -> oir.Model:
    try:
        with detached(model, _is_large) as proto:
            converted = onnx.version_converter.convert_version(proto, OPSET)
        result = attached(converted, model)
    except Exception as error:  # C++ converters raise RuntimeError and kinds of their own
        if opset >= _KEPT:
            return model
        hint = f"export it with opset {_KEPT} or newer"
        raise ModelError(
            f"opset {opset} cannot be converted: {reason(error)}", where=where, hint=hint
        ) from error
    result.ir_version = max(_IR_VERSION, model.ir_version)
    if opset < _CENTRED:
        _keep_corners(result, where)
    return result


def _keep_corners(model: oir.Model, where: str) -> None:
    """Say of every Resize what all of them did before it could be said; ONNX's converter leaves it out."""
    for node in model.graph.all_nodes():
        if node.op_type != "Resize" or node.domain not in ("", "ai.onnx"):
            continue
        scales = (
            oir.convenience.get_const_tensor(node.inputs[2])
            if len(node.inputs) > 2 and node.inputs[2]
            else None
        )
        factors = scales.numpy() if scales is not None else np.ones(0)
        mode = node.attributes["mode"].as_string() if "mode" in node.attributes else "nearest"
        shrinks = bool((factors < 1).any())
        if mode == "nearest" and (scales is None or (shrinks and (factors > 1).any())):
            what = (
                "shrinks one dimension and enlarges another" if scales is not None else "computes its scales"
            )
            raise ModelError(
                f"{what}; how it rounds is not defined before opset {_CENTRED}", where=node.name or where,
                hint=f"export it with opset {_CENTRED} or newer",
            )  # fmt: skip
        words = {
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "ceil" if shrinks else "floor",
        }
        node.attributes.update({key: oir.AttrString(key, word) for key, word in words.items()})


def _static_shapes(model: oir.Model) -> dict[str, oir.Shape]:
    """What the exporter wrote down; it may know more than can be inferred from the graph."""
    made = [value for node in model.graph for value in node.outputs]
    return {v.name or "": v.shape for v in made if v.shape is not None and static_shape(v) is not None}


def _is_large(weight: oir.Value) -> bool:
    return weight.const_value is not None and weight.const_value.size > _SMALL


@contextlib.contextmanager
def detached(model: oir.Model, chosen: Callable[[oir.Value], bool]) -> Iterator[onnx.ModelProto]:
    """The model as a small message: the ``chosen`` weights are inputs. It is whole again after the block."""
    graph = model.graph
    tensors = {value: value.const_value for value in graph.initializers.values()}
    large = [v for v, tensor in tensors.items() if tensor is not None and chosen(v)]
    for value in large:
        value.const_value = None
        graph.initializers.pop(value.name or "")
        graph.inputs.append(value)
    try:
        yield oir.to_proto(model)
    finally:
        for value in large:
            graph.inputs.remove(value)
        graph.initializers.clear()
        for value, tensor in tensors.items():
            value.const_value = tensor
            graph.initializers[value.name or ""] = value


def attached(proto: onnx.ModelProto, original: oir.Model) -> oir.Model:
    """The message as a model again, with the weights and properties of the one that it came from."""
    model = oir.from_proto(proto)
    graph = model.graph
    weights = original.graph.initializers
    for value in [v for v in graph.inputs if v.name in weights]:
        graph.inputs.remove(value)
        value.const_value = weights[value.name or ""].const_value
        graph.initializers[value.name or ""] = value
    found = {value.name or "": value for value in graph.initializers.values()}
    rank = {name: index for index, name in enumerate(weights)}
    graph.initializers.clear()
    for name in sorted(found, key=lambda n: rank.get(n, len(rank))):
        graph.initializers[name] = found[name]
    return model
