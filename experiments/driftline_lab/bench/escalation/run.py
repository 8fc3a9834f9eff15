"""Asking the teacher, measured: never, when uncertain, always; a real cloud and real devices.

One cloud process an arm, on loopback gRPC, without rounds: nothing but corrections changes an
answer. A device of this process puts the questions of a drifted stream one after the other, as a
client of its API would, and waits for the teacher's answer where it asked for one.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from driftline_device.config import DeviceConfig, load_config
from driftline_device.daemon.daemon import Daemon
from driftline_device.program.assembly import open_daemon, runtime_for
from driftline_device.runtime.runtime import Answer, Question
from driftline_lab.data.streams import Event, Segment, stream
from driftline_lab.demo.processes import program, wait_for_file
from driftline_shared.errors import DriftlineError
from driftline_shared.exact_match import is_correct
from driftline_shared.host.clock import Clock, SystemClock
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.status import Correction

READY_S = 300.0
LATE_S = 120.0
"""Most to wait, at the end of a stream, for corrections that are still to come."""

CLOUD: Mapping[str, object] = {}
"""The policy as it comes."""

CLOUD_ALL: Mapping[str, object] = {
    "sampling.gate_quantile": 0.0,
    "sampling.max_sample_share": 1.0,
    "sampling.repeat_distance": 0.0,
}
"""A policy under which every answer is sampled, and so may be asked about."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """What the cloud and the device are set to."""

    cloud: Mapping[str, object]
    device: Mapping[str, object]


ARMS: Mapping[str, Arm] = {
    "never": Arm(cloud=CLOUD, device={"escalate": "never"}),
    "uncertain": Arm(cloud=CLOUD, device={"escalate": "uncertain"}),
    "always": Arm(
        cloud=CLOUD_ALL,
        device={"escalate": "uncertain", "escalate_share": 1.0, "escalate_quantile": 0.0},
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """`questions` of each of `domains`, once a seed; a client waits `wait_ms`."""

    pair: str
    domains: tuple[str, ...]
    seeds: tuple[int, ...]
    questions: int
    wait_ms: int


class _Client:
    """Whoever asks: keeps the answer, and the teacher's if it came in time."""

    waits = True

    def __init__(self) -> None:
        self.correction: Correction | None = None

    def on_start(self) -> None:
        """See `AnswerListener`."""

    def on_text(self, text: str) -> None:
        """See `AnswerListener`."""

    def on_wait(self) -> None:
        """See `AnswerListener`."""

    def on_answer(self, answer: Answer, correction: Correction | None = None) -> None:
        """See `AnswerListener`."""
        self.correction = correction


def run_escalation(plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Rows of arm, domain and seed, and a summary by arm and domain."""
    pair = load_pair(plan.pair)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, settings in enumerate((CLOUD, CLOUD_ALL)):
            with _cloud(Path(folder) / f"cloud-{number}", plan, settings) as address:
                for name, arm in ARMS.items():
                    for domain in plan.domains if arm.cloud is settings else ():
                        for seed in plan.seeds:
                            state = Path(folder) / f"{name}-{domain}-{seed}"
                            config = _config(plan, arm, address, state, seed)
                            row = _run(config, pair, list(_events(domain, plan, seed)))
                            rows.append({"arm": name, "domain": domain, "seed": seed} | row)
                            say(json.dumps(rows[-1]))
    return {"plan": asdict(plan), "rows": rows, "summary": summarise(rows)}


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By arm and domain: means over the seeds, the worst seed's accuracy."""
    found = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        for domain in dict.fromkeys(row["domain"] for row in rows):
            some = [row for row in rows if (row["arm"], row["domain"]) == (arm, domain)]
            seconds = [each for row in some for each in row["seconds"]]
            asked = sum(row["num_corrected"] for row in some)
            found.append(
                {
                    "arm": arm,
                    "domain": domain,
                    "num_seeds": len(some),
                    "share": _mean(some, "share"),
                    "sampled_share": _mean(some, "sampled_share"),
                    "accuracy_device": _mean(some, "accuracy_device"),
                    "accuracy_in_time": _mean(some, "accuracy_in_time"),
                    "accuracy_late": _mean(some, "accuracy_late"),
                    "worst_in_time": min(row["accuracy_in_time"] for row in some),
                    "bytes_up": _mean(some, "bytes_up"),
                    "bytes_down": _mean(some, "bytes_down"),
                    "asked_device_right": _ratio(some, "num_asked_device_right", asked),
                    "asked_teacher_right": _ratio(some, "num_asked_teacher_right", asked),
                    "in_time_share": _ratio(some, "num_in_time", asked),
                    "seconds_median": statistics.median(seconds) if seconds else None,
                    "seconds_p95": float(np.quantile(seconds, 0.95)) if seconds else None,
                }
            )
    return found


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return statistics.fmean(row[name] for row in rows)


def _ratio(rows: Sequence[Mapping[str, Any]], name: str, total: int) -> float | None:
    return sum(row[name] for row in rows) / total if total else None


def _events(domain: str, plan: Plan, seed: int) -> Iterator[Event]:
    return stream([Segment(domain=domain, num_questions=plan.questions)], seed=seed)


@contextmanager
def _cloud(state: Path, plan: Plan, policy: Mapping[str, object]) -> Iterator[str]:
    """A cloud of its own process that makes no round; its address."""
    state.mkdir(parents=True)
    settings = {
        "state": str(state),
        "listen": "127.0.0.1:0",
        "pair": plan.pair,
        "rounds.trigger.enabled": "false",
        **policy,
    }
    given = [each for name, value in settings.items() for each in ("--set", f"{name}={value}")]
    with program("cloud", ["cloud", "serve", *given], state / "log.txt") as running:
        port = wait_for_file(state / "port", running, READY_S)
        yield f"127.0.0.1:{port}"
        running.check()


def _config(plan: Plan, arm: Arm, address: str, state: Path, seed: int) -> DeviceConfig:
    return load_config(
        None,
        {
            "state": str(state),
            "pair": plan.pair,
            "cloud": address,
            "seed": seed,
            "threads": 1,
            "events": str(state / "events.jsonl"),
            "escalate_wait_ms": plan.wait_ms,
            "api.port": 0,
            **arm.device,
        },
        {},
    )


def _run(config: DeviceConfig, pair: Pair, events: Sequence[Event]) -> dict[str, Any]:
    clock = SystemClock()
    with open_daemon(config, pair, runtime_for(config, pair), clock=clock) as daemon:
        daemon.start()
        try:
            _until(lambda: bool(daemon.snapshot().link["connected"]), READY_S, clock)
            # The policy comes with the enrolment; the first teacher's answer pays for its loading.
            clients = [_ask(daemon, event) for event in events]
            _until(lambda: not daemon.snapshot().escalation.get("waiting"), LATE_S, clock)
            _until(lambda: not daemon.snapshot().spool["num_samples"], LATE_S, clock)
            snapshot = daemon.snapshot()
        finally:
            daemon.stop(5.0)
    answered = [answer for answer, _ in clients]
    in_time = [client.correction for _, client in clients]
    assert config.events is not None
    text = config.events.read_text(encoding="utf-8")
    written = [json.loads(line) for line in text.split("\n") if line]
    return {
        "num_questions": len(events),
        "sampled_share": snapshot.num_sent / len(events),
        "bytes_up": snapshot.bytes_up / len(events),
        "bytes_down": snapshot.bytes_down / len(events),
        **scores(events, answered, in_time, written),
    }


def _ask(daemon: Daemon, event: Event) -> tuple[Answer, _Client]:
    client = _Client()
    question = Question(image=event.picture(), text=event.question, domain=event.domain)
    return daemon.ask(question, client), client


def scores(
    events: Sequence[Event],
    answered: Sequence[Answer],
    in_time: Sequence[Correction | None],
    written: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Of the device alone, with what came in time, with what came at all."""
    given = {row["id"]: row for row in written if row["kind"] == "answer"}
    corrected = {row["corrects"]: row for row in written if row["kind"] == "correction"}
    device = [is_correct(a.text, e.answer) for a, e in zip(answered, events, strict=True)]
    got = [
        right if correction is None else is_correct(correction.answer, event.answer)
        for right, correction, event in zip(device, in_time, events, strict=True)
    ]
    teacher = [
        is_correct(corrected[answer.id]["answer"], event.answer) if answer.id in corrected else None
        for answer, event in zip(answered, events, strict=True)
    ]
    late = [right if other is None else other for right, other in zip(device, teacher, strict=True)]
    asked = [
        (right, other) for right, other in zip(device, teacher, strict=True) if other is not None
    ]
    seconds = [
        _unix_s(row["time"]) - _unix_s(given[answer_id]["time"])
        for answer_id, row in corrected.items()
    ]
    return {
        "share": len(corrected) / len(events),
        "accuracy_device": float(np.mean(device)),
        "accuracy_in_time": float(np.mean(got)),
        "accuracy_late": float(np.mean(late)),
        "num_corrected": len(corrected),
        "num_in_time": sum(correction is not None for correction in in_time),
        "num_asked_device_right": sum(right for right, _ in asked),
        "num_asked_teacher_right": sum(bool(other) for _, other in asked),
        "seconds": [round(each, 3) for each in seconds],
    }


def _unix_s(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def _until(done: Callable[[], bool], most_s: float, clock: Clock) -> None:
    deadline_s = clock.monotonic_s() + most_s
    while not done():
        if clock.monotonic_s() > deadline_s:
            raise DriftlineError(f"device or cloud did not come that far in {most_s:.0f} s")
        clock.sleep(0.02)
