"""Runs requests on the models: some at once, some waiting, the rest turned away."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

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


@dataclass(frozen=True)
class _Job:
    model: ServedModel
    inputs: Mapping[str, np.ndarray]
    answer: asyncio.Future[Result]
    queued_at: float = field(default_factory=time.perf_counter)


class Engine:
    """Workers that run models, and the requests that wait for them.

    A worker that becomes free takes the oldest request, and with it those for the same model that are
    waiting too, up to the model's largest batch. So batches form under load alone, and no request is held
    back for others to come.

    Args:
        workers: Models that run at once.
        max_waiting: Requests that may wait; others are refused at once, so that their devices can fall
            back while an answer would still be in time.
    """

    def __init__(self, *, workers: int = 1, max_waiting: int = 64) -> None:
        self.metrics = Metrics()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="edgecut-model")
        self._free = workers
        self._max_waiting = max_waiting
        self._waiting: deque[_Job] = deque()
        self._running = 0

    @property
    def pending(self) -> int:
        """Requests that wait or run now."""
        return len(self._waiting) + self._running

    async def infer(self, model: ServedModel, inputs: Mapping[str, np.ndarray]) -> Result:
        """Run a model on inputs of its shapes and types.

        Raises:
            BusyError: Too many requests are waiting.
            ModelError: The model does not load or fails.
        """
        if self._free == 0 and len(self._waiting) >= self._max_waiting:
            raise BusyError
        job = _Job(model, inputs, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._dispatch()
        return await job.answer

    async def warm(self, models: Iterable[ServedModel]) -> None:
        """Load models, so that their first requests need not wait for it."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self._pool, model.warm) for model in models))

    def close(self) -> None:
        """Finish what runs and stop."""
        self._pool.shutdown(wait=True)

    def _dispatch(self) -> None:
        while self._free and self._waiting:
            jobs = self._take()
            if not jobs:
                continue
            self._free -= 1
            self._running += len(jobs)
            run = asyncio.get_running_loop().run_in_executor(self._pool, _run, jobs)
            run.add_done_callback(lambda done, jobs=jobs: self._finish(jobs, done))  # type: ignore[misc]

    def _take(self) -> list[_Job]:
        """The oldest job and those that can run with it; those that nobody waits for any more are dropped."""
        first = self._waiting.popleft()
        if first.answer.cancelled():
            return []
        jobs, rest = [first], deque[_Job]()
        for job in self._waiting:
            if job.answer.cancelled():
                continue
            fits = job.model is first.model and len(jobs) < first.model.max_batch
            (jobs if fits else rest).append(job)
        self._waiting = rest
        return jobs

    def _finish(self, jobs: list[_Job], done: asyncio.Future[list[Result]]) -> None:
        self._free += 1
        self._running -= len(jobs)
        self.metrics.ran(jobs[0].model.name)
        error = done.exception()
        for i, job in enumerate(jobs):
            if job.answer.cancelled():
                continue
            if error is not None:
                job.answer.set_exception(error)
            else:
                job.answer.set_result(done.result()[i])
        self._dispatch()


def _run(jobs: list[_Job]) -> list[Result]:
    model = jobs[0].model
    model.load()
    start = time.perf_counter()
    outputs = model.run([job.inputs for job in jobs])
    seconds = time.perf_counter() - start
    return [Result(found, start - job.queued_at, seconds) for job, found in zip(jobs, outputs)]
