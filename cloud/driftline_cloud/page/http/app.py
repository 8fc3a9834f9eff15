"""The routes of the operator's pages; each is also JSON, by `?format=json`.

GET /                   lines
GET /rounds             rounds, newest first; ?line, ?offset
GET /rounds/{id}        one round
GET /versions           versions of a line and who did what; ?line, ?offset
GET /devices            devices, stuck ones first; ?line, ?search, ?offset
GET /devices/one?id=    one device
GET /quarantine         samples set apart; ?line, ?offset
GET /corrections        who waits for the teacher
GET /members            who may speak to the cloud, and who asks to
GET /log                who did what; ?line, ?offset
GET /health             the program lives

Nothing can be changed here: no other method is known, unless orders are let (`ordering`). A route
is no coroutine where it reads the database, and so runs in a thread of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import parse_qsl

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from driftline_cloud.intake.database import Database
from driftline_cloud.intake.faults import cause_of, say
from driftline_cloud.page import views
from driftline_cloud.page.fleet import FleetReader
from driftline_cloud.page.frame import Frame
from driftline_cloud.page.http.doors import Doors
from driftline_cloud.page.http.hosts import check_host
from driftline_cloud.page.http.ordering import Ordering
from driftline_cloud.page.lines import LineReader
from driftline_cloud.page.log import log_page
from driftline_cloud.page.orders.given import Orders
from driftline_cloud.page.orders.session import Sessions, may_order, said_name
from driftline_cloud.page.people import members_page
from driftline_cloud.page.settings import PageSettings
from driftline_cloud.page.values import Asked
from driftline_cloud.trust.issuer import Role
from driftline_cloud.trust.members import Members
from driftline_shared.host.clock import Clock
from driftline_shared.pages.document import HEADERS
from driftline_shared.plain_text import visible
from driftline_shared.program.outage import Outage

MOST_ROWS = 50
"""Rows on a page; in JSON `limit` may ask for up to `MOST_JSON_ROWS`."""

MOST_JSON_ROWS = 1_000
MOST_QUERY = 2_000
"""Characters of a query that are read."""

MOST_TEXT = 256
MOST_OFFSET = 10**9

Shown = tuple[Any, Callable[[Frame], str]]
"""A page's value, and the page of it."""


class Pages:
    """The routes over one database, which they only read."""

    def __init__(
        self,
        database: Database,
        settings: PageSettings,
        clock: Clock,
        *,
        orders: Orders | None = None,
        keys: Mapping[Role, str] | None = None,
    ) -> None:
        """`orders`: what an operator may do; None: nothing. `keys`: of who signs in, by role."""
        self._database = database
        self._settings = settings
        self._clock = clock
        self._outage = Outage("page.not_read", "page.reads_again")
        self._lines = LineReader(database, clock)
        self._fleet, self._members = FleetReader(database, clock), Members(database)
        self._orders = orders
        self._doors: Doors | None = None
        self.app = self._routes()
        if settings.signs:
            self._doors = Doors(
                Sessions(keys or {}), settings, clock, self._plain_frame, database.cloud_id
            )
            self._doors.add_to(self.app)
            if orders is not None:
                Ordering(orders, self._doors).add_to(self.app)

    def _routes(self) -> FastAPI:
        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
        for path, show in (
            ("/", self._show_lines),
            ("/rounds", self._show_rounds),
            ("/rounds/{round_id}", self._show_round),
            ("/versions", self._show_versions),
            ("/devices", self._show_devices),
            ("/devices/one", self._show_device),
            ("/quarantine", self._show_quarantine),
            ("/corrections", self._show_corrections),
            ("/members", self._show_members),
            ("/log", self._show_log),
        ):
            app.add_api_route(path, self._route(show), methods=["GET", "HEAD"], response_model=None)
        app.add_api_route("/health", lambda: {"status": "ok"}, methods=["GET", "HEAD"])
        app.add_exception_handler(HTTPException, self._refused)
        return app

    def _route(self, show: Callable[[Mapping[str, str], str], Shown]) -> Callable[..., Response]:
        def route(request: Request) -> Response:
            check_host(request, self._settings)
            given = _query(request.url.query)
            if self._doors is not None and (refused := self._doors.refuse(request)):
                return refused
            try:
                value, page = show(given, request.path_params.get("round_id", ""))
                self._outage.is_over()
            except SQLAlchemyError as error:
                say(self._outage, error, self._database.place)
                raise HTTPException(
                    503, f"the database cannot be read: {cause_of(error)}"
                ) from None
            if given.get("format") == "json":
                return JSONResponse(value, headers=HEADERS)
            return HTMLResponse(page(self._frame(request, given)), headers=HEADERS)

        return route

    def _frame(self, request: Request, given: Mapping[str, str]) -> Frame:
        live = bool(given.get("live"))
        return replace(
            self._plain_frame(request),
            path=request.url.path,
            query={key: value for key, value in given.items() if key != "format"},
            refresh_s=self._settings.refresh_s if live else None,
            live_s=self._settings.refresh_s,
        )

    def _plain_frame(self, request: Request) -> Frame:
        session = None if self._doors is None else self._doors.session(request)
        return Frame(
            path="/",
            cloud_id=self._database.cloud_id,
            now_s=self._clock.now_s(),
            orders=self._orders is not None,
            signs=self._doors is not None,
            who="" if session is None else said_name(session),
            word="" if session is None else session.word,
            may_order=self._orders is not None and may_order(session),
        )

    async def _refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        sentence = str(error.detail)
        if error.status_code == 404 and sentence == "Not Found":
            sentence = "there is no such page: the links above are all there are"
        given, headers = _query(request.url.query), {**HEADERS, **(error.headers or {})}
        if given.get("format") == "json":
            return JSONResponse({"error": sentence}, error.status_code, headers=headers)
        page = views.fault_page(
            self._plain_frame(request), f"Not shown ({error.status_code})", sentence
        )
        return HTMLResponse(page, error.status_code, headers=headers)

    # -- pages ------------------------------------------------------------------------------------

    def _show_lines(self, _given: Mapping[str, str], _id: str) -> Shown:
        found = self._lines.lines()
        value = {"cloud_id": self._database.cloud_id, "lines": [asdict(one) for one in found]}
        return value, lambda frame: views.lines_page(frame, found)

    def _show_rounds(self, given: Mapping[str, str], _id: str) -> Shown:
        asked, lines = _asked(given), self._lines.names()
        total, found = self._lines.num_rounds(asked), self._lines.rounds(asked)
        value = {"num_rounds": total, "rounds": [asdict(one) for one in found]}
        return value, lambda frame: views.rounds_page(frame, total, found, asked, lines)

    def _show_round(self, _given: Mapping[str, str], round_id: str) -> Shown:
        found = self._lines.round(round_id[:MOST_TEXT])
        if found is None:
            raise HTTPException(404, "no round has this id: the page of rounds lists them")
        one = found
        return asdict(one), lambda frame: views.round_page(frame, one)

    def _show_versions(self, given: Mapping[str, str], _id: str) -> Shown:
        lines = self._lines.names()
        asked = _asked({"line": lines[0] if lines else "", **given})
        found, done = self._lines.versions(asked), self._lines.done(Asked(line=asked.line))
        value = {
            "versions": [asdict(one) for one in found],
            "done": [asdict(one) for one in done],
        }
        return value, lambda frame: views.versions_page(frame, found, done, asked, lines)

    def _show_devices(self, given: Mapping[str, str], _id: str) -> Shown:
        asked, lines = _asked(given), self._lines.names()
        total, found = self._fleet.devices(asked)
        value = {"num_devices": total, "devices": [asdict(one) for one in found]}
        return value, lambda frame: views.devices_page(frame, total, found, asked, lines)

    def _show_device(self, given: Mapping[str, str], _id: str) -> Shown:
        found = self._fleet.device(given.get("id", "")[:MOST_TEXT])
        if found is None:
            raise HTTPException(
                404, "no device of this id has enrolled: the page of devices lists them"
            )
        one = found
        return asdict(one), lambda frame: views.device_page(frame, one)

    def _show_quarantine(self, given: Mapping[str, str], _id: str) -> Shown:
        asked, lines = _asked(given), self._lines.names()
        total, found = self._fleet.apart(asked)
        value = {"num_samples": total, "samples": [asdict(one) for one in found]}
        return value, lambda frame: views.quarantine_page(frame, total, found, asked, lines)

    def _show_corrections(self, _given: Mapping[str, str], _id: str) -> Shown:
        found = self._fleet.corrections()
        return asdict(found), lambda frame: views.corrections_page(frame, found)

    def _show_members(self, given: Mapping[str, str], _id: str) -> Shown:
        asked, found = _asked(given), self._members.listed()
        some = found[asked.offset : asked.offset + asked.limit]
        value = {"num_members": len(found), "members": [asdict(one) for one in some]}
        return value, lambda frame: members_page(frame, len(found), some, asked)

    def _show_log(self, given: Mapping[str, str], _id: str) -> Shown:
        asked, lines = _asked(given), self._lines.names()
        found = self._lines.done(asked)
        value = {"entries": [asdict(one) for one in found]}
        return value, lambda frame: log_page(frame, found, asked, lines)


def _query(query: str) -> dict[str, str]:
    """What is asked of a page; what is not known, or too long, is left out."""
    known = ("line", "search", "offset", "limit", "live", "format", "id")
    pairs = parse_qsl(query[:MOST_QUERY]) if query.count("&") < 20 else []
    return {key: value[:MOST_TEXT] for key, value in pairs if key in known}


def _asked(given: Mapping[str, str]) -> Asked:
    most = MOST_JSON_ROWS if given.get("format") == "json" else MOST_ROWS
    return Asked(
        line=given.get("line", ""),
        search=given.get("search", "").strip(),
        offset=_number(given, "offset", 0, 0, MOST_OFFSET),
        limit=_number(given, "limit", MOST_ROWS, 1, most),
    )


def _number(given: Mapping[str, str], name: str, instead: int, least: int, most: int) -> int:
    text = given.get(name, "")
    if not text:
        return instead
    if text.isascii() and text.isdigit() and least <= (number := int(text[:12])) <= most:
        return number
    raise HTTPException(
        400, f"{name} is a whole number from {least} to {most:,}, not {visible(text)[:40]!r}"
    )
