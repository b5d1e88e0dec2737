"""What is in a TFLite file, from edgecut or any other converter."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

from edgecut.ir.errors import ModelError


def operators(data: bytes) -> Counter[str]:
    """How many operators of each kind a file has, all its subgraphs together; custom ones by their own names.

    Raises:
        ModelError: It is no TFLite file.
    """
    model = _model(data)
    codes = [_name(model.OperatorCodes(i)) for i in range(model.OperatorCodesLength())]
    graphs = [model.Subgraphs(i) for i in range(model.SubgraphsLength())]
    return Counter(codes[g.Operators(i).OpcodeIndex()] for g in graphs for i in range(g.OperatorsLength()))


def _model(data: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    if data[4:8] != b"TFL3":
        raise ModelError("is no TFLite file")
    return schema.Model.GetRootAs(data)


@cache
def _kinds() -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}


def _name(code: Any) -> str:
    # Old writers fill the deprecated byte only.
    name = _kinds()[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
    custom = code.CustomCode()
    return str(custom.decode()) if name == "CUSTOM" and custom else name
