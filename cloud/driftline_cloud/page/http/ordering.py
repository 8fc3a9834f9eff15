"""Giving orders: the only requests that change what the cloud does.

POST /orders            order, about, why, back, and the word of a page of this session
"""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from driftline_cloud.intake.faults import cause_of
from driftline_cloud.page.http.doors import Doors, to_own
from driftline_cloud.page.orders.given import Orders
from driftline_cloud.page.orders.session import may_order
from driftline_shared.errors import DriftlineError


class Ordering:
    """A route for who may give orders, beside those of the pages."""

    def __init__(self, orders: Orders, doors: Doors) -> None:
        self._orders, self._doors = orders, doors

    def add_to(self, app: FastAPI) -> None:
        """Add the route."""
        app.add_api_route("/orders", self._order, methods=["POST"], response_model=None)

    async def _order(self, request: Request) -> Response:
        form = await self._doors.form(request)
        session = self._doors.signed_in(request, form)
        if not may_order(session):
            raise HTTPException(
                403, "you may look and give no orders: an operator signs in with another key"
            )
        who = f"{session.name or session.role} (page)"
        try:
            await run_in_threadpool(self._orders.give, form, who=who)
        except DriftlineError as error:
            raise HTTPException(409, f"{error}. {error.fix}".strip()) from None
        except SQLAlchemyError as error:
            raise HTTPException(503, f"nothing was done: {cause_of(error)}") from None
        return to_own(form.get("back", "/"))
