"""The same server on Ray Serve: several copies of it, on one machine or on many.

Every replica loads the models and has its own queue, batches and metrics. The builds have to be at the same
paths on every machine of the cluster.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from edgecut.ir.errors import TargetError, UsageError
from edgecut.runtime.serving import Settings, asgi

_NAME = "edgecut"


@dataclass(frozen=True)
class Cluster:
    """Where the replicas run."""

    replicas: int = 1
    address: Optional[str] = None
    """Of a running cluster, ``auto`` or ``ray://host:port``; None starts one on this machine."""


def serve(
    builds: Sequence[Path],
    *,
    host: str,
    port: int,
    settings: Settings,
    cluster: Cluster,
    announce: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve the cloud halves of some builds on Ray Serve until SIGINT or SIGTERM.

    Args:
        builds: Build folders.
        host: Address to listen on.
        port: Port to listen on.
        settings: How each replica is run.
        cluster: Where they run.
        announce: Told the URL once the server answers.

    Raises:
        ModelError: A build is invalid.
        TargetError: Ray does not start, or the replicas do not.
        UsageError: Ray is not installed, or the tokens cannot be used.
    """
    if port == 0:
        raise UsageError("Ray Serve needs a port to be named", where="--port")
    paths = [build.absolute() for build in builds]
    asgi(paths, settings)  # what is wrong with the builds is told here, in one line
    ray, ray_serve = _library()
    stop = threading.Event()
    http = {
        "host": host,
        "port": port,
        "ssl_certfile": str(settings.certificate) if settings.certificate else None,
        "ssl_keyfile": str(settings.key) if settings.key else None,
    }
    try:
        ray.init(
            address=cluster.address, log_to_driver=False, include_dashboard=False, configure_logging=False
        )
        ray_serve.start(http_options=http)
        ray_serve.run(_application(ray_serve, paths, settings, cluster.replicas), name=_NAME)
        # Ray puts in handlers of its own, which abort.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        scheme = "https" if settings.certificate else "http"
        announce(f"{scheme}://{host}:{port}")
        stop.wait()
    except (RuntimeError, ConnectionError, TimeoutError, ValueError) as error:
        raise TargetError(
            f"Ray Serve does not start: {error}", where=cluster.address or "this machine"
        ) from error
    finally:
        ray_serve.shutdown()
        ray.shutdown()


def _application(ray_serve: Any, builds: list[Path], settings: Settings, replicas: int) -> Any:
    # Called in the replica: sessions and threads cannot travel there.
    def make() -> Any:
        return asgi(builds, settings)

    class Replica:
        pass

    # As many as are run and may wait: what is beyond gets the server's own 503 rather than Ray's queue.
    ongoing = settings.workers * settings.max_batch + settings.max_waiting + 1
    deployment = ray_serve.deployment(name=_NAME, num_replicas=replicas, max_ongoing_requests=2 * ongoing)
    return deployment(ray_serve.ingress(make)(Replica)).bind()


def _library() -> tuple[Any, Any]:
    # Ray sends usage statistics home unless told otherwise before it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        from ray import serve as ray_serve
    except ImportError as error:
        raise UsageError("Ray Serve is not installed", hint="pip install 'edgecut[ray]'") from error
    return ray, ray_serve
