"""Runs passes in order, with listeners between them and a cache beneath them."""

import functools
import hashlib
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgecut.ir import annotations, files, store
from edgecut.ir.annotations import Step
from edgecut.ir.errors import EdgecutError
from edgecut.ir.program import Program, history
from edgecut.passes import text
from edgecut.passes.base import Context, Pass

# The tools whose version may change what a pass makes of the same input.
TOOLS = (
    "edgecut", "onnx", "onnx-ir", "onnxsim", "onnxruntime", "ai-edge-litert", "numpy", "scipy",
    "torch", "onnxscript", "tensorflow", "tf2onnx",
)  # fmt: skip


@dataclass(frozen=True)
class Event:
    """What a listener is told after each pass."""

    index: int
    item: Pass
    program: Program
    seconds: float
    cached: bool


Listener = Callable[[Event], None]


def run(
    passes: Sequence[Pass],
    program: Program,
    context: Context,
    listeners: Sequence[Listener] = (),
    *,
    use_cache: bool = True,
) -> Program:
    """Run the passes one after the other.

    Args:
        passes: What to run.
        program: What to begin with; it is not changed.
        context: Handed to every pass.
        listeners: Told after each pass (timing, verifying and dumping are listeners).
        use_cache: Take results of cacheable passes from the store where nothing has changed.

    Raises:
        EdgecutError: A pass failed; a note on the error names it.
    """
    current = program.copy()
    for index, item in enumerate(passes):
        start = time.perf_counter()
        try:
            current, cached = _run_one(item, current, context, use_cache=use_cache)
            seconds = time.perf_counter() - start
            for listener in listeners:
                listener(Event(index, item, current, seconds, cached))
        except EdgecutError as error:
            error.add_note(f"in pass {item.name}")
            raise
    return current


def cache_key(item: Pass, fingerprint: str) -> str:
    """SHA-256 over all that the result of a pass depends on."""
    parts = [fingerprint, text.unparse(item), str(item.version), platform.machine(), platform.node()]
    parts += [f"{tool}={_version(tool)}" for tool in TOOLS]
    parts += [_content(path) for path in item.files()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@functools.cache
def _version(tool: str) -> str:
    try:
        return version(tool)
    except PackageNotFoundError:
        return "absent"


def _run_one(item: Pass, program: Program, context: Context, *, use_cache: bool) -> tuple[Program, bool]:
    """Run a pass, or take its result from the store; the flag says which."""
    item.check_before(program)
    key = cache_key(item, program.fingerprint()) if item.cacheable and use_cache else None
    found = store.get(key) if key else None
    if found is not None:
        for message in history(found).steps[-1].warnings:
            context.warn(message)
        return found, True
    told: list[str] = []

    def warn(message: str) -> None:
        told.append(message)
        context.warn(message)

    own = replace(context, metrics={}, warn=warn)
    result = item.run(program, own)
    step = Step(text.unparse(item), item.version, dict(own.metrics), tuple(told))
    steps = (*history(result).steps, step)
    annotations.put(result.model, replace(history(result), steps=steps))
    item.check_after(result)
    if key:
        store.put_quietly(result, key)
    return result, False


def _content(path: Path) -> str:
    if path.is_file():
        return files.sha256(path)
    if path.is_dir():
        inner = sorted(p for p in path.rglob("*") if p.is_file())
        return "\n".join(f"{p.relative_to(path)}={files.sha256(p)}" for p in inner)
    return "absent"
