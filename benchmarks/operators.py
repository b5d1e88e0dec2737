"""ONNX's own node tests through the TFLite back end, in LiteRT; writes docs/operators.md.

Usage: python benchmarks/operators.py [--reasons] [NAME ...]

With names (parts of node tests' names) it only prints what became of those; ``--reasons`` prints the refusals
by how often they come. Each test is run with all its inputs computed; where that is refused, once more with
those constant that are in real networks: shapes, axes and the like first, then everything but the first.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

PAGE = Path(__file__).resolve().parents[1] / "docs" / "operators.md"
PASSED, REFUSED, WRONG = "passed", "refused", "wrong"
# Both sides add in float32, each in its own order; what ONNX expects NumPy computed, often in float64.
LIMIT = 1e-4
# All that they read is a shape or a range.
_OF_SHAPES = {"ConstantOfShape", "Range"}
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Result:
    """What became of one node test."""

    name: str
    operator: str
    state: str
    why: str = ""


def cases() -> list[Any]:
    """All node tests of the installed onnx, sorted by name."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some compute infinities on purpose
        found = load_model_tests(kind="node")
    return sorted(found, key=lambda case: str(case.name))


def operators(found: Iterable[Any]) -> dict[str, str]:
    """The operator that every test is about; the ``_expanded`` ones hold what its function is made of."""
    own = {c.name: _label(c.model.graph.node[-1 if len(c.model.graph.node) > 1 else 0]) for c in found}
    return {name: own.get(re.sub(r"_expanded.*", "", name), kind) for name, kind in own.items()}


def _label(node: Any) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def run(case: Any, operator: str) -> Result:
    """Lower a test and compare its numbers."""
    why = ""
    for constant in _variants(case):
        refusal = _refusal_or_difference(case, constant)
        if refusal is None:
            return Result(case.name, operator, PASSED)
        if refusal[0] == WRONG:
            return Result(case.name, operator, *refusal)
        why = refusal[1]
    return Result(case.name, operator, REFUSED, why)


def _variants(case: Any) -> Iterator[tuple[str, ...]]:
    """Which inputs are constant: none, then integers that come after the first input, then all after it."""
    inputs = case.model.graph.input
    yield ()
    integers = tuple(v.name for v in inputs[1:] if v.type.tensor_type.elem_type in (6, 7))
    if integers:
        yield integers
    later = tuple(v.name for v in inputs[1:] if v.type.HasField("tensor_type"))
    if later and later != integers:
        yield later
    if {node.op_type for node in case.model.graph.node} <= _OF_SHAPES:
        yield tuple(v.name for v in inputs)


def _refusal_or_difference(case: Any, constant: Sequence[str]) -> tuple[str, str] | None:
    from edgecut.frontends.normalize import normalize
    from edgecut.ir.errors import EdgecutError
    from edgecut.ir.extract import named_cut
    from edgecut.targets.tflite import backend

    inputs, expected = case.data_sets[0]
    try:
        program = normalize(_with_constants(case.model, inputs, constant), {}, case.name)
        lowered = backend.lower(program)
        if lowered.reasons:
            return REFUSED, next(iter(lowered.reasons.values()))
        emitted = backend.emit(program, [named_cut(program, "edge-only")])
    except EdgecutError as error:
        return REFUSED, str(error).removeprefix(f"{case.name}: ")
    names = [v.name for v in case.model.graph.input]
    given = {n: _array(a) for n, a in zip(names, inputs, strict=False) if n not in constant}
    made = _litert(emitted.data, given)
    outputs = [v.name for v in case.model.graph.output]
    for name, wanted in zip(outputs, expected, strict=True):
        difference = _difference(made[name], _array(wanted))
        if difference:
            return WRONG, f"{name}: {difference}"
    return None


def _with_constants(model: Any, arrays: Sequence[Any], names: Sequence[str]) -> Any:
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    known = dict(zip((v.name for v in model.graph.input), arrays, strict=False))
    kept = [v for v in model.graph.input if v.name not in names]
    copy.graph.initializer.extend(onnx.numpy_helper.from_array(_array(known[n]), n) for n in names)
    del copy.graph.input[:]
    copy.graph.input.extend(kept)
    return copy


def _array(value: Any) -> Array:
    """Types that NumPy has not come as messages."""
    import onnx

    return np.asarray(onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value)


def _litert(data: bytes, inputs: dict[str, Array]) -> dict[str, Array]:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=data, num_threads=1).get_signature_runner("cut0")
    made: dict[str, Array] = runner(**inputs)
    return made


def _difference(made: Array, wanted: Array) -> str:
    if made.shape != wanted.shape or made.dtype != wanted.dtype:
        return f"{made.dtype}{list(made.shape)} instead of {wanted.dtype}{list(wanted.shape)}"
    if wanted.dtype.kind != "f":
        worst = np.abs(made.astype(np.int64) - wanted.astype(np.int64)).max(initial=0)
        # A rounding at an exact tie, where a quantized result is compared.
        return "" if worst == 0 else f"off by {worst}"
    finite = np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0) or 1.0
    close = np.isclose(made, wanted, rtol=LIMIT, atol=LIMIT * finite, equal_nan=True)
    return "" if close.all() else f"{(~close).sum()} of {close.size} numbers differ"


def everything(names: Sequence[str] = ()) -> list[Result]:
    """Run all tests (or those whose names hold one of ``names``), in processes that may die."""
    found = cases()
    kinds = operators(found)
    chosen = [c for c in found if not names or any(n in c.name for n in names)]
    results: list[Result] = []
    context = multiprocessing.get_context("fork")
    while len(results) < len(chosen):
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(chosen[len(results) :], kinds, send))
        process.start()
        send.close()
        results += _received(receive)
        process.join()
        if len(results) < len(chosen):
            case = chosen[len(results)]
            results.append(
                Result(case.name, kinds[case.name], WRONG, f"the process died ({process.exitcode})")
            )
    return results


def _work(chosen: Sequence[Any], kinds: dict[str, str], pipe: Any) -> None:
    for case in chosen:
        try:
            result = run(case, kinds[case.name])
        except Exception as error:  # whatever it is, it is a defect, and shown as one
            result = Result(case.name, kinds[case.name], WRONG, f"{type(error).__name__}: {error}")
        pipe.send(result)
    pipe.close()


def _received(pipe: Any) -> Iterator[Result]:
    while True:
        try:
            yield pipe.recv()
        except EOFError:
            return


def page(results: Sequence[Result]) -> str:
    """docs/operators.md."""
    import onnx

    by_operator: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        by_operator[result.operator].append(result)
    count = Counter(r.state for r in results)
    whole = [k for k, rs in by_operator.items() if all(r.state == PASSED for r in rs)]
    none = [k for k, rs in by_operator.items() if all(r.state != PASSED for r in rs)]
    rows = [row(name, found) for name, found in sorted(by_operator.items(), key=lambda i: i[0].lower())]
    return _PAGE.format(
        version=onnx.__version__, tests=len(results), passed=count[PASSED], refused=count[REFUSED],
        wrong=count[WRONG], operators=len(by_operator), whole=len(whole), none=len(none),
        some=len(by_operator) - len(whole) - len(none), rows="\n".join(rows),
    )  # fmt: skip


_PAGE = """\
# What the TFLite back end lowers

ONNX's own node tests (onnx {version}, {tests} of them), each lowered, run in LiteRT, and compared with the
numbers that come with it: **{passed} pass, {refused} are refused with a reason, {wrong} give other numbers.**
Of {operators} operators {whole} pass every test, {some} some, {none} none.

What is refused is no error: such a node runs in the cloud, and `edgecut emit --explain` gives this reason.
Training operators, sequences, strings and the like have no counterpart in LiteRT. A test whose shapes or
axes are computed at run time counts as passed where it passes with them constant, as networks have them.

What ONNX says of NaN holds for comparisons and arithmetic; the kernels of LiteRT for Max, Min, Clip and Exp
take it for a number. Its power by one exponent gives the largest float32 where infinity is due.

`make operators` makes this page anew; a test fails where it is out of date.

| operator | pass | refused | reasons of the refusals |
|---|---|---|---|
{rows}
"""


def row(name: str, results: Sequence[Result]) -> str:
    """The line of one operator."""
    passed = sum(r.state == PASSED for r in results)
    reasons = Counter(r.why for r in results if r.state != PASSED)
    shown = [
        f"{why} ({n})" if n > 1 else why for why, n in sorted(reasons.items(), key=lambda i: (-i[1], i[0]))
    ]
    more = f"; {len(shown) - 4} more" if len(shown) > 4 else ""
    text = "; ".join(shown[:4]).replace("|", "\\|") + more
    return f"| {name} | {passed} | {len(results) - passed or ''} | {text} |"


def main() -> None:
    """Write the page, or print what became of the tests that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--reasons", action="store_true")
    options = parser.parse_args()
    results = everything(options.names)
    if options.reasons:
        reasons = Counter((r.state, r.why) for r in results if r.state != PASSED)
        for (state, why), n in reasons.most_common():
            example = next(r.name for r in results if r.why == why)
            print(f"{n:4} {state} {why}  [{example}]")
    elif options.names:
        for result in results:
            print(f"{result.name}: {result.state} {result.why}")
    else:
        PAGE.write_text(page(results), encoding="utf-8")
    print(dict(Counter(r.state for r in results)), file=sys.stderr)


if __name__ == "__main__":
    main()
