"""What happens around every call: a bound on its time, and errors that say a stable code.

A caller sees our own errors as they are (status code, sentence, `driftline-reason` in the
trailing metadata) and nothing of any other: those are logged here and answered as `internal`.
Other people's services on the same port (health, reflection) pass untouched.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import structlog
from sqlalchemy.exc import SQLAlchemyError

from driftline_cloud.intake.faults import cause_of, fix_of, trouble_of
from driftline_cloud.service.messages import readable
from driftline_cloud.service.rewrap import OURS, Call, rewrap
from driftline_cloud.service.status_codes import STATUS_CODES
from driftline_shared.errors import DriftlineError, Reason, explain
from driftline_shared.wire import REASON_KEY

_log = structlog.get_logger(__name__)

_OPERATORS = frozenset({"GetStatus", "StartRound"})


class DeadlineInterceptor(grpc.aio.ServerInterceptor):
    """Ends a call with one answer after `call_s` seconds; streams bound their own waits."""

    def __init__(self, call_s: float) -> None:
        self._call_s = call_s

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        if handler is None or not details.method.startswith(OURS) or handler.response_streaming:
            return handler
        return rewrap(handler, self._bounded)

    def _bounded(self, call: Call) -> Call:
        async def bounded(request: Any, context: Any) -> Any:
            async with asyncio.timeout(self._call_s):
                return await call(request, context)

        return bounded


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Turns whatever a servicer raises into a status with a stable code.

    `place`: where the database is; only an operator's calls are told what is wrong with it.
    """

    def __init__(self, place: str = "") -> None:
        self._place = place

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        if handler is None or not details.method.startswith(OURS):
            return handler
        return rewrap(handler, lambda call: self._guarded(call, details.method))

    def _guarded(self, call: Call, method: str) -> Call:
        async def guarded(request: Any, context: Any) -> Any:
            try:
                return await call(readable(request), context)
            except (grpc.aio.AbortError, asyncio.CancelledError):
                raise
            except DriftlineError as error:
                _log.info("call.refused", method=method, reason=str(error.reason), cause=str(error))
                reason, text = error.reason, f"{error}. {error.fix}"
            except TimeoutError:
                _log.warning("call.timed_out", method=method)
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the call took too long")
            except SQLAlchemyError as error:
                _log.error("store.failed", cause=cause_of(error), fix=fix_of(error))
                reason, text = Reason.STORE_BUSY, explain(Reason.STORE_BUSY)
                if method.rpartition("/")[2] in _OPERATORS:
                    text = f"{trouble_of(error, self._place)}. {fix_of(error)} {text}"
            except Exception:
                _log.exception("call.failed", method=method)
                reason, text = Reason.INTERNAL, explain(Reason.INTERNAL)
            await context.abort(STATUS_CODES[reason], text, ((REASON_KEY, str(reason)),))

        return guarded
