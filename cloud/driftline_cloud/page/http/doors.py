"""Signing in and out: who looks, and who may do more.

GET  /enter             where somebody signs in
POST /enter             key, name: signs in
POST /leave             signs out
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import parse_qsl

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from driftline_cloud.page.frame import TITLES, Frame
from driftline_cloud.page.http.hosts import check_host, check_origin
from driftline_cloud.page.orders.forms import enter_page
from driftline_cloud.page.orders.session import HOURS, Session, Sessions
from driftline_cloud.page.settings import PageSettings
from driftline_shared.host.clock import Clock
from driftline_shared.host.loopback import is_loopback
from driftline_shared.pages.document import HEADERS

MOST_BYTES = 4_096
MOST_FIELDS = 12
FORM_S = 10.0
"""Of a form: its bytes, its fields, the seconds in which all of it is here."""


class Doors:
    """Routes for who signs in, and what others ask of a request."""

    def __init__(
        self,
        sessions: Sessions,
        settings: PageSettings,
        clock: Clock,
        frame: Callable[[Request], Frame],
        cloud_id: str,
    ) -> None:
        self._sessions, self._settings = sessions, settings
        self._clock, self._frame = clock, frame
        # Browsers send the cookies of one port of this machine to all others.
        self._cookie = f"driftline-{cloud_id[:12]}"

    def add_to(self, app: FastAPI) -> None:
        """Add the routes."""
        app.add_api_route("/enter", self._show_enter, methods=["GET", "HEAD"], response_model=None)
        app.add_api_route("/enter", self._enter, methods=["POST"], response_model=None)
        app.add_api_route("/leave", self._leave, methods=["POST"], response_model=None)

    def session(self, request: Request) -> Session | None:
        """Who sent a request, where they are signed in."""
        cookie = request.cookies.get(self._cookie, "")
        return self._sessions.read(cookie, now_s=self._clock.now_s())

    def refuse(self, request: Request) -> Response | None:
        """What is said to who may not look; None for who may. A program shows a key by itself."""
        if not self._settings.private or self.session(request) is not None:
            return None
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._sessions.role_of(key) is not None:
            return None
        if request.query_params.get("format") == "json":
            sentence = "looking asks for a key: send one as Authorization: Bearer KEY"
            told = {**HEADERS, "www-authenticate": "Bearer"}
            return JSONResponse({"error": sentence}, 401, headers=told)
        return RedirectResponse("/enter", 303, headers=HEADERS)

    def signed_in(self, request: Request, form: dict[str, str]) -> Session:
        """Who sent a form; 403 where nobody is signed in, or it is of another session."""
        session = self.session(request)
        if session is None:
            raise HTTPException(403, "sign in first: your session is over, or never began")
        if form.get("word") != session.word:
            raise HTTPException(403, "this form is of another session: load its page again")
        return session

    async def form(self, request: Request) -> dict[str, str]:
        """A form's fields, of our own page, bounded before they are read."""
        check_host(request, self._settings)
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
        return dict(parse_qsl(text, keep_blank_values=True))

    def _show_enter(self, request: Request) -> Response:
        check_host(request, self._settings)
        return HTMLResponse(enter_page(self._frame(request)), headers=HEADERS)

    async def _enter(self, request: Request) -> Response:
        form = await self.form(request)
        cookie = self._sessions.sign_in(
            form.get("key", ""), form.get("name", ""), now_s=self._clock.now_s()
        )
        if cookie is None:
            page = enter_page(self._frame(request), trouble="This is not a key of this cloud.")
            return HTMLResponse(page, 403, headers=HEADERS)
        reply = to_own("/")
        reply.set_cookie(
            self._cookie,
            cookie,
            max_age=3_600 * HOURS,
            httponly=True,
            samesite="strict",
            # A proxy in front speaks TLS.
            secure=not is_loopback(check_host(request, self._settings)),
        )
        return reply

    async def _leave(self, request: Request) -> Response:
        self.signed_in(request, await self.form(request))
        reply = to_own("/")
        reply.delete_cookie(self._cookie)
        return reply


def to_own(back: str) -> RedirectResponse:
    """To one of our own pages: no form leads a browser elsewhere."""
    path = back.partition("?")[0]
    return RedirectResponse(back if path in TITLES else "/", 303, headers=HEADERS)
