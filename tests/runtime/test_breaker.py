"""When a failing server is left alone, and when it is tried again."""

from __future__ import annotations

from edgecut.runtime.breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock, **options: float) -> Breaker:
    breaker = Breaker(clock=clock, jitter=lambda: 0.5, **options)  # type: ignore[arg-type]
    for _ in range(3):
        assert breaker.allows()
        breaker.failed()
    return breaker


def test_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(clock=Clock())
    for _ in range(10):
        breaker.failed()
        breaker.failed()
        assert breaker.allows()
        breaker.succeeded()
    assert not opened(Clock()).allows()


def test_tries_again_after_a_pause_that_doubles_up_to_a_limit() -> None:
    clock = Clock()
    breaker = opened(clock, pause_s=1.0, max_pause_s=3.0)
    for pause in (1.0, 2.0, 3.0, 3.0):
        clock.now += pause - 0.01
        assert not breaker.allows()
        clock.now += 0.02
        assert breaker.allows()
        breaker.failed()
    clock.now += 3.1
    breaker.succeeded()
    assert breaker.allows()
    assert not breaker.is_open


def test_leaves_a_server_alone_for_as_long_as_it_asks() -> None:
    clock = Clock()
    breaker = Breaker(clock=clock, jitter=lambda: 0.5)
    breaker.failed(retry_after_s=7.0)
    clock.now += 6.9
    assert not breaker.allows()
    clock.now += 0.2
    assert breaker.allows()
