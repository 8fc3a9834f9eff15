"""Many simulated devices in one process, each living as a device's link does, without a model.

    python -m driftline_lab.peers.fleet FOLDER

It reads `plan.json` in the folder, writes `ready` once it could begin, waits for a file `begin`
with the moment (seconds since 1970) that all processes begin at, and leaves `seen.json`.

Each enrols once, at its own moment of the first `ramp_s`, and from then on asks for an update every
`every_s`, or as often as the cloud says, a tenth more or less. Some also keep an
uplink open and push a batch at each turn. A device of the real kind has a connection of its own;
here `connections` are shared by all of a process, in turn.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from driftline_lab.peers.channels import open_channel
from driftline_lab.peers.material import Material
from driftline_proto.v1 import control_pb2_grpc, downlink_pb2_grpc, uplink_pb2_grpc
from driftline_shared.status import UpdateQuery
from driftline_shared.wire import (
    EncodedSample,
    from_acks,
    to_batch,
    to_enrolment,
    to_update_query,
)

CALL_S = 30.0
_JITTER = 0.1
_LOOK_S = 0.05


@dataclass(frozen=True, kw_only=True)
class FleetPlan:
    """One process of a fleet. `first`: number of its first device; `steady_s`: how long is measured
    after `ramp_s`.
    """

    address: str
    pair: str
    first: int
    devices: int
    connections: int
    ramp_s: float
    steady_s: float
    every_s: float
    pushing: int
    batch: int


@dataclass(kw_only=True)
class FleetSeen:
    """What the devices saw. Milliseconds of each call that went well, of Check and Push after the
    ramp; `errors`: calls that did not go well, by what and why.
    """

    enrol_ms: list[float] = field(default_factory=list)
    check_ms: list[float] = field(default_factory=list)
    push_ms: list[float] = field(default_factory=list)
    samples: int = 0
    errors: Counter[str] = field(default_factory=Counter)


async def live(plan: FleetPlan, material: Material, begin_unix_s: float) -> FleetSeen:
    """Let the devices live until the plan is over."""
    seen = FleetSeen()
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(open_channel(plan.address))
            for _ in range(plan.connections)
        ]
        async with asyncio.TaskGroup() as group:
            for number in range(plan.devices):
                channel = channels[number % len(channels)]
                device = _Device(plan, number, channel, material, seen, begin_unix_s)
                group.create_task(device.live())
    return seen


class _Device:
    def __init__(
        self,
        plan: FleetPlan,
        number: int,
        channel: grpc.aio.Channel,
        material: Material,
        seen: FleetSeen,
        begin_unix_s: float,
    ) -> None:
        self._plan, self._seen, self._material = plan, seen, material
        self._number = plan.first + number
        self._name = f"simulated-{self._number}"
        self._rng = random.Random(self._number)
        self._channel = channel
        self._pushes = number < plan.pushing
        self._ask_after_s = 0.0
        self._enrol_at_s = begin_unix_s + plan.ramp_s * number / plan.devices
        self._steady_s = begin_unix_s + plan.ramp_s
        self._end_s = self._steady_s + plan.steady_s

    async def live(self) -> None:
        await asyncio.sleep(max(0.0, self._enrol_at_s - time.time()))
        request = to_enrolment(self._material.enrolment(self._name))
        stub = control_pb2_grpc.ControlStub(self._channel)
        enrolled = stub.Enrol(request, timeout=CALL_S)
        if await self._call("enrol", enrolled, self._seen.enrol_ms) is None:
            return
        async with AsyncExitStack() as stack:
            samples = self._material.samples(sys.maxsize, seed=1_000 + self._number)
            push = uplink_pb2_grpc.UplinkStub(self._channel).Push() if self._pushes else None
            if push is not None:
                stack.callback(push.cancel)
            async for is_steady in self._turns():
                await self._check(is_steady)
                if push is not None:
                    some = [next(samples) for _ in range(self._plan.batch)]
                    await self._push(push, some, is_steady)

    async def _turns(self) -> AsyncIterator[bool]:
        """At each moment of a turn: whether it is measured."""
        while True:
            share = 1 + _JITTER * (2 * self._rng.random() - 1)
            await asyncio.sleep(max(self._plan.every_s, self._ask_after_s) * share)
            now_s = time.time()
            if now_s >= self._end_s:
                return
            yield now_s >= self._steady_s

    async def _check(self, is_steady: bool) -> None:
        query = UpdateQuery(
            device_id=self._name,
            base_model=self._material.line.base_model,
            adapter_version=0,
        )
        stub = downlink_pb2_grpc.DownlinkStub(self._channel)
        call = stub.Check(to_update_query(query), timeout=CALL_S)
        reply = await self._call("check", call, self._seen.check_ms if is_steady else [])
        if reply is not None:
            self._ask_after_s = float(reply.ask_after_s)

    async def _push(self, push: Any, samples: list[EncodedSample], is_steady: bool) -> None:
        space = self._material.line.token_space.digest
        batch = to_batch(self._name, space, [sample.body for sample in samples])

        async def exchange() -> None:
            await push.write(batch)
            message = await push.read()
            if message is grpc.aio.EOF:
                raise ConnectionError("the stream ended")
            for ack in from_acks(message):
                if ack.verdict != "stored":
                    self._seen.errors[f"push {ack.verdict} {ack.reason}"] += 1
            self._seen.samples += len(samples)

        await self._call("push", exchange(), self._seen.push_ms if is_steady else [])

    async def _call(self, name: str, call: Any, took_ms: list[float]) -> Any:
        """The reply, None after an error; how long it took is added to `took_ms`."""
        began_s = time.perf_counter()
        try:
            reply = await call
        except grpc.aio.AioRpcError as error:
            self._seen.errors[f"{name} {error.code().name} {error.details()}"[:120]] += 1
        except Exception as error:
            self._seen.errors[f"{name} {error!r}"[:120]] += 1
        else:
            took_ms.append(round(1e3 * (time.perf_counter() - began_s), 2))
            return reply
        return None


def main(folder: Path) -> None:
    """Live in that folder."""
    plan = FleetPlan(**json.loads((folder / "plan.json").read_text(encoding="utf-8")))
    material = Material(pair=plan.pair)
    next(material.samples(1, seed=0))  # loading a pair takes a second
    (folder / "ready").touch()
    while not (begin := folder / "begin").is_file():
        time.sleep(_LOOK_S)
    seen = asyncio.run(live(plan, material, float(begin.read_text(encoding="utf-8"))))
    (folder / "seen.json").write_text(json.dumps(vars(seen)), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
