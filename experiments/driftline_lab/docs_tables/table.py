"""Every table of the documents, by the name between its markers."""

from __future__ import annotations

from driftline_lab.docs_tables import (
    boards,
    clusters,
    comparisons,
    compression,
    corruptions,
    devices,
    gates,
    loops,
    replays,
    settings,
    traces,
)
from driftline_lab.docs_tables.page import Renderer

TABLES: dict[str, Renderer] = {
    "loop-accuracy": loops.accuracy,
    "loop-traffic": loops.traffic,
    "smol-accuracy": loops.smol_accuracy,
    "smol-traffic": loops.smol_traffic,
    "ray-labellers": clusters.labellers,
    "gate-curve": gates.curve,
    "runtimes": devices.runtimes,
    "exported": devices.exported,
    "second-question": devices.second_question,
    "compress-summary": compression.summary,
    "compress-measured": compression.measured,
    "compress-trained": compression.trained,
    "corruptions": corruptions.corruptions,
    "corruptions-known": corruptions.known,
    "corruptions-summary": corruptions.summary,
    "beside-tiny": comparisons.beside("tiny"),
    "boards-tokens": boards.tokens,
    "boards-rounds": boards.rounds,
    "boards-tokens-question": boards.tokens_by_question,
    "boards-rounds-question": boards.rounds_by_question,
    "easyvqa-labels": boards.easyvqa_labels,
    "boards-rounds-ends": boards.rounds_at_the_ends,
    "settings-cloud": settings.cloud,
    "settings-device": settings.device,
    "settings-sinks": settings.sinks,
    "settings-watches": settings.watches,
    "settings-feeds": settings.feeds,
    "trace-columns": traces.columns,
    "replay-links": replays.links,
    "replay-times": replays.times,
    "replay-speed": replays.speed,
    "trace-measured": traces.measured,
}
