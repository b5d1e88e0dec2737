"""Lets only those in who hold a token."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_OPEN = ("/v2/health/live", "/v2/health/ready")


class BearerAuth:
    """ASGI middleware that asks every request but those for health for one of some bearer tokens.

    Args:
        app: What it protects.
        tokens: The tokens; only their hashes are kept.
    """

    def __init__(self, app: ASGIApp, tokens: Iterable[str]) -> None:
        self._app = app
        self._hashes = [_hash(token.encode()) for token in tokens]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it with 401."""
        if scope["type"] != "http" or scope["path"] in _OPEN or self._allows(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        refusal = JSONResponse(
            {"error": "a valid bearer token is needed"}, 401, headers={"WWW-Authenticate": "Bearer"}
        )
        await refusal(scope, receive, send)

    def _allows(self, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = _hash(token.strip().encode())
        # Every token is compared, each in constant time: the answer's delay tells nothing about them.
        matches = [hmac.compare_digest(given, known) for known in self._hashes]
        return scheme.lower() == "bearer" and any(matches)


def _hash(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
