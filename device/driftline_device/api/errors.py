"""Errors in OpenAI's shape, whatever went wrong: {"error": {message, type, param, code}}."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from driftline_device.api.traffic.record import note_error
from driftline_shared.errors import DriftlineError, Reason

RETRY_AFTER_S = 1
"""Seconds a client is asked to wait where the device is busy."""

MOST_ECHOED_CHARS = 100
"""Of a path that is not there; its sender knows the rest."""

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_STATUS = {Reason.STOPPING: 503, Reason.DATA_INVALID: 400}
"""Statuses of our own errors; others are faults: 500."""

_CODES = {404: "not_found", 405: "method_not_allowed"}

_log = structlog.get_logger(__name__)


class ApiError(Exception):
    """An answer that is an error. `param`: what in the request is wrong. `retry_after_s`: when to
    come back, of 429 and 503.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        retry_after_s: int = RETRY_AFTER_S,
    ) -> None:
        super().__init__(message)
        self._retry_after_s = retry_after_s
        self.status = status
        self.code = code
        self.param = param

    def body(self) -> dict[str, Any]:
        """As JSON."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {
            "error": {
                "message": str(self),
                "type": _TYPES.get(self.status, kind),
                "param": self.param,
                "code": self.code,
            }
        }

    def response(self, headers: Mapping[str, str] | None = None) -> JSONResponse:
        """As HTTP."""
        extra = dict(headers or {})
        if self.status in (429, 503):
            extra["retry-after"] = str(self._retry_after_s)
        if self.status == 408:
            extra["connection"] = "close"
        if self.status == 401:
            extra.setdefault("www-authenticate", "Bearer")
        return JSONResponse(self.body(), status_code=self.status, headers=extra)


def api_error(error: Exception) -> ApiError:
    """The reply for `error`; nothing of our insides where the fault is ours."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, DriftlineError):
        status = _STATUS.get(error.reason, 500)
        # The fix of wrong data speaks of rows and files; a request has its own sentence.
        message = str(error) if status == 400 else f"{error}. {error.fix}"
        return ApiError(status, message, code=str(error.reason))
    return ApiError(500, "This is a fault of the device: look at its log.", code="internal")


def handle_errors(app: FastAPI) -> None:
    """Give every error of `app` this shape."""

    def reply(
        request: Request, error: ApiError, headers: Mapping[str, str] | None = None
    ) -> JSONResponse:
        note_error(request.scope, error.code)
        return error.response(headers)

    async def ours(request: Request, error: Exception) -> JSONResponse:
        return reply(request, api_error(error))

    async def fault(request: Request, error: Exception) -> JSONResponse:
        _log.error("api.raised", error=f"{type(error).__name__}: {error}")
        return reply(request, api_error(error))

    async def gone(request: Request, _error: Exception) -> JSONResponse:
        """The client left while its body was on the way: nobody reads this."""
        return reply(request, ApiError(499, "the client has gone", code="client_gone"))

    async def of_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        message = f"{request.method[:20]} {request.url.path[:MOST_ECHOED_CHARS]}: {error.detail}"
        code = _CODES.get(error.status_code, HTTPStatus(error.status_code).name.lower())
        return reply(request, ApiError(error.status_code, message, code=code), error.headers)

    app.add_exception_handler(ApiError, ours)
    app.add_exception_handler(DriftlineError, ours)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(Exception, fault)
