"""Who may call what, around every call: identity comes from the peer's certificate alone.

A caller's role decides about the method, and a device's own id about the message. Who is revoked,
or whose certificate has ended, is refused at the next call, and their open streams are ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

import grpc

from driftline_cloud.intake.faults import say
from driftline_cloud.service.rewrap import OURS, Call, rewrap
from driftline_cloud.service.status_codes import STATUS_CODES
from driftline_cloud.trust.members import Members
from driftline_cloud.trust.peers import Peer, Peers
from driftline_cloud.trust.rules import check_self, refuse
from driftline_shared.errors import LinkError, Reason
from driftline_shared.program.outage import Outage
from driftline_shared.wire import REASON_KEY

LOOK_S = 0.4
"""How often it is looked for who was revoked: refused and cut off within a second."""

_peer: ContextVar[Peer | None] = ContextVar("peer", default=None)


def caller() -> Peer | None:
    """Who makes the call that is answered now; None in a cloud without an authority."""
    return _peer.get()


def speaks_for(device_id: str) -> None:
    """Raise LinkError (not_your_id) where the caller is another device than it says."""
    if (peer := caller()) is not None:
        check_self(peer, device_id)


class GuardInterceptor(grpc.aio.ServerInterceptor):
    """Lets a call through, or raises the LinkError that its caller is told."""

    def __init__(self, peers: Peers, members: Members, place: str) -> None:
        """`place`: where the database is, for the log."""
        self._peers, self._members, self._place = peers, members, place
        self._revoked: frozenset[str] = frozenset()
        self._open: dict[asyncio.Task[Any], Peer] = {}

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        if handler is None:
            return None
        if details.method.startswith(OURS):
            return rewrap(handler, lambda call: self._guarded(call, details.method))
        return rewrap(handler, lambda call: self._guarded_other(call, details.method), ours=False)

    async def watch(self) -> None:
        """Follow who is revoked, until it is cancelled."""
        outage = Outage("trust.look_failed", "trust.looks_again")
        while True:
            try:
                await self.look()
                outage.is_over()
            except Exception as error:
                # The database may be away for a while: who was revoked before stays so.
                say(outage, error, self._place)
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Who is revoked now; to be asked once before anybody is let in."""
        self._apply(await asyncio.to_thread(self._members.revoked))

    def _apply(self, revoked: frozenset[str]) -> None:
        self._revoked = revoked
        for task, peer in self._open.items():
            if self._why_not(peer) is not None:
                task.cancel()

    def _why_not(self, peer: Peer) -> LinkError | None:
        """Why nobody listens to `peer` any more, whatever it calls."""
        if peer.identity in self._revoked:
            return LinkError(f"{peer.identity} is revoked", reason=Reason.REVOKED)
        # A handshake looks at it, a channel that stays open or is taken up again does not.
        if time.time() > peer.ends_unix_s:
            return LinkError(
                f"the certificate of {peer.identity} has ended", reason=Reason.NOT_ENROLLED
            )
        return None

    def _check(self, method: str, peer: Peer) -> None:
        if (trouble := self._why_not(peer)) is not None:
            raise trouble
        refuse(method, peer)

    def _guarded(self, call: Call, method: str) -> Call:
        async def guarded(request: Any, context: Any) -> Any:
            peer = self._peers.of(context.auth_context())
            self._check(method, peer)
            _peer.set(peer)
            if (device_id := getattr(request, "device_id", None)) is not None:
                check_self(peer, device_id)
            try:
                with self._noted(peer):
                    return await call(request, context)
            except asyncio.CancelledError:
                self._check(method, peer)  # was it we who cut it off?
                raise

        return guarded

    def _guarded_other(self, call: Any, method: str) -> Any:
        """Health and reflection, whose behaviours are of either kind that gRPC knows."""

        async def let_in(context: Any) -> Peer:
            peer = self._peers.of(context.auth_context())
            try:
                self._check(method, peer)
            except LinkError as error:
                code, text = STATUS_CODES[error.reason], f"{error}. {error.fix}"
                await context.abort(code, text, ((REASON_KEY, str(error.reason)),))
            return peer

        async def guarded(request: Any, context: Any) -> Any:
            try:
                with self._noted(await let_in(context)):
                    return await call(request, context)
            except asyncio.CancelledError:
                await let_in(context)  # says why, where it was we who cut it off
                raise

        async def streamed(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                with self._noted(await let_in(context)):
                    async for reply in call(request, context):
                        yield reply
            except asyncio.CancelledError:
                await let_in(context)
                raise

        return streamed if inspect.isasyncgenfunction(call) else guarded

    @contextlib.contextmanager
    def _noted(self, peer: Peer) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = peer
        try:
            yield
        finally:
            self._open.pop(task, None)
