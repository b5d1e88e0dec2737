"""The cloud side: the Open Inference Protocol over HTTP, as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Optional

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgecut.ir.errors import EdgecutError
from edgecut.ir.manifest import Tensor
from edgecut.runtime import artifact, codec, metrics, wire
from edgecut.runtime.auth import BearerAuth
from edgecut.runtime.boundary import is_stream
from edgecut.runtime.codec import WireError
from edgecut.runtime.engine import BusyError, Engine
from edgecut.runtime.repository import VERSION, Repository, ServedModel

_BODY_S = 60.0


class ProtocolServer:
    """The handlers, and what they share."""

    def __init__(self, repository: Repository, engine: Engine, *, max_body: int) -> None:
        self.repository = repository
        self.engine = engine
        self.max_body = max_body

    async def live(self, _request: HttpRequest) -> Response:
        """``GET /v2/health/live`` and ``/v2/health/ready``: models are loaded before."""
        return JSONResponse({})

    async def metrics(self, _request: HttpRequest) -> Response:
        """``GET /metrics``: for Prometheus."""
        text = self.engine.metrics.text(self.engine.pending)
        return Response(text, headers={"Content-Type": metrics.CONTENT_TYPE})

    async def sink(self, request: HttpRequest) -> Response:
        """``POST /edgecut/sink``: reads bytes that a device sends to see how long they take."""
        await self._body(request)
        return Response(status_code=204)

    async def server_metadata(self, _request: HttpRequest) -> Response:
        """``GET /v2``."""
        from edgecut import __version__

        return JSONResponse({"name": "edgecut", "version": __version__, "extensions": ["binary_tensor_data"]})

    async def index(self, _request: HttpRequest) -> Response:
        """``POST /v2/repository/index``."""
        return JSONResponse([_state(m) for _, m in sorted(self.repository.models.items())])

    async def model_metadata(self, request: HttpRequest) -> Response:
        """``GET /v2/models/{name}``."""
        model = self._model(request)
        body = {
            "name": model.name,
            "versions": [VERSION],
            "platform": "onnxruntime_onnx",
            "inputs": [_described(t, model) for t in model.inputs],
            "outputs": [_described(t, model) for t in model.outputs],
        }
        return JSONResponse(body)

    async def model_ready(self, request: HttpRequest) -> Response:
        """``GET /v2/models/{name}/ready``."""
        model = self._model(request)
        return JSONResponse({"error": model.error}, 503) if model.error else JSONResponse({})

    async def infer(self, request: HttpRequest) -> Response:
        """``POST /v2/models/{name}/infer``."""
        model = self._model(request)
        try:
            return await self._infer(request, model)
        except Exception as error:
            self.engine.metrics.refused(model.name, _status(error))
            raise

    async def _infer(self, request: HttpRequest, model: ServedModel) -> Response:
        if request.headers.get("content-encoding", "identity") != "identity":
            raise HTTPException(415, "compressed bodies are not supported")
        body = await self._body(request)
        length = wire.header_length(request.headers.get(wire.LENGTH_HEADER))
        asked = wire.decode_request(body, length)
        _check_artifact(asked.parameters.get(artifact.PARAMETER), model)
        inputs = asked.tensors
        _check_prefix(asked, model)
        if model.codecs:
            inputs = await asyncio.to_thread(model.restored, inputs)
        _check_inputs(inputs, model)
        wanted = _wanted(asked.outputs, model)
        result = await self.engine.infer(model, inputs)
        tensors = {name: result.outputs[name] for name in wanted}
        stamps: dict[str, Any] = {wire.QUEUE_S: result.queue_s, wire.COMPUTE_S: result.compute_s}
        if asked.prefix is not None and asked.missing:
            stamps[wire.PREFIX] = asked.tensors[asked.prefix[0]].nbytes
        answer = wire.Response(tensors, model.name, VERSION, asked.id, stamps)
        encoded = wire.encode_response(answer, [n for n in wanted if asked.wants_binary(n)])
        sizes = (len(body), len(encoded.body))
        self.engine.metrics.answered(model.name, *sizes, result.queue_s, result.compute_s)
        return Response(encoded.body, headers=encoded.headers)

    def _model(self, request: HttpRequest) -> ServedModel:
        name, version = request.path_params["name"], request.path_params.get("version", VERSION)
        model = self.repository.models.get(name)
        if model is None or version != VERSION:
            raise HTTPException(404, f"no model {name!r} of version {version}")
        return model

    async def _body(self, request: HttpRequest) -> bytes:
        """The body, read no further than the limits, whatever its declared length."""
        chunks, size = [], 0
        try:
            async with asyncio.timeout(_BODY_S):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > self.max_body:
                        raise HTTPException(413, f"the body is larger than {self.max_body} bytes")
                    chunks.append(chunk)
        except TimeoutError as error:
            raise HTTPException(408, f"the body did not arrive within {_BODY_S:g} s") from error
        return b"".join(chunks)


def application(
    repository: Repository, engine: Engine, *, max_body: int, tokens: Sequence[str] = ()
) -> Starlette:
    """The ASGI application that offers a repository's models.

    Args:
        repository: The models.
        engine: What runs them; closed when the application shuts down.
        max_body: Bytes of the largest request that is read.
        tokens: Bearer tokens, one of which a request must hold; empty lets everyone in.
    """
    server = ProtocolServer(repository, engine, max_body=max_body)
    routes = [
        Route("/metrics", server.metrics),
        Route(wire.SINK_PATH, server.sink, methods=["POST"]),
        Route("/v2", server.server_metadata),
        Route("/v2/health/live", server.live),
        Route("/v2/health/ready", server.live),
        Route("/v2/repository/index", server.index, methods=["POST"]),
    ]
    for prefix in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        routes.append(Route(prefix, server.model_metadata))
        routes.append(Route(f"{prefix}/ready", server.model_ready))
        routes.append(Route(f"{prefix}/infer", server.infer, methods=["POST"]))

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await engine.warm(repository.models.values())
        yield
        engine.close()

    handlers: dict[Any, Any] = {
        HTTPException: _http_error,
        WireError: _wire_error,
        EdgecutError: _model_error,
        BusyError: _busy,
        ClientDisconnect: _gone,
    }
    guards = [Middleware(BearerAuth, tokens=tokens)] if tokens else []
    return Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan, middleware=guards)


def _state(model: ServedModel) -> dict[str, str]:
    state = "UNAVAILABLE" if model.error else "READY"
    return {"name": model.name, "version": VERSION, "state": state, "reason": model.error}


def _described(tensor: Tensor, model: ServedModel) -> dict[str, Any]:
    shape = model.manifest.sized(tensor.shape, -1)  # the protocol's word for any length
    datatype = codec.datatype(np.dtype(tensor.dtype))
    return {"name": tensor.name, "datatype": datatype, "shape": list(shape or (1,))}


def _check_artifact(found: Optional[object], model: ServedModel) -> None:
    if found is not None and found != model.hash:
        raise HTTPException(409, f"model {model.name!r} here is of another build than the device's")


def _check_prefix(asked: wire.Request, model: ServedModel) -> None:
    if asked.prefix is None:
        return
    name = asked.prefix[0]
    if name not in model.codecs or not is_stream(asked.tensors[name]):
        raise WireError(f"{name!r} is no coded stream, and cannot end early")


def _check_inputs(tensors: Mapping[str, np.ndarray], model: ServedModel) -> None:
    known = {t.name: t for t in model.inputs}
    if set(tensors) != set(known):
        raise WireError(f"model {model.name!r} takes the inputs {', '.join(known)}")
    samples = model.size(tensors)
    for name, spec in known.items():
        found, shape = tensors[name], model.manifest.sized(spec.shape, samples) or (1,)
        if found.shape != shape or found.dtype.name != spec.dtype:
            shown = f"{codec.datatype(found.dtype)} {list(found.shape)}"
            raise WireError(f"{name!r} is {shown}, not {codec.datatype(np.dtype(spec.dtype))} {list(shape)}")


def _wanted(outputs: Mapping[str, bool], model: ServedModel) -> list[str]:
    known = [t.name for t in model.outputs]
    unknown = [name for name in outputs if name not in known]
    if unknown:
        raise WireError(f"model {model.name!r} has no output {unknown[0]!r}, only {', '.join(known)}")
    return list(outputs) or known


def _status(error: Exception) -> int:
    """HTTP status that an error is answered with."""
    if isinstance(error, HTTPException):
        return error.status_code
    known = {WireError: 400, ClientDisconnect: 400, BusyError: 503}
    return next((status for kind, status in known.items() if isinstance(error, kind)), 500)


def _error(status: int, text: str, headers: Optional[dict[str, str]] = None) -> Response:
    return JSONResponse({"error": text}, status_code=status, headers=headers)


async def _http_error(_request: HttpRequest, error: HTTPException) -> Response:
    return _error(error.status_code, error.detail, dict(error.headers) if error.headers else None)


async def _wire_error(_request: HttpRequest, error: WireError) -> Response:
    return _error(_status(error), str(error))


async def _model_error(_request: HttpRequest, error: EdgecutError) -> Response:
    return _error(500, str(error))


async def _busy(_request: HttpRequest, _error_: BusyError) -> Response:
    return _error(503, "too many requests are waiting", {"Retry-After": "1"})


async def _gone(_request: HttpRequest, _error_: ClientDisconnect) -> Response:
    return _error(400, "the connection was closed before the end of the body")
