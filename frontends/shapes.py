"""Fixes the shapes of graph inputs: every tensor of a program has a known shape."""

from collections.abc import Mapping

import onnx_ir as oir

from edgecut.ir.errors import ModelError, UsageError

Shapes = Mapping[str, tuple[int, ...]]
Dims = tuple[int | str | None, ...]


def parse(texts: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Read ``name=1,3,224,224``; the name may hold ``=`` itself.

    Raises:
        UsageError: A text is not of this form, a dimension is not positive, or a name comes twice.
    """
    found: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, _, dims = text.rpartition("=")
        try:
            shape = tuple(int(part) for part in dims.split(","))
        except ValueError:
            shape = (0,)
        if not name or any(dim < 1 for dim in shape):
            raise UsageError(f"is {text!r}", where="shape", hint="NAME=1,3,224,224")
        if name in found:
            raise UsageError(f"is given twice for {name!r}", where="shape")
        found[name] = shape
    return found


def fix(graph: oir.Graph, shapes: Shapes, where: str) -> bool:
    """Give every graph input the shape asked for, and an open batch (first) dimension the size 1.

    A symbol that gets a size in one place has it everywhere.

    Args:
        graph: Changed in place; its initializers are no inputs.
        shapes: Shapes by input name.
        where: The file, for errors.

    Returns:
        Whether a shape changed: what was inferred before no longer holds then.

    Raises:
        UsageError: ``shapes`` names an input that is not there.
        ModelError: A shape has another rank, or a dimension stays open.
    """
    inputs = {v.name or "": v for v in graph.inputs}
    unknown = next((name for name in shapes if name not in inputs), None)
    if unknown is not None:
        hint = f"the model has: {', '.join(inputs)}"
        raise UsageError(f"the model has no input {unknown!r}", where="shape", hint=hint)
    sizes = _symbols(inputs, shapes, where)
    changed = False
    for name, value in inputs.items():
        old = _dims(value)
        new = _fixed(name, old, shapes, sizes, where)
        changed |= new != old
        value.shape = oir.Shape(new)
    return changed


def _fixed(
    name: str, old: Dims | None, shapes: Shapes, sizes: Mapping[str, int], where: str
) -> tuple[int, ...]:
    if name in shapes:
        return shapes[name]
    if old is None:
        raise ModelError(f"input {name!r} has no shape", where=where, hint=f"--shape {name}=...")
    new = [_size(dim, at, sizes) for at, dim in enumerate(old)]
    fixed = tuple(dim for dim in new if isinstance(dim, int))
    if len(fixed) < len(new):
        shown = ", ".join(str(d) if d else "?" for d in old)
        example = ",".join(str(d) if isinstance(d, int) else "N" for d in new)
        what = f"input {name!r} has the open shape [{shown}]"
        raise ModelError(what, where=where, hint=f"--shape {name}={example}")
    return fixed


def _symbols(inputs: Mapping[str, oir.Value], shapes: Shapes, where: str) -> dict[str, int]:
    """Sizes of the symbols in the shapes of the inputs, as far as they are known."""
    sizes: dict[str, int] = {}
    for name, shape in shapes.items():
        dims = _dims(inputs[name])
        if dims is None:
            continue
        if len(dims) != len(shape):
            what = f"input {name!r} has {len(dims)} dimensions, --shape gives {len(shape)}"
            raise ModelError(what, where=where)
        pairs = zip(dims, shape, strict=True)
        sizes.update({dim: size for dim, size in pairs if isinstance(dim, str)})
    for value in inputs.values():
        dims = _dims(value)
        if dims and isinstance(dims[0], str):
            sizes.setdefault(dims[0], 1)
    return sizes


def _size(dim: int | str | None, at: int, sizes: Mapping[str, int]) -> int | str | None:
    if dim is None and at == 0:
        return 1
    return sizes.get(dim, dim) if isinstance(dim, str) else dim


def _dims(value: oir.Value) -> Dims | None:
    if value.shape is None:
        return None
    # Exporters of old wrote 0 or -1 for a dimension that is open.
    dims = [d if isinstance(d, int) else d.value for d in value.shape]
    return tuple(None if isinstance(d, int) and d < 1 else d for d in dims)
