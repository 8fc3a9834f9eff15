"""What simulated devices send: real samples of a pair, as many as wanted, with ids of their own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from driftline_cloud.intake.line import Line
from driftline_cloud.lines.pairs import line_of
from driftline_lab.data.source_samples import samples_of
from driftline_shared.ids import sample_id_at
from driftline_shared.pair.pair import load_pair
from driftline_shared.status import Enrolment
from driftline_shared.tokens import Sample
from driftline_shared.wire import EncodedSample

_NUM_KINDS = 256


@dataclass(frozen=True, kw_only=True)
class Material:
    """Samples of `pair`, their tokens coded by `codec` (a name or `auto`)."""

    pair: str = "tiny"
    codec: str = "auto"

    @cached_property
    def line(self) -> Line:
        """The line that the pair's devices are on."""
        return line_of(load_pair(self.pair))

    @cached_property
    def kinds(self) -> tuple[EncodedSample, ...]:
        """The samples that all others repeat, with the scores that a device sends."""
        found = samples_of(load_pair(self.pair), _NUM_KINDS, codec=self.codec)
        return tuple(EncodedSample.of(_scored(sample)) for sample in found)

    def samples(self, count: int, seed: int) -> Iterator[EncodedSample]:
        """`count` samples, one a second, with ids as devices make them: those of a higher seed are
        of a later day.
        """
        rng = random.Random(seed)
        for number in range(count):
            kind = self.kinds[number % len(self.kinds)]
            one = sample_id_at(86_400 * seed + number, rng.randbytes)
            # The id is the message's first field: the rest need not be serialised again.
            body = kind.body.replace(kind.id, one, 1)
            yield EncodedSample(sample=replace(kind.sample, id=one), body=body)

    def enrolment(self, device_id: str) -> Enrolment:
        """How a device of the pair introduces itself."""
        return Enrolment(
            device_id=device_id,
            pair=self.line.pair,
            token_space=self.line.token_space.digest,
            base_model=self.line.base_model,
            adapter_version=0,
        )


def _scored(sample: Sample) -> Sample:
    share = int.from_bytes(sample.id, "big") / _NUM_KINDS
    return replace(sample, scores={"entropy": 2 * share, "margin": 1 - share})
