"""What a demo leaves behind: a run folder, made of what its two programs keep when it is over."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from driftline_cloud.intake.database import Database
from driftline_cloud.state import StateFolder
from driftline_device.config import DeviceConfig
from driftline_device.daemon.state_files import StateFiles
from driftline_lab.data.openmoji.captions import CaptionScores
from driftline_lab.demo.options import DemoData, DemoOptions
from driftline_lab.demo.readings import read_status
from driftline_lab.demo.report import DemoReport
from driftline_lab.machine import versions
from driftline_lab.runs.cloud_state import labelled_samples
from driftline_lab.runs.device_events import Answered, read_events
from driftline_lab.runs.folder import write_run
from driftline_lab.runs.pictures import choose_answers, draw_pictures
from driftline_lab.runs.run import (
    DomainAccuracy,
    Metrics,
    RunInfo,
    Timings,
    UplinkTotals,
)
from driftline_shared.pair.pair import Pair
from driftline_shared.program.config import parse_assignment

PICTURES_EACH_DOMAIN = 6


def write_demo_run(
    folder: Path,
    options: DemoOptions,
    device: DeviceConfig,
    pair: Pair,
    data: DemoData,
    report: DemoReport,
) -> None:
    """Write the run of a demo that is over into `folder`; reads the state of both programs."""
    answers = list(read_events(device.events)) if device.events is not None else []
    timeline = [answer.row for answer in answers]
    chosen = choose_answers(answers, each_domain=PICTURES_EACH_DOMAIN)
    cloud = StateFolder(options.state / "cloud")
    with closing(Database(f"sqlite:///{(cloud.path / 'cloud.sqlite').resolve()}")) as database:
        stored = labelled_samples(database, [each.sample_id for each in chosen if each.sample_id])
    write_run(
        folder,
        _info(options, device, pair, report),
        Metrics(
            accuracy=_accuracy(report, data),
            uplink=_uplink(report, answers),
            rounds=report.rounds_made,
            updates=report.updates_made,
            numbers=_numbers(report),
        ),
        Timings(seconds={"loop": report.seconds}, apply_pause_ms=_pauses_ms(device)),
        timeline,
        draw_pictures(data.stream, chosen, stored, pair.token_space),
    )


def _info(options: DemoOptions, device: DeviceConfig, pair: Pair, report: DemoReport) -> RunInfo:
    policy = StateFiles(device.state).policy()
    return RunInfo(
        kind="demo",
        pair=pair.name,
        seed=options.seed,
        base_model=pair.base_model,
        token_space=pair.token_space.digest,
        world=report.world,
        settings={
            "demo": {
                "segments": list(options.segments),
                "questions": options.questions,
                "tests": options.tests,
                "workers": options.workers,
                "device": dict(report.device),
            },
            "cloud": {**_plain(options.pace.cloud), **_parsed(options.cloud_settings)},
            "device": _parsed(options.device_settings),
        },
        policy=asdict(policy) if policy is not None else {},
        versions=versions(),
    )


def _accuracy(report: DemoReport, data: DemoData) -> dict[str, DomainAccuracy]:
    sizes = {test.domain: len(test.rows) for test in data.tests}
    return {
        domain: DomainAccuracy(
            before=row.before,
            after=row.after,
            teacher=row.teacher,
            num_questions=sizes.get(domain, 0),
        )
        for domain, row in report.accuracy.items()
    }


def _uplink(report: DemoReport, answers: list[Answered]) -> UplinkTotals:
    return UplinkTotals(
        seen=report.uplink.seen,
        sent=report.uplink.sent,
        bytes=sum(answer.row.bytes for answer in answers),
    )


def _numbers(report: DemoReport) -> dict[str, float]:
    numbers = {
        "uplink.jpeg90_bytes_per_sample": report.uplink.jpeg90_bytes_per_sample,
        "uplink.fp16_tokens_bytes_per_sample": report.uplink.fp16_tokens_bytes_per_sample,
        "downlink.fp16_adapter_bytes": report.downlink.fp16_adapter_bytes,
        "downlink.fp16_model_bytes": report.downlink.fp16_model_bytes,
    }
    for domain, row in report.captions.items():
        for stage in ("before", "after", "teacher"):
            scores: CaptionScores = getattr(row, stage)
            numbers[f"captions.{domain}.{stage}.name_match"] = scores.name_match
            numbers[f"captions.{domain}.{stage}.cider"] = scores.cider
    return numbers


def _pauses_ms(device: DeviceConfig) -> tuple[float, ...]:
    return tuple(float(pause) for pause in read_status(device.state).get("apply_pause_ms", []))


def _parsed(settings: Sequence[str]) -> dict[str, Any]:
    return _plain(dict(parse_assignment(text) for text in settings))


def _plain(settings: Mapping[str, object]) -> dict[str, Any]:
    """As JSON has it: a date of a settings file becomes text."""
    found: dict[str, Any] = json.loads(json.dumps(dict(settings), default=str))
    return found
