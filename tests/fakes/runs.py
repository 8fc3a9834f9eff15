"""A run as a demo leaves it, made up: three domains, four rounds, two updates, hostile texts."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from driftline_lab.runs.folder import write_run
from driftline_lab.runs.run import (
    DomainAccuracy,
    Metrics,
    Picture,
    RunInfo,
    RunRound,
    RunUpdate,
    TimelineRow,
    Timings,
    UplinkTotals,
)

HOSTILE = '<script>fetch("http://example.invalid/x")</script><img src=x onerror=alert(1)> & "more"'
DOMAINS = ("source", "night", "sketch")


def write_fake_run(folder: Path, *, num_answers: int = 3000, seed: int = 0) -> Path:
    """Write a run of `num_answers` answers into `folder`; the same each time."""
    rows = list(timeline(num_answers, seed))
    third = num_answers // 3
    write_run(
        folder,
        RunInfo(
            kind="demo",
            pair="tiny",
            seed=seed,
            base_model="ab" * 32,
            token_space="cd" * 32,
            world="easyvqa",
            settings={"demo": {"segments": list(DOMAINS)}, "device": {"note": HOSTILE}},
            policy={"token_share": 0.5, "gate_score": "entropy"},
            versions={"driftline": "0.1.0", "python": "3.11.7"},
        ),
        Metrics(
            accuracy={
                "source": DomainAccuracy(before=0.954, after=0.946, teacher=0.97),
                "night": DomainAccuracy(before=0.702, after=0.868, teacher=0.93),
                "sketch": DomainAccuracy(before=0.611, after=0.797, teacher=0.905),
            },
            uplink=UplinkTotals(
                seen=num_answers,
                sent=sum(row.sent for row in rows),
                bytes=sum(row.bytes for row in rows),
            ),
            rounds=(
                fake_round(1, third + third // 3, "done"),
                fake_round(2, third + 2 * third // 3, "rejected"),
                fake_round(3, 2 * third + third // 3, "done"),
                fake_round(4, 2 * third + 2 * third // 3, "failed"),
            ),
            updates=(
                RunUpdate(version=1, digest="12" * 32, bytes=11_873, at=third + third // 2),
                RunUpdate(version=2, digest="34" * 32, bytes=9_412, at=2 * third + third // 2),
            ),
            numbers={
                "uplink.jpeg90_bytes_per_sample": 1650,
                "uplink.fp16_tokens_bytes_per_sample": 12_288,
                "downlink.fp16_adapter_bytes": 196_608,
                "downlink.fp16_model_bytes": 3_400_000,
            },
        ),
        Timings(seconds={"loop": 171.4}, apply_pause_ms=(2.1, 1.9)),
        rows,
        pictures(seed),
    )
    return folder


def fake_round(number: int, at: int, state: str) -> RunRound:
    reasons = {"rejected": f"agreement rose too little {HOSTILE}", "failed": "out of memory"}
    return RunRound(
        number=number,
        state=state,
        num_samples=180,
        trigger="count" if state == "done" else "",
        reason=reasons.get(state, ""),
        at=at,
        numbers={
            "gate.base_agreement": 0.62,
            "gate.candidate_agreement": 0.62 + 0.07 * number,
            "gate.base_source_accuracy": 0.95,
            "gate.candidate_source_accuracy": 0.945,
            "update.kept_gain": 0.97,
            "samples.train": 153,
        },
    )


def timeline(num_answers: int, seed: int) -> Iterator[TimelineRow]:
    draws, third = random.Random(seed), num_answers // 3
    for n in range(1, num_answers + 1):
        place = min(2, (n - 1) // max(1, third))
        version = 0 if place == 0 else place - (n <= place * third + third // 2)
        level = (0.95, 0.7, 0.62)[place] + (0.16 if version == place and place else 0)
        sent = draws.random() < 0.3 * (1.2 - level)
        yield TimelineRow(
            n=n,
            segment="stream",
            domain=DOMAINS[place],
            correct=draws.random() < level,
            uncertainty=round(draws.expovariate(1 / (1.1 - level)), 6),
            version=version,
            sent=sent,
            bytes=draws.randrange(3100, 3300) if sent else 0,
        )


def pictures(seed: int) -> dict[Picture, bytes]:
    draws = random.Random(seed)
    found = {}
    for place in range(8):
        noise = np.random.default_rng(place).integers(0, 60, (64, 64, 3), dtype=np.uint8)
        noise[16:48, 20:52] = (200 - 20 * place, 90 + 15 * place, 60)
        out = io.BytesIO()
        Image.fromarray(noise).save(out, format="PNG")
        picture = Picture(
            file=f"{place:06d}.png",
            question="what is the teal shape?" if place else HOSTILE,
            answer="rectangle" if place != 1 else HOSTILE,
            teacher="circle" if place % 3 == 0 else "rectangle",
            rows=8,
            cols=8,
            kept=tuple(sorted(draws.sample(range(64), 32))),
            n=1100 + 200 * place,
            domain=DOMAINS[1 + place % 2],
            correct=place % 3 != 0,
            uncertainty=0.81,
            version=place // 4,
            bytes=3203,
        )
        found[picture] = out.getvalue()
    return found
