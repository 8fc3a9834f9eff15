"""Routes of the owner's pages, and feedback as JSON.

GET  /                    the answers
GET  /history             past answers, each with a form: right, wrong, what would be right
POST /history/{id}        that form
GET  /history/{id}.png    the picture, where one is kept
GET  /updates             what became of updates, and why
POST /v1/feedback         {"id", "right", "answer"}: the same as the form, for programs
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from pydantic import ValidationError

from driftline_device.api.access import Access
from driftline_device.api.errors import ApiError
from driftline_device.api.holders import Scope
from driftline_device.api.key import Key
from driftline_device.api.owner.access import PageAccess, check_origin
from driftline_device.daemon.snapshot import Snapshot
from driftline_device.history.feedback import FORM, MOST_FEEDBACK_BYTES, Feedback, take_feedback
from driftline_device.history.history import History
from driftline_device.history.records import UnknownAnswerError
from driftline_device.page.page import View, history_page, updates_page
from driftline_shared.errors import DataError
from driftline_shared.pages.document import HEADERS

MOST_ROWS = 50
"""Answers on a page."""

BODY_TIMEOUT_S = 10.0

T = TypeVar("T")


class OwnerRoutes:
    """The routes over one history. `snapshot`: the daemon now."""

    def __init__(self, history: History, snapshot: Callable[[], Snapshot]) -> None:
        self._history = history
        self._snapshot = snapshot

    def router(self, key: Key) -> APIRouter:
        """All of them, closed as the rest of the API is."""
        router = APIRouter()
        pages, programs = [Depends(PageAccess(key))], [Depends(Access(key, Scope.ASK, Scope.OWNER))]
        for path, route in (
            ("/", self._home),
            ("/history", self._answers),
            ("/history/{answer_id}.png", self._picture),
            ("/updates", self._updates),
        ):
            router.add_api_route(
                path, route, methods=["GET", "HEAD"], dependencies=pages, response_model=None
            )
        router.add_api_route(
            "/history/{answer_id}",
            self._form,
            methods=["POST"],
            dependencies=pages,
            response_model=None,
        )
        router.add_api_route(
            "/v1/feedback",
            self._feedback,
            methods=["POST"],
            dependencies=programs,
            response_model=None,
        )
        return router

    # Those that read or write the history are no coroutines, or hand that to a thread.

    async def _home(self) -> Response:
        return RedirectResponse("/history", status_code=307)

    def _answers(self, request: Request) -> Response:
        view = _view(request.url.query)
        rows = _readable(
            lambda: self._history.answers(
                most=MOST_ROWS + 1, before=view.before or None, marked=view.marked
            )
        )
        more = len(rows) > MOST_ROWS
        return _html(history_page(asdict(self._snapshot()), rows[:MOST_ROWS], view, more=more))

    def _updates(self) -> Response:
        cards = _readable(self._history.updates)
        return _html(updates_page(asdict(self._snapshot()), cards))

    def _picture(self, answer_id: str) -> Response:
        png = _readable(lambda: self._history.picture(answer_id))
        if png is None:
            raise ApiError(404, "no picture of that answer is kept", code="not_found")
        return Response(png, media_type="image/png", headers=HEADERS)

    async def _form(self, request: Request, answer_id: str) -> Response:
        check_origin(request)
        _check_type(request, "application/x-www-form-urlencoded")
        body = (await _body(request)).decode("utf-8", "replace")
        try:
            given = parse_qs(body, max_num_fields=8)
        except ValueError:
            problem = "a form of a word, an answer and the way back"
            raise ApiError(400, problem, code="invalid_request_error") from None
        fields = {name: values[0] for name, values in given.items()}
        word, answer = fields.get("word", ""), fields.get("answer", "").strip()
        if word not in ("right", "wrong", "unmark"):
            raise ApiError(400, "word is right, wrong or unmark", code="invalid_request_error")
        if word == "unmark":
            await asyncio.to_thread(_readable, lambda: self._history.unmark(answer_id))
        else:
            await asyncio.to_thread(self._mark, answer_id, word == "right", answer or None)
        back = _view(fields.get("back", "").partition("?")[2]).address()
        return RedirectResponse(f"{back}#{answer_id}", status_code=303)

    async def _feedback(self, request: Request) -> Response:
        _check_type(request, "application/json")
        try:
            given = Feedback.model_validate_json(await _body(request))
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"]) or None
            raise ApiError(
                400,
                FORM,
                code="invalid_request_error",
                param=where,
            ) from None
        shown = await asyncio.to_thread(self._mark, given.id, given.is_right, given.answer)
        return JSONResponse(shown)

    def _mark(self, answer_id: str, right: bool, answer: str | None) -> dict[str, Any]:
        take = partial(take_feedback, self._history, answer_id, right=right, answer=answer)
        return _readable(lambda: take(now_s=time.time()))


def _readable(call: Callable[[], T]) -> T:
    """What `call` gives; 404 for an answer that is not there, 503 for a disk that fails."""
    try:
        return call()
    except DataError as error:
        status = 404 if isinstance(error, UnknownAnswerError) else 400
        raise ApiError(status, str(error), code="invalid_request_error") from None
    except (sqlite3.Error, OSError) as error:
        raise ApiError(
            503, f"the history cannot be used now: {error}", code="history_unavailable"
        ) from None


def _view(query: str) -> View:
    """Of a page's address; what is not known is left out."""
    given = parse_qs(query[:1_000], max_num_fields=100) if query.count("&") < 100 else {}
    before = given.get("before", [""])[0].lower()
    return View(
        before=before if len(before) == 32 and set(before) <= set("0123456789abcdef") else "",
        marked="marked" in given,
        live="live" in given,
    )


def _html(page: str) -> Response:
    return HTMLResponse(page, headers=HEADERS)


def _check_type(request: Request, wanted: str) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != wanted:
        raise ApiError(415, f"content-type is not {wanted}", code="unsupported_media_type")


async def _body(request: Request) -> bytes:
    """At most `MOST_FEEDBACK_BYTES`, within `BODY_TIMEOUT_S`."""
    data = bytearray()

    async def read() -> None:
        async for chunk in request.stream():
            data.extend(chunk)
            if len(data) > MOST_FEEDBACK_BYTES:
                raise ApiError(
                    413,
                    f"the body has more than {MOST_FEEDBACK_BYTES} bytes",
                    code="request_too_large",
                )

    try:
        await asyncio.wait_for(read(), BODY_TIMEOUT_S)
    except TimeoutError:
        raise ApiError(408, "the body does not come", code="request_timeout") from None
    return bytes(data)
