"""A link that breaks on order: a TCP proxy on loopback, in a thread of this process.

It sees the bytes of TLS and no messages. What it loses, swaps or doubles are pieces of that stream
as they were read, as a broken middlebox would: TLS has to notice, and the link to come back.
Messages are lost, come twice or in another order where answers are swallowed or connections cut:
the device sends again.
"""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import suppress
from enum import StrEnum

from driftline_shared.host.loopback import free_port

_PIECE = 1 << 14
_WAIT_S = 0.02
_SLOW_BYTES_S = 4_000
_BROKEN_SHARE = 0.2
"""Of the pieces, while the link loses, swaps, doubles or spoils some."""


class Weather(StrEnum):
    """What the link does to what is sent."""

    FAIR = "fair"
    CUT = "cut"
    REFUSE = "refuse"
    STALL = "stall"
    MUTE = "mute"
    SLOW = "slow"
    LOSE = "lose"
    REORDER = "reorder"
    DUPLICATE = "duplicate"
    SPOIL = "spoil"


class Proxy:
    """Listens on a port of its own and passes on to `target`, another one of this machine."""

    def __init__(self, target: int, seed: int) -> None:
        self.port = free_port()
        self._target = target
        self._dice = random.Random(seed)
        self._weather = Weather.FAIR
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        """Close everything; nothing where it does not listen."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def set(self, weather: Weather) -> None:
        """From now on. What was swallowed cannot be made good: after it connections are cut."""
        swallowed = self._weather in (Weather.MUTE, Weather.LOSE, Weather.REORDER)
        self._weather = weather
        if self._loop is not None and (weather in (Weather.CUT, Weather.REFUSE) or swallowed):
            self._loop.call_soon_threadsafe(self._cut)

    def _run(self) -> None:
        loop = self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", self.port))
        self._ready.set()
        loop.run_forever()
        server.close()
        self._cut()
        for task in list(self._tasks):
            task.cancel()
        loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        loop.close()

    def _cut(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._weather is Weather.REFUSE:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        both = (writer, far_writer)
        self._open.update(both)
        ways = ((reader, far_writer, True), (far_reader, writer, False))
        for one, other, is_up in ways:
            task = asyncio.create_task(self._pass_on(one, other, is_up=is_up, both=both))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        is_up: bool,
        both: tuple[asyncio.StreamWriter, ...],
    ) -> None:
        held = b""
        with suppress(OSError, asyncio.CancelledError):
            while piece := await reader.read(_PIECE):
                while self._weather is Weather.STALL:
                    await asyncio.sleep(_WAIT_S)
                if self._weather is Weather.SLOW:
                    await asyncio.sleep(len(piece) / _SLOW_BYTES_S)
                piece, held = self._weathered(piece, held, is_up=is_up)
                if piece:
                    writer.write(piece)
                    await writer.drain()
        for one in both:
            self._open.discard(one)
            with suppress(Exception):
                one.transport.abort()

    def _weathered(self, piece: bytes, held: bytes, *, is_up: bool) -> tuple[bytes, bytes]:
        """What is sent now, and what is held back until after the next piece."""
        if self._weather is Weather.MUTE:
            return (piece, b"") if is_up else (b"", b"")
        if held:
            return piece + held, b""
        broken = (Weather.LOSE, Weather.REORDER, Weather.DUPLICATE, Weather.SPOIL)
        if self._weather not in broken or self._dice.random() > _BROKEN_SHARE:
            return piece, b""
        if self._weather is Weather.LOSE:
            return b"", b""
        if self._weather is Weather.REORDER:
            return b"", piece
        if self._weather is Weather.DUPLICATE:
            return piece + piece, b""
        spoilt = bytearray(piece)
        spoilt[self._dice.randrange(len(spoilt))] ^= 1 << self._dice.randrange(8)
        return bytes(spoilt), b""
