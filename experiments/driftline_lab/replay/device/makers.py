"""Putting a replay's device together from the device's own settings."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from driftline_device.config import DeviceConfig
from driftline_device.link.settings import LinkSettings
from driftline_device.program.assembly import runtime_for
from driftline_device.runtime.runtime import Runtime
from driftline_device.sampling.sampler import Sampler
from driftline_device.sampling.scorers import LOCAL_SCORERS
from driftline_device.spool.sqlite import SqliteSpool
from driftline_device.updates.applier import Applier
from driftline_lab.replay.clock import VirtualClock
from driftline_lab.replay.cloud.side import CloudSide
from driftline_lab.replay.device.device import DeviceParts, ReplayDevice
from driftline_lab.replay.device.runtime import TokenRuntime, VersionHolder
from driftline_lab.replay.device.updates import VirtualDownlink
from driftline_lab.replay.device.uplink import VirtualUplink
from driftline_lab.replay.links import Link
from driftline_lab.replay.settings import ReplayOptions
from driftline_shared.errors import ConfigError
from driftline_shared.ids import new_sample_id
from driftline_shared.pair.pair import Pair
from driftline_shared.status import Enrolment
from driftline_shared.tokens import SamplingPolicy
from driftline_shared.update import Adapter


@dataclass(kw_only=True)
class DeviceMaker:
    """Makes the devices of a replay, each when it is first seen. `initial`: version 0 of a pair."""

    options: ReplayOptions
    config: DeviceConfig
    pair: Pair
    cloud: CloudSide
    clock: VirtualClock
    folder: Path
    on_stored: Callable[[int], None]
    num_answers: Callable[[], int]
    initial: Callable[[Pair], Adapter]

    def __post_init__(self) -> None:
        self._num_made = 0
        self._initial: Adapter | None = None

    def make(self, device_id: str) -> ReplayDevice:
        """The device of that id, enrolled and started. Raises ConfigError for a second one where
        the model is asked: it holds one device's version.
        """
        self._num_made += 1
        if self._num_made > 1 and self._needs_model:
            raise ConfigError(
                "this trace is of several devices: their answers and token scores cannot be made "
                "anew together; cut it by device, or replay it as it was recorded"
            )
        parts = self._parts(device_id, self.folder / f"device-{self._num_made}")
        device = ReplayDevice(parts, self.clock, num_answers=self.num_answers)
        device.start()
        return device

    @property
    def _needs_model(self) -> bool:
        policy = self.options.policy
        if self.options.answers == "recompute":
            return True
        return policy is not None and (
            policy.token_scorer not in LOCAL_SCORERS or policy.gate_score == "mutual_information"
        )

    def _parts(self, device_id: str, state: Path) -> DeviceParts:
        config, pair, options = self.config, self.pair, self.options
        state.mkdir(parents=True, exist_ok=True)
        runtime = self._runtime()
        seed = _seed(options.seed, device_id)
        link = Link(options.link, seed=_seed(options.seed, device_id, "link"))
        welcome = self.cloud.enrol(
            Enrolment(
                device_id=device_id,
                pair=pair.name,
                token_space=pair.token_space.digest,
                base_model=runtime.base_model,
                adapter_version=0,
            )
        )
        settings = LinkSettings(address="")
        spool = SqliteSpool(
            state / "spool.sqlite",
            max_bytes=config.spool.max_bytes,
            max_samples=config.spool.max_samples,
            durable=False,
        )
        return DeviceParts(
            device_id=device_id,
            runtime=runtime,
            sampler=self._sampler(welcome.policy, seed),
            spool=spool,
            applier=Applier(
                state_dir=state,
                runtime=runtime,
                pair_name=pair.name,
                token_space=pair.token_space.digest,
                probe_set=pair.probe_set() if self._needs_model else (),
                clock=self.clock,
                settings=config,
            ),
            uplink=VirtualUplink(
                device_id=device_id,
                token_space=pair.token_space.digest,
                spool=spool,
                cloud=self.cloud,
                link=link,
                clock=self.clock,
                settings=settings,
                on_stored=self.on_stored,
                seed=seed,
            ),
            downlink=VirtualDownlink(
                device_id=device_id,
                base_model=runtime.base_model,
                cloud=self.cloud,
                link=link,
                clock=self.clock,
                settings=settings,
                probe_s=options.times.probe_s,
            ),
            recompute=options.answers == "recompute",
            poll_s=config.poll_s,
        )

    def _runtime(self) -> Runtime:
        if not self._needs_model:
            if self._initial is None:
                self._initial = self.initial(self.pair)
            return VersionHolder(self._initial, self.pair.base_model)
        from driftline_device.runtime.torch.runtime import TorchRuntime

        runtime = runtime_for(self.config, self.pair)
        if not isinstance(runtime, TorchRuntime):
            raise ConfigError(
                "only the torch runtime answers from recorded tokens: name the pair itself, not "
                "an export of it"
            )
        return TokenRuntime(runtime)

    def _sampler(self, policy: SamplingPolicy, seed: int) -> Sampler | None:
        if self.options.policy is None and self.options.answers == "recorded":
            return None
        if policy.images_may_leave:
            # A trace holds tokens, not the pictures that regions would be cut from.
            policy = replace(policy, images_may_leave=False)
        rng = random.Random(seed)
        return Sampler(
            space=self.pair.token_space,
            calibration=self.pair.gate,
            policy=policy,
            rng=np.random.default_rng(seed),
            new_id=lambda: new_sample_id(self.clock, rng.randbytes),
            clock=self.clock,
        )


def _seed(*parts: object) -> int:
    """A seed that depends on every part."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
