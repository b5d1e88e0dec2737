"""Runs requests on the models: some at once, some waiting, the rest turned away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from edgecut.runtime.metrics import Metrics
from edgecut.runtime.repository import ServedModel


class BusyError(Exception):
    """As many requests are waiting as may."""


@dataclass(frozen=True)
class Result:
    """Outputs, and the seconds that the request waited and the model took."""

    outputs: dict[str, np.ndarray]
    queue_s: float
    compute_s: float


class Engine:
    """Threads that run models.

    Args:
        workers: Requests that run at once.
        max_waiting: Requests that may wait; others are refused at once, so that their devices can fall
            back while an answer would still be in time.
    """

    def __init__(self, *, workers: int = 1, max_waiting: int = 64) -> None:
        self.metrics = Metrics()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="edgecut-model")
        self._limit = workers + max_waiting
        self.pending = 0

    async def infer(self, model: ServedModel, inputs: Mapping[str, np.ndarray]) -> Result:
        """Run a model on inputs of its shapes and types.

        Raises:
            BusyError: Too many requests are waiting.
            ModelError: The model does not load or fails.
        """
        if self.pending >= self._limit:
            raise BusyError
        self.pending += 1
        try:
            start = time.perf_counter()
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(self._pool, _run, model, inputs, start)
        finally:
            self.pending -= 1
        self.metrics.ran(model.name)
        return result

    def close(self) -> None:
        """Finish what runs and stop."""
        self._pool.shutdown(wait=True)


def _run(model: ServedModel, inputs: Mapping[str, np.ndarray], queued_at: float) -> Result:
    model.load()
    start = time.perf_counter()
    outputs = model.run(inputs)
    return Result(outputs, start - queued_at, time.perf_counter() - start)
