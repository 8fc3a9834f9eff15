"""Signing in and giving orders: the only requests that change anything.

GET  /enter             where an operator signs in
POST /enter             key, name: signs in
POST /leave             signs out
POST /orders            order, about, why, back, and the word of a page of this session
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import parse_qsl

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from driftline_cloud.intake.faults import cause_of
from driftline_cloud.page.frame import TITLES, Frame
from driftline_cloud.page.http.hosts import check_host, check_origin
from driftline_cloud.page.orders.forms import enter_page
from driftline_cloud.page.orders.given import Orders
from driftline_cloud.page.orders.session import HOURS, Session, Sessions
from driftline_cloud.page.settings import PageSettings
from driftline_shared.errors import DriftlineError
from driftline_shared.host.clock import Clock
from driftline_shared.host.loopback import is_loopback
from driftline_shared.pages.document import HEADERS

MOST_BYTES = 4_096
MOST_FIELDS = 12
FORM_S = 10.0
"""Of a form: its bytes, its fields, the seconds in which all of it is here."""


class Ordering:
    """Routes for who may give orders, beside those of the pages."""

    def __init__(
        self,
        orders: Orders,
        sessions: Sessions,
        settings: PageSettings,
        clock: Clock,
        frame: Callable[[Request], Frame],
        cloud_id: str,
    ) -> None:
        self._orders, self._sessions = orders, sessions
        self._settings, self._clock, self._frame = settings, clock, frame
        # Browsers send the cookies of one port of this machine to all others.
        self._cookie = f"driftline-{cloud_id[:12]}"

    def add_to(self, app: FastAPI) -> None:
        """Add the routes."""
        app.add_api_route("/enter", self._show_enter, methods=["GET", "HEAD"], response_model=None)
        for path, take in (
            ("/enter", self._enter),
            ("/leave", self._leave),
            ("/orders", self._order),
        ):
            app.add_api_route(path, take, methods=["POST"], response_model=None)

    def session(self, request: Request) -> Session | None:
        """Who sent a request, where they are signed in."""
        cookie = request.cookies.get(self._cookie, "")
        return self._sessions.read(cookie, now_s=self._clock.now_s())

    def _show_enter(self, request: Request) -> Response:
        check_host(request, self._settings)
        return HTMLResponse(enter_page(self._frame(request)), headers=HEADERS)

    async def _enter(self, request: Request) -> Response:
        host, form = await self._form(request)
        cookie = self._sessions.sign_in(
            form.get("key", ""), form.get("name", ""), now_s=self._clock.now_s()
        )
        if cookie is None:
            page = enter_page(self._frame(request), trouble="This is not the key of this cloud.")
            return HTMLResponse(page, 403, headers=HEADERS)
        reply = _to("/")
        reply.set_cookie(
            self._cookie,
            cookie,
            max_age=3_600 * HOURS,
            httponly=True,
            samesite="strict",
            secure=not is_loopback(host),  # a proxy in front speaks TLS
        )
        return reply

    async def _leave(self, request: Request) -> Response:
        _, form = await self._form(request)
        self._signed_in(request, form)
        reply = _to("/")
        reply.delete_cookie(self._cookie)
        return reply

    async def _order(self, request: Request) -> Response:
        _, form = await self._form(request)
        session = self._signed_in(request, form)
        who = f"{session.name or 'operator'} (page)"
        try:
            await run_in_threadpool(self._orders.give, form, who=who)
        except DriftlineError as error:
            raise HTTPException(409, f"{error}. {error.fix}".strip()) from None
        except SQLAlchemyError as error:
            raise HTTPException(503, f"nothing was done: {cause_of(error)}") from None
        return _to(form.get("back", "/"))

    def _signed_in(self, request: Request, form: dict[str, str]) -> Session:
        session = self.session(request)
        if session is None:
            raise HTTPException(403, "sign in first: your session is over, or never began")
        if form.get("word") != session.word:
            raise HTTPException(403, "this form is of another session: load its page again")
        return session

    async def _form(self, request: Request) -> tuple[str, dict[str, str]]:
        """The host that was asked and the form's fields, bounded before they are read."""
        host = check_host(request, self._settings)
        check_origin(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise HTTPException(415, "a form is sent as application/x-www-form-urlencoded")
        data = b""
        try:
            async with asyncio.timeout(FORM_S):
                async for some in request.stream():
                    data += some
                    if len(data) > MOST_BYTES:
                        raise HTTPException(413, f"a form has at most {MOST_BYTES:,} bytes")
        except TimeoutError:
            raise HTTPException(
                408, f"the form did not arrive within {FORM_S:g} s", {"connection": "close"}
            ) from None
        text = data.decode("utf-8", errors="replace")
        if text.count("&") >= MOST_FIELDS:
            raise HTTPException(413, f"a form has at most {MOST_FIELDS} fields")
        return host, dict(parse_qsl(text, keep_blank_values=True))


def _to(back: str) -> RedirectResponse:
    """To one of our own pages: no form leads a browser elsewhere."""
    path = back.partition("?")[0]
    return RedirectResponse(back if path in TITLES else "/", 303, headers=HEADERS)
