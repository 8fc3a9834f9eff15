"""Callers take turns; whoever asks much waits for themselves."""

from __future__ import annotations

import asyncio
import threading

import pytest

from driftline_cloud.service.pools import FairPool
from driftline_shared.errors import LinkError, Reason


def test_a_flood_of_one_caller_leaves_the_other_its_turn() -> None:
    done: list[str] = []

    def work(name: str) -> None:
        done.append(name)

    async def main() -> None:
        pool, gate = FairPool("t", 1), threading.Event()
        first = asyncio.create_task(pool.run("flood", gate.wait))
        await asyncio.sleep(0)
        flood = [asyncio.create_task(pool.run("flood", work, "flood")) for _ in range(20)]
        await asyncio.sleep(0)
        honest = asyncio.create_task(pool.run("honest", work, "honest"))
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(first, honest, *flood)
        pool.close()

    asyncio.run(main())
    assert done.index("honest") <= 1 and done.count("flood") == 20


def test_one_caller_holds_no_more_threads_than_it_may() -> None:
    running: list[int] = []
    most = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal most
        with lock:
            running.append(1)
            most = max(most, len(running))
        threading.Event().wait(0.01)
        with lock:
            running.pop()

    async def main() -> None:
        pool = FairPool("t", 4, per_caller=1)
        await asyncio.gather(*(pool.run("one", work) for _ in range(8)))
        pool.close()

    asyncio.run(main())
    assert most == 1


def test_too_many_waiting_calls_are_turned_away_and_results_and_errors_come_back() -> None:
    async def main() -> None:
        pool, gate = FairPool("t", 1, waiting_per_caller=2), threading.Event()
        tasks = [asyncio.create_task(pool.run("one", gate.wait))]
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(pool.run("one", int, "7")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(LinkError) as caught:
            await pool.run("one", int, "8")
        assert caught.value.reason is Reason.RATE_EXCEEDED
        gate.set()
        assert await asyncio.gather(*tasks) == [True, 7, 7]
        with pytest.raises(ValueError, match="x"):
            await pool.run("one", int, "x")
        assert await pool.run("one", int, "9") == 9
        pool.close()

    asyncio.run(main())


def test_whoever_leaves_the_line_blocks_nobody() -> None:
    async def main() -> None:
        pool, gate = FairPool("t", 1), threading.Event()
        first = asyncio.create_task(pool.run("a", gate.wait))
        await asyncio.sleep(0)
        gone = [asyncio.create_task(pool.run(name, int, "1")) for name in "abc"]
        stays = asyncio.create_task(pool.run("d", int, "4"))
        await asyncio.sleep(0)
        for one in gone:
            one.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        gate.set()
        assert await stays == 4 and await first
        assert await pool.run("a", int, "5") == 5
        pool.close()

    asyncio.run(main())
