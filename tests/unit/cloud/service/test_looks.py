"""Looks that many share are never older than the call, and few."""

from __future__ import annotations

import asyncio

import pytest

from driftline_cloud.service.looks import SharedLooks


class Source:
    """Gives how often it was looked at, each time when it is told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.going = asyncio.Event()

    async def look(self, key: str) -> int:
        self.begun.append(key)
        number = len(self.begun)
        await self.going.wait()
        if key == "broken":
            raise OSError("no such line")
        return number


def test_who_asks_while_one_looks_shares_the_next_look() -> None:
    async def run() -> None:
        source = Source()
        looks = SharedLooks(source.look)
        first = asyncio.create_task(looks.fresh("a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        later = [asyncio.create_task(looks.fresh("a")) for _ in range(50)]
        await asyncio.sleep(0)
        source.going.set()
        assert await first == 1
        assert await asyncio.gather(*later) == [2] * 50
        assert await looks.fresh("a") == 3
        assert source.begun == ["a"] * 3

    asyncio.run(run())


def test_keys_do_not_wait_for_each_other_and_one_that_leaves_takes_it_from_nobody() -> None:
    async def run() -> None:
        source = Source()
        looks = SharedLooks(source.look)
        leaves, stays = (asyncio.create_task(looks.fresh("a")) for _ in range(2))
        other = asyncio.create_task(looks.fresh("b"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sorted(source.begun) == ["a", "b"]
        leaves.cancel()
        source.going.set()
        assert (await stays, await other) == (1, 2)
        assert leaves.cancelled()

    asyncio.run(run())


def test_what_a_look_raises_is_told_and_the_next_one_begins_anew() -> None:
    async def run() -> None:
        source = Source()
        source.going.set()
        looks = SharedLooks(source.look)
        for _ in range(2):
            with pytest.raises(OSError, match="no such line"):
                await looks.fresh("broken")
        assert source.begun == ["broken"] * 2

    asyncio.run(run())
